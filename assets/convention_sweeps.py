"""What each sin of evaluation would have bought, how the judged policy bears delay and spread, and tilt against timing.

Nothing here is a result: it stands beside the comparison, which it cannot reach, and enters no ledger of trials.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.backtests import results_of, rungs
from assets.check_specs import check_specs
from assets.checkpoint_comparison import checkpoint_comparison
from assets.code_versions import EVALUATION, code_version
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import NOTHING_MADE, Progress, check, numbers, record_gates, run_stage, table
from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifests import BacktestSet, ComparisonManifest, ConventionsManifest, RunInputs
from clstm_core.artifacts.places import RunFolder
from clstm_core.train.inputs import config_of

if TYPE_CHECKING:
    from clstm_core.evaluation.protocol import Backtest

CODE = (
    "clstm_core.evaluation.conventions.sweep",
    "clstm_core.evaluation.tilt",
    "clstm_core.evaluation.ladder",  # and with it the rules that trade beside the rungs
    "clstm_core.evaluation.books_audit",
)
PARENTS = ("policy_backtests", "baseline_backtests")

SINS = ["title", "total_return", "sharpe", "inflation", "ci_low", "ci_high", "verdict"]
DELAYS = ["fill_lag", "possible", "total_return", "growth_less_clean", "ci_low", "ci_high", "n_missed"]
TILT = ["term", "pnl_usd", "tilt_usd", "timing_usd", "timing_low", "timing_high"]


@dg.asset(
    group_name="evaluation",
    deps=[checkpoint_comparison],
    partitions_def=training_run,
    kinds={"torch"},
    code_version=code_version(__file__, rooms=EVALUATION),
    owners=["team:research"],
    check_specs=check_specs(
        "convention_sweeps",
        blocking={
            "clean_walk_is_the_backtest": "The walk that each convention is switched in is the judged one to the bit.",
            "ledgers_recompute": "The books of every account of the sweeps follow from fills and canonical tables.",
        },
    ),
)
def convention_sweeps(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """What leaks, fills before the decision and free trading would have bought: nobody may judge so.

    What is switched where: `docs/conventions.md`.
    """
    with run_stage(context, "conventions", paths) as (progress, run):
        inputs, comparison = RunInputs.read(run.inputs), ComparisonManifest.read(run.comparison)
        if not comparison.champion:
            progress.reused("no checkpoint was judged: there is nothing to switch a convention in")
            return dg.MaterializeResult(metadata={"why_not": "no checkpoint was judged"}, data_version=NOTHING_MADE)
        beside = [BacktestSet.read(run.backtests(name)).ids for name in PARENTS]
        made_from = json_sha256([inputs.config_sha256, comparison.champion, rungs(run), beside, code_sha256(*CODE)])
        made = ConventionsManifest.kept(run.conventions)
        if made is not None and made.made_from == made_from:
            progress.reused("the same checkpoints met the same conventions before")
        else:
            facts = _sweep(paths, run, inputs, comparison, progress)
            made = ConventionsManifest(run=run.name, made_from=made_from, **facts)
        # of a comparison that came out otherwise for other reasons, these are the conventions still
        made = replace(made, parents={"comparison": comparison.identity}).write(run.conventions)
        metrics.store().record(made)
        checks = [_same(made), _books(made)]
        record_gates(metrics, run, inputs.data_sha256, "convention_sweeps", checks)
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, "conventions"),
            "answer": made.answers["sins"][:990],
            "policy": made.policy,
            "label": made.label or "",
            **numbers({f"sharpe_inflation_{row['sin']}": row["inflation"] for row in made.sins[1:]}),
            **numbers({f"break_even_{row['policy']}": row["spread_multiple"] for row in made.break_evens}),
            "sins": table(made.sins, SINS),
            "delays": table(made.delays, DELAYS),
            "tilt_and_timing": table(made.tilt, TILT),
            "path": dg.MetadataValue.path(str(run.conventions)),
        },
        data_version=dg.DataVersion(made_from[:16]),
        check_results=checks,
    )


def _sweep(
    paths: ProjectPaths, run: RunFolder, inputs: RunInputs, comparison: ComparisonManifest, progress: Progress
) -> dict[str, Any]:
    """The manifest's facts."""
    from clstm_core.evaluation.baselines.catalogue import CORE, baselines
    from clstm_core.evaluation.books_audit import audit_books
    from clstm_core.evaluation.conventions import words
    from clstm_core.evaluation.conventions.sweep import sweep_conventions
    from clstm_core.evaluation.headline import headline_of, judged_of
    from clstm_core.evaluation.ladder import STOCHASTIC_EPISODES
    from clstm_core.evaluation.pairing import group, rungs_of
    from clstm_core.evaluation.policies import load_checkpoint
    from clstm_core.evaluation.tilt import tilt_words
    from clstm_core.market.tensors import load_market

    config, identity = config_of(inputs), str(inputs.data_sha256)
    market = load_market(paths.places.tensors(identity), identity=identity)
    groups = group([result for name in PARENTS for result in results_of(run, name, paths.places)[1]])
    members = groups[headline_of(groups)]
    judged = judged_of(members, comparison.champion)
    assert judged is not None

    def rung(milestone: str) -> Any:
        return load_checkpoint(run.checkpoint(milestone), modes=("argmax",), seed=config.seed)[0]

    swept = sweep_conventions(
        judged,
        members,
        {member.name: partial(rung, member.manifest["milestone"]) for member in rungs_of(members)},
        lambda: [
            rule
            for rule in baselines(market, seed=config.seed, random_episodes=STOCHASTIC_EPISODES)
            if rule.name in CORE and rule.name != "cash"
        ],
        market,
        config.env,
        seed=config.seed,
        meta={"run": run.name, "config_sha256": inputs.config_sha256},
        progress=progress,
    )
    wrong, worst = audit_books(swept.accounts, paths.places)
    tilt, months = _tilt(judged, market, config.seed)
    return {
        "policy": judged.name,
        "label": judged.manifest["label"],
        "sins": swept.sins,
        "delays": swept.delays,
        "costs": swept.costs,
        "break_evens": swept.break_evens,
        "tilt": tilt,
        "tilt_months": months,
        "answers": {
            "sins": words.sins_words(swept.sins),
            "delays": words.delays_words(swept.delays),
            "costs": words.costs_words(swept.costs, swept.break_evens, judged.name),
            "tilt": tilt_words(tilt),
        },
        "apart": swept.apart,
        "wrong": wrong,
        "worst_usd": worst,
    }


