"""What one launches: the whole chain and its parts. A `training_run` key must exist before a launch: see `start_run`.

The recipe is one resource: chosen once at a launch, read by every asset of it, with the same defaults everywhere.
"""

from typing import Any

import dagster as dg

MONTHS = dg.AssetSelection.assets("vendor_sessions")
"""Keyed by month: the market reads what is missing by itself, and waits for none of them."""

MARKET = dg.AssetSelection.assets("market_quotes", "market_tensors")
AUDITED = dg.AssetSelection.assets("environment_audit").upstream()
JUDGED = dg.AssetSelection.assets("market_realism").upstream()
CHAIN = dg.AssetSelection.assets("backtest_report").upstream()
EVIDENCE = dg.AssetSelection.groups("evaluation") | dg.AssetSelection.assets("policy_bundle")
"""With the bundle: a report shows the one that was made of its comparison, and no other."""


def chosen(**recipe: Any) -> dict[str, Any]:
    """Run configuration with one recipe; what is left out keeps its default."""
    return {"resources": {"recipe": {"config": {key: value for key, value in recipe.items() if value is not None}}}}


train_and_evaluate = dg.define_asset_job(
    "train_and_evaluate",
    CHAIN,
    config=chosen(),
    description="From quotes to report and bundle: minutes on two cores with the default recipe.",
)

refresh_market_data = dg.define_asset_job(
    "refresh_market_data", MARKET, description="Quotes and tensors of one source."
)

run_shadow = dg.define_asset_job(
    "run_shadow",
    dg.AssetSelection.groups("shadow"),
    executor_def=dg.in_process_executor,  # both steps in one process: starting two more takes longer than they work
    description="A run's bundle on every session that arrived, in simulated fills, and its backtest of the same days.",
)

fine_tune_challenger = dg.define_asset_job(
    "fine_tune_challenger",
    dg.AssetSelection.assets("challenger_policy"),
    config=chosen(),
    description="A challenger from the champion, judged beside it and proposed; promoted by nothing here.",
)

promote_champion = dg.define_asset_job(
    "promote_champion",
    dg.AssetSelection.assets("champion"),
    config={"ops": {"champion": {"config": {"action": "decide"}}}},
    description="The rules decide on the challenger that stands: promoted, or refused with the figures.",
)

roll_back_champion = dg.define_asset_job(
    "roll_back_champion",
    dg.AssetSelection.assets("champion"),
    config={"ops": {"champion": {"config": {"action": "roll back", "reason": "a person launched it"}}}},
    description="The champion before takes its place again, to the byte.",
)

jobs = [
    train_and_evaluate,
    refresh_market_data,
    run_shadow,
    fine_tune_challenger,
    promote_champion,
    roll_back_champion,
    dg.define_asset_job(
        "load_vendor_months",
        MONTHS,
        description="A vendor's files month by month, or a backfill of many. A refresh reads what is missing.",
    ),
    dg.define_asset_job(
        "audit_market", AUDITED, description="Quotes, tensors and the verdict without which nothing is trained."
    ),
    dg.define_asset_job("judge_market", JUDGED, description="Quotes, and the outside judge's verdict on them."),
    dg.define_asset_job(
        "make_controls",
        dg.AssetSelection.assets("recipe_controls"),
        description="A recipe where nothing can be earned and where something can: minutes, once for a recipe.",
    ),
    dg.define_asset_job(
        "evaluate_only", EVIDENCE, description="Backtests, comparison, bundle and report of a run that is trained."
    ),
    dg.define_asset_job(
        "export_only",
        dg.AssetSelection.assets("policy_bundle"),
        description="The bundle of a run that is compared.",
    ),
    dg.define_asset_job(
        "walk_forward",
        dg.AssetSelection.assets("walk_forward_record"),
        config=chosen(),
        description="Folds of a whole history, trained and judged one after the other; an hour on two cores.",
    ),
    dg.define_asset_job(
        "sweep",
        dg.AssetSelection.assets("sweep_record"),
        config=chosen(),
        description="Settings that a policy learns with, searched by Optuna; hours on two cores, goes on when stopped.",
    ),
    dg.define_asset_job(
        "render_report",
        dg.AssetSelection.assets("backtest_report"),
        description="The report of a run that is evaluated, drawn again; nothing is trained or traded.",
    ),
]
