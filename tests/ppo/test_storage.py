"""Buffers that are written in place: everything in its slot, allocated once, nothing left over and nothing shared."""

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.errors import ConfigError
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.rollout import begin, collect
from clstm_core.ppo.storage import Rollout, cut, sequences

ENVS, STEPS, CHUNK = 6, 12, 4
KINDS = [{}, {"use_attention": False}, {"dual_trunk": False}]


def allocate(env, chunk=CHUNK, **kind) -> tuple[CLSTM, Rollout]:
    torch.manual_seed(0)
    model = CLSTM(env.observation_size, env.n_actions, ModelConfig(hidden_dim=8, attention_window=3, **kind))
    return model, Rollout.allocate(model, env, n_steps=STEPS, bptt_steps=chunk)


def tensors(rollout: Rollout) -> dict[str, torch.Tensor]:
    named = {name: value for name, value in rollout._asdict().items() if name != "chunk_state"}
    return named | rollout.chunk_state._asdict()


def spoil(rollout: Rollout) -> None:
    """Fill every buffer with what no walk would write."""
    for value in tensors(rollout).values():
        value.fill_(True if value.dtype == torch.bool else -77 if value.dtype == torch.int64 else float("nan"))


def identifiable(t: int) -> torch.Tensor:
    return (10 * t + torch.arange(ENVS)).float()


def test_each_step_lies_in_its_own_slot(toys):
    _, rollout = allocate(toys.CountingEnv(ENVS))
    spoil(rollout)
    for t in range(STEPS):
        number = identifiable(t)
        rollout.write(t, reward=number, action=number.long(), start=number % 20 < ENVS, value=-number)
        rollout.write(t, observation=number.unsqueeze(1) + torch.tensor([0.0, 0.1, 0.2]))
    wanted = torch.stack([identifiable(t) for t in range(STEPS)])
    assert torch.equal(rollout.reward, wanted)
    assert torch.equal(rollout.action, wanted.long())
    assert torch.equal(rollout.value, -wanted)
    assert torch.equal(rollout.start, wanted % 20 < ENVS)
    assert torch.equal(rollout.observation[..., 2], wanted + 0.2)
    assert rollout.next_value.isnan().all()
    data = cut(rollout.reward, CHUNK)
    for k in range(STEPS // CHUNK):
        for n in range(ENVS):
            assert data[:, k * ENVS + n].tolist() == [10 * t + n for t in range(k * CHUNK, (k + 1) * CHUNK)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [CHUNK, STEPS, 1])
def test_a_walk_writes_everything_it_allocated(toys, kind, chunk):
    env = toys.NoiseEnv(ENVS, length=5)
    model, rollout = allocate(env, chunk, **kind)
    spoil(rollout)
    again_env = toys.NoiseEnv(ENVS, length=5)
    _, clean = allocate(again_env, chunk, **kind)
    for value in tensors(clean).values():
        value.zero_()
    for place, buffers in ((env, rollout), (again_env, clean)):
        collect(model, place, begin(model, place), buffers, generator=torch.Generator().manual_seed(1))
    for name, value in tensors(rollout).items():
        assert torch.equal(value, tensors(clean)[name]), name
    assert (rollout.n_steps, rollout.bptt_steps) == (STEPS, chunk)
    assert rollout.chunk_state.actor_h.shape == (STEPS // chunk, ENVS, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_walk_overwrites_and_what_the_carry_holds_survives(toys, kind):
    env = toys.NoiseEnv(ENVS, length=5)
    model, rollout = allocate(env, **kind)
    generator = torch.Generator().manual_seed(1)
    carry = collect(model, env, begin(model, env), rollout, generator=generator)
    kept = [part.clone() for part in (*carry[:3], *carry.state, *carry[4:])]
    addresses = {name: value.data_ptr() for name, value in tensors(rollout).items()}
    last_observation = rollout.final_observation[-1].clone()
    data = sequences(rollout)
    rewards = data.value.clone()
    spoil(rollout)
    for before, after in zip(kept, (*carry[:3], *carry.state, *carry[4:]), strict=True):
        assert torch.equal(before, after)
    assert torch.equal(data.value, rewards)
    collect(model, env, carry, rollout, generator=generator)
    assert {name: value.data_ptr() for name, value in tensors(rollout).items()} == addresses
    on = ~rollout.start[0]
    assert torch.equal(rollout.observation[0][on], last_observation[on])


def test_an_env_that_reuses_its_own_tensors_cannot_reach_into_the_buffers(toys):
    env = toys.CountingEnv(ENVS, length=5)
    model, rollout = allocate(env)
    fresh, shared = env.observe, torch.empty(ENVS, 3)
    env.observe = lambda: shared.copy_(fresh())
    collect(model, env, begin(model, env), rollout, generator=torch.Generator().manual_seed(1))
    assert torch.equal(rollout.observation[..., 2], torch.arange(STEPS).float().unsqueeze(1).expand(-1, ENVS))


def test_a_learner_allocates_once(toys, tiny):
    learner = Learner(tiny(), toys.NoiseEnv(8), toys.NoiseEnv(4, seed=2))
    addresses = [value.data_ptr() for value in tensors(learner.rollout).values()]
    first = learner.rollout.reward.clone()
    for _ in range(3):
        learner.iterate()
        assert [value.data_ptr() for value in tensors(learner.rollout).values()] == addresses
        assert not torch.equal(learner.rollout.reward, first)
        first = learner.rollout.reward.clone()
    assert learner.rollout.reward.shape == (16, 8)
    assert learner.heldout_rollout.reward.shape == (16, 4)


def test_chunks_that_do_not_divide_the_rollout_are_refused(toys):
    env = toys.NoiseEnv(ENVS)
    with pytest.raises(ConfigError, match=r"n_steps=12 is no multiple of bptt_steps=5"):
        allocate(env, chunk=5)
