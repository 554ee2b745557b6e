"""A critic is held against rewards that came: one that says the same everywhere scores nothing, nor a shuffled one."""

import pytest
import torch

from clstm_core.ppo.advantages import monte_carlo_returns
from clstm_core.ppo.diagnostics import SPANS, correlation, foreseen, foresight, seen_diagnostics, value_diagnostics
from clstm_core.ppo.storage import Rollout

GAMMA, HORIZON, T, N = 0.99, 21, 126, 256


def rollout_of(value, next_value, reward, terminated=None, truncated=None):
    """A rollout of which only what the critic is judged by is given."""
    none = torch.zeros_like(reward, dtype=torch.bool)
    fields = dict.fromkeys(Rollout._fields)
    fields |= {"value": value, "next_value": next_value, "reward": reward}
    fields |= {
        "terminated": none if terminated is None else terminated,
        "truncated": none if truncated is None else truncated,
    }
    return Rollout(**fields)


@pytest.fixture(scope="module")
def market():
    """Rewards whose mean differs between episodes of 21 that are cut off; and that mean."""
    generator = torch.Generator().manual_seed(0)
    state = 0.5 * torch.randn(T // HORIZON, N, generator=generator).repeat_interleave(HORIZON, dim=0)
    reward = state + torch.randn(T, N, generator=generator)
    truncated = (torch.arange(1, T + 1) % HORIZON == 0)[:, None].expand(T, N)
    return state, reward, truncated


def good_critic(market):
    state, reward, truncated = market
    value = state / (1 - GAMMA)
    return rollout_of(value, value, reward, truncated=truncated)


@pytest.mark.parametrize("span", SPANS)
def test_a_critic_that_knows_the_state_foresees_some(market, span):
    share, together = foresight(foreseen(good_critic(market), GAMMA, span))
    assert 0.05 < share < 0.9
    assert together > 0.2


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("level", [0.0, -3.0, 40.0])
def test_a_constant_critic_scores_nothing(market, span, level):
    _, reward, truncated = market
    value = torch.full_like(reward, level)
    share, together = foresight(foreseen(rollout_of(value, value, reward, truncated=truncated), GAMMA, span))
    assert abs(share) <= 1e-4
    assert abs(together) <= 0.02


@pytest.mark.parametrize("span", SPANS)
def test_constants_per_episode_score_nothing_though_their_bootstrapped_score_is_high(market, span):
    _, reward, truncated = market
    generator = torch.Generator().manual_seed(1)
    value = torch.randn(T // HORIZON, N, generator=generator).repeat_interleave(HORIZON, dim=0)
    walked = rollout_of(value, value, reward, truncated=truncated)
    share, together = foresight(foreseen(walked, GAMMA, span))
    assert abs(share) <= 0.02
    assert abs(together) <= 0.05
    returns, weight = monte_carlo_returns(reward, value, walked.terminated, truncated, gamma=GAMMA)
    flattered = value_diagnostics(10.0 * value, returns + 9.0 * GAMMA * value, weight)
    assert flattered["bootstrapped_explained_variance"] > 0.1


@pytest.mark.parametrize("span", SPANS)
def test_a_shuffled_critic_scores_nothing(market, span):
    walked, found = good_critic(market), []
    for seed in range(16):
        order = torch.randperm(T * N, generator=torch.Generator().manual_seed(seed))
        mixed = walked._replace(
            value=walked.value.reshape(-1)[order].view(T, N), next_value=walked.next_value.reshape(-1)[order].view(T, N)
        )
        found.append(torch.stack(foresight(foreseen(mixed, GAMMA, span))))
    share, together = torch.stack(found).mean(dim=0)
    assert share <= 0.02
    assert abs(together) <= 0.05


def test_by_hand_across_an_end_and_a_cut():
    reward = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    value = torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    following = torch.tensor([[21.0], [31.0], [41.0], [51.0]])
    ends = torch.tensor([[False], [True], [False], [False]])
    cut = torch.tensor([[False], [False], [True], [False]])
    pair = foreseen(rollout_of(value, following, reward, terminated=ends, truncated=cut), 0.5, 2)
    # from 0 the episode ends after two rewards; from 1 after one, and nothing follows; from 2 it is cut off: left out
    torch.testing.assert_close(pair.seen[:2, 0], torch.tensor([1.0 + 0.5 * 2.0, 2.0]))
    torch.testing.assert_close(pair.foreseen[:2, 0], torch.tensor([10.0, 20.0]))
    assert pair.weight[:, 0].tolist() == [1.0, 1.0, 0.0]
    whole = foreseen(rollout_of(value, following, reward, truncated=cut), 0.5, 1)
    torch.testing.assert_close(whole.foreseen[:, 0], value[:, 0] - 0.5 * following[:, 0])
    assert whole.weight.all()


def test_a_rollout_too_short_gives_no_figure():
    few = torch.ones(4, 2)
    walked = rollout_of(few, few, few)
    assert foreseen(walked, GAMMA, 5) is None
    found = seen_diagnostics(walked, GAMMA, "heldout_")
    assert set(found) == {f"heldout_{name}_{k}" for name in ("explained_variance", "value_correlation") for k in SPANS}
    assert found["heldout_explained_variance_21"].isnan()


def test_correlation_limits():
    x, weight = torch.randn(500, generator=torch.Generator().manual_seed(2)), torch.ones(500)
    assert correlation(x, 3 * x + 1, weight) == pytest.approx(1.0, abs=1e-5)
    assert correlation(torch.ones(500), x, weight) == 0
