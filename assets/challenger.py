"""A challenger: trained from the champion or from scratch, and laid beside it on days that neither was trained on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from assets.check_specs import check_specs
from assets.code_versions import CHALLENGER, code_version
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from assets.support import check, escaped, long_table, numbers, run_stage, table
from clstm_core.artifacts.manifests import ChallengerManifest

if TYPE_CHECKING:
    from clstm_core.feedback.plan import RetrainPlan

PAGES = "challengers"
STAGES = ["run", "name", "passed", "words"]
SIDE_BY_SIDE = ["run", "start", "outcome", "growth", "champion_growth", "cash_growth", "luck_p", "max_drawdown"]
NOT_ASKED = "Not asked of a policy from scratch, and not reached by one that an earlier stage ended."


class ChallengerConfig(dg.Config):
    """How one is made; where a champion stands its own recipe counts, and the launch's where there is none."""

    start: Literal["auto", "champion", "scratch", "both"] = Field(
        "auto",
        description="begin with the champion's weights, from scratch, or both: two of the year's looks; "
        "auto: a champion where one stands",
    )
    why: str = Field("a person asked for it", description="the reason, kept with what comes of it")
    as_of: str = Field("", description="last session that is known, YYYY-MM-DD; the newest when empty")
    steps: int = Field(200_000, ge=1, description="env steps of each start")
    gate: int = Field(252, ge=61, description="sessions on which the critic's gain is measured")
    judged: int = Field(252, ge=61, description="sessions on which champion and challenger are laid side by side")
    training: int | None = Field(None, description="newest sessions that are trained on; all before when empty")
    worlds: int = Field(200, ge=1, description="fair worlds that luck is told by")
    parity_steps: int = Field(500, ge=1, description="decisions that every exported runtime must make alike")
    propose: bool = Field(True, description="let it stand as challenger in the registry; nothing is promoted by this")


@dg.asset(
    group_name="feedback",
    partitions_def=training_run,
    kinds={"torch", "parquet"},
    code_version=code_version(__file__, rooms=CHALLENGER, reports=True),
    owners=["team:research"],
    pool="gpu",
    check_specs=check_specs(
        "challenger_policy",
        blocking={"actor_untouched": "After the critic's stage every logit of the policy is equal to the bit."},
        warning={
            "critic_gained": "The critic foresees more on held-out dates than the champion's.",
            "near_champion": "The policy moved from the champion by less than the cap.",
            "nothing_unlearned": "Golden decisions, stress windows and old regimes are kept within their limits.",
            "may_be_proposed": "A start passed all its stages.",
        },
    ),
)
def challenger_policy(
    context: dg.AssetExecutionContext,
    config: ChallengerConfig,
    recipe: Recipe,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
) -> dg.MaterializeResult:
    """A policy that may be proposed, or the stage that ended it; both starts side by side where both are asked for.

    How it is made and judged: `docs/retraining.md`.
    """
    with run_stage(context, "challenger", paths) as (progress, run):
        from assets.feedback_pages import keep_decisions
        from clstm_core.feedback.retrain import Telling, retrain
        from clstm_core.feedback.standing import look_words, propose_first
        from clstm_core.walk_forward.trained import Hooks

        plan, store = plan_of(config, recipe, paths, run.name), metrics.store()
        context.log.info(look_words(paths.places, plan))
        hooks = Hooks(
            record=store.record,
            rows=lambda rows: _stored(store, rows),
            say=context.log.warning,
        )
        found = retrain(plan, paths.places, Telling(hooks=hooks, progress=progress))
        try:
            proposed = propose_first(paths.places, found, plan.why) if config.propose else "Nothing was to be proposed."
        finally:  # what it showed is shown, whatever the registry says to it
            if unwritten := keep_decisions(paths.places, store, paths.reports):
                context.log.warning(unwritten)
        page = paths.reports / PAGES / plan.name / "index.html"
        progress(1, 1)
    rows = [{"run": each.run, **row} for each in found for row in each.stages]
    answer = " ".join(each.answer for each in found)
    return dg.MaterializeResult(
        metadata={
            "answer": answer,
            "summary": dg.MetadataValue.md(escaped(answer)[:990]),
            "page": dg.MetadataValue.url(report_server.page(f"{PAGES}/{plan.name}")),
            "page_path": dg.MetadataValue.path(str(page)),
            "outcome": found[0].outcome,
            "why": plan.why,
            "proposed": f"{proposed} {unwritten}".strip(),
            "label": str(found[0].judged.get("label", "")),
            "side_by_side": table([_beside(each) for each in found], SIDE_BY_SIDE),
            "stages": long_table(rows, STAGES),
            **numbers(found[0].figures),
        },
        data_version=dg.DataVersion(found[0].identity[:16]),
        check_results=[
            _of(rows, "actor_untouched", "critic", blocking=True),
            _of(rows, "critic_gained", "gate"),
            _of(rows, "near_champion", "kl"),
            _of(rows, "nothing_unlearned", "regression"),
            check("may_be_proposed", any(each.outcome == "challenger" for each in found), answer),
        ],
    )


def plan_of(config: ChallengerConfig, recipe: Recipe, paths: ProjectPaths, name: str) -> "RetrainPlan":
    """The launch form as the core knows it; ConfigError for what cannot work, before anything is done."""
    from clstm_core.feedback.standing import plan_for

    core = recipe.core()
    core.require_hardware()
    return plan_for(
        paths.places,
        core,
        name=name,
        why=config.why,
        start=config.start,
        as_of=config.as_of or None,
        steps=config.steps,
        seed=core.seed,
        gate=config.gate,
        judged=config.judged,
        training=config.training,
        worlds=config.worlds,
        parity_steps=config.parity_steps,
    )


def _stored(store: Any, rows: list[dict[str, Any]]) -> None:
    store.upsert("training_metrics", rows)


def _beside(found: ChallengerManifest) -> dict[str, Any]:
    """One start as the table of both shows it; its growth is that of the judged days, in logarithms."""
    row = {"run": found.run, "start": found.start, "outcome": found.outcome, **found.figures}
    if found.files:
        import polars as pl

        pairs = pl.read_parquet(found.folder / "pairs.parquet")
        names = {"growth": "challenger", "champion_growth": "champion", "cash_growth": "cash"}
        row |= {name: float(pairs[column].sum()) for name, column in names.items()}
    return row


def _of(rows: Sequence[Mapping[str, Any]], name: str, stage: str, *, blocking: bool = False) -> dg.AssetCheckResult:
    """A stage's result as a check."""
    found = [row for row in rows if row["name"] == stage]
    words = " ".join(str(row["words"]) for row in found) or NOT_ASKED
    return check(name, all(row["passed"] for row in found), words, blocking=blocking)
