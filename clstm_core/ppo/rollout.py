"""Collect experience: the actor walks the env step by step, the critic values all of it afterwards in batches."""

from typing import NamedTuple

import torch

from clstm_core.env.protocol import BatchedEnv
from clstm_core.model.clstm import CLSTM, RecurrentState, reset_trunk
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.losses import log_prob_of
from clstm_core.ppo.storage import Rollout


class Carry(NamedTuple):
    """Where the last rollout stopped and the next one goes on."""

    observation: torch.Tensor  # [N, F]
    mask: torch.Tensor  # [N, A] bool
    start: torch.Tensor  # [N] bool: an episode starts at this observation
    state: RecurrentState
    episode_reward: torch.Tensor  # [N], so far
    episode_length: torch.Tensor  # [N], so far


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
    rollout: Rollout,
    *,
    generator: torch.Generator,
    forced_start: torch.Tensor | None = None,
) -> Carry:
    """Walk every env through `rollout`, which is written in place, and value all of it; where the walk stopped."""
    return assess(
        model, rollout, carry, walk(model, env, carry, rollout, generator=generator, forced_start=forced_start)
    )


@torch.no_grad()
def walk(
    model: CLSTM,
    env: BatchedEnv,
    carry: Carry,
    rollout: Rollout,
    *,
    generator: torch.Generator,
    forced_start: torch.Tensor | None = None,
) -> Carry:
    """The actor's part of `collect`, with sampled actions: it reads nothing of the critic, and writes nothing of it.

    Nothing waits for the device inside the loop.

    Args:
        rollout: from `Rollout.allocate`; its number of steps is how far to walk
        forced_start: [T, N] bool, further steps before which the policy forgets (the self-test's staggered resets)
    """
    observation, mask, start, state, episode_reward, episode_length = carry
    chunk_actor = rollout.chunk_state.actor
    for t in range(rollout.n_steps):
        if forced_start is not None:
            start = start | forced_start[t]
        if t % rollout.bptt_steps == 0:
            _store(chunk_actor, t // rollout.bptt_steps, state.actor)
        state = state.with_actor(reset_trunk(state.actor, start))
        logits, state = model.act(observation, mask, state)
        action, log_prob = sample(logits, generator)
        rollout.write(t, observation=observation, mask=mask, start=start, action=action, log_prob=log_prob)
        step = env.step(action)
        episode_reward, episode_length = episode_reward + step.reward, episode_length + 1
        rollout.write(
            t,
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
            final_observation=step.final_observation,
            episode_reward=episode_reward,
            episode_length=episode_length,
        )
        done = step.terminated | step.truncated
        observation, mask, start = step.observation, _mask_or_all(step.action_mask, env), done
        episode_reward = torch.where(done, torch.zeros_like(episode_reward), episode_reward)
        episode_length = torch.where(done, torch.zeros_like(episode_length), episode_length)
    return Carry(observation, mask, start, state, episode_reward, episode_length)


def assess(model: CLSTM, rollout: Rollout, before: Carry, after: Carry) -> Carry:
    """The critic's part of `collect`: the values of a rollout that was walked, and where the walk stopped.

    Args:
        before, after: where `walk` began, and what it returned
    """
    critic = value_steps(
        model,
        rollout,
        model.critic_state(before.state),
        rollout.value,
        rollout.next_value,
        rollout.chunk_state.critic if model.critic_trunk is not None else None,
    )
    return after if model.critic_trunk is None else after._replace(state=after.state.with_critic(critic))


@torch.no_grad()
def value_steps(
    model: CLSTM,
    rollout: Rollout,
    state: TrunkState,
    value_TN: torch.Tensor,
    next_value_TN: torch.Tensor,
    chunk_state: TrunkState | None = None,
) -> TrunkState:
    """The critic's pass over a rollout, chunk by chunk; its state at the end.

    Args:
        state: the critic's before the first step
        value_TN: written: values [T, N]
        next_value_TN: written: V(final_observation) [T, N] with the state after each step, before any reset
        chunk_state: written, where given: the critic's state before each chunk [K, N, ...]
    """
    for k, first in enumerate(range(0, rollout.n_steps, rollout.bptt_steps)):
        chunk = slice(first, first + rollout.bptt_steps)
        if chunk_state is not None:
            _store(chunk_state, k, state)
        features = model.encoder(rollout.observation[chunk])
        value_TN[chunk], state, steps = model.unroll_critic(features, rollout.start[chunk], state)
        next_value_TN[chunk] = model.look_ahead(model.encoder(rollout.final_observation[chunk]), steps)
    return state


def _store(chunks: TrunkState, k: int, state: TrunkState) -> None:
    """Write a trunk's state [N, ...] into slot k of [K, N, ...]."""
    for buffer, part in zip(chunks, state, strict=True):
        buffer[k].copy_(part)


def sample(logits_NA: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions [N] from softmax(logits) and their log-probabilities [N], by the exponential race of Gumbel's trick."""
    log_probs = logits_NA.log_softmax(dim=-1)
    noise = torch.empty_like(log_probs).exponential_(generator=generator)
    action = (log_probs - noise.log()).argmax(dim=-1)
    return action, log_prob_of(action, log_probs)


def _mask_or_all(mask: torch.Tensor | None, env: BatchedEnv) -> torch.Tensor:
    if mask is None:
        return torch.ones(env.n_envs, env.n_actions, dtype=torch.bool, device=env.device)
    return mask
