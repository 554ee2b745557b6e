"""The zero-premium twin: the same index path with options priced without the variance premium that the model assumes.

What a policy earns beside it is what it earned from the assumption.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, MarketConfig, RunConfig
from clstm_core.evaluation.backtest import BacktestResult, Progress, run_backtests
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.baselines.straddles import ShortStraddle
from clstm_core.evaluation.policies import Policy, load_checkpoint
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.sources import spec
from clstm_core.market.tensors import MarketTensors


def ensure_twin(config: MarketConfig, cache_dir: Path, embargo: int, *, make: bool = True) -> Path | None:
    """The folder of the twin's tensors, with the windows of the market with the premium; None where there is no twin.

    Raises: MarketDataError where `make` is False and it was not made
    """
    if not spec(config.source).has_twin:
        return None
    bare = dataclasses.replace(config, premium=False)
    return ensure_tensors(ensure_quotes(bare, cache_dir, make=make), bare, cache_dir, embargo=embargo, make=make)


def find_twin(inputs: RunInputs, places: Places) -> Path | None:
    """The twin of the market that a run is judged on.

    Raises: MarketDataError where it was not made
    """
    config = RunConfig.from_dict(dict(inputs.config))
    embargo = config.env.horizon + config.market.feature_lookback
    return ensure_twin(config.market, places.cache, embargo, make=False)


def backtest_twin(
    checkpoints: Sequence[Path],
    market: MarketTensors,
    env_config: EnvConfig,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    meta: Mapping[str, Any] | None = None,
) -> list[BacktestResult]:
    """Each checkpoint's likeliest action, cash and the short straddle over the test dates of the twin `market`."""
    policies: list[Policy] = [
        *(policy for folder in checkpoints for policy in load_checkpoint(folder, modes=("argmax",))),
        Rule("cash", "Cash at the risk-free rate"),
        ShortStraddle("short_straddle", "Short at-the-money straddle, unhedged"),
    ]
    facts = {**(meta or {}), "premium": False}
    return run_backtests(policies, market, env_config, "test", out_dir=out_dir, meta=facts, progress=progress)


def twin_sentence(results: Sequence[BacktestResult], policy: str) -> str | None:
    """What the twin says of the policy called `policy`, for the verdict; None where it was not traded there."""
    returned = {result.name: result.manifest["summary"]["total_return"] for result in results}
    if policy not in returned:
        return None
    return (
        "On the zero-premium twin (the same path, options priced without the assumed premium) it returned "
        f"{returned[policy]:+.1%}, cash {returned['cash']:+.1%}, the short straddle {returned['short_straddle']:+.1%}."
    )
