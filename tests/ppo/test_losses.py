"""Losses and schedules by hand: clipping on both sides, zero KL at the start, forced steps without a voice."""

import math

import torch

from clstm_core.ppo.diagnostics import explained_variance, fetch, value_diagnostics
from clstm_core.ppo.losses import approximate_kl, policy_loss, value_loss
from clstm_core.ppo.schedule import adapted, annealed, linear

LOGITS = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
ACTION = torch.tensor([0, 1])
FREE = torch.tensor([True, True])


def loss(old, advantage, free=FREE, logits=LOGITS):
    return policy_loss(logits, ACTION, torch.log(torch.tensor(old)), torch.tensor(advantage), free, clip_epsilon=0.1)


def test_same_policy_has_ratio_one():
    found = loss([0.25, 0.5], [1.0, -3.0])
    assert abs(found.loss.item() - 1.0) < 1e-6  # minus the mean advantage
    assert found.approx_kl.item() == 0
    assert found.clip_fraction.item() == 0
    expected = (-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) + math.log(2)) / 2
    assert abs(found.entropy.item() - expected) < 1e-6


def test_clipping_by_hand():
    # ratios .25 / .2 = 1.25 and .5 / 1 = .5
    up = loss([0.2, 1.0], [1.0, -1.0])
    assert abs(up.loss.item() + (1.1 - 0.9) / 2) < 1e-6  # both clipped: no reward for going further
    down = loss([0.2, 1.0], [-1.0, 1.0])
    assert abs(down.loss.item() + (-1.25 + 0.5) / 2) < 1e-6  # the wrong way: unclipped
    assert up.clip_fraction.item() == 1.0
    kl = ((1.25 - 1 - math.log(1.25)) + (0.5 - 1 - math.log(0.5))) / 2
    assert abs(up.approx_kl.item() - kl) < 1e-6


def test_forced_steps_have_no_voice():
    logits = LOGITS.clone().requires_grad_()
    forced = loss([0.2, 0.001], [1.0, 1e6], free=torch.tensor([True, False]), logits=logits)
    alone = loss([0.2, 0.5], [1.0, 0.0])
    assert forced.clip_fraction.item() == 1.0
    assert abs(forced.loss.item() + 1.1) < 1e-6
    assert alone.clip_fraction.item() == 0.5
    (forced.loss - forced.entropy).backward()
    assert (logits.grad[1] == 0).all()
    nobody = loss([0.2, 0.5], [1.0, 0.0], free=torch.zeros(2, dtype=torch.bool))
    assert [value.item() for value in nobody] == [0, 0, 0, 0, 0]


def test_the_bonus_pulls_to_the_policy_that_training_began_with():
    """The divergence from it, up to a constant that the policy does not move."""
    logits = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = loss([0.25, 0.5], [0.0, 0.0], logits=logits)
    first = torch.tensor([2.0, 0.0]).log_softmax(-1)
    (pulled,) = torch.autograd.grad(found.regularised(0.3, 2.0), logits, retain_graph=True)
    probs = logits.softmax(-1)
    (divergence,) = torch.autograd.grad(0.3 * (probs * (probs.log() - first)).sum(-1).mean(), logits)
    torch.testing.assert_close(pulled, divergence)
    assert found.regularised(0.3, 0.0).item() == (found.loss - 0.3 * found.entropy).item()


def test_illegal_actions_do_not_poison_the_entropy():
    logits = torch.tensor([[0.0, 0.0, -1e9]], requires_grad=True)
    found = policy_loss(
        logits, torch.tensor([0]), torch.tensor([-math.log(2)]), torch.ones(1), torch.ones(1).bool(), clip_epsilon=0.1
    )
    (found.loss - found.entropy).backward()
    assert abs(found.entropy.item() - math.log(2)) < 1e-6
    assert logits.grad.isfinite().all()


def test_kl_of_small_changes_is_half_their_variance():
    change = 0.01 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert abs(approximate_kl(change, torch.ones_like(change)).item() / 0.5e-4 - 1) < 0.05


def test_value_loss_weights():
    value, target = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])
    assert value_loss(value, target).item() == 0.5 * 2.5
    assert value_loss(value, target, torch.tensor([1.0, 0.0])).item() == 0.5


def test_explained_variance_limits():
    actual, weight = torch.randn(1000, generator=torch.Generator().manual_seed(1)), torch.ones(1000)
    assert explained_variance(actual, actual, weight) == 1
    assert explained_variance(actual + 7, actual, weight) > 0.9999  # a bias is not variance
    assert abs(explained_variance(torch.zeros(1000), actual, weight)) < 1e-6
    assert explained_variance(-actual, actual, weight) < -2.9
    found = value_diagnostics(0.5 * actual + 1, actual, weight)
    assert abs(found["value_correlation"] - 1) < 1e-5
    assert abs(found["bootstrapped_explained_variance"] - 0.75) < 1e-5


def test_fetch_turns_what_json_cannot_carry_into_none():
    assert fetch({"a": torch.tensor(1.5), "b": torch.tensor(float("nan")), "c": torch.tensor(3)}) == {
        "a": 1.5,
        "b": None,
        "c": 3.0,
    }


def test_schedules():
    assert [annealed(1e-4, 0.0, p) for p in (0.0, 0.5, 1.0)] == [1e-4, 0.5e-4, 0.0]
    assert math.isclose(annealed(4e-4, 0.2, 1.0), 0.8e-4)
    assert math.isclose(linear(0.02, 0.005, 0.5), 0.0125)
    assert adapted(1.0, 99.0, None) == 1.0
    assert adapted(1.0, 0.021, 0.01) == 1 / 1.5
    assert adapted(1.0, 0.004, 0.01) == 1.5
    assert adapted(1.0, 0.01, 0.01) == 1.0
    assert adapted(9.0, 0.0, 0.01) == 10.0
    assert adapted(0.01, 1.0, 0.01) == 0.01
