"""Backtests: every rung and every baseline through the environment they were trained in, and the books checked."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import EVALUATION, code_version
from assets.critic_warmup import warm_critic
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import Progress, check, column_schema, long_table, record_gates, run_stage
from assets.training import trained_policy
from clstm_core.artifacts.code import code_sha256, git_commit
from clstm_core.artifacts.folder import file_sha256, json_sha256, sweep
from clstm_core.artifacts.manifests import BacktestSet, GeneralisationManifest, RunInputs
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.errors import ArtifactError
from clstm_core.evaluation.trial_ledger import enter
from clstm_core.specs import RUNGS
from clstm_core.train.inputs import config_of

if TYPE_CHECKING:
    from clstm_core.config import RunConfig
    from clstm_core.evaluation.backtest import BacktestResult
    from clstm_core.market.tensors import MarketTensors

    Run = Callable[[RunConfig, MarketTensors, dict[str, Any], Progress], list[BacktestResult]]

CODE = "clstm_core.evaluation.ladder"
COLUMNS = ["name", "mode", "window", "fill_lag", "total_return", "sharpe", "max_drawdown", "n_fills", "fees_usd"]
PANELS = {"policy_backtests": "ladder", "baseline_backtests": "equity"}
"""Where the report shows what an asset left; the companions' are among the worlds."""


