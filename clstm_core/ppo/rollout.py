"""Collect experience: the actor walks the env step by step, the critic values all of it afterwards in batches."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch

from clstm_core.env.protocol import BatchedEnv
from clstm_core.model.clstm import CLSTM, RecurrentState
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.ranks import ALONE, Ranks
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
    ranks: Ranks = ALONE,
) -> Carry:
    """Walk every env through `rollout`, which is written in place, and value all of it; where the walk stopped."""
    after = walk(model, env, carry, rollout, generator=generator, forced_start=forced_start, ranks=ranks)
    critic = model.critic_state(carry.state)
    for chunk in range(rollout.n_chunks):
        critic = value_chunk(model, rollout, chunk, critic)
    return valued(model, after, critic)


@torch.no_grad()
def walk(
    model: CLSTM,
    env: BatchedEnv,
    carry: Carry,
    rollout: Rollout,
    *,
    generator: torch.Generator,
    forced_start: torch.Tensor | None = None,
    walked: Callable[[int], Any] | None = None,
    ranks: Ranks = ALONE,
) -> Carry:
    """The actor's part of `collect`, with sampled actions: it reads nothing of the critic, and writes nothing of it.

    Nothing waits for the device inside the loop.

    Args:
        rollout: from `Rollout.allocate`; its number of steps is how far to walk
        forced_start: [T, N] bool, further steps before which the policy forgets (the self-test's staggered resets)
        walked: told the number of each chunk that is whole, which `value_chunk` may value then
        ranks: among whose envs these are
    """
    observation, mask, start, state, episode_reward, episode_length = carry
    chunk_actor = rollout.chunk_state.actor
    log_noise = ranks.exponential(rollout.mask.shape, generator, env.device).log_()
    with model.actor_trunk.lstm.standing():
        for t in range(rollout.n_steps):
            if forced_start is not None:
                start = start | forced_start[t]
            chunk, inside = divmod(t, rollout.bptt_steps)
            if not inside:
                _store(chunk_actor, chunk, state.actor)
            action, log_prob, state = model.decide(observation, mask, state, start, log_noise[t])
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
            episode_reward = torch.where(done, 0.0, episode_reward)
            episode_length = torch.where(done, 0.0, episode_length)
            if walked is not None and inside + 1 == rollout.bptt_steps:
                walked(chunk)
    return Carry(observation, mask, start, state, episode_reward, episode_length)


def valued(model: CLSTM, after: Carry, critic: TrunkState) -> Carry:
    """Where a walk stopped, with the state at which the critic arrived."""
    return after if model.critic_trunk is None else after._replace(state=after.state.with_critic(critic))


@torch.no_grad()
def value_chunk(model: CLSTM, rollout: Rollout, chunk: int, state: TrunkState) -> TrunkState:
    """The critic's pass over one chunk that was walked, written into the rollout; its state at the end.

    Args:
        state: the critic's before the chunk
    """
    if model.critic_trunk is not None:
        _store(rollout.chunk_state.critic, chunk, state)
    steps = rollout.steps_of(chunk)
    return value_steps(model, rollout, steps, state, rollout.value[steps], rollout.next_value[steps])


@torch.no_grad()
def value_steps(
    model: CLSTM,
    rollout: Rollout,
    steps: slice,
    state: TrunkState,
    value_CN: torch.Tensor,
    next_value_CN: torch.Tensor,
) -> TrunkState:
    """The critic's pass over some steps of a rollout; its state at their end.

    V(final_observation) is the next step's value where the episode goes on. On a CPU only the other steps are looked
    ahead from; elsewhere all are, so that shapes stay the same.

    Args:
        state: the critic's before the first of the steps
        value_CN: written: values [C, N]
        next_value_CN: written: V(final_observation) [C, N] with the state after each step, before any reset
    """
    start, own = rollout.start[steps], model.critic_trunk
    with nullcontext() if own is None else own.lstm.standing():  # a shared trunk's may stand for a walk already
        value, states = model.unroll_critic(model.encoder(rollout.observation[steps]), start, state)
        value_CN.copy_(value)
        next_value_CN[:-1].copy_(value[1:])
        t_M, n_M = _seams(start)
        final_MF = rollout.final_observation[steps][t_M, n_M]
        next_value_CN[t_M, n_M] = model.look_ahead(model.encoder(final_MF), states, t_M, n_M)
    return states.last()


@torch.no_grad()
def revalued(model: CLSTM, rollout: Rollout, state: TrunkState) -> Rollout:
    """The same walk with what the critic says of it now.

    Args:
        state: the critic's before the first step
    """
    value, next_value = torch.empty_like(rollout.value), torch.empty_like(rollout.next_value)
    for chunk in range(rollout.n_chunks):
        steps = rollout.steps_of(chunk)
        state = value_steps(model, rollout, steps, state, value[steps], next_value[steps])
    return rollout._replace(value=value, next_value=next_value)


def _seams(start_CN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps and envs [M] after which no episode goes on within these steps; all of them where asking would wait."""
    if start_CN.device.type != "cpu":
        return _every_step(start_CN)
    ends = torch.cat((start_CN[1:], torch.ones_like(start_CN[:1])))
    c_M, n_M = ends.nonzero(as_tuple=True)
    return c_M, n_M


def _every_step(start_CN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All steps and envs [C * N]."""
    c, n = (torch.arange(size, device=start_CN.device) for size in start_CN.shape)
    return c.repeat_interleave(len(n)), n.repeat(len(c))


def _store(chunks: TrunkState, k: int, state: TrunkState) -> None:
    """Write a trunk's state [N, ...] into slot k of [K, N, ...]."""
    for buffer, part in zip(chunks, state, strict=True):
        buffer[k].copy_(part)


def _mask_or_all(mask: torch.Tensor | None, env: BatchedEnv) -> torch.Tensor:
    if mask is None:
        return torch.ones(env.n_envs, env.n_actions, dtype=torch.bool, device=env.device)
    return mask
