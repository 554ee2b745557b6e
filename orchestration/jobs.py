"""What one launches: the whole chain, its parts, and the demo. A `training_run` key must exist before a launch."""

from typing import Any

import dagster as dg

from assets.backtests import baseline_backtests, policy_backtests
from assets.checkpoint_comparison import checkpoint_comparison
from assets.critic_warmup import warm_critic
from assets.environment_audit import environment_audit
from assets.exports import policy_bundle
from assets.market_data import market_quotes, market_tensors
from assets.reports import backtest_report
from assets.training import trained_policy

MARKET = (market_quotes, market_tensors)
EVIDENCE = (policy_backtests, baseline_backtests, checkpoint_comparison)
CHAIN = (*MARKET, environment_audit, warm_critic, trained_policy, *EVIDENCE, policy_bundle, backtest_report)


def chain_config(
    *, source: str, data_dir: str | None = None, recipe: str = "default_cpu", audit: str = "quick", **training: Any
) -> dict[str, Any]:
    """Run configuration of the whole chain; one recipe sets the account, the embargo and the training alike."""
    quotes = {"source": source} | ({"data_dir": data_dir} if data_dir else {})
    return {
        "ops": {
            "market_quotes": {"config": quotes},
            "market_tensors": {"config": {"recipe": recipe}},
            "environment_audit": {"config": {"size": audit, "recipe": recipe}},
            "warm_critic": {"config": {"recipe": recipe, **training}},
        }
    }


jobs = [
    dg.define_asset_job(
        "demo",
        dg.AssetSelection.assets(*CHAIN),
        config=chain_config(source="sp500_modelled"),
        description="The whole chain in minutes on two cores, on the embedded source.",
    ),
    dg.define_asset_job(
        "train_and_evaluate",
        dg.AssetSelection.assets(*CHAIN[1:]),
        config={
            "ops": {
                "market_tensors": {"config": {"recipe": "seed_100m"}},
                "environment_audit": {"config": {"size": "full", "recipe": "seed_100m"}},
                "warm_critic": {"config": {"recipe": "seed_100m"}},
            }
        },
        description="From the newest quotes to report and bundle, published configuration, full audit.",
    ),
    dg.define_asset_job(
        "refresh_market_data", dg.AssetSelection.assets(*MARKET), description="Quotes and tensors of one source."
    ),
    dg.define_asset_job(
        "evaluate_only",
        dg.AssetSelection.assets(*EVIDENCE, backtest_report),
        description="Backtests, comparison and report of a run that is trained.",
    ),
    dg.define_asset_job(
        "export_only", dg.AssetSelection.assets(policy_bundle), description="The bundle of a run that is compared."
    ),
]