def book_checks(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks of every asset that leaves backtests."""
    return check_specs(
        asset,
        blocking={
            "ledgers_recompute": "Every account's equity follows to the cent from its fills and the canonical tables.",
            "margin_enforced": "No account stands above its margin but in what could not be traded.",
            "budget_enforced": "No account stands above its risk budget but in what could not be traded.",
        },
    )


@dg.asset(
    group_name="evaluation",
    deps=[trained_policy],
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    code_version=code_version(__file__, rooms=EVALUATION),
    owners=["team:research"],
    check_specs=book_checks("policy_backtests"),
)
def policy_backtests(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """One account per checkpoint, mode, window and fill lag, and chance as busy as the champion: ledgers as Parquet."""
    with run_stage(context, "policy backtests", paths) as (progress, run):

        def walk(config: "RunConfig", market: "MarketTensors", meta: dict[str, Any], tell: Progress) -> Any:
            from clstm_core.evaluation.ladder import backtest_ladder, backtest_matched

            folders, out_dir = [run.checkpoint(name) for name in RUNGS], paths.places.backtests
            ladder = backtest_ladder(
                folders,
                market,
                config.env,
                None,
                out_dir,
                tell,
                seed=config.seed,
                meta=meta,
                market_folder=paths.places.tensors(market.identity),
            )
            matched = backtest_matched(
                ladder, market, config.env, None, out_dir, seed=config.seed, meta=meta, measured=measured
            )
            return ladder + matched

        measured = measured_of(run)
        parents = [*rungs(run), *chosen_by(measured)]
        return materialize(context, paths, metrics, report_server, run, progress, "policy_backtests", parents, walk)


@dg.asset(
    group_name="evaluation",
    deps=[warm_critic],
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    code_version=code_version(__file__, rooms=EVALUATION),
    owners=["team:research"],
    check_specs=book_checks("baseline_backtests"),
)
def baseline_backtests(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """What a person could do instead, on the same windows, fills, fees and margin: cash, index, writing, random.

    Each rule by name: `docs/baselines.md`.
    """
    with run_stage(context, "baseline backtests", paths) as (progress, run):

        def walk(config: "RunConfig", market: "MarketTensors", meta: dict[str, Any], tell: Progress) -> Any:
            from clstm_core.evaluation.ladder import backtest_baselines

            return backtest_baselines(
                market, config.env, None, paths.places.backtests, tell, seed=config.seed, meta=meta
            )

        return materialize(context, paths, metrics, report_server, run, progress, "baseline_backtests", [], walk)


def rungs(run: RunFolder) -> list[str]:
    """Identities of the ladder's checkpoints."""
    places = [run.checkpoint(name) / "manifest.json" for name in RUNGS]
    return [file_sha256(place) if place.is_file() else "missing" for place in places]


def measured_of(run: RunFolder) -> Sequence[Mapping[str, Any]] | None:
    """What the champion is chosen by: what each rung earns in each kind of market; None where its backtests decide.

    The run's configuration says which. Without figures a run in generated worlds has no rows: no rung qualifies.

    Raises: ArtifactError for figures that were altered
    """
    if not config_of(RunInputs.read(run.inputs)).worlds.generated:
        return None
    return GeneralisationManifest.read(run.generalisation).figures if run.generalisation.is_file() else []


def chosen_by(measured: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Identity of what the champion is chosen by besides its backtests; empty where these alone decide."""
    return [] if measured is None else [json_sha256(list(measured))]


def results_of(run: RunFolder, asset: str, places: Places) -> "tuple[BacktestSet, list[BacktestResult]]":
    """The backtests that an asset left for this run, each the one that its set names, verified."""
    from clstm_core.evaluation.backtest import load_backtest

    kept = BacktestSet.read(run.backtests(asset))
    return kept, [load_backtest(places.backtests / name, identity=kept.parents.get(name, "")) for name in kept.ids]


def materialize(
    context: dg.AssetExecutionContext,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
    run: RunFolder,
    progress: Progress,
    asset: str,
    parents: Sequence[str],
    walk: "Run",
    market_identity: str | None = None,
    code: str = CODE,
) -> dg.MaterializeResult:
    """Run the backtests of one asset, or take those that the same parents and code gave before; check the books.

    Args:
        parents: identities of what is judged
        market_identity: tensors that are traded, where not the run's own
        code: module whose code, with all that it imports, decides which backtests there are
    """
    from clstm_core.market.tensors import load_market

    inputs, store, places = RunInputs.read(run.inputs), metrics.store(), paths.places
    config, identity = config_of(inputs), market_identity or str(inputs.data_sha256)
    made_from = json_sha256([inputs.config_sha256, identity, list(parents), code_sha256(code)])
    results = None
    try:
        earlier, found = results_of(run, asset, places)
        if earlier.made_from == made_from:
            results = found
            progress.reused("the same policies met the same market before; their ledgers were verified")
    except ArtifactError as error:
        if run.backtests(asset).is_file():
            context.log.warning(f"{error} It is run again now.")
    if results is None:
        sweep(places.backtests)
        meta = {"run": run.name, "config_sha256": inputs.config_sha256, "git_commit": git_commit()}
        results = walk(config, load_market(places.tensors(identity), identity=identity), meta, progress)
        BacktestSet(
            run=run.name,
            made_from=made_from,
            ids=[result.id for result in results],
            parents={result.id: result.artifact.identity for result in results},
        ).write(run.backtests(asset))
    store.record(*(result.artifact for result in results))
    enter(places, results, datetime.now(UTC).isoformat(timespec="seconds"))
    checked = [_books(results, places), _margin(results, places), _budget(results, places)]
    record_gates(metrics, run, identity, asset, checked)
    label = results[0].manifest["label"]
    shown = [row for result in results for row in result.artifact.rows()["backtests"]]
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, PANELS.get(asset, "worlds")),
            "count": len(results),
            "label": label,
            **_ledgers(results),
            "backtests": long_table(shown, COLUMNS),
            "quotes_path": dg.MetadataValue.path(str(places.root / results[0].manifest["quotes"]["path"])),
            "ids": dg.MetadataValue.json([result.id for result in results]),
            "equity_curve": report_server.picture(run.name, f"{asset}_equity", equity_curve(results, label)),
        },
        data_version=dg.DataVersion(made_from[:16]),
        check_results=checked,
    )


def _ledgers(results: "Sequence[BacktestResult]") -> dict[str, Any]:
    """Rows and columns of the Parquet ledgers, under the names by which Dagster shows them."""
    import polars as pl

    from clstm_core.evaluation.ledgers import TABLES

    files = [[result.folder / f"{name}.parquet" for result in results] for name in TABLES]
    rows = sum(pl.scan_parquet(places).select(pl.len()).collect().item() for places in files)
    first = dict(zip(TABLES, (places[0] for places in files), strict=True))
    return {"dagster/row_count": rows, "dagster/column_schema": column_schema(**first)}


def equity_curve(results: "Sequence[BacktestResult]", label: str) -> str:
    """Equity on the test window at the configured fill lag, as an SVG."""
    from reports.svg import line_chart

    lag = max(result.manifest["fill_lag"] for result in results)
    series = {}
    for result in results:
        manifest = result.manifest
        if manifest["window"]["name"] == "test" and manifest["fill_lag"] == lag and manifest["mode"] != "stochastic":
            equity, _, dates = result.curves()
            series[result.name] = list(zip(dates.dt.date().to_list(), equity[:, 0].tolist(), strict=True))
    return line_chart(series, "Equity on the test window, USD", subtitle=label)


def _books(results: "Sequence[BacktestResult]", places: Places) -> dg.AssetCheckResult:
    """Every account, recomputed from quantities and canonical tables alone, and every summary from the ledgers."""
    from clstm_core.evaluation.books_audit import audit_books

    wrong, worst = audit_books(results, places)
    words = (
        f"{len(results)} accounts recomputed from what was traded and from quotes, underlyings and rates; largest "
        f"difference {worst:.6f} USD."
    )
    return check("ledgers_recompute", not wrong, "; ".join(wrong) or words, blocking=True, largest_usd=worst)


def _margin(results: "Sequence[BacktestResult]", places: Places) -> dg.AssetCheckResult:
    """Where margin exceeds equity after a step, nothing may be left that trades."""
    from clstm_core.evaluation.limits import above_margin

    breached = [f"{result.name} step {step}" for result in results for step in above_margin(result, places)["step"]]
    words = f"No account of {len(results)} stands above its margin but in what could not be traded."
    return check(
        "margin_enforced", not breached, ", ".join(breached[:8]) or words, blocking=True, breaches=len(breached)
    )


def _budget(results: "Sequence[BacktestResult]", places: Places) -> dg.AssetCheckResult:
    """Where a use is above its cap after a step, nothing may be left that trades."""
    from clstm_core.evaluation.limits import above_budget

    standing = [f"{result.name} step {step}" for result in results for step in above_budget(result, places)["step"]]
    cured = sum(_cured(result) for result in results)
    words = (
        f"No account of {len(results)} stands above its risk budget but in what could not be traded; in {cured} "
        "sessions what the market had moved beyond a limit was trimmed or closed."
    )
    return check(
        "budget_enforced", not standing, ", ".join(standing[:8]) or words, blocking=True, breaches=len(standing)
    )


def _cured(result: "BacktestResult") -> int:
    """Sessions in which an account was trimmed or closed, by its fills."""
    fills = result.table("fills")
    return int(fills.filter(fills["reason"] == "liquidation").select("episode", "step").n_unique())
