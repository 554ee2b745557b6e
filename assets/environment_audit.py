"""The gate before training: proofs that the market conserves money, gives nothing away and sees no future."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from assets.market_data import market_tensors
from assets.resources import Metrics, ProjectPaths
from assets.support import check, identity, latest_metadata, stage, table, write_json

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
    """Every proof of the environment on this market; training does not start unless all of them hold."""
    with stage(context, "audit") as progress:
        from clstm_core.audit.run import audit
        from clstm_core.config import RECIPES
        from clstm_core.market.tensors import load_market

        parent = latest_metadata(context, "market_tensors")
        env_config = RECIPES[config.recipe]().env
        facts = [parent["data_sha256"], config.size, dataclasses.asdict(env_config)]
        kept = paths.cache / "audits" / f"{identity(facts, 'audit', 'env', 'market', 'options', 'specs.py')}.json"
        if kept.is_file():
            verdict = json.loads(kept.read_text())
            progress.reused("the verdict on this code, market and configuration stands")
        else:
            market = load_market(Path(parent["folder"]))
            verdict = audit(market, env_config, size=config.size, progress=progress).to_dict()
            write_json(kept, verdict)
        rows = [
            {"data_sha256": parent["data_sha256"], "gate": "environment_audit", "blocking": True, **proof}
            for proof in verdict["proofs"]
        ]
        metrics.store().upsert("gate_results", rows)
    columns = ["name", "passed", "statistic", "threshold", "seconds", "detail"]
    return dg.MaterializeResult(
        metadata={
            "verdict": verdict["verdict"],
            "passed": verdict["passed"],
            "size": verdict["size"],
            "proofs": table(verdict["proofs"], columns),
            "path": dg.MetadataValue.path(str(kept)),
        },
        check_results=[
            check(proof["name"], proof["passed"], proof["detail"], blocking=True, seconds=proof["seconds"])
            for proof in verdict["proofs"]
        ],
    )
