"""Collect experience: the actor walks the env step by step, the critic values all of it afterwards in batches."""

from typing import NamedTuple

import torch

from clstm_core.env.protocol import BatchedEnv
from clstm_core.model.clstm import CLSTM, RecurrentState, reset_trunk
from clstm_core.model.trunk import TrunkState


class Carry(NamedTuple):
    """Where the last rollout stopped and the next one goes on."""

    observation: torch.Tensor  # [N, F]
    mask: torch.Tensor  # [N, A] bool
    start: torch.Tensor  # [N] bool: an episode starts at this observation
    state: RecurrentState
    episode_reward: torch.Tensor  # [N], so far
    episode_length: torch.Tensor  # [N], so far


class Rollout(NamedTuple):
    """T steps of N envs, time-major, with the recurrent state before each chunk of `bptt_steps`.

    Shapes:  observation, final_observation [T, N, F]; mask [T, N, A]; the rest [T, N]; chunk_state [K, N, ...]
    Assumes: `start[t]` resets the state *before* step t; next_value[t] is V(final_observation[t]) from the critic's
             state after step t and before any reset: the bootstrap of a truncated episode and of the rollout's end
    """

    observation: torch.Tensor
    mask: torch.Tensor
    start: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_observation: torch.Tensor
    episode_reward: torch.Tensor  # of the episode up to and including this step
    episode_length: torch.Tensor
    value: torch.Tensor
    next_value: torch.Tensor
    chunk_state: RecurrentState

    @property
    def free(self) -> torch.Tensor:
        """Steps [T, N] at which the policy had a choice: more than one legal action."""
        return self.mask.sum(dim=-1) > 1


STEP_FIELDS = Rollout._fields[:-3]
"""What the walk itself gives, one value a step; the rest comes from the critic's pass afterwards."""


class Sequences(NamedTuple):
    """A rollout cut into S = K * N sequences of `bptt_steps` steps, each with its stored starting state.

    Shapes: [C, S, ...] for steps, [S, ...] for state
    """

    observation: torch.Tensor
    mask: torch.Tensor
    start: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor
    free: torch.Tensor
    state: RecurrentState

    def select(self, index_B: torch.Tensor) -> "Sequences":
        """The sequences at `index`."""
        names = self._fields[:-1]
        steps = {name: getattr(self, name).index_select(1, index_B) for name in names}
        return Sequences(**steps, state=select_rows(self.state, index_B))


def select_rows(state: RecurrentState, index_B: torch.Tensor) -> RecurrentState:
    """The states of the sequences at `index`."""
    return RecurrentState._make(part.index_select(0, index_B) for part in state)


