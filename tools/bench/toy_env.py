"""A trivial batched env: what it costs is next to nothing, so that a rate is the trainer's own.

Everything but the reward is read from tables, by one clock for all envs. Its torch tensors are handed to every trainer,
as they are or as numpy views.
"""

import numpy as np
import torch

from clstm_core.env.protocol import EnvStep
from tools.bench.task import ACTIONS, FEATURES

FRAMES = 61
"""Observations of an env before they repeat."""
PERIOD = 2048
"""Steps after which episodes end as they did before."""


class ToyEnv:
    """N envs whose episodes last 96 to 160 steps and end by chance in truth or by the clock, each at its own time.

    The reward is the observed feature of the action's number: greedy choice of the largest is best, and can be learnt.

    Shapes:  observation [N, 64] float32; action [N] int64 of 8; no mask
    """

    observation_size, n_actions = FEATURES, ACTIONS

    def __init__(self, n_envs: int, seed: int = 0):
        self.n_envs, self.device = n_envs, torch.device("cpu")
        random = np.random.default_rng(seed)
        self._frames = torch.from_numpy(random.standard_normal((FRAMES, n_envs, FEATURES), dtype=np.float32))
        self._first_NF = torch.from_numpy(random.standard_normal((n_envs, FEATURES), dtype=np.float32))
        ended_TN = torch.from_numpy(episode_ends(random, n_envs))
        by_clock_TN = torch.from_numpy(random.random((PERIOD, n_envs)) < 0.5)
        self._terminated_TN, self._truncated_TN = ended_TN & ~by_clock_TN, ended_TN & by_clock_TN
        self._ended_TN1 = ended_TN.unsqueeze(-1)
        self.reset()

    def reset(self) -> tuple[torch.Tensor, None]:
        """Start the clock afresh; the observation [N, 64] and no mask."""
        self._clock, self._observation = 0, self._first_NF
        return self._observation, None

    def step(self, action: torch.Tensor) -> EnvStep:
        """Advance every env by its action [N] int64."""
        reward = self._observation.gather(1, action.unsqueeze(1)).squeeze(1)
        row = self._clock % PERIOD
        self._clock += 1
        final = self._frames[self._clock % FRAMES]
        self._observation = torch.where(self._ended_TN1[row], self._first_NF, final)
        return EnvStep(self._observation, reward, self._terminated_TN[row], self._truncated_TN[row], final, None)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The clock and what is seen."""
        return {"clock": torch.tensor(self._clock), "observation": self._observation.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state_dict`."""
        self._clock, self._observation = int(state["clock"]), state["observation"].clone()


def episode_ends(random: np.random.Generator, n_envs: int) -> np.ndarray:
    """After which steps [PERIOD, N] bool an episode ends: the first anywhere in its life, the others 96 to 160 long."""
    ended_TN = np.zeros((PERIOD, n_envs), dtype=bool)
    for n in range(n_envs):
        lengths = np.concatenate((random.integers(1, 129, 1), random.integers(96, 161, PERIOD // 96)))
        ends = lengths.cumsum() - 1
        ended_TN[ends[ends < PERIOD], n] = True
    return ended_TN
