"""What one launches: the whole chain, its parts, and the demo. A `training_run` key must exist before a launch.

The recipe is one resource: chosen once at a launch, read by every asset of it.
"""

from typing import Any

import dagster as dg

MARKET = dg.AssetSelection.assets("market_quotes", "market_tensors")
AUDITED = dg.AssetSelection.assets("environment_audit").upstream()
JUDGED = dg.AssetSelection.assets("market_realism").upstream()
CHAIN = dg.AssetSelection.assets("backtest_report").upstream()
EVIDENCE = dg.AssetSelection.groups("evaluation")


def chosen(**recipe: Any) -> dict[str, Any]:
    """Run configuration with one recipe; what is left out keeps its default."""
    return {"resources": {"recipe": {"config": {key: value for key, value in recipe.items() if value is not None}}}}


jobs = [
    dg.define_asset_job(
        "demo", CHAIN, config=chosen(), description="The whole chain in minutes on two cores, on the embedded source."
    ),
    dg.define_asset_job(
        "train_and_evaluate",
        CHAIN,
        config=chosen(name="seed_100m", audit="full"),
        description="From quotes to report and bundle with the published settings and the full audit.",
    ),
    dg.define_asset_job("refresh_market_data", MARKET, description="Quotes and tensors of one source."),
    dg.define_asset_job(
        "audit_market", AUDITED, description="Quotes, tensors and the verdict without which nothing is trained."
    ),
    dg.define_asset_job("judge_market", JUDGED, description="Quotes, and the outside judge's verdict on them."),
    dg.define_asset_job(
        "evaluate_only", EVIDENCE, description="Backtests, comparison and report of a run that is trained."
    ),
    dg.define_asset_job(
        "export_only",
        dg.AssetSelection.assets("policy_bundle"),
        description="The bundle of a run that is compared.",
    ),
]
