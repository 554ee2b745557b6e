"""The zero-premium twin: the same index path with options priced without the variance premium that the model assumes.

What a policy earns beside it is what it earned from the assumption.
"""

import dataclasses
from pathlib import Path

from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.evaluation.backtest import BacktestResult, run_backtests
from clstm_core.evaluation.policies import Policy, Rule, ShortStraddle, load_checkpoint
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.tensors import MarketTensors, load_market


def has_twin(market: MarketTensors) -> bool:
    """Whether the market's prices contain an assumed premium that can be left out on the same path."""
    return market.info["source"] == "sp500_modelled"


def twin_backtests(
    checkpoint: Path, market: MarketTensors, config: MarketConfig, env_config: EnvConfig, cache_dir: Path, out_dir: Path
) -> list[BacktestResult]:
    """The checkpoint, cash and the short straddle over the test dates of the twin.

    Args:
        market: the one with the premium, whose test window and embargo are taken
        config: what it was made with
    """
    bare = dataclasses.replace(config, premium=False)
    folder = ensure_tensors(ensure_quotes(bare, cache_dir), bare, cache_dir, embargo=market.info["embargo"])
    policies: list[Policy] = [
        *load_checkpoint(checkpoint, modes=("argmax",)),
        Rule("cash", "Cash at the risk-free rate"),
        ShortStraddle("short_straddle", "Short at-the-money straddle, unhedged"),
    ]
    meta = {"premium": False}
    return run_backtests(policies, load_market(folder), env_config, market.split("test"), out_dir=out_dir, meta=meta)


def twin_sentence(results: list[BacktestResult]) -> str:
    """What the twin says, for the verdict."""
    policy, cash, straddle = (result.manifest["summary"]["total_return"] for result in results)
    return (
        "On the zero-premium twin (the same path, options priced without the assumed premium) it returned "
        f"{policy:+.1%}, cash {cash:+.1%}, the short straddle {straddle:+.1%}."
    )
