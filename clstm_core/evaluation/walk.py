"""Policies walked side by side through one window, each in its own accounts of one batched float64 OptionsEnv.

An account never sees another, so that the ledgers are those of a run alone, and the environment's work is shared.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation import ledgers
from clstm_core.evaluation.policies import Policy
from clstm_core.market.tensors import MarketTensors

Progress = Callable[[int, int], None]


class _Lanes:
    """Consecutive accounts of one env, as one policy sees them."""

    def __init__(self, env: OptionsEnv, first: int, count: int):
        self._env, self._lanes, self.n_envs = env, slice(first, first + count), count
        self.config, self.view = env.config, env.view

    @property
    def state(self) -> AccountState:
        return AccountState(**{name: value[self._lanes] for name, value in self._env.state.tensors().items()})

    def orders_for(self, action_N: torch.Tensor) -> Orders:
        action = torch.zeros(self._env.n_envs, dtype=torch.int64)
        action[self._lanes] = action_N
        return Orders(*(part[self._lanes] for part in self._env.orders_for(action)))

    def of(self, batch: torch.Tensor) -> torch.Tensor:
        return batch[self._lanes]


def steps_of(market: MarketTensors, start: int, stop: int) -> int:
    """Steps until the window's last snapshot, or the end of the history that the window begins in."""
    ends = market.segment_end_T[start : stop - 1].nonzero()
    return int(ends[0]) if len(ends) else stop - 1 - start


def walk_window(
    policies: Sequence[Policy],
    market: MarketTensors,
    config: EnvConfig,
    window: tuple[int, int],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[dict[str, np.ndarray]]:
    """Trade snapshots [start, stop) with each policy; what the ledgers need of each one's accounts, [T, E, ...].

    Args:
        config: with a horizon as long as the window
    """
    counts = [policy.n_episodes for policy in policies]
    env = OptionsEnv(
        market,
        config,
        n_envs=sum(counts),
        seed=seed,
        dtype=torch.float64,
        window=window,
        stagger=False,
        fixed_start=True,
    )
    record = _walk(env, policies, counts, steps_of(market, *window), progress)
    firsts = np.cumsum([0, *counts])
    return [
        {key: value[:, first : first + count] for key, value in record.items()}
        for first, count in zip(firsts, counts, strict=False)
    ]


@torch.inference_mode()
def _walk(
    env: OptionsEnv, policies: Sequence[Policy], counts: Sequence[int], steps: int, progress: Progress | None
) -> dict[str, np.ndarray]:
    """Step the accounts through the window; what the ledgers need, stacked [T, N, ...]."""
    lanes, first = [], 0
    for policy, count in zip(policies, counts, strict=True):
        policy.reset(count)
        lanes.append(_Lanes(env, first, count))
        first += count
    kept: dict[str, list[torch.Tensor]] = {key: [] for key in (*ledgers.RECORDED, "reward", "action", "value")}
    obs, mask = env.reset()
    for step in range(steps):
        parts = [p.decide(lane, lane.of(obs), lane.of(mask)) for p, lane in zip(policies, lanes, strict=True)]
        outcome = env.step_orders(Orders(*(torch.cat(part) for part in zip(*parts, strict=True))))
        ledger = env.last
        for key in ledgers.RECORDED:
            kept[key].append(getattr(ledger, key).clone())
        kept["reward"].append(outcome.reward.clone())
        kept["action"].append(torch.cat([policy.last.action_N for policy in policies]))
        kept["value"].append(torch.cat([policy.last.value_N for policy in policies]))
        assert outcome.action_mask is not None
        obs, mask = outcome.observation, outcome.action_mask
        if progress is not None:
            progress(step + 1, steps)
    return {key: torch.stack(values).cpu().numpy() for key, values in kept.items()}
