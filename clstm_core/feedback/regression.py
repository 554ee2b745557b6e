"""What a challenger must not have unlearned: golden decisions, stress windows, and the regimes of old.

Every row has its figure and its limit. The limits are stated here, before any challenger is made; they look at training
dates and made-up worlds alone, never at the days that are judged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from clstm_core.config import RunConfig
from clstm_core.env.episodes import last_snapshots
from clstm_core.env.options_env import OptionsEnv
from clstm_core.evaluation.backtest import trade
from clstm_core.evaluation.iqm import iqm
from clstm_core.evaluation.regimes import CRISES
from clstm_core.evaluation.statistics import max_drawdown
from clstm_core.feedback.minds import Mind
from clstm_core.generalisation.walk import Episodes, Lane, raw, walk_episodes
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import GeneratedWorld, simulated_world
from clstm_core.market.worlds.planted import PlantedDynamics
from clstm_core.model.policy_step import PolicyStep

STRESS = ("Financial crisis", "COVID crash")
"""The named windows (`evaluation.regimes`) that are walked where the training dates hold them whole."""

CRASH = PlantedDynamics(quoted=(0.14, 0.30), realised=(1.0, 2.5), switch=1 / 60)
"""A made-up world: fair while calm; in its wild times, some sixty sessions each, the index moves by 2.5 times what
options say, so that who has sold them is hurt."""

CRASH_EPISODES, CRASH_SEED = 64, 4_000_003
GOLDEN = "golden.safetensors"
REGRESSION = "regression"
"""Name of the row that sums the others up, and the outcome of a challenger that has unlearned something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """By how much a challenger may be worse than the champion.

    flips:  share of the champion's golden decisions that differ; of a policy from scratch they are told, not limited
    stress: log growth over a stress window; fall: its largest fall there, as a fraction of equity
    crash_bps, old_bps: interquartile mean of growth beyond cash, basis points per session
    """

    flips: float = 0.10
    stress: float = 0.02
    fall: float = 0.02
    crash_bps: float = 0.5
    old_bps: float = 0.25


def regression(
    champion: Mind,
    challenger: Mind,
    market: MarketTensors,
    config: RunConfig,
    bundle: Path,
    *,
    from_scratch: bool,
    limits: Limits | None = None,
) -> list[dict[str, Any]]:
    """Rows of name, passed, figure, limit, words, one per thing that is asked.

    Args:
        bundle: the champion's, whose golden vectors are its golden decisions
    """
    limits = limits or Limits()
    rows = [_golden(challenger, bundle, None if from_scratch else limits.flips)]
    rows += [_stressed(name, span, champion, challenger, market, config, limits) for name, span in _crises(market)]
    rows.append(_crash(champion, challenger, config, limits))
    if (begin := _blocks(market, config.env.horizon)).numel():
        rows.append(_old_regimes(champion, challenger, market, config, begin, limits))
    return rows


@torch.inference_mode()
def flip_rate(challenger: Mind, bundle: Path) -> tuple[float, int]:
    """Share of a champion's golden decisions that another policy takes otherwise on the same states, and their number.

    Both have a memory of their own; the states are those that the champion walked.
    """
    golden = load_file(bundle / GOLDEN)
    mask = golden["action_mask"].bool()
    step = PolicyStep(challenger.model, challenger.memory_sessions, critic=False)
    memory = step.initial_state(mask.shape[1])
    differing = 0
    for observation, legal, theirs in zip(golden["observation"], mask, golden["logits"], strict=True):
        logits, *memory = step(observation.float(), legal, *memory)
        differing += int((logits.argmax(dim=-1) != theirs.argmax(dim=-1)).sum())
    count = mask.shape[0] * mask.shape[1]
    return differing / count, count


def _golden(challenger: Mind, bundle: Path, limit: float | None) -> dict[str, Any]:
    share, count = flip_rate(challenger, bundle)
    beside = "told, not limited: it began from scratch" if limit is None else f"at most {limit:.0%}"
    return {
        "name": "golden decisions",
        "passed": limit is None or share <= limit,
        "figure": share,
        "limit": limit,
        "words": f"{share:.1%} of {count:,} golden decisions differ from the champion's, expected {beside}.",
    }


def _crises(market: MarketTensors) -> list[tuple[str, tuple[int, int]]]:
    """Stress windows that lie whole in the training dates; none in a market whose dates are made up."""
    if "simulated" in str(market.info.get("label")):
        return []
    dates = market.snapshot_T.numpy().astype("datetime64[ns]").astype("datetime64[D]").astype(str)
    start, stop = market.split("train")
    known = dates[start:stop]
    found = []
    for crisis in CRISES:
        if crisis.name not in STRESS or crisis.first < known[0] or crisis.last > known[-1]:
            continue
        first, last = (int(np.searchsorted(known, day, side="right")) - 1 for day in (crisis.first, crisis.last))
        found.append((crisis.name, (start + first, start + last + 1)))
    return found


