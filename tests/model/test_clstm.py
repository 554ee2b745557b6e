"""The policy's three ways to run agree; resets, masks, attention windows and gradients behave as promised."""

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.errors import ConfigError
from clstm_core.model.clstm import CLSTM, RecurrentState
from clstm_core.model.lstm import LSTM, _Unroll
from clstm_core.model.trunk import Trunk, TrunkState, visible_slots
from clstm_core.specs import HOLD

STEPS, ENVS, FEATURES, ACTIONS = 23, 6, 5, 4
VARIANTS = {
    "dual": ModelConfig(hidden_dim=16, attention_window=6),
    "wide window": ModelConfig(hidden_dim=16, attention_window=30),
    "window of one": ModelConfig(hidden_dim=16, attention_window=1),
    "no attention": ModelConfig(hidden_dim=16, use_attention=False),
    "no encoder": ModelConfig(hidden_dim=16, attention_window=6, encoder_layers=0),
    "single trunk": ModelConfig(hidden_dim=16, attention_window=6, dual_trunk=False),
}


def make(config: ModelConfig) -> CLSTM:
    torch.manual_seed(3)
    model = CLSTM(FEATURES, ACTIONS, config, torch.randn(FEATURES), torch.rand(FEATURES) + 0.5)
    model.policy_head.weight.data *= 100
    return model


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    obs, start = torch.randn(STEPS, ENVS, FEATURES), torch.rand(STEPS, ENVS) < 0.1
    mask = torch.rand(STEPS, ENVS, ACTIONS) < 0.7
    mask[..., 0] = True
    return obs, mask, start


def walk(model, obs, mask, start, state):
    logits, values = [], []
    for t in range(obs.shape[0]):
        state = state.reset(start[t])
        one, value, state = model.step(obs[t], mask[t], state)
        logits.append(one)
        values.append(value)
    return torch.stack(logits), torch.stack(values), state


