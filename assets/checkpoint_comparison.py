"""The evidence: each checkpoint against each baseline on the same dates, a champion, and a verdict in plain words."""

from dataclasses import asdict, replace

import dagster as dg

from assets.backtests import baseline_backtests, policy_backtests, results_of
from assets.companions import stressed_backtests, twin_backtests
from assets.fair_worlds import fair_worlds
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths
from assets.support import check, record_gates, run_stage, table
from clstm_core.artifacts.manifests import ComparisonManifest, LuckManifest, RunInputs
from clstm_core.specs import RUNGS

PARENTS = ("policy_backtests", "baseline_backtests", "twin_backtests", "stressed_backtests")


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests, baseline_backtests, twin_backtests, stressed_backtests, fair_worlds],
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
    with run_stage(context, "comparison", paths) as (progress, run):
        from clstm_core.evaluation.companions import companion_sentence
        from clstm_core.evaluation.compare import compare
        from clstm_core.evaluation.deflated import deflated_sharpe
        from clstm_core.evaluation.fair_worlds import Luck
        from clstm_core.evaluation.headline import champion_among
        from clstm_core.evaluation.pairing import group
        from clstm_core.evaluation.trial_ledger import known_to
        from clstm_core.evaluation.words import beats

        inputs, store = RunInputs.read(run.inputs), metrics.store()
        sets, results = zip(*(results_of(run, name, paths.places) for name in PARENTS), strict=True)
        policies, baselines, twin, stressed = results
        walked, tried = LuckManifest.read(run.luck), known_to(paths.places, policies)
        champion_name = champion_among(policies)[0].name
        luck = Luck.untested(champion_name) if walked.luck is None else Luck.from_dict(walked.luck)
        comparison = compare([*policies, *baselines], stressed, luck=luck, run=run.name, trials=tried.total or None)
        champion = comparison.champion or {}
        for members in group([*policies, *baselines]).values():
            judged_one = next((member for member in members if member.id == champion.get("backtest_id")), None)
            if judged_one is None:
                continue
            deflated = deflated_sharpe(judged_one, members, comparison.trials)
            words = deflated.words if deflated else "Deflated Sharpe ratio: too few returns to give one."
            counted = (
                f"Policies that looked at these dates: {tried.base} before this package was installed, {tried.entered} "
                "in this data folder's registry."
            )
            comparison = replace(comparison, notes=[words, counted, *comparison.notes])
        if (beside := companion_sentence(twin, stressed, champion.get("name", ""))) is not None:
            comparison = replace(comparison, verdict=f"{comparison.verdict} {beside}")
        parents = {name: found.identity for name, found in zip(PARENTS, sets, strict=True)}
        written = ComparisonManifest(
            run=run.name,
            comparison=asdict(comparison),
            parents={**parents, "luck": walked.identity, "inputs": inputs.identity},
        ).write(run.comparison)
        store.record(written)
        progress(1, 1)
        rows = comparison.to_rows()
        scored = {row["milestone"] for row in rows if row["window"] == "test" and row["milestone"]}
        unscored = [name for name in RUNGS if name not in scored]
        judged = comparison.judged()
        beaten = [pair["against"] for pair in judged if beats(pair)]
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
                not any((row["gap"].get("low") or 0.0) > 0 for row in comparison.overfitting["rows"]),
                comparison.overfitting["answer"],
            ),
        ]
        record_gates(metrics, run, inputs.data_sha256, "checkpoint_comparison", checks)
    shown = ["name", "mode", "window", "fill_lag", "total_return", "sharpe", "max_drawdown", "champion"]
    pairs = [
        "policy_name",
        "against",
        "window",
        "fill_lag",
        "metric",
        "estimate",
        "ci_low",
        "ci_high",
        "p_value",
        "verdict",
    ]
    return dg.MaterializeResult(
        metadata={
            "verdict": comparison.verdict,
            "label": comparison.data_label,
            "champion": champion.get("milestone", ""),
            "champion_folder": champion.get("folder", ""),
            "trials": comparison.trials,
            "backtests": table(rows, shown),
            "paired_differences": table(judged, pairs),
            "path": dg.MetadataValue.path(str(run.comparison)),
        },
        check_results=checks,
    )
