"""The zero-premium twin of a modelled market: the same path, options priced without the premium that it assumes."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.backtests import book_checks, materialize, policy_backtests, results_of
from assets.market_data import GROUP, market_tensors
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, Recipe
from assets.support import check, run_stage, stage
from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifests import BacktestSet, RunInputs

if TYPE_CHECKING:
    from assets.support import Progress
    from clstm_core.config import RunConfig
    from clstm_core.market.tensors import MarketTensors

NONE = "These quotes assume no premium, or none that could be left out: there is no twin."


@dg.asset(group_name=GROUP, deps=[market_tensors], kinds={"torch"}, owners=["team:research"])
def twin_tensors(context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths) -> dg.MaterializeResult:
    """The same index path with options priced without the variance premium; nothing for quotes that assume none."""
    with stage(context, "twin") as progress:
        from clstm_core.evaluation.twin import ensure_twin

        chosen = recipe.core()
        folder = ensure_twin(chosen.market(), paths.places.cache, chosen.embargo)
        progress(1, 1)
    if folder is None:
        return dg.MaterializeResult(metadata={"twin": NONE})
    return dg.MaterializeResult(
        metadata={"twin": "premium left out", "folder": dg.MetadataValue.path(str(folder))},
        data_version=dg.DataVersion(folder.name),
    )


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests, twin_tensors],
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    owners=["team:research"],
    check_specs=book_checks("twin_backtests"),
)
def twin_backtests(context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics) -> dg.MaterializeResult:
    """The champion, cash and the short straddle over the twin's test dates: what was earned from the assumption."""
    with run_stage(context, "twin backtests", paths) as (progress, run):
        from clstm_core.evaluation.headline import champion_among
        from clstm_core.evaluation.twin import backtest_twin, find_twin
        from clstm_core.gate import read_tensors

        inputs = RunInputs.read(run.inputs)
        folder = find_twin(inputs, paths.places)
        if folder is None:
            progress.reused(NONE)
            BacktestSet(run=run.name, made_from="", ids=[]).write(run.backtests("twin_backtests"))
            nothing = [check(name, True, NONE, blocking=True) for name in ("ledgers_recompute", "margin_enforced")]
            return dg.MaterializeResult(metadata={"twin": NONE}, check_results=nothing)

        champion, _ = champion_among(results_of(run, "policy_backtests", paths.places)[1])
        rung = run.checkpoint(champion.manifest["milestone"])

        def walk(config: "RunConfig", market: "MarketTensors", meta: dict[str, Any], tell: "Progress") -> Any:
            return backtest_twin([rung], market, config.env, paths.places.backtests, tell, meta=meta)

        parents = [file_sha256(rung / "manifest.json")]
        twin = read_tensors(folder).identity
        return materialize(context, paths, metrics, run, progress, "twin_backtests", parents, walk, twin)
