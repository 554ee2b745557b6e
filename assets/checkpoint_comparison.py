"""The evidence: each checkpoint against each baseline on the same dates, a champion, and a verdict in plain words."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.backtests import baseline_backtests, measured_of, policy_backtests, results_of
from assets.check_specs import check_specs
from assets.code_versions import EVALUATION, code_version
from assets.companions import stressed_backtests, twin_backtests
from assets.fair_worlds import fair_worlds
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, long_table, numbers, record_gates, run_stage
from clstm_core.artifacts.manifests import ComparisonManifest, GeneralisationManifest, LuckManifest, RunInputs
from clstm_core.artifacts.places import RunFolder
from clstm_core.evaluation.words import rung_name
from clstm_core.specs import RUNGS

if TYPE_CHECKING:
    from clstm_core.evaluation.compare import Comparison

PARENTS = ("policy_backtests", "baseline_backtests", "twin_backtests", "stressed_backtests")


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests, baseline_backtests, twin_backtests, stressed_backtests, fair_worlds],
    partitions_def=training_run,
    kinds={"polars"},
    code_version=code_version(__file__, rooms=EVALUATION),
    owners=["team:research"],
    check_specs=check_specs(
        "checkpoint_comparison",
        blocking={"every_rung_scored": "Each of the five checkpoints was backtested on the test dates."},
        warning={
            "beats_baselines": "The champion is better than every baseline by more than chance explains.",
            "choice_holds": "Choosing the best rung holds on other dates: probability of overfitting (PBO) at most 5%.",
            "overfitting": "No checkpoint does better in sample than on later dates by more than chance explains.",
        },
    ),
)
def checkpoint_comparison(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """Which checkpoint to believe, chosen without the test dates, and what may be said of it on these."""
    with run_stage(context, "comparison", paths) as (progress, run):
        from clstm_core.evaluation.companions import companion_sentence
        from clstm_core.evaluation.compare import compare
        from clstm_core.evaluation.fair_worlds import Luck
        from clstm_core.evaluation.headline import champion_among
        from clstm_core.evaluation.trial_ledger import known_to
        from clstm_core.evaluation.words import beats

        inputs, store = RunInputs.read(run.inputs), metrics.store()
        sets, results = zip(*(results_of(run, name, paths.places) for name in PARENTS), strict=True)
        policies, baselines, twin, stressed = results
        walked, tried = LuckManifest.read(run.luck), known_to(paths.places, policies)
        measured = measured_of(run)
        champion_name = champion_among(policies, measured).name
        luck = Luck.untested(champion_name) if walked.luck is None else Luck.from_dict(walked.luck)
        comparison = compare(
            [*policies, *baselines],
            stressed,
            luck=luck,
            measured=measured,
            run=run.name,
            trials=tried.total or None,
            counted=tried.words,
        )
        champion = comparison.champion or {}
        if (beside := companion_sentence(twin, stressed, champion.get("name", ""))) is not None:
            comparison = replace(comparison, verdict=f"{comparison.verdict} {beside}")
        parents = {name: found.identity for name, found in zip(PARENTS, sets, strict=True)}
        written = ComparisonManifest(
            run=run.name,
            comparison=asdict(comparison),
            parents={**parents, **_earned(run), "luck": walked.identity, "inputs": inputs.identity},
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
                f"No test backtest of {', '.join(map(rung_name, unscored))}."
                if unscored
                else f"All {len(scored)} rungs scored.",
                blocking=True,
            ),
            check(
                "beats_baselines",
                bool(beaten) and not others and champion.get("qualified", False),
                f"Distinguishably better than: {', '.join(beaten) or 'none'}. Not better than, or not distinguishable "
                f"from: {', '.join(others) or 'none'}.",
                better_than=len(beaten),
                not_better_than=len(others),
                **_figures(comparison),
            ),
            check(
                "choice_holds",
                comparison.statistics.choice_holds,
                comparison.statistics.choice_words,
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
            "answer": _answer(comparison),
            "panel": report_server.panel(run.name, "verdict"),
            **_figures(comparison),
            "trials": comparison.trials,
            "label": comparison.data_label,
            "champion": _champion(champion),
            "champion_folder": champion.get("folder", ""),
            "verdict": comparison.verdict,
            "backtests": long_table(rows, shown),
            "paired_differences": long_table(judged, pairs),
            "path": dg.MetadataValue.path(str(run.comparison)),
        },
        data_version=dg.DataVersion(written.identity[:16]),
        check_results=checks,
    )


def _earned(run: RunFolder) -> dict[str, str]:
    """The figures that the champion is chosen by, or that stand beside it, as a parent; ArtifactError where altered."""
    if not run.generalisation.is_file():
        return {}
    return {GeneralisationManifest.kind: GeneralisationManifest.read(run.generalisation).identity}


def _champion(champion: dict[str, Any]) -> str:
    """The champion's rung; in words that there is none where none qualifies."""
    rung = rung_name(champion["milestone"]) if champion.get("milestone") else ""
    return rung if champion.get("qualified", False) else f"none qualifies; {rung} is shown, unqualified"


def _figures(comparison: "Comparison") -> dict[str, Any]:
    """The champion's figures on the test window, one number each: the UI draws them over training runs.

    Units: shares of capital; excess over cash in basis points per session, with its 95% interval; deflated Sharpe ratio
           and PBO as probabilities
    """
    champion = comparison.champion or {}
    row = next((row for row in comparison.rows if row["backtest_id"] == champion.get("backtest_id")), {})
    cash = next((pair for pair in comparison.judged() if pair["against"] == "cash"), {})
    found = {name: row.get(name) for name in ("total_return", "annual_return", "sharpe", "max_drawdown")}
    for name, key in (("", "estimate"), ("_low", "ci_low"), ("_high", "ci_high")):
        found[f"excess_over_cash_bps{name}"] = cash.get(key)
    record, overfit = comparison.statistics.record, comparison.statistics.overfit
    found["deflated_sharpe"] = record.dsr if record else None
    found["backtest_overfitting"] = overfit.probability if overfit else None
    return numbers({**found, "luck_p_value": cash.get("p_value")})


def _answer(comparison: "Comparison") -> str:
    """The result in a line that the UI does not cut."""
    found = _figures(comparison)
    if "total_return" not in found:
        return "No champion: no checkpoint was backtested."
    cash = next((pair for pair in comparison.judged() if pair["against"] == "cash"), {})
    luck = f", luck p {found['luck_p_value']:.1%}" if "luck_p_value" in found else ""
    drawdown = f"drawdown {-found.get('max_drawdown', 0.0):.1%}"
    unqualified = "" if (comparison.champion or {}).get("qualified", False) else "No rung qualifies. The last one: "
    said = cash.get("verdict", "no verdict")
    return f"{unqualified}{found['total_return']:+.1%} on the test dates, {drawdown}; {said}{luck}."
