"""The champion: which policy a deployer loads, and the rules by which another takes its place."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from assets.challenger import challenger_policy
from assets.check_specs import check_specs
from assets.code_versions import CHAMPION, code_version
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, escaped, long_table, numbers, stage, table
from clstm_core.artifacts.manifest import JsonObject
from clstm_core.errors import ClstmError
from clstm_core.feedback.rules_names import RULES

PAGE = "champion"
FAIL_WINDOW, WARN_WINDOW = timedelta(days=35), timedelta(days=15)  # challengers are weekly: one may fail, two warn
RULING = ["rule", "passed", "figure", "limit", "unit", "words"]
HISTORY = ["number", "created", "decision", "run", "champion", "by", "failed", "reason"]


class ChampionConfig(dg.Config):
    """What is decided; rules decide on a challenger unless a person forces it."""

    action: Literal["decide", "roll back"] = Field("decide", description="on the challenger, or back to the one before")
    reason: str = Field("", description="why; a roll-back and a promotion by force need one")
    force: bool = Field(False, description="promote the challenger against the rules: written as such everywhere")


@dg.asset(
    group_name="champion",
    deps=[challenger_policy],  # lineage alone: a decision waits for no retraining, and takes whom the registry names
    kinds={"onnx", "parquet"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=FAIL_WINDOW, warn_window=WARN_WINDOW),
    code_version=code_version(__file__, rooms=CHAMPION, reports=True),
    owners=["team:deployment"],
    check_specs=check_specs("champion", warning=RULES, keyed=None),
)
def champion(
    context: dg.AssetExecutionContext,
    config: ChampionConfig,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
) -> dg.MaterializeResult:
    """The policy that `data/registry/current/champion` leads to, and every decision that led there.

    A refusal is a result and no failure: its reason and the rules that refused are said. How it is decided:
    `docs/feedback.md`, *The rules*.
    """
    with stage(context, "champion") as progress:
        from assets.feedback_pages import keep_decisions
        from clstm_core.feedback.decision_story import answer, rulings_of
        from clstm_core.feedback.promote import decide
        from clstm_core.feedback.registry import Registry

        registry, store = Registry(paths.places), metrics.store()
        try:
            if config.action == "roll back":
                state = registry.roll_back(config.reason)
            else:
                state = decide(paths.places, config.reason, force=config.force)
        except ClstmError:
            with suppress(ClstmError):  # what an earlier decision could not write
                keep_decisions(paths.places, store, paths.reports, registry.complete())
            raise
        unwritten = keep_decisions(paths.places, store, paths.reports, state.unwritten)
        if unwritten:
            context.log.warning(f"{state.decision.answer} {unwritten}")
        history = registry.history()
        now = history[0]
        with suppress(OSError):  # how far it is cannot be told on a full disk; what was decided holds
            progress(1, 1)
        rulings = rulings_of(history)
    rows = [{"rule": name, **ruling} for name, ruling in rulings.items()]
    return dg.MaterializeResult(
        metadata={
            "answer": answer(now),
            "summary": dg.MetadataValue.md(escaped(now.answer)[:990]),
            "page": dg.MetadataValue.url(report_server.page(PAGE)),
            "decision": now.decision,
            "by": "a person, by force" if now.forced else now.by,
            "reason": now.reason,
            "champion": now.champion.get("run", "none: cash"),
            "folder": dg.MetadataValue.path(str(registry.root / "current" / "champion")),
            "label": now.label,
            "unwritten": unwritten,
            "rules": table(rows, RULING),
            "history": long_table([_row(past) for past in history], HISTORY),
            **numbers(now.look),
        },
        data_version=dg.DataVersion(str(now.champion.get("identity", "none"))[:16]),
        check_results=[_check(name, rulings.get(name)) for name in RULES],
    )


def _row(past: Any) -> dict[str, Any]:
    failed = ", ".join(str(ruling["name"]) for ruling in past.failed)
    facts = {name: getattr(past, name) for name in ("number", "created", "decision", "by", "reason")}
    return facts | {"run": past.subject.get("run"), "champion": past.champion.get("run"), "failed": failed}


def _check(name: str, ruling: JsonObject | None) -> dg.AssetCheckResult:
    """A rule as the champion's check; one that was never asked is not passed."""
    if ruling is None:
        return check(name, False, "No rule was asked: a person appointed the champion.")
    return check(name, ruling["passed"], ruling["words"], figure=ruling["figure"], limit=ruling["limit"])
