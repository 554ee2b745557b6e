"""A loop as CleanRL writes recurrent PPO: a minibatch is some envs' whole rollout, unrolled step by step for resets.

What differs: BPTT goes through all steps of the rollout; truncated episodes are not bootstrapped; no logs.
"""

from collections.abc import Callable

import torch

from tools.bench.peers.single_trunk import Loop, State, forget
from tools.bench.task import System, Task


class CleanRLStyle(Loop):
    """Minibatches by env."""

    def iterate(self) -> None:
        """One walk and one epoch."""
        (advantage, target), rollout = self.walk(), self.rollout
        for envs in torch.randperm(self.task.n_envs).split(self.task.batch_size // self.task.n_steps):
            state = (rollout.state[0][:, envs], rollout.state[1][:, envs])
            y = self.unroll(rollout.observation[:, envs], rollout.start[:, envs], state)
            self.descend(
                self.model.heads(y),
                rollout.action[:, envs],
                rollout.log_prob[:, envs],
                advantage[:, envs],
                target[:, envs],
            )

    def unroll(self, observation_TBF: torch.Tensor, start_TB: torch.Tensor, state: State) -> torch.Tensor:
        """LSTM outputs [T, B, H], the state forgotten before each step that begins an episode."""
        outputs = []
        for observation_BF, start_B in zip(observation_TBF, start_TB, strict=True):
            y, state = self.model.lstm(observation_BF.unsqueeze(0), forget(state, start_B))
            outputs.append(y)
        return torch.cat(outputs)


def build(task: Task, system: System) -> Callable[[], object]:
    """One iteration; the minibatch is a whole number of envs."""
    return CleanRLStyle(task).iterate
