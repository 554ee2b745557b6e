"""The worlds beside a modelled market: its zero-premium twin, and one with wider spreads and lower volatility."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets import backtests
from assets.backtests import book_checks, materialize, measured_of, policy_backtests, results_of
from assets.code_versions import COMPANIONS, EVALUATION, code_version
from assets.market_data import GROUP, market_tensors
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from assets.support import NOTHING_MADE, check, run_stage, stage, tag_by_recipe
from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifests import BacktestSet, RunInputs

if TYPE_CHECKING:
    from assets.support import Progress
    from clstm_core.config import RunConfig
    from clstm_core.market.tensors import MarketTensors

CODE = "clstm_core.evaluation.companions"
NONE = "These quotes are no model's: there is no world beside them that is priced by other assumptions."


def _tensors(
    context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths, world: str
) -> dg.MaterializeResult:
    """A companion's tensors; nothing for quotes that no model made."""
    with stage(context, world.replace("_", " ")) as progress:
        from clstm_core.evaluation.companions import ensure_companion

        chosen = recipe.core()
        tag_by_recipe(context, recipe)
        folder = ensure_companion(world, chosen.market(), paths.places.cache, chosen.embargo)
        progress(1, 1)
    if folder is None:
        return dg.MaterializeResult(metadata={"world": NONE}, data_version=NOTHING_MADE)
    return dg.MaterializeResult(
        metadata={"world": world, "folder": dg.MetadataValue.path(str(folder))},
        data_version=dg.DataVersion(folder.name),
    )


def _backtests(
    context: dg.AssetExecutionContext,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
    world: str,
    name: str,
) -> dg.MaterializeResult:
    """The champion over a companion's test dates, beside whom it is compared with."""
    with run_stage(context, name.replace("_", " "), paths) as (progress, run):
        from clstm_core.evaluation.companions import backtest_companion, find_companion
        from clstm_core.evaluation.headline import champion_among
        from clstm_core.gate import read_tensors

        inputs = RunInputs.read(run.inputs)
        folder = find_companion(world, inputs, paths.places)
        if folder is None:
            progress.reused(NONE)
            BacktestSet(run=run.name, made_from="", ids=[]).write(run.backtests(name))
            nothing = [
                check(rule, True, NONE, blocking=True)
                for rule in ("ledgers_recompute", "margin_enforced", "budget_enforced")
            ]
            return dg.MaterializeResult(
                metadata={"panel": report_server.panel(run.name, "worlds"), "world": NONE},
                data_version=NOTHING_MADE,
                check_results=nothing,
            )

        ladder = results_of(run, "policy_backtests", paths.places)[1]
        measured = measured_of(run)
        champion = champion_among(ladder, measured)
        rung = run.checkpoint(champion.manifest["milestone"])

        def walk(config: "RunConfig", market: "MarketTensors", meta: dict[str, Any], tell: "Progress") -> Any:
            return backtest_companion(
                world,
                [rung],
                market,
                config.env,
                paths.places.backtests,
                tell,
                ladder=ladder,
                seed=config.seed,
                meta=meta,
                measured=measured,
            )

        parents = [file_sha256(rung / "manifest.json"), *(result.id for result in ladder)]
        companion = read_tensors(folder).identity
        return materialize(context, paths, metrics, report_server, run, progress, name, parents, walk, companion, CODE)


@dg.asset(
    group_name=GROUP,
    deps=[market_tensors],
    kinds={"torch"},
    code_version=code_version(__file__, rooms=COMPANIONS),
    owners=["team:research"],
)
def twin_tensors(context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths) -> dg.MaterializeResult:
    """The same index path with options priced without a variance premium; nothing for quotes that no model made."""
    return _tensors(context, recipe, paths, "zero_premium")


@dg.asset(
    group_name=GROUP,
    deps=[market_tensors],
    kinds={"torch"},
    code_version=code_version(__file__, rooms=COMPANIONS),
    owners=["team:research"],
)
def stressed_tensors(context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths) -> dg.MaterializeResult:
    """The same path with spreads twice as wide and a point less volatility at the money; nothing for real quotes."""
    return _tensors(context, recipe, paths, "stressed")


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests, twin_tensors],
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    code_version=code_version(__file__, backtests.__file__, rooms=EVALUATION),
    owners=["team:research"],
    check_specs=book_checks("twin_backtests"),
)
def twin_backtests(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """The champion and every baseline over the twin's test dates: what was earned from the premium."""
    return _backtests(context, paths, metrics, report_server, "zero_premium", "twin_backtests")


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests, stressed_tensors],
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    code_version=code_version(__file__, backtests.__file__, rooms=EVALUATION),
    owners=["team:research"],
    check_specs=book_checks("stressed_backtests"),
)
def stressed_backtests(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """The champion and every baseline where spreads are wider and volatility is lower: which claims survive it."""
    return _backtests(context, paths, metrics, report_server, "stressed", "stressed_backtests")
