"""Walk-forward: every fold trained on what was known by then, and judged on what came next; one record of all folds."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from assets.check_specs import check_specs
from assets.code_versions import WALK, code_version
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from assets.support import Progress, check, escaped, numbers, stage, table, tag_by_recipe
from clstm_core.artifacts.manifests import WalkForwardManifest
from clstm_core.artifacts.places import Places
from clstm_core.plural import counted
from clstm_core.walk_forward.plan import WalkPlan

if TYPE_CHECKING:
    from clstm_core.walk_forward.run import Telling

WALKS = "walk-forward"
"""Folder of their pages, as the gallery knows it."""
FOLDS = ["fold", "recipe", "seed", "train_to", "test_from", "test_to", "rung", "fills", "excess_bps"]


class WalkForwardConfig(dg.Config):
    """How a history is cut, and how much is trained in each fold; the recipe and the source are those of the launch."""

    walk: str = Field("sp500", description="its name: the same name goes on where it was stopped")
    folds: int = Field(8, ge=1, description="tests that tile the history after the first training span")
    steps: int = Field(200_000, ge=1, description="env steps per fold and seed")
    seeds: list[int] = Field([0, 1], description="of weights, envs and every draw: one training each")
    warm: bool = Field(False, description="begin each fold with the weights that the one before ended with")
    window: Literal["expanding", "rolling"] = Field("expanding", description="what a later fold trains on")
    training: int = Field(1260, ge=1, description="sessions that the first fold trains on; each fold, where it rolls")
    validation: int = Field(504, ge=1, description="sessions that a fold's rung is chosen on, before its test")
    more_recipes: list[str] = Field([], description="named settings that are walked beside the launch's recipe")


@dg.asset(
    group_name="walk_forward",
    kinds={"torch", "parquet"},
    code_version=code_version(__file__, rooms=WALK, reports=True),
    owners=["team:research"],
    pool="gpu",
    check_specs=check_specs(
        "walk_forward_record",
        blocking={
            "folds_apart": "No session is in two tests, and an embargo lies before each validation and each test.",
            "ledgers_recompute": "The chosen rungs' equity follows to the cent from their fills and canonical tables.",
        },
        warning={"ahead_of_cash": "The 95% interval of the launch's recipe against cash lies above zero."},
        keyed=None,
    ),
)
def walk_forward_record(
    context: dg.AssetExecutionContext,
    config: WalkForwardConfig,
    recipe: Recipe,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
) -> dg.MaterializeResult:
    """What fold after fold earned on sessions that none had trained on, beside every baseline, and what may be said.

    How it is cut and read: `docs/walk-forward.md`, *How a history is cut*.
    """
    with stage(context, WALKS) as progress:
        from clstm_core.walk_forward.evidence import WalkEvidence
        from clstm_core.walk_forward.run import walk_forward
        from reports.walk_forward import render_walk

        plan = plan_of(config, recipe)
        recipe.core().require_hardware()
        tag_by_recipe(context, recipe)
        made = walk_forward(plan, paths.places, _telling(context, metrics, progress))
        metrics.store().record(made)
        page = render_walk(WalkEvidence.from_dict(made.evidence), paths.reports)
        progress(1, 1)
        results = [_apart(plan, made), _books(made, paths.places), _ahead(made)]
    first = made.figures[0]
    rows = made.evidence["folds"]
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(report_server.page(f"{WALKS}/{plan.name}")),
            "verdict": made.verdict,
            "summary": dg.MetadataValue.md(escaped(made.verdict)[:990]),
            "report_path": dg.MetadataValue.path(str(page)),
            "label": made.evidence["data_label"],
            "controls": made.evidence["controls_words"],
            "folds": table(rows, FOLDS),
            **numbers(_headline(first)),
        },
        data_version=dg.DataVersion(made.identity[:16]),
        check_results=results,
    )


def plan_of(config: WalkForwardConfig, recipe: Recipe) -> WalkPlan:
    """The launch form as the core knows it; ConfigError for what cannot work, before anything is done."""
    chosen = recipe.core()
    return WalkPlan(
        name=config.walk,
        source=chosen.source,
        data_dir=chosen.data_dir,
        n_snapshots=chosen.n_snapshots,
        recipes=(chosen.name, *(name for name in config.more_recipes if name != chosen.name)),
        folds=config.folds,
        training=config.training,
        validation=config.validation,
        window=config.window,
        steps=config.steps,
        seeds=tuple(config.seeds),
        warm=config.warm,
        device=chosen.device,
        audit=chosen.audit,
    )


def _telling(context: dg.AssetExecutionContext, metrics: Metrics, progress: Progress) -> "Telling":
    """Everything that the walk says, to the log, the store and the asset's plots."""
    from clstm_core.walk_forward.run import Telling
    from clstm_core.walk_forward.trained import Hooks

    store = metrics.store()

    def fold(facts: dict[str, Any]) -> None:
        seen = {key: value for key, value in facts.items() if isinstance(value, str)}
        context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata={**seen, **numbers(facts)}))

    def rows(found: list[dict[str, Any]]) -> None:
        store.upsert("training_metrics", found)

    hooks = Hooks(record=store.record, rows=rows, say=context.log.warning)
    return Telling(hooks=hooks, progress=progress, fold=fold)