def _tilt(judged: "Backtest", market: Any, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tilt and timing of the judged account, by the at-the-money volatility at each of its snapshots."""
    import polars as pl

    from clstm_core.evaluation.tilt import tilt_and_timing
    from clstm_core.specs import MARKET_FEATURES

    equity = judged.table("equity")
    mine = equity.filter(pl.col("episode") == pl.col("episode").min())
    start = judged.manifest["window"]["start"]
    column = MARKET_FEATURES.index("near_atm_vol")
    implied = market.features_TF[start : start + mine.height, column].double().tolist()
    return tilt_and_timing(mine, implied, seed=seed)


def _same(made: ConventionsManifest) -> dg.AssetCheckResult:
    """Whether the clean walk beside the conventions is the backtest that was judged."""
    words = "Walked again beside the conventions, the judged policy left the same four ledgers to the bit."
    apart = f"Walked again beside the conventions, the judged policy left other {', '.join(made.apart)}."
    return check("clean_walk_is_the_backtest", not made.apart, apart if made.apart else words, blocking=True)


def _books(made: ConventionsManifest) -> dg.AssetCheckResult:
    """Every account of the judged policy, recomputed from what was traded and from canonical tables."""
    words = (
        f"{len(made.sins) + len(made.delays)} accounts recomputed from what was traded and from quotes, underlyings "
        f"and rates; largest difference {made.worst_usd:.6f} USD."
    )
    said = "; ".join(made.wrong) or words
    return check("ledgers_recompute", not made.wrong, said, blocking=True, largest_usd=made.worst_usd)
