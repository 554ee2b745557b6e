"""Advantages and returns against hand-worked tables and identities."""

import pytest
import torch

from clstm_core.ppo.advantages import generalised_advantages, monte_carlo_returns, normalise

REWARD = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
VALUE = torch.tensor([[0.5], [1.0], [1.5], [2.0]])
NEXT = torch.tensor([[1.0], [1.5], [2.0], [10.0]])
NONE = torch.zeros(4, 1, dtype=torch.bool)
AT_1 = torch.tensor([[False], [True], [False], [False]])


def gae(terminated, truncated, gae_lambda, gamma=0.5):
    return generalised_advantages(
        REWARD, VALUE, NEXT, terminated, truncated, gamma=gamma, gae_lambda=gae_lambda
    ).flatten()


@pytest.mark.parametrize(
    ("ends", "gae_lambda", "expected"),
    [
        # deltas: 1 + .5 x 1 - .5 = 1; 2 + .75 - 1 = 1.75; 3 + 1 - 1.5 = 2.5; 4 + 5 - 2 = 7
        ("never", 0.0, [1.0, 1.75, 2.5, 7.0]),
        ("never", 1.0, [3.375, 4.75, 6.0, 7.0]),
        # lambda .5: A3 = 7, A2 = 2.5 + .25 x 7, A1 = 1.75 + .25 A2, A0 = 1 + .25 A1
        ("never", 0.5, [1.703125, 2.8125, 4.25, 7.0]),
        ("terminated", 1.0, [1.5, 1.0, 6.0, 7.0]),  # delta_1 = 2 - 1: no bootstrap
        ("truncated", 1.0, [1.875, 1.75, 6.0, 7.0]),  # delta_1 keeps its bootstrap, nothing crosses the end
    ],
)
def test_golden_table(ends, gae_lambda, expected):
    terminated, truncated = (AT_1 if ends == name else NONE for name in ("terminated", "truncated"))
    found = gae(terminated, truncated, gae_lambda)
    torch.testing.assert_close(found, torch.tensor(expected))


def test_lambda_one_plus_value_is_the_monte_carlo_return():
    for terminated, truncated in ((NONE, NONE), (AT_1, NONE), (NONE, AT_1)):
        returns, _ = monte_carlo_returns(REWARD, NEXT, terminated, truncated, gamma=0.5)
        torch.testing.assert_close(gae(terminated, truncated, 1.0) + VALUE.flatten(), returns.flatten())


def test_weight_is_what_was_seen_of_a_return():
    _, open_end = monte_carlo_returns(REWARD, NEXT, NONE, NONE, gamma=0.5)
    torch.testing.assert_close(open_end.flatten(), 1 - 0.5 ** torch.tensor([4.0, 3.0, 2.0, 1.0]))
    _, terminated = monte_carlo_returns(REWARD, NEXT, AT_1, NONE, gamma=0.5)
    torch.testing.assert_close(terminated.flatten(), torch.tensor([1.0, 1.0, 0.75, 0.5]))
    _, truncated = monte_carlo_returns(REWARD, NEXT, NONE, AT_1, gamma=0.5)
    torch.testing.assert_close(truncated.flatten(), torch.tensor([0.75, 0.5, 0.75, 0.5]))


def test_a_nan_after_a_termination_does_not_reach_back():
    after = NEXT.clone()
    after[1] = float("nan")
    found = generalised_advantages(REWARD, VALUE, after, AT_1, NONE, gamma=0.5, gae_lambda=0.95)
    assert found.isfinite().all()


def test_envs_do_not_mix():
    both = [torch.cat((x, 2 * x), dim=1) for x in (REWARD, VALUE, NEXT)]
    ends = torch.cat((AT_1, NONE), dim=1)
    found = generalised_advantages(*both, ends, torch.zeros_like(ends), gamma=0.5, gae_lambda=0.9)
    torch.testing.assert_close(found[:, 0], gae(AT_1, NONE, 0.9))
    torch.testing.assert_close(found[:, 1], 2 * gae(NONE, NONE, 0.9))


def test_normalise_looks_at_free_steps_alone():
    advantage = torch.tensor([[1.0, 3.0], [1000.0, 5.0]])
    free = torch.tensor([[True, True], [False, True]])
    found = normalise(advantage, free)
    assert found[free].mean().abs() < 1e-6
    assert abs(found[free].std(unbiased=False).item() - 1) < 1e-5
    assert normalise(advantage, torch.zeros_like(free)).isfinite().all()
