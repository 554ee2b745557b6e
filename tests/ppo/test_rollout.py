"""Rollouts hold what happened, where it happened: identifiable data, stored states, bootstraps before resets."""

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.model.clstm import CLSTM
from clstm_core.model.engine import use_kernels
from clstm_core.ppo.losses import log_prob_of
from clstm_core.ppo.rollout import begin, collect
from clstm_core.ppo.storage import Rollout, sequences

ENVS, STEPS, CHUNK, LENGTH = 6, 12, 4, 5


def model_for(env, **kind) -> CLSTM:
    torch.manual_seed(0)
    return CLSTM(env.observation_size, env.n_actions, ModelConfig(hidden_dim=8, attention_window=3, **kind))


def walk(env, model, rollouts=1, **more):
    carry, generator = begin(model, env), torch.Generator().manual_seed(1)
    rollout = Rollout.allocate(model, env, n_steps=STEPS, bptt_steps=CHUNK)
    for _ in range(rollouts):
        before = carry
        carry = collect(model, env, carry, rollout, generator=generator, **more)
    return rollout, before, carry


def test_identifiable_data(toys):
    env = toys.CountingEnv(ENVS, length=LENGTH)
    rollout, _, carry = walk(env, model_for(env))
    step, who = torch.arange(STEPS).unsqueeze(1).expand(-1, ENVS), torch.arange(ENVS).expand(STEPS, -1)
    clock = (step + who) % LENGTH
    assert torch.equal(rollout.observation, torch.stack((who, clock, step), dim=2).float())
    assert torch.equal(rollout.reward, (10 * step + who).float())
    ends = clock == LENGTH - 1
    assert torch.equal(rollout.terminated, ends & (who % 3 == 0))
    assert torch.equal(rollout.truncated, ends & (who % 3 != 0))
    final = torch.stack((who, clock + 1, step + 1), dim=2).float()
    assert torch.equal(rollout.final_observation, final)  # the clock before its reset
    assert rollout.start[0].all()
    assert torch.equal(rollout.start[1:], ends[:-1])
    assert torch.equal(carry.start, ends[-1])
    assert rollout.free.all()


def test_episode_sums_restart_with_the_episode(toys):
    env = toys.CountingEnv(ENVS, length=LENGTH)
    rollout, _, _ = walk(env, model_for(env))
    ended = rollout.terminated | rollout.truncated
    first_full = (torch.cumsum(ended, dim=0) == 2) & ended
    assert (rollout.episode_length[first_full] == LENGTH).all()
    n = 1  # clock starts at 1: ends at step 3, the next episode holds steps 4 .. 8
    assert rollout.episode_reward[8, n].item() == sum(10 * t + n for t in range(4, 9))


def test_sequences_keep_time_and_env_together(toys):
    env = toys.CountingEnv(ENVS, length=LENGTH)
    rollout, _, _ = walk(env, model_for(env))
    data = sequences(rollout)
    for k in range(STEPS // CHUNK):
        for n in range(ENVS):
            index = k * ENVS + n
            assert torch.equal(data.observation[:, index, 0], torch.full((CHUNK,), float(n)))
            assert data.observation[:, index, 2].tolist() == list(range(k * CHUNK, (k + 1) * CHUNK))
            assert torch.equal(data.state.actor_h[index], rollout.chunk_state.actor_h[k, n])
    picked = data.select(torch.tensor([7, 2]))
    assert picked.observation[0, :, 0].tolist() == [1.0, 2.0]
    assert torch.equal(picked.state.critic_c[1], data.state.critic_c[2])


@pytest.mark.parametrize("kind", [{}, {"use_attention": False}, {"dual_trunk": False}])
def test_values_and_bootstraps_equal_the_step_by_step_critic(toys, kind):
    env = toys.NoiseEnv(ENVS, length=LENGTH)
    model = model_for(env, **kind)
    rollout, before, carry = walk(env, model, rollouts=2)
    state = before.state
    assert state.actor_h.abs().sum() > 0
    with torch.no_grad():
        for t in range(STEPS):
            state = state.reset(rollout.start[t])
            if t % CHUNK == 0:
                fresh = ~rollout.start[t]
                for name in ("actor_h", "actor_c"):
                    stored = getattr(rollout.chunk_state, name)[t // CHUNK]
                    torch.testing.assert_close(stored[fresh], getattr(state, name)[fresh], atol=1e-5, rtol=0)
            logits, value, state = model.step(rollout.observation[t], rollout.mask[t], state)
            _, ahead, _ = model.step(rollout.final_observation[t], None, state)
            log_prob = log_prob_of(rollout.action[t], logits.log_softmax(-1))
            torch.testing.assert_close(rollout.value[t], value, atol=1e-5, rtol=0)
            torch.testing.assert_close(rollout.next_value[t], ahead, atol=1e-5, rtol=0)
            torch.testing.assert_close(rollout.log_prob[t], log_prob, atol=1e-5, rtol=0)
    torch.testing.assert_close(carry.state.actor_h, state.actor_h, atol=1e-5, rtol=0)
    on = ~rollout.start[1:]
    torch.testing.assert_close(rollout.next_value[:-1][on], rollout.value[1:][on], atol=1e-5, rtol=0)
    assert (rollout.next_value[:-1][~on] - rollout.value[1:][~on]).abs().max() > 1e-3


def test_forced_steps_are_known(toys):
    env = toys.RecallEnv(ENVS, length=LENGTH)
    rollout, _, _ = walk(env, model_for(env))
    assert torch.equal(rollout.free, rollout.observation[..., 1] == 1)
    assert (rollout.action[~rollout.free] == 0).all()
    assert (rollout.log_prob[~rollout.free] == 0).all()


@pytest.mark.parametrize("compiled", [True, False])
@torch.no_grad()
def test_draws_follow_the_probabilities(compiled):
    probabilities, n = torch.tensor([0.7, 0.2, 0.1]), 20_000
    model = CLSTM(5, 4, ModelConfig(hidden_dim=32, attention_window=4))
    if compiled:
        use_kernels(model, "float32")
    model.policy_head.weight.zero_()
    model.policy_head.bias[:3] = probabilities.log()
    mask = torch.tensor([True, True, True, False]).expand(n, 4)
    log_noise = torch.empty(n, 4).exponential_(generator=torch.Generator().manual_seed(0)).log()
    start = torch.zeros(n, dtype=torch.bool)
    action, log_prob, _ = model.decide(torch.randn(n, 5), mask, model.initial_state(n), start, log_noise)
    found = torch.bincount(action, minlength=4) / n
    assert (found[:3] - probabilities).abs().max() < 0.015
    assert found[3] == 0
    torch.testing.assert_close(log_prob.exp(), probabilities[action])
