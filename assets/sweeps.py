"""Sweeps: what a policy learns with, searched by Optuna where no result is judged; every trial is kept."""

from typing import Any

import dagster as dg
from pydantic import Field

from assets.check_specs import check_specs
from assets.code_versions import SWEEP, code_version
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from assets.support import check, escaped, numbers, stage, table, tag_by_recipe
from clstm_core.artifacts.manifests import SweepManifest
from clstm_core.plural import counted
from clstm_core.sweeps.plan import SweepPlan
from clstm_core.sweeps.space import USUAL

TRIALS = ["trial", "state", "score", "growth_bps_fresh_worlds", "growth_bps_validation_dates"]


class SweepConfig(dg.Config):
    """What is searched and how long; recipe and source are those of the launch."""

    sweep: str = Field("sweep", description="its name: the same name goes on where it was stopped")
    trials: int = Field(20, ge=1, description="settings that are tried, the recipe's own first")
    steps: int = Field(500_000, ge=1, description="env steps per training")
    seeds: list[int] = Field([0], description="each trial is trained once with each, and scored by the mean")
    confirm: int = Field(2, ge=0, description="other seeds that the best and the recipe are trained with again")
    space: list[str] = Field(list(USUAL), description="NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=a,b of ppo. or model.")
    sampler_seed: int = Field(0, ge=0, description="of Optuna's proposals")


@dg.asset(
    group_name="sweeps",
    kinds={"torch", "plotly"},
    code_version=code_version(__file__, rooms=SWEEP, reports=True),
    owners=["team:research"],
    pool="gpu",
    check_specs=check_specs(
        "sweep_record",
        warning={
            "trials_ended": "Every trial came to its end: none broke down.",
            "best_confirmed": "With seeds that chose nothing, the best settings are better than the recipe.",
        },
        keyed=None,
    ),
)
def sweep_record(
    context: dg.AssetExecutionContext,
    config: SweepConfig,
    recipe: Recipe,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
) -> dg.MaterializeResult:
    """Trials of a recipe with other settings, scored on fresh worlds and validation dates, the best one confirmed.

    How it is read: `docs/sweeps.md`.
    """
    with stage(context, "sweep") as progress:
        from clstm_core.artifacts.manifests import TrialManifest
        from clstm_core.sweeps.evidence import evidence_of
        from clstm_core.sweeps.run import Telling, sweep
        from clstm_core.walk_forward.trained import Hooks
        from reports.gallery import SWEEPS
        from reports.sweep_page import render_sweep

        plan, store = plan_of(config, recipe), metrics.store()
        recipe.core().require_hardware()
        tag_by_recipe(context, recipe)

        def trial(found: TrialManifest) -> None:
            seen: dict[str, Any] = {"sweep": plan.name, "trial": found.trial, "state": found.state}
            seen |= numbers({"score": found.score})
            context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata=seen))

        def rows(found: list[dict[str, Any]]) -> None:
            store.upsert("training_metrics", found)

        hooks = Hooks(record=store.record, rows=rows, say=context.log.warning)
        made = sweep(plan, paths.places, Telling(hooks=hooks, progress=progress, trial=trial))
        page = render_sweep(evidence_of(made), paths.reports)
        progress(1, 1)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(report_server.page(f"{SWEEPS}/{plan.name}")),
            "answer": made.answer,
            "summary": dg.MetadataValue.md(escaped(made.answer)[:990]),
            "report_path": dg.MetadataValue.path(str(page)),
            "label": made.label,
            "trials": table(made.trials, TRIALS),
            **numbers(_headline(made)),
        },
        data_version=dg.DataVersion(made.identity[:16]),
        check_results=[_ended(made), _better(made)],
    )


def plan_of(config: SweepConfig, recipe: Recipe) -> SweepPlan:
    """The launch form as the core knows it; ConfigError for what cannot work, before anything is done."""
    chosen = recipe.core()
    return SweepPlan(
        name=config.sweep,
        recipe=chosen.name,
        source=chosen.source,
        data_dir=chosen.data_dir,
        n_snapshots=chosen.n_snapshots,
        trials=config.trials,
        steps=config.steps,
        seeds=tuple(config.seeds),
        confirm=config.confirm,
        space=tuple(config.space),
        sampler_seed=config.sampler_seed,
        device=chosen.device,
        audit=chosen.audit,
    )


def _headline(made: SweepManifest) -> dict[str, Any]:
    """Figures that draw a plot over launches."""
    scores = {row["trial"]: row["score"] for row in made.trials}
    best = None if made.best is None else scores[made.best]
    return {"best_score": best, "recipe_score": scores.get(0), "trials_done": len(made.trials)}


def _ended(made: SweepManifest) -> dg.AssetCheckResult:
    failed = [row for row in made.trials if row["state"] == "failed"]
    words = "; ".join(f"trial {row['trial']}: {row['reason']}" for row in failed)
    return check("trials_ended", not failed, words or f"{counted(len(made.trials), 'trial')} came to an end.")


def _better(made: SweepManifest) -> dg.AssetCheckResult:
    from clstm_core.sweeps.words import confirmation, is_better

    if not made.best:
        return check("best_confirmed", made.best == 0, made.answer)
    asked = (SweepPlan.from_dict(made.plan), made.best, made.confirmed)
    return check("best_confirmed", is_better(*asked), confirmation(*asked))
