"""The gate before training: proofs that the market conserves money, gives nothing away and sees no future."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import AUDIT, code_version
from assets.market_data import market_tensors
from assets.resources import Metrics, ProjectPaths, Recipe
from assets.support import check, stage, table, tag_by_recipe
from clstm_core.audit.names import DESCRIPTIONS, PROOFS


@dg.asset(
    group_name="market_data",
    deps=[market_tensors],
    kinds={"torch"},
    code_version=code_version(__file__, rooms=AUDIT),
    owners=["team:research"],
    check_specs=check_specs("environment_audit", blocking={name: DESCRIPTIONS[name] for name in PROOFS}, keyed=None),
)
def environment_audit(
    context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """Every proof of the environment on the market traded and the one trained on; one that fails stops the chain.

    What is promised, and which tests hold it: `docs/guarantees.md`, *Promised*.
    """
    with stage(context, "audit") as progress:
        from clstm_core.gate import ensure_verdict
        from clstm_core.market.cache import training_tensors

        chosen = recipe.core()
        tag_by_recipe(context, recipe)
        found = training_tensors(chosen.market(), paths.places.cache, chosen.embargo, make=False)
        folders = list(dict.fromkeys([found.evaluation, found.training]))
        verdicts = []
        for number, folder in enumerate(folders):
            verdict, stood = ensure_verdict(
                folder, chosen.env, recipe.audit, paths.places.cache, _part(progress, number, len(folders))
            )
            if stood:
                progress(number + 1, len(folders), "the verdict on this code, market and configuration stands")
            verdicts.append(verdict)
        metrics.store().record(*verdicts)
    columns = ["market", "name", "passed", "statistic", "threshold", "seconds", "detail"]
    proofs = [{"market": verdict.market, **proof} for verdict in verdicts for proof in verdict.proofs]
    return dg.MaterializeResult(
        metadata={
            "verdict": " ".join(verdict.verdict for verdict in verdicts),
            "passed": all(verdict.passed for verdict in verdicts),
            "size": recipe.audit,
            "proofs": table(proofs, columns),
            "path": dg.MetadataValue.path(str(paths.places.cache / "audits")),
        },
        data_version=dg.DataVersion("-".join(verdict.identity[:16] for verdict in verdicts)),
        check_results=[_check(name, [proof for proof in proofs if proof["name"] == name]) for name in PROOFS],
    )


def _part(progress: Callable[..., None], number: int, parts: int) -> Callable[[int, int, str], None]:
    """Progress of one of several audits as progress of all."""

    def tell(done: int, total: int, proof: str = "") -> None:
        progress(number * total + done, parts * total, proof)

    return tell


def _check(name: str, proofs: list[dict[str, Any]]) -> dg.AssetCheckResult:
    """One proof on every market: it holds where it holds on all."""
    words = "; ".join(f"{proof['market']}: {proof['detail']}" for proof in proofs)
    seconds = sum(proof["seconds"] for proof in proofs)
    return check(name, all(proof["passed"] for proof in proofs), words, blocking=True, seconds=seconds)
