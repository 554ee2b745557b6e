"""The gate before training: proofs that the market conserves money, gives nothing away and sees no future."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from assets.market_data import market_tensors
from assets.resources import Metrics, ProjectPaths
from assets.support import check, identity, latest_metadata, stage, table, write_json

if TYPE_CHECKING:
    from clstm_core.config import EnvConfig

PROOFS = (
    "conservation",
    "martingale_exact",
    "martingale_sampled",
    "no_look_ahead",
    "fees_never_help",
    "invariance",
)
"""Names of the checks; a test keeps them equal to those of clstm_core.audit, which imports torch."""


class AuditConfig(dg.Config):
    """How long to look."""

    size: Literal["quick", "full"] = Field(
        "quick", description="quick (a minute at most) or full; both ask the same questions"
    )
    recipe: str = Field("default_cpu", description="named configuration whose account and costs are audited")


@dg.asset(
    group_name="market_data",
    deps=[market_tensors],
    kinds={"torch"},
    owners=["team:research"],
    check_specs=[dg.AssetCheckSpec(name, asset="environment_audit", blocking=True) for name in PROOFS],
)
def environment_audit(
    context: dg.AssetExecutionContext, config: AuditConfig, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """Every proof of the environment on the market traded and the one trained on; one that fails stops the chain."""
    with stage(context, "audit") as progress:
        from clstm_core.config import RECIPES

        parent = latest_metadata(context, "market_tensors")
        env_config = RECIPES[config.recipe]().env
        markets = {parent["data_sha256"]: parent["folder"], parent["training_data_sha256"]: parent["training_folder"]}
        verdicts = []
        for number, (sha256, folder) in enumerate(markets.items()):

            def tell(done: int, total: int, proof: str = "", before: int = number) -> None:
                progress(before * total + done, len(markets) * total, proof)

            verdicts.append(_verdict(sha256, Path(folder), env_config, config.size, paths, tell))
        rows = [
            {"data_sha256": sha256, "gate": "environment_audit", "blocking": True, **proof}
            for sha256, verdict in zip(markets, verdicts, strict=True)
            for proof in verdict["proofs"]
        ]
        metrics.store().upsert("gate_results", rows)
    columns = ["market", "name", "passed", "statistic", "threshold", "seconds", "detail"]
    proofs = [{"market": verdict["market"], **proof} for verdict in verdicts for proof in verdict["proofs"]]
    return dg.MaterializeResult(
        metadata={
            "verdict": " ".join(verdict["verdict"] for verdict in verdicts),
            "passed": all(verdict["passed"] for verdict in verdicts),
            "size": config.size,
            "proofs": table(proofs, columns),
            "path": dg.MetadataValue.path(str(paths.cache / "audits")),
        },
        check_results=[_check(name, [proof for proof in proofs if proof["name"] == name]) for name in PROOFS],
    )


def _verdict(
    sha256: str,
    folder: Path,
    env_config: "EnvConfig",
    size: Literal["quick", "full"],
    paths: ProjectPaths,
    progress: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """The audit of one market, from the cache where code, market and configuration are those of an earlier one."""
    from clstm_core.audit.run import audit
    from clstm_core.market.tensors import load_market

    facts = [sha256, size, dataclasses.asdict(env_config)]
    kept = paths.cache / "audits" / f"{identity(facts, 'audit', 'env', 'market', 'options', 'specs.py')}.json"
    if (known := _read(kept)) is not None:
        progress(1, 1, "the verdict on this code, market and configuration stands")
        return known
    verdict = audit(load_market(folder), env_config, size=size, progress=progress).to_dict()
    write_json(kept, verdict)
    return verdict


def _read(path: Path) -> dict[str, Any] | None:
    """A verdict of earlier; None where there is none or it is damaged, and the audit runs again."""
    try:
        verdict = json.loads(path.read_text())
        whole = {proof["name"] for proof in verdict["proofs"]} == set(PROOFS)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return verdict if whole else None


def _check(name: str, proofs: list[dict[str, Any]]) -> dg.AssetCheckResult:
    """One proof on every market: it holds where it holds on all."""
    words = "; ".join(f"{proof['market']}: {proof['detail']}" for proof in proofs)
    seconds = sum(proof["seconds"] for proof in proofs)
    return check(name, all(proof["passed"] for proof in proofs), words, blocking=True, seconds=seconds)
