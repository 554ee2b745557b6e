"""Backtests: every rung and every baseline through the environment they were trained in, and the books checked."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.critic_warmup import INPUTS
from assets.environment_audit import environment_audit
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths
from assets.support import Progress, check, identity, read_json, read_kept, record_gates, stage, table, write_json
from assets.training import RUNGS, trained_policy

if TYPE_CHECKING:
    from clstm_core.config import RunConfig
    from clstm_core.evaluation.backtest import BacktestResult
    from clstm_core.market.tensors import MarketTensors

CODE = ("env", "evaluation", "options", "model", "specs.py", "market/tensors.py")
COLUMNS = ["name", "mode", "window", "fill_lag", "total_return", "sharpe", "max_drawdown", "n_fills", "fees_usd"]
CENT = 0.01


def _checks(asset: str) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec("ledgers_recompute", asset=asset, blocking=True, description="from fills and quotes"),
        dg.AssetCheckSpec("margin_enforced", asset=asset, blocking=True, description="a breach was liquidated"),
    ]


@dg.asset(
    group_name="evaluation",
    deps=[trained_policy],
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    owners=["team:research"],
    check_specs=_checks("policy_backtests"),
)
def policy_backtests(context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics) -> dg.MaterializeResult:
    """One account a checkpoint, mode, window and fill lag, with fills, equity, positions and decisions as Parquet."""

    def run(config: "RunConfig", market: "MarketTensors", meta: dict[str, Any], progress: Progress) -> Any:
        from clstm_core.evaluation.ladder import backtest_ladder

        folders = [paths.run(context.partition_key) / "checkpoints" / name for name in RUNGS]
        return backtest_ladder(
            folders, market, config.env, None, paths.backtests, progress, seed=config.seed, meta=meta
        )

    parents = [_digest(paths.run(context.partition_key) / "checkpoints" / name / "manifest.json") for name in RUNGS]
    return _materialize(context, paths, metrics, "policy_backtests", parents, run)


@dg.asset(
    group_name="evaluation",
    deps=[environment_audit, trained_policy],
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    owners=["team:research"],
    check_specs=_checks("baseline_backtests"),
)
def baseline_backtests(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """What a person could do instead, on the same windows, fills, fees and margin: cash, index, writing, random."""

    def run(config: "RunConfig", market: "MarketTensors", meta: dict[str, Any], progress: Progress) -> Any:
        from clstm_core.evaluation.ladder import backtest_baselines

        return backtest_baselines(market, config.env, None, paths.backtests, progress, seed=config.seed, meta=meta)

    return _materialize(context, paths, metrics, "baseline_backtests", [], run)


def results_of(run_dir: Path, name: str, backtests: Path) -> "list[BacktestResult]":
    """The backtests that an asset left for this run, verified."""
    from clstm_core.evaluation.backtest import load_backtest

    kept = read_json(run_dir / f"{name}.json", f"Materialize {name} for this run first.")
    return [load_backtest(backtests / backtest_id) for backtest_id in kept["ids"]]


def _materialize(
    context: dg.AssetExecutionContext,
    paths: ProjectPaths,
    metrics: Metrics,
    name: str,
    parents: Sequence[str],
    run: Callable[..., "list[BacktestResult]"],
) -> dg.MaterializeResult:
    run_name = context.partition_key
    run_dir, store = paths.run(run_name), metrics.store()
    with stage(context, name.replace("_backtests", " backtests")) as progress:
        from clstm_core.checkpoint import git_commit
        from clstm_core.config import RunConfig
        from clstm_core.errors import EvaluationError
        from clstm_core.market.tensors import load_market
        from clstm_core.store.rows import backtest_rows, trial_of

        inputs = read_json(run_dir / INPUTS, "Materialize warm_critic for this run first.")
        settings = read_json(run_dir / "config.json", "Materialize warm_critic for this run first.")
        config = RunConfig.from_dict(settings)
        kept = run_dir / f"{name}.json"
        earlier = read_kept(kept) or {}
        made_from = identity([settings, inputs["data_sha256"], list(parents)], *CODE)
        results = None
        if earlier.get("made_from") == made_from:
            try:
                results = results_of(run_dir, name, paths.backtests)
                progress.reused("the same policies met the same market before; their ledgers were verified")
            except EvaluationError as error:
                context.log.warning(f"{error} It is run again now.")
        if results is None:
            meta = {
                "run": run_name,
                "data_sha256": inputs["data_sha256"],
                "config_sha256": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
                "git_commit": git_commit(),
            }
            results = run(config, load_market(Path(inputs["folder"])), meta, progress)
            write_json(kept, {"made_from": made_from, "ids": [result.id for result in results]})
        rows = [row for result in results for row in backtest_rows(result.folder)]
        store.upsert("backtests", rows)
        store.upsert("trials", [trial for row in rows if (trial := trial_of(row))])
        checked = [_books(results), _margin(results)]
        record_gates(store, run_dir, inputs["data_sha256"], name, checked)
    shown = [{**row, **result.manifest["summary"]} for row, result in zip(rows, results, strict=True)]
    return dg.MaterializeResult(
        metadata={
            "backtests": table(shown, COLUMNS),
            "count": len(results),
            "label": inputs["label"],
            "quotes_path": dg.MetadataValue.path(str(results[0].manifest["quotes"]["path"])),
            "ids": dg.MetadataValue.json([result.id for result in results]),
            "equity_curve": dg.MetadataValue.md(equity_curve(results, inputs["label"])),
        },
        check_results=checked,
    )


def equity_curve(results: "Sequence[BacktestResult]", label: str) -> str:
    """Equity on the test window at the configured fill lag, as a picture that the UI shows."""
    from reports.svg import as_markdown_image, line_chart

    lag = max(result.manifest["fill_lag"] for result in results)
    series = {}
    for result in results:
        manifest = result.manifest
        if manifest["window"]["name"] == "test" and manifest["fill_lag"] == lag and manifest["mode"] != "stochastic":
            equity, _, dates = result.curves()
            series[result.name] = list(zip(dates.dt.date().to_list(), equity[:, 0].tolist(), strict=True))
    return as_markdown_image(line_chart(series, "Equity on the test window, USD", subtitle=label), "equity curve")


def _books(results: "Sequence[BacktestResult]") -> dg.AssetCheckResult:
    """Every equity curve, recomputed from fills and quotes alone."""
    from clstm_core.evaluation.recompute import LEDGERS, faults, quotes_of, quotes_path, recompute

    worst, wrong = 0.0, []
    for result in results:
        equity, fills, positions = (result.table(name) for name in LEDGERS)
        quotes = quotes_of(quotes_path(result.folder, result.manifest), fills, positions)
        differences, counts = recompute(equity, fills, positions, quotes)
        worst = max(worst, *differences.values())
        if found := faults(differences, counts):
            wrong.append(f"{result.name} ({result.id}): {max(differences.values()):.2f} USD apart, {found}")
    words = f"{len(results)} accounts recomputed from fills and quotes; largest difference {worst:.6f} USD."
    return check("ledgers_recompute", not wrong, "; ".join(wrong) or words, blocking=True, largest_usd=worst)


def _margin(results: "Sequence[BacktestResult]") -> dg.AssetCheckResult:
    """Where margin exceeds equity after a step, the account must have been liquidated as far as quotes allowed."""
    breached = []
    for result in results:
        equity = result.table("equity")
        columns = set(equity.columns)
        over = equity.filter(equity["margin_usd"] > equity["equity_usd"] + CENT)
        if "liquidated" in columns:
            over = over.filter(~over["liquidated"])
        breached += [f"{result.name} step {step}" for step in over["step"].to_list()]
    words = f"No account of {len(results)} stands above its margin without having been liquidated."
    return check(
        "margin_enforced", not breached, ", ".join(breached[:8]) or words, blocking=True, breaches=len(breached)
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
