"""The evidence: each checkpoint against each baseline on the same dates, a champion, and a verdict in plain words."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg

from assets.backtests import baseline_backtests, policy_backtests, results_of
from assets.critic_warmup import INPUTS
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths
from assets.support import check, read_json, record_gates, record_run, stage, table, write_json
from assets.training import RUNGS

COMPARISON = "comparison.json"


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests, baseline_backtests],
    partitions_def=training_run,
    kinds={"polars"},
    owners=["team:research"],
    check_specs=[
        dg.AssetCheckSpec("every_rung_scored", asset="checkpoint_comparison", blocking=True),
        dg.AssetCheckSpec("beats_baselines", asset="checkpoint_comparison"),
        dg.AssetCheckSpec("overfitting", asset="checkpoint_comparison"),
    ],
)
def checkpoint_comparison(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """Which checkpoint to believe, chosen on validation dates, and what may be said of it on the test dates."""
    run = context.partition_key
    run_dir, store = paths.run(run), metrics.store()
    with stage(context, "comparison") as progress:
        from clstm_core.evaluation.compare import compare
        from clstm_core.evaluation.trials import COUNT_TRIALS
        from clstm_core.store.schema import TABLES
        from clstm_core.store.values import known_columns

        inputs = read_json(run_dir / INPUTS, "Materialize warm_critic for this run first.")
        results = results_of(run_dir, "policy_backtests", paths.backtests)
        results += results_of(run_dir, "baseline_backtests", paths.backtests)
        tried = store.query(COUNT_TRIALS, {"data_sha256": inputs["data_sha256"], "window": "test"})
        comparison = compare(results, run=run, trials=tried[0]["n"] or None)
        if (beside := _twin(comparison.champion, run_dir, inputs, paths)) is not None:
            comparison = replace(comparison, verdict=f"{comparison.verdict} {beside}")
        write_json(run_dir / COMPARISON, asdict(comparison))
        store.upsert("comparisons", [known_columns(TABLES["comparisons"], pair) for pair in comparison.pairs])
        champion = comparison.champion or {}
        record_run(store, run_dir, verdict=comparison.verdict, champion_milestone=champion.get("milestone"))
        progress(1, 1)
        rows = comparison.to_rows()
        scored = {row["milestone"] for row in rows if row["window"] == "test" and row["milestone"]}
        unscored = [name for name in RUNGS if name not in scored]
        judged = comparison.judged()
        beaten = [pair["against"] for pair in judged if pair["distinguishable"] and pair["estimate"] > 0]
        others = [pair["against"] for pair in judged if pair["against"] not in beaten]
        checks = [
            check(
                "every_rung_scored",
                not unscored,
                f"No test backtest of rung {', '.join(unscored)}." if unscored else f"All {len(scored)} rungs scored.",
                blocking=True,
            ),
            check(
                "beats_baselines",
                bool(beaten) and not others,
                f"Distinguishably better than: {', '.join(beaten) or 'none'}. Not better than, or not distinguishable "
                f"from: {', '.join(others) or 'none'}.",
            ),
            check(
                "overfitting",
                not _overfits(comparison.overfitting["rows"]),
                comparison.overfitting["answer"],
            ),
        ]
        record_gates(store, run_dir, inputs["data_sha256"], "checkpoint_comparison", checks)
    shown = ["name", "mode", "window", "fill_lag", "total_return", "sharpe", "max_drawdown", "champion"]
    pairs = ["policy_name", "against", "window", "fill_lag", "metric", "estimate", "ci_low", "ci_high", "verdict"]
    return dg.MaterializeResult(
        metadata={
            "verdict": comparison.verdict,
            "label": comparison.data_label,
            "champion": champion.get("milestone", ""),
            "champion_folder": champion.get("folder", ""),
            "trials": comparison.trials,
            "backtests": table(rows, shown),
            "paired_differences": table(judged, pairs),
            "path": dg.MetadataValue.path(str(run_dir / COMPARISON)),
        },
        check_results=checks,
    )


def _twin(champion: dict[str, Any] | None, run_dir: Path, inputs: dict[str, Any], paths: ProjectPaths) -> str | None:
    """What the champion earns where no premium is assumed; None where the market assumes none."""
    from clstm_core.config import RunConfig
    from clstm_core.evaluation.twin import has_twin, twin_backtests, twin_sentence
    from clstm_core.market.sources import default_config
    from clstm_core.market.tensors import load_market

    market = load_market(Path(inputs["folder"]), verify=False)
    if champion is None or not has_twin(market):
        return None
    config = RunConfig.from_dict(read_json(run_dir / "config.json", "Materialize warm_critic for this run first."))
    source = default_config(inputs["source"])
    rung = run_dir / "checkpoints" / champion["milestone"]
    return twin_sentence(twin_backtests(rung, market, source, config.env, paths.cache, paths.backtests))


def _overfits(rows: list[dict]) -> bool:
    """Whether some rung earned distinguishably more in sample than held out."""
    return any((row["gap"].get("low") or 0.0) > 0 for row in rows)
