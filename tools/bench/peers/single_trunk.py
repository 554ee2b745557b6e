"""What the two loops of our own writing share: one torch.nn.LSTM for actor and critic, a rollout, GAE, the PPO loss."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tools.bench.task import ACTIONS, FEATURES, Task
from tools.bench.toy_env import ToyEnv

GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, MAX_NORM = 0.99, 0.95, 0.1, 0.02, 0.5, 0.5
State = tuple[torch.Tensor, torch.Tensor]
"""h and c of torch.nn.LSTM, [1, N, H] each."""


class SingleTrunk(nn.Module):
    """An LSTM, a policy head and a value head."""

    def __init__(self, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, hidden)
        self.actor, self.critic = nn.Linear(hidden, ACTIONS), nn.Linear(hidden, 1)
        nn.init.orthogonal_(self.actor.weight, 0.01)

    def heads(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities [..., A] and values [...] of LSTM outputs [..., H]."""
        return self.actor(y).log_softmax(dim=-1), self.critic(y).squeeze(-1)


@dataclass(slots=True)
class Rollout:
    """What one walk left, [T, N] and [T, N, F]; `start` says where an episode begins at the step."""

    observation: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor
    reward: torch.Tensor
    start: torch.Tensor
    state: State  # before the first step

    @classmethod
    def allocate(cls, task: Task) -> "Rollout":
        """Buffers that every walk writes over."""
        shape = (task.n_steps, task.n_envs)
        log_prob, value, reward, start = (torch.zeros(shape) for _ in range(4))
        action = torch.zeros(shape, dtype=torch.int64)
        state = (torch.zeros(1, task.n_envs, task.hidden), torch.zeros(1, task.n_envs, task.hidden))
        return cls(torch.zeros(*shape, FEATURES), action, log_prob, value, reward, start, state)


class Loop:
    """The walk and one Adam for everything; children say how a sequence is unrolled and cut."""

    def __init__(self, task: Task):
        torch.manual_seed(0)
        self.task, self.env, self.model = task, ToyEnv(task.n_envs), SingleTrunk(task.hidden)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, eps=1e-5, fused=True)
        self.rollout = Rollout.allocate(task)
        self.observation, self.start = self.env.reset()[0], torch.ones(task.n_envs)
        self.state = self.rollout.state

    @torch.no_grad()
    def walk(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Fill the rollout; advantages and returns [T, N]."""
        rollout, model = self.rollout, self.model
        rollout.state = self.state
        for t in range(self.task.n_steps):
            log_probs, value = self.act()
            action = torch.multinomial(log_probs.exp(), 1)
            rollout.observation[t], rollout.start[t], rollout.value[t] = self.observation, self.start, value
            rollout.action[t], rollout.log_prob[t] = action.squeeze(1), log_probs.gather(1, action).squeeze(1)
            step = self.env.step(rollout.action[t])
            rollout.reward[t] = step.reward
            self.observation, self.start = step.observation, (step.terminated | step.truncated).float()
        y, _ = model.lstm(self.observation.unsqueeze(0), forget(self.state, self.start))
        advantage = advantages(rollout, self.start, model.heads(y[0])[1])
        return advantage, advantage + rollout.value

    def act(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One step for all envs from `state`, which moves on: log-probabilities [N, A] and values [N]."""
        y, self.state = self.model.lstm(self.observation.unsqueeze(0), forget(self.state, self.start))
        return self.model.heads(y[0])

    def descend(
        self,
        heads: tuple[torch.Tensor, torch.Tensor],
        action: torch.Tensor,
        old_log_prob: torch.Tensor,
        advantage: torch.Tensor,
        target: torch.Tensor,
    ) -> None:
        """One clipped step down PPO's loss of a minibatch of sequences [T, B]."""
        log_probs, value = heads
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        ratio = (log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1) - old_log_prob).exp()
        policy = -torch.min(advantage * ratio, advantage * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
        entropy = -(log_probs.exp() * log_probs).sum(dim=-1).mean()
        loss = policy + VALUE * (value - target).square().mean() - ENTROPY * entropy
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()


def forget(state: State, start_N: torch.Tensor) -> State:
    """The state with the rows zeroed where an episode begins."""
    keep = (1 - start_N).view(1, -1, 1)
    return state[0] * keep, state[1] * keep


def advantages(rollout: Rollout, next_start_N: torch.Tensor, next_value_N: torch.Tensor) -> torch.Tensor:
    """Generalised advantages [T, N], an episode's end worth nothing; in numpy, whose small steps are the cheapest."""
    value, reward = rollout.value.numpy(), rollout.reward.numpy()
    keep = 1 - np.concatenate((rollout.start.numpy()[1:], next_start_N.numpy()[None]))
    after = np.concatenate((value[1:], next_value_N.numpy()[None]))
    delta = reward + GAMMA * after * keep - value
    out, last = np.empty_like(value), np.zeros_like(value[0])
    for t in reversed(range(len(value))):
        out[t] = last = delta[t] + GAMMA * LAMBDA * keep[t] * last
    return torch.from_numpy(out)