def cut(value_TN: torch.Tensor, bptt_steps: int) -> torch.Tensor:
    """[T, N, ...] -> [C, K * N, ...]: sequence k * N + n holds steps k * C .. k * C + C - 1 of env n."""
    steps, n = value_TN.shape[:2]
    chunks = value_TN.view(steps // bptt_steps, bptt_steps, n, *value_TN.shape[2:])
    return chunks.transpose(0, 1).reshape(bptt_steps, -1, *value_TN.shape[2:])


def sequences(rollout: Rollout, bptt_steps: int) -> Sequences:
    """The rollout as sequences for minibatches; nothing is recomputed."""
    steps = {name: cut(getattr(rollout, name), bptt_steps) for name in Sequences._fields[:-1]}
    return Sequences(**steps, state=RecurrentState._make(part.flatten(0, 1) for part in rollout.chunk_state))


def begin(model: CLSTM, env: BatchedEnv) -> Carry:
    """Reset every env and forget everything."""
    observation, mask = env.reset()
    n, device = env.n_envs, env.device
    zeros = torch.zeros(n, device=device)
    start = torch.ones(n, dtype=torch.bool, device=device)
    state = model.initial_state(n, device)
    return Carry(observation, _mask_or_all(mask, env), start, state, zeros, zeros.clone())


@torch.no_grad()
def collect(
    model: CLSTM,
    env: BatchedEnv,
    carry: Carry,
    *,
    n_steps: int,
    bptt_steps: int,
    generator: torch.Generator,
    forced_start: torch.Tensor | None = None,
) -> tuple[Rollout, Carry]:
    """Walk every env `n_steps` steps with sampled actions; nothing waits for the device inside the loop.

    Args:
        forced_start: [T, N] bool, further steps before which the policy forgets (the self-test's staggered resets)
    """
    observation, mask, start, state, episode_reward, episode_length = carry
    steps: list[tuple[torch.Tensor, ...]] = []
    chunk_actors: list[TrunkState] = []
    for t in range(n_steps):
        if forced_start is not None:
            start = start | forced_start[t]
        if t % bptt_steps == 0:
            chunk_actors.append(state.actor)
        state = state.with_actor(reset_trunk(state.actor, start))
        logits, state = model.act(observation, mask, state)
        action, log_prob = sample(logits, generator)
        step = env.step(action)
        episode_reward, episode_length = episode_reward + step.reward, episode_length + 1
        steps.append(
            (
                observation,
                mask,
                start,
                action,
                log_prob,
                step.reward,
                step.terminated,
                step.truncated,
                step.final_observation,
                episode_reward,
                episode_length,
            )
        )
        done = step.terminated | step.truncated
        observation, mask, start = step.observation, _mask_or_all(step.action_mask, env), done
        episode_reward = torch.where(done, torch.zeros_like(episode_reward), episode_reward)
        episode_length = torch.where(done, torch.zeros_like(episode_length), episode_length)
    columns = (torch.stack(column) for column in zip(*steps, strict=True))
    walked = dict(zip(STEP_FIELDS, columns, strict=True))
    value, next_value, chunk_critics, critic = value_steps(
        model,
        walked["observation"],
        walked["final_observation"],
        walked["start"],
        model.critic_state(carry.state),
        bptt_steps,
    )
    if model.critic_trunk is None:  # the critic's own state is empty
        chunk_critics = TrunkState._make(part.expand(len(chunk_actors), *part.shape) for part in state.critic)
    else:
        state = state.with_critic(critic)
    chunk_state = RecurrentState(*stack_states(chunk_actors), *chunk_critics)
    rollout = Rollout(**walked, value=value, next_value=next_value, chunk_state=chunk_state)
    return rollout, Carry(observation, mask, start, state, episode_reward, episode_length)


@torch.no_grad()
def value_steps(
    model: CLSTM,
    observation_TNF: torch.Tensor,
    final_observation_TNF: torch.Tensor,
    start_TN: torch.Tensor,
    state: TrunkState,
    bptt_steps: int,
) -> tuple[torch.Tensor, torch.Tensor, TrunkState, TrunkState]:
    """The critic's pass over a rollout, chunk by chunk.

    Returns: values [T, N]; V(final_observation) [T, N] with the state after each step, before any reset; the critic's
             state before each chunk [K, N, ...]; its state at the end
    """
    values, next_values, chunk_states = [], [], []
    for first in range(0, observation_TNF.shape[0], bptt_steps):
        chunk = slice(first, first + bptt_steps)
        chunk_states.append(state)
        features = model.encoder(observation_TNF[chunk])
        value, state, steps = model.unroll_critic(features, start_TN[chunk], state)
        values.append(value)
        next_values.append(model.look_ahead(model.encoder(final_observation_TNF[chunk]), steps))
    return torch.cat(values), torch.cat(next_values), stack_states(chunk_states), state


def stack_states(states: list[TrunkState]) -> TrunkState:
    """States [N, ...] as one [K, N, ...]."""
    return TrunkState._make(torch.stack(column) for column in zip(*states, strict=True))


def sample(logits_NA: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions [N] from softmax(logits) and their log-probabilities [N], by the exponential race of Gumbel's trick."""
    log_probs = logits_NA.log_softmax(dim=-1)
    noise = torch.empty_like(log_probs).exponential_(generator=generator)
    action = (log_probs - noise.log()).argmax(dim=-1)
    return action, log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def _mask_or_all(mask: torch.Tensor | None, env: BatchedEnv) -> torch.Tensor:
    if mask is None:
        return torch.ones(env.n_envs, env.n_actions, dtype=torch.bool, device=env.device)
    return mask