def _headline(found: Any) -> dict[str, Any]:
    """Figures that draw a plot over launches."""
    pair = next(pair for pair in found["pairs"] if pair["against"] == "cash")
    return {
        "excess_bps": pair["estimate"],
        "excess_low_bps": pair["ci_low"],
        "excess_high_bps": pair["ci_high"],
        "luck_p": found["luck"]["p"] if found.get("luck") else None,
        "sharpe": found["sharpe"]["estimate"],
        "iqm_bps": found["iqm"]["estimate"],
        "max_drawdown": min(row["max_drawdown"] for row in found["by_seed"]),
        "sessions": found["sessions"],
    }


def _apart(plan: WalkPlan, made: WalkForwardManifest) -> dg.AssetCheckResult:
    """The tests as they were traded, by the dates of their accounts, and the order of each fold's windows."""
    rows, wrong = made.evidence["folds"], []
    for found in made.figures:
        for one, other in pairwise(found["by_fold"]):
            if other["first_date"] <= one["last_date"]:
                wrong.append(f"{found['recipe']}: folds {one['fold']} and {other['fold']} share {other['first_date']}")
    ends = ("train_to", "validation_from", "validation_to", "test_from")
    for row in rows:
        days = [row[end] for end in ends]
        if days != sorted(days):
            wrong.append(f"{row['run']}: its windows overlap")
        elif row["embargo"] < plan.embargo:
            wrong.append(f"{row['run']}: {row['embargo']} sessions between two windows, expected {plan.embargo}")
    words = f"{plan.folds} tests, no session in two; {plan.embargo} sessions before each validation and each test."
    return check("folds_apart", not wrong, "; ".join(wrong) or words, blocking=True)


def _books(made: WalkForwardManifest, places: Places) -> dg.AssetCheckResult:
    """The accounts that make the record, recomputed from what was traded and from the canonical tables."""
    from clstm_core.evaluation.backtest import load_backtest
    from clstm_core.evaluation.books_audit import audit_books

    results = [load_backtest(places.backtests / row["backtest_id"]) for row in made.evidence["folds"]]
    wrong, worst = audit_books(results, places)
    words = f"{counted(len(results), 'account')} recomputed; largest difference {worst:.6f} USD."
    return check("ledgers_recompute", not wrong, "; ".join(wrong) or words, blocking=True, largest_usd=worst)


def _ahead(made: WalkForwardManifest) -> dg.AssetCheckResult:
    """Whether the launch's recipe is ahead of cash; of several that are walked beside it one would be by luck.

    An interval alone: how often luck looks as good is in the words.
    """
    from clstm_core.walk_forward.words import against_cash

    said: Sequence[str] = [f"{found['recipe']} {against_cash(found)}" for found in made.figures]
    low = next(pair for pair in made.figures[0]["pairs"] if pair["against"] == "cash")["ci_low"]
    return check("ahead_of_cash", low is not None and low > 0.0, "; ".join(said))
