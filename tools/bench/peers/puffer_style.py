"""A loop as PufferLib 3 trains: segments through one call of torch.nn.LSTM each, from an empty state.

What differs: nothing is forgotten inside a segment, a segment's stored state is not used, truncated episodes are not
bootstrapped, and the walk begins each rollout with an empty state; no logs. Segments are drawn by a shuffle, not by
priority, and their advantages are computed once.
"""

from collections.abc import Callable

import torch

from tools.bench.peers.single_trunk import Loop
from tools.bench.task import System, Task


class PufferStyle(Loop):
    """Minibatches of segments of `bptt_steps` steps."""

    def iterate(self) -> None:
        """One walk and one epoch."""
        self.state = (torch.zeros_like(self.state[0]), torch.zeros_like(self.state[1]))
        (advantage, target), rollout = self.walk(), self.rollout
        parts = [
            segments(part, self.task.bptt_steps)
            for part in (rollout.observation, rollout.action, rollout.log_prob, advantage, target)
        ]
        for index in torch.randperm(parts[0].shape[1]).split(self.task.batch_size // self.task.bptt_steps):
            observation, *others = (part[:, index] for part in parts)
            y, _ = self.model.lstm(observation)
            self.descend(self.model.heads(y), *others)

    def act(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One step for all envs; the state goes on through an episode's end."""
        y, self.state = self.model.lstm(self.observation.unsqueeze(0), self.state)
        return self.model.heads(y[0])


def segments(value_TN: torch.Tensor, steps: int) -> torch.Tensor:
    """[T, N, ...] cut along T: [steps, T / steps x N, ...]."""
    return value_TN.unflatten(0, (-1, steps)).transpose(0, 1).flatten(1, 2)


def build(task: Task, system: System) -> Callable[[], object]:
    """One iteration; the minibatch is a whole number of segments."""
    return PufferStyle(task).iterate
