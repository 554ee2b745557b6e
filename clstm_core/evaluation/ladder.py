"""Which backtests make the evidence: every rung and every baseline on each window, with the fill lag and without."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from clstm_core.config import EnvConfig
from clstm_core.evaluation.backtest import BacktestResult, resolve_window, run_backtests, windows_of
from clstm_core.evaluation.baselines.catalogue import CORE, baselines
from clstm_core.evaluation.baselines.chance import MatchedRandom, activity_of
from clstm_core.evaluation.headline import champion_among
from clstm_core.evaluation.pairing import group
from clstm_core.evaluation.policies import Policy, load_checkpoint
from clstm_core.evaluation.walk import Progress
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.process import beside

STOCHASTIC_EPISODES = 4
"""Accounts that a policy drawing at random trades side by side, each with its own draws."""


WORTH_A_PROCESS = 5_000
"""Decisions of networks in the first pass from which on a process of its own is worth the seconds it takes to begin."""


class Pass(NamedTuple):
    """One walk through a window, of all the policies that are judged on it."""

    window: str
    fill_lag: int


def backtest_ladder(
    checkpoint_folders: Sequence[Path],
    market: MarketTensors,
    env_config: EnvConfig,
    quotes: Mapping[str, str | None] | None,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    windows: Sequence[str] | None = None,
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
    market_folder: Path | None = None,
) -> list[BacktestResult]:
    """Backtest each checkpoint: both modes on the test window, and the likeliest action on every other window and lag.

    Args:
        windows: those of `windows_of(market)` when left out
        quotes, meta: as `run_backtests` takes them
        market_folder: where `market` lies, for a second process that walks the first pass beside the others

    Raises: EvaluationError for an empty ladder's windows; CheckpointError for a checkpoint that is missing or altered
    """
    walk = partial(
        _ladder, checkpoint_folders, env_config=env_config, quotes=quotes, out_dir=out_dir, seed=seed, meta=meta
    )
    passes = passes_of(market, env_config, windows)
    _, start, stop = resolve_window(market, passes[0].window)
    if market_folder is None or len(passes) < 2 or 2 * len(checkpoint_folders) * (stop - start) < WORTH_A_PROCESS:
        return walk(market=market, passes=passes, progress=progress)
    with beside() as pool:  # the first pass has twice the policies of another
        first = pool.submit(walk, market=market_folder, passes=passes[:1])
        others = walk(market=market, passes=passes[1:], progress=progress)
        return first.result() + others


def _ladder(
    checkpoint_folders: Sequence[Path],
    *,
    market: MarketTensors | Path,
    passes: Sequence[Pass],
    env_config: EnvConfig,
    quotes: Mapping[str, str | None] | None,
    out_dir: Path,
    seed: int,
    meta: Mapping[str, Any] | None,
    progress: Progress | None = None,
) -> list[BacktestResult]:
    """Some passes of the ladder."""
    both = [
        policy
        for folder in checkpoint_folders
        for policy in load_checkpoint(Path(folder), seed=seed, stochastic_episodes=STOCHASTIC_EPISODES)
    ]
    likeliest = [policy for policy in both if policy.mode == "argmax"]

    def policies(found: Pass) -> Sequence[Policy]:
        return both if found == Pass("test", env_config.fill_lag) else likeliest

    opened = load_market(market, verify=False) if isinstance(market, Path) else market
    return _run(policies, opened, passes, env_config, quotes, out_dir, progress, seed, meta)


def backtest_baselines(
    market: MarketTensors,
    env_config: EnvConfig,
    quotes: Mapping[str, str | None] | None,
    out_dir: Path,
    progress: Progress | None = None,
    *,
    windows: Sequence[str] | None = None,
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
) -> list[BacktestResult]:
    """Backtest the baselines on the windows and lags of `backtest_ladder`: all on the first, `CORE` on the others."""
    rules = baselines(market, seed=seed, random_episodes=STOCHASTIC_EPISODES)
    core = [rule for rule in rules if rule.name in CORE]
    first = (windows_of(market) if windows is None else windows)[0]

    def policies(found: Pass) -> Sequence[Policy]:
        return rules if found.window == first else core

    passes = passes_of(market, env_config, windows)
    return _run(policies, market, passes, env_config, quotes, out_dir, progress, seed, meta)


def matched_random(
    ladder: Sequence[BacktestResult],
    market: MarketTensors,
    fill_lag: int,
    *,
    seed: int = 0,
    measured: Sequence[Mapping[str, Any]] | None = None,
) -> MatchedRandom | None:
    """A random trader of `market` as busy as the ladder's champion; None where that holds no options.

    How busy the champion is, is measured on the validation window, where it was chosen; on training dates, in a market
    too short for one: never on the dates that are judged.

    Args:
        measured: as `headline.champion_of` takes it
    """
    champion = champion_among(ladder, measured)
    others = [
        result
        for key, members in group(ladder).items()
        for result in members
        if key.fill_lag == fill_lag
        and key.window in ("validation", "in_sample")
        and key.window != champion.manifest["window"]["name"]
        and result.name == champion.name
    ]
    counted = max(others, key=lambda result: result.manifest["window"]["name"] == "validation", default=None)
    if counted is None or (activity := activity_of(counted)) is None:
        return None
    return MatchedRandom(
        activity,
        of=f"{champion.name} on {counted.manifest['window']['name'].replace('_', '-')} dates",
        backtest=counted.id,
        tenor_days=tuple(float(market.info.get(key, days)) for key, days in (("near_days", 30), ("far_days", 60))),
        seed=seed,
        n_episodes=STOCHASTIC_EPISODES,
    )


def backtest_matched(
    ladder: Sequence[BacktestResult],
    market: MarketTensors,
    env_config: EnvConfig,
    quotes: Mapping[str, str | None] | None,
    out_dir: Path,
    *,
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
    measured: Sequence[Mapping[str, Any]] | None = None,
) -> list[BacktestResult]:
    """Backtest `matched_random` on the headline's window, at the configured lag; empty where there is none."""
    policy = matched_random(ladder, market, env_config.fill_lag, seed=seed, measured=measured)
    if policy is None:
        return []
    window = champion_among(ladder, measured).manifest["window"]["name"]
    return run_backtests([policy], market, env_config, window, out_dir=out_dir, seed=seed, quotes=quotes, meta=meta)


