"""The worlds beside a modelled market: the same path and contracts, priced by other assumptions.

    zero_premium   options cost what the index's moves were worth on training dates: what is earned there is no premium
    stressed       spreads twice as wide, and a point less volatility at the money: what is lost there was the model's

A claim that does not survive the stressed one is not made.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, MarketConfig, RunConfig
from clstm_core.evaluation.backtest import BacktestResult, run_backtests
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.ladder import STOCHASTIC_EPISODES, matched_random
from clstm_core.evaluation.policies import Policy, load_checkpoint
from clstm_core.evaluation.walk import Progress
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.sources import spec
from clstm_core.market.tensors import MarketTensors

TWIN, STRESSED = "zero_premium", "stressed"
CHANGES: dict[str, dict[str, Any]] = {TWIN: {"premium": False}, STRESSED: {"stress": True}}
"""What each world changes in the market's configuration."""


def ensure_companion(
    world: str, config: MarketConfig, cache_dir: Path, embargo: int, *, make: bool = True
) -> Path | None:
    """The folder of a companion's tensors, with the windows of the market itself; None where there is no companion.

    Raises: MarketDataError where `make` is False and it was not made
    """
    if not spec(config.source).has_companions:
        return None
    other = dataclasses.replace(config, **CHANGES[world])
    return ensure_tensors(ensure_quotes(other, cache_dir, make=make), other, cache_dir, embargo=embargo, make=make)


def find_companion(world: str, inputs: RunInputs, places: Places) -> Path | None:
    """The companion of the market that a run is judged on.

    Raises: MarketDataError where it was not made
    """
    config = RunConfig.from_dict(dict(inputs.config))
    embargo = config.env.horizon + config.market.feature_lookback
    return ensure_companion(world, config.market, places.cache, embargo, make=False)


def backtest_companion(
    world: str,
    checkpoints: Sequence[Path],
    market: MarketTensors,
    env_config: EnvConfig,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    ladder: Sequence[BacktestResult] = (),
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
    measured: Sequence[Mapping[str, Any]] | None = None,
) -> list[BacktestResult]:
    """Each checkpoint's likeliest action over the test dates of a companion `market`, beside every baseline.

    Args:
        ladder: backtests of the market itself; chance as busy as their champion is traded here too
        measured: as `headline.champion_of` takes it
    """
    policies: list[Policy] = [
        *(policy for folder in checkpoints for policy in load_checkpoint(folder, modes=("argmax",))),
        *baselines(market, seed=seed, random_episodes=STOCHASTIC_EPISODES),
    ]
    if ladder:
        chance = matched_random(ladder, market, env_config.fill_lag, seed=seed, measured=measured)
        policies += [chance] if chance is not None else []
    facts = {**(meta or {}), "world": world, "premium": world != TWIN}
    return run_backtests(
        policies, market, env_config, "test", out_dir=out_dir, seed=seed, meta=facts, progress=progress
    )


def companion_sentence(twin: Sequence[BacktestResult], stressed: Sequence[BacktestResult], policy: str) -> str | None:
    """What the companions say of the policy called `policy`, for the verdict; None where it was traded in neither."""
    parts = []
    returned = _returns(twin)
    if policy in returned:
        parts.append(
            "On the zero-premium twin (the same path, options priced without a premium) it returned "
            f"{returned[policy]:+.1%}, cash {returned['cash']:+.1%}, the short straddle "
            f"{returned['short_straddle']:+.1%}."
        )
    returned = _returns(stressed)
    if policy in returned:
        parts.append(
            "In the stressed world (spreads doubled, volatility at the money a point lower) it returned "
            f"{returned[policy]:+.1%}, cash {returned['cash']:+.1%}; only what is beaten there too is called beaten."
        )
    return " ".join(parts) or None


def _returns(results: Sequence[BacktestResult]) -> dict[str, float]:
    return {result.name: result.manifest["summary"]["total_return"] for result in results}
