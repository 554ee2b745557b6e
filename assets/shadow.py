"""Shadow mode: a run's bundle on sessions as they arrive, and whether that is the backtest of the same days."""

import os
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from assets.check_specs import check_specs
from assets.code_versions import RUNTIME, SHADOW, code_version
from assets.exports import policy_bundle
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, long_table, numbers, run_stage, table

if TYPE_CHECKING:
    from clstm_core.shadow.accounts import Feed

ACTIVE = "ACTIVE"
FRESH = dg.FreshnessPolicy.cron(
    deadline_cron="0 18 * * 1-5", lower_bound_delta=timedelta(hours=2), timezone="America/New_York"
)
"""It ran after the close; overdue too on weekdays that the exchange keeps as holidays, which cron does not know."""


class ShadowConfig(dg.Config):
    """Where sessions come from; the account is named after the run."""

    source: Literal["replay", "directory", "alpaca"] = Field(
        "replay", description="a market at hand, a folder that files arrive in, or Alpaca's option chain"
    )
    market: str = Field("", description="source of quotes; the bundle's own when empty")
    data: str = Field("", description="folder or table of that source, where it needs one")
    window: str = Field("test", description="of a replay: train, validation or test; all of the market when empty")
    since: str = Field("", description="first session of a folder, YYYY-MM-DD; its newest when empty")
    unqualified: bool = Field(False, description="watch a policy that is no champion; it is labelled so everywhere")
    limits: str = Field("", description="JSON: what reduces or halts a new account; the bundle's caps when empty")
    most: int | None = Field(None, description="sessions at most; all that arrived when empty")

    def feed(self) -> "Feed":
        """The same for the core."""
        from clstm_core.shadow.accounts import Feed

        key, secret = os.environ.get("APCA_API_KEY_ID"), os.environ.get("APCA_API_SECRET_KEY")
        whole = self.source != "replay" or self.market
        return Feed(
            kind=self.source,
            market=self.market,
            data=self.data,
            window="" if whole else self.window,
            since=date.fromisoformat(self.since) if self.since else None,
            keys=(key, secret) if key and secret else None,
        )


@dg.asset(
    group_name="shadow",
    deps=[policy_bundle],
    partitions_def=training_run,
    kinds={"onnx", "parquet"},
    freshness_policy=FRESH,
    code_version=code_version(__file__, *RUNTIME, rooms=SHADOW),
    owners=["team:deployment"],
    check_specs=check_specs(
        "shadow_session",
        warning={
            "switch_active": "The kill switch is ACTIVE: no limit was passed.",
            "no_drift": "No feature lies farther from training's dates than their own stretches do.",
            "no_harm": "Evidence does not say that the account does worse than cash.",
        },
    ),
)
def shadow_session(
    context: dg.AssetExecutionContext,
    config: ShadowConfig,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
) -> dg.MaterializeResult:
    """Every session that arrived and is not in the log yet: the decision before fills, a new one is taken.

    Nothing is ever sent anywhere. How it is used: `docs/shadow.md`.
    """
    with run_stage(context, "shadow", paths) as (progress, run):
        from clstm_core.artifacts.retention import prune
        from clstm_core.shadow.accounts import run_account
        from reports.shadow_page import draw_account

        places, seen = paths.places, [0]

        def tell(entry: dict) -> None:
            seen[0] += entry["kind"] != "changed"
            progress(seen[0], seen[0] + 1, f"{entry['snapshot']:%Y-%m-%d}")

        kept = run_account(
            places,
            run.name,
            places.bundle(run.name),
            config.feed(),
            limits=Path(config.limits) if config.limits else None,
            unqualified=config.unqualified,
            most=config.most,
            tell=tell,
        )
        progress(1, 1)
        metrics.store().record(kept)
        draw_account(kept.folder, paths.reports)
        for removed in prune(places):  # a folder's market is built anew with each session: old ones would pile up
            context.log.info(f"no longer used, removed: {removed}")
    flagged = ", ".join(kept.drift_flagged)
    return dg.MaterializeResult(
        metadata={
            "answer": kept.answer,
            "page": dg.MetadataValue.url(report_server.page(f"shadow/{run.name}")),
            "fills": "simulated: nothing was sent anywhere",
            "standing": kept.facts["standing"],
            "label": kept.facts["label"],
            "switch": kept.switch,
            "new_sessions": seen[0],
            **({"changed": long_table(kept.changed, ["snapshot", "files", "reasons"])} if kept.changed else {}),
            "drift": long_table(
                [row for row in kept.drift if row["regime"] == "all"], ["feature", "psi", "band", "flagged"]
            ),
            **numbers({name: value for name, value in kept.figures.items() if isinstance(value, (int, float))}),
        },
        data_version=dg.DataVersion(kept.log_sha256[:16]),
        check_results=[
            check("switch_active", kept.switch == ACTIVE, _newest(kept.switches)),
            check("no_drift", not flagged, kept.drift_words),
            check("no_harm", kept.harm["reached"] is None, kept.harm["words"]),
        ],
    )


@dg.asset(
    group_name="shadow",
    deps=[shadow_session],
    partitions_def=training_run,
    kinds={"parquet"},
    code_version=code_version(__file__, *RUNTIME, rooms=SHADOW),
    owners=["team:deployment"],
    check_specs=check_specs(
        "shadow_reconciliation",
        blocking={"decisions_equal": "Every decision is the one that a backtest of the same days and quotes takes."},
        warning={"to_the_cent": "Every fill and sum of money is the backtest's to the cent."},
    ),
)
def shadow_reconciliation(
    context: dg.AssetExecutionContext, config: ShadowConfig, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """The shadow account against a backtest of the same bundle over the same days and quotes."""
    with run_stage(context, "reconciliation", paths) as (_, run):
        from clstm_core.shadow.accounts import reconcile_account, too_short
        from reports.shadow_page import draw_account

        if words := too_short(paths.places, run.name):
            return dg.MaterializeResult(
                metadata={"answer": words},
                data_version=dg.DataVersion("none"),
                check_results=[
                    check("decisions_equal", True, words, blocking=True),
                    check("to_the_cent", True, words),
                ],
            )
        kept = reconcile_account(paths.places, run.name, paths.places.bundle(run.name), config.feed())
        metrics.store().record(kept)
        draw_account(kept.folder, paths.reports)
    figures = kept.figures
    return dg.MaterializeResult(
        metadata={
            "answer": kept.answer,
            "reference_backtest": kept.reference,
            "differing": table(kept.differing, ["snapshot", "explanation"]),
            **numbers(figures),
        },
        data_version=dg.DataVersion(kept.identity[:16]),
        check_results=[
            check("decisions_equal", kept.decisions_equal, kept.answer, blocking=True),
            check("to_the_cent", kept.to_the_cent, kept.answer),
        ],
    )


def _newest(switches: Sequence[Mapping[str, Any]]) -> str:
    last = switches[-1]
    why = last["reasons"] or "no reason"
    return f"{last['switch']} since {str(last['at'])[:10]}, by {last['by']}: {why}"