def passes_of(market: MarketTensors, env_config: EnvConfig, windows: Sequence[str] | None = None) -> list[Pass]:
    """The configured lag on every window, and lag 0 beside it on the test window."""
    names = windows_of(market) if windows is None else windows
    passes = [Pass(name, env_config.fill_lag) for name in names]
    if "test" in names and env_config.fill_lag != 0:
        passes.append(Pass("test", 0))
    return passes


def _run(
    policies: Callable[[Pass], Sequence[Policy]],
    market: MarketTensors,
    passes: Sequence[Pass],
    env_config: EnvConfig,
    quotes: Mapping[str, str | None] | None,
    out_dir: Path,
    progress: Progress | None,
    seed: int,
    meta: Mapping[str, Any] | None,
) -> list[BacktestResult]:
    lengths = [stop - 1 - start for _, start, stop in (resolve_window(market, found.window) for found in passes)]
    results: list[BacktestResult] = []
    for number, found in enumerate(passes):
        before, total = sum(lengths[:number]), sum(lengths)

        def report(done: int, _: int, before: int = before, total: int = total) -> None:
            if progress is not None:
                progress(before + done, total)

        results += run_backtests(
            policies(found),
            market,
            dataclasses.replace(env_config, fill_lag=found.fill_lag),
            found.window,
            out_dir=out_dir,
            seed=seed,
            quotes=quotes,
            meta=meta,
            progress=report,
        )
    return results