def _stressed(
    name: str,
    span: tuple[int, int],
    champion: Mind,
    challenger: Mind,
    market: MarketTensors,
    config: RunConfig,
    limits: Limits,
) -> dict[str, Any]:
    """Both through one crisis as a backtest trades it."""
    growth, fall = {}, {}
    for traded in trade([champion.policy(), challenger.policy()], market, config.env, span, seed=config.seed):
        equity, _, _ = traded.curves()
        growth[traded.name] = float(np.log(max(equity[-1, 0], 1e-9) / equity[0, 0]))
        fall[traded.name] = max_drawdown(equity[:, 0])
    less = growth[challenger.name] - growth[champion.name]
    deeper = fall[challenger.name] - fall[champion.name]
    return {
        "name": f"stress: {name}",
        "passed": less >= -limits.stress and deeper >= -limits.fall,
        "figure": less,
        "limit": -limits.stress,
        "fall": deeper,
        "fall_limit": -limits.fall,
        "words": f"{name}: growth {growth[challenger.name]:+.2%}, largest fall {-fall[challenger.name]:.2%}, the "
        f"champion's {growth[champion.name]:+.2%} and {-fall[champion.name]:.2%}; allowed is {limits.stress:.0%} less "
        f"growth and a fall {limits.fall:.0%} deeper.",
    }


def _crash(champion: Mind, challenger: Mind, config: RunConfig, limits: Limits) -> dict[str, Any]:
    """Both through the same made-up crashes."""
    world = simulated_world(n_steps=config.env.horizon + 2, fair=False, planted=CRASH, seed=CRASH_SEED)
    env = _env(world, config, 2 * CRASH_EPISODES)
    return _held_against(
        "stress: planted crash (simulated)",
        f"{CRASH_EPISODES} episodes of a made-up world with crashes",
        walk_episodes([Lane(champion.model), Lane(challenger.model)], env, config.env),
        limits.crash_bps,
    )


def _old_regimes(
    champion: Mind,
    challenger: Mind,
    market: MarketTensors,
    config: RunConfig,
    begin: torch.Tensor,
    limits: Limits,
) -> dict[str, Any]:
    """Both through every stretch of the training dates."""
    env = _env(market, config, 2 * len(begin), window=market.split("train"))
    return _held_against(
        "old regimes",
        f"{len(begin)} stretches of {config.env.horizon} sessions, the whole of the training dates",
        walk_episodes([Lane(champion.model), Lane(challenger.model)], env, config.env, begin=begin),
        limits.old_bps,
    )


def _env(
    market: MarketTensors | GeneratedWorld, config: RunConfig, n_envs: int, window: tuple[int, int] | None = None
) -> OptionsEnv:
    return OptionsEnv(market, raw(config.env), n_envs=n_envs, seed=config.seed, stagger=False, window=window)


def _blocks(market: MarketTensors, horizon: int) -> torch.Tensor:
    """Snapshots at which stretches of an episode's length begin, one after the other, over the training dates."""
    start, stop = market.split("train")
    begin = torch.arange(start, stop - horizon, horizon)
    return begin[last_snapshots(market.segment_end_T, stop)[begin] - begin >= horizon]


def _held_against(name: str, where: str, walked: list[Episodes], limit: float) -> dict[str, Any]:
    """Interquartile means of both, and whether the challenger's is not below the champion's by more than `limit`."""
    theirs, ours = (iqm(_growth(episodes)) for episodes in walked)
    less = ours - theirs
    return {
        "name": name,
        "passed": less >= -limit,
        "figure": less,
        "limit": -limit,
        "words": f"{where}: interquartile mean {ours:+.3f} bps per session beyond cash, the champion's {theirs:+.3f}; "
        f"{less:+.3f}, expected at least {-limit:+.2f}.",
    }


def _growth(episodes: Episodes) -> np.ndarray:
    """Growth beyond cash of each episode, basis points per session of its whole length [1, N]."""
    total = (episodes.growth.double() * episodes.alive).sum(dim=0) / episodes.growth.shape[0]
    return total.numpy()[None, :]


def summed_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All rows as the one that the rules of promotion ask for; without any there was no champion to unlearn from."""
    failed = [row for row in rows if not row["passed"]]
    words = "There is no champion: nothing could be unlearned."
    if rows:
        words = f"All {len(rows)} things that the champion knows were asked for, and none was lost."
    if failed:
        words = " ".join(row["words"] for row in failed)
    return {"name": REGRESSION, "passed": not failed, "failed": [row["name"] for row in failed], "words": words}
