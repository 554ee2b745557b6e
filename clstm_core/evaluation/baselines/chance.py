"""Traders without a view: what no skill at all earns after costs."""

from typing import Any

import torch

from clstm_core.env.state import Orders
from clstm_core.evaluation.policies import Decided, Lanes


class RandomPolicy:
    """Every legal action equally likely, from a seed: what no skill at all earns after costs."""

    kind = "baseline"

    def __init__(self, seed: int = 0, n_episodes: int = 1):
        self.name, self.label = "random", "Uniformly random legal actions"
        self.seed, self.n_episodes = seed, n_episodes
        self.reset(n_episodes)

    def reset(self, n_envs: int) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self.last = Decided.rule(n_envs)

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        action = self.draw(mask)
        self.last = self.last._replace(action_N=action)
        return env.orders_for(action)

    def draw(self, mask: torch.Tensor) -> torch.Tensor:
        """An action [N] of each account's legal ones [N, A]."""
        return torch.multinomial(mask.double(), 1, generator=self._generator).squeeze(1)

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "kind": self.kind, "mode": "stochastic", "checkpoint": None}