@pytest.mark.parametrize("variant", VARIANTS)
def test_unroll_equals_steps_with_resets_and_chunks(variant):
    model = make(VARIANTS[variant])
    obs, mask, start = data()
    assert start[1:].any()
    with torch.no_grad():
        warm, _, _ = data()
        _, _, begin = walk(model, warm[:9], mask[:9], torch.zeros(9, ENVS, dtype=torch.bool), model.initial_state(ENVS))
        logits, values, end = walk(model, obs, mask, start, begin)
        whole = model.unroll(obs, mask, start, begin)
        torch.testing.assert_close(whole[0], logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(whole[1], values, atol=1e-5, rtol=0)
        first = model.unroll(obs[:8], mask[:8], start[:8], begin)
        second = model.unroll(obs[8:], mask[8:], start[8:], first[2])
        torch.testing.assert_close(torch.cat((first[0], second[0])), logits, atol=1e-5, rtol=0)
        for name, found, expected in zip(RecurrentState._fields, second[2], end, strict=True):
            if "memory" in name:  # slots of an earlier episode hold leftovers that `valid` hides
                valid = getattr(end, name.replace("memory", "valid"))
                found, expected = found[valid], expected[valid]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_act_equals_step_and_leaves_the_critic_alone():
    model = make(VARIANTS["dual"])
    obs, mask, start = data()
    state = model.initial_state(ENVS)
    with torch.no_grad():
        _, _, state = walk(model, obs[:5], mask[:5], start[:5], state)
        logits, acted = model.act(obs[5], mask[5], state)
        expected, _, stepped = model.step(obs[5], mask[5], state)
    assert torch.equal(logits, expected)
    assert all(torch.equal(a, b) for a, b in zip(acted.actor, stepped.actor, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(acted.critic, state.critic, strict=True))


def test_an_untrained_policy_waits_as_readily_as_it_is_told_to():
    """Every other action is as likely as the next."""
    model = CLSTM(FEATURES, ACTIONS, ModelConfig(hidden_dim=16, hold_bias=3.0))
    model.policy_head.weight.data.zero_()
    observation, mask = torch.randn(ENVS, FEATURES), torch.ones(ENVS, ACTIONS, dtype=torch.bool)
    logits, _ = model.act(observation, mask, model.initial_state(ENVS))
    chance = logits.softmax(-1)
    torch.testing.assert_close(chance[:, HOLD] / chance[:, HOLD + 1], torch.full((ENVS,), 3.0).exp())
    torch.testing.assert_close(chance[:, HOLD + 1], chance[:, HOLD + 2])
    with pytest.raises(ConfigError, match="hold_bias=11"):
        ModelConfig(hold_bias=11.0)


def test_illegal_actions_have_probability_zero():
    model = make(VARIANTS["dual"])
    obs, mask, _ = data()
    logits, _ = model.act(obs[0], mask[0], model.initial_state(ENVS))
    assert (logits.softmax(-1)[~mask[0]] == 0).all()
    assert not mask[0].all()


def test_reset_forgets_everything_even_nan():
    model = make(VARIANTS["dual"])
    obs, mask, _ = data()
    poisoned = RecurrentState(
        *(torch.full_like(v, float("nan")) if v.is_floating_point() else ~v for v in model.initial_state(ENVS))
    )
    start = torch.ones(ENVS, dtype=torch.bool)
    fresh = model.step(obs[0], mask[0], model.initial_state(ENVS))
    again = model.step(obs[0], mask[0], poisoned.reset(start))
    assert torch.equal(fresh[0], again[0])
    assert torch.equal(fresh[1], again[1])


def test_attention_reaches_back_exactly_one_window():
    torch.manual_seed(0)
    trunk = Trunk(3, 8, 2, 4, 128)
    trunk.lstm.weight_hh.data.zero_()
    trunk.lstm.bias.data[:8] = 0.0
    trunk.lstm.bias.data[8:16] = -50.0  # forget all: only attention can see the past
    x, start = torch.randn(10, 1, 3), torch.zeros(10, 1, dtype=torch.bool)
    touched = x.clone()
    touched[2] += 1.0
    before, _ = trunk.unroll(x, start, trunk.initial_state(1))
    after, _ = trunk.unroll(touched, start, trunk.initial_state(1))
    moved = (before - after).abs().amax(dim=(1, 2)) > 1e-6
    assert moved.tolist() == [False, False, True, True, True, True, False, False, False, False]


def test_visible_slots_by_hand():
    start = torch.tensor([[False], [True], [False]])
    valid = torch.tensor([[False, True]])
    expected = [[0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert visible_slots(start, valid)[0].int().tolist() == expected


def test_look_ahead_equals_a_step_from_every_state():
    model = make(VARIANTS["dual"])
    obs, _, start = data()
    following = torch.randn(STEPS, ENVS, FEATURES)
    with torch.no_grad():
        state = model.initial_state(ENVS).critic
        _, steps = model.unroll_critic(model.encoder(obs), start, state)
        t, n = torch.ones(STEPS, ENVS).nonzero(as_tuple=True)
        ahead = model.look_ahead(model.encoder(following[t, n]), steps, t, n).view(STEPS, ENVS)
        whole = model.initial_state(ENVS)
        for t in range(STEPS):
            _, _, whole = model.step(obs[t], None, whole.reset(start[t]))
            _, value, _ = model.step(following[t], None, whole)
            torch.testing.assert_close(ahead[t], value, atol=1e-5, rtol=0)


def test_lstm_gradient_is_the_true_one():
    torch.manual_seed(0)
    lstm = LSTM(3, 4, 128).double()
    x = torch.randn(5, 2, 16, dtype=torch.double, requires_grad=True)
    h, c = (torch.randn(2, 4, dtype=torch.double, requires_grad=True) for _ in range(2))
    start = torch.tensor([[0, 1], [0, 0], [1, 0], [0, 0], [0, 1]], dtype=torch.bool).unsqueeze(-1)
    weight = lstm.weight_hh.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: _Unroll.apply(args[0], start, *args[1:], True), (x, h, c, weight))


def test_critic_gradient_does_not_reach_the_encoder():
    model = make(VARIANTS["dual"])
    obs, mask, start = data()
    _, values, _ = model.unroll(obs, mask, start, model.initial_state(ENVS))
    values.square().sum().backward()
    assert all(p.grad is None for p in model.actor_parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.critic_parameters())


def test_units_forget_over_two_to_memory_steps():
    lstm = LSTM(3, 8, 100)
    kept = torch.sigmoid(lstm.bias[8:16])
    torch.testing.assert_close(1 / (1 - kept[[0, -1]]), torch.tensor([2.0, 100.0]), rtol=1e-4, atol=0)
    assert (kept.diff() > 0).all()
    torch.testing.assert_close(torch.sigmoid(lstm.bias[:8]), 1 - kept)  # what a unit adds matches what it forgets


def test_parameters_are_split_without_overlap():
    for config in VARIANTS.values():
        model = make(config)
        actor, critic = ({id(p) for p in ps} for ps in (model.actor_parameters(), model.critic_parameters()))
        assert not actor & critic
        assert actor | critic == {id(p) for p in model.parameters()}


def test_fresh_policy_is_nearly_uniform():
    torch.manual_seed(0)
    model = CLSTM(FEATURES, ACTIONS, VARIANTS["dual"])
    logits, _ = model.act(torch.randn(100, FEATURES), None, model.initial_state(100))
    assert (logits.softmax(-1) - 1 / ACTIONS).abs().max() < 0.02


def test_state_shapes_are_static():
    model = make(VARIANTS["dual"])
    state = model.initial_state(ENVS)
    assert [tuple(v.shape) for v in state[:4]] == [(6, 16), (6, 16), (6, 6, 16), (6, 6)]
    _, _, after = model.step(torch.randn(ENVS, FEATURES), None, state)
    assert [v.shape for v in after] == [v.shape for v in state]
    assert isinstance(after.actor, TrunkState)
