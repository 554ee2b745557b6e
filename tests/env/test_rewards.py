"""Rewards that mind risk, and what of them nobody could expect."""

import math

import pytest
import torch

from clstm_core.audit.sessions.agreement import reward_due
from clstm_core.config import EnvConfig, WorldsConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.rewards import excess_reward
from clstm_core.errors import ConfigError
from clstm_core.market.build.generated import generated_market
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.market.worlds.planted import PlantedDynamics
from clstm_core.market.worlds.training import only, world_of
from clstm_core.specs import ACTIONS, CLOSE_ALL

HORIZON = 40


@pytest.fixture(scope="module")
def market():
    return generated_market(simulated_world(n_steps=420, n_paths=1, seed=3))


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("reward", ["profit", "log_growth", "mean_variance"])
@pytest.mark.parametrize("aversion", [1.0, 5.0])
def test_rewards_are_what_the_reference_says(reward, aversion):
    config = EnvConfig(reward=reward, risk_aversion=aversion, risk_penalty=0.1 if reward == "profit" else 0.0)
    before, after, entry = f64(100.0, 90.0, 50.0, 100.0), f64(101.0, 45.0, -20.0, 100.5), f64(100.0, 100.0, 80.0, 100.0)
    margin, growth = f64(3.0, 0.0, 7.0, 1.0), 0.005
    found = excess_reward(before, after, torch.full_like(before, growth), entry, margin, config)
    due = [
        reward_due(config, float(e) * (1.0 + growth), float(x), float(m), float(o))
        for e, x, m, o in zip(before, after, margin, entry, strict=True)
    ]
    torch.testing.assert_close(found, f64(*due), rtol=1e-12, atol=1e-9)
    assert abs(float(found[3])) < 1e-9 or reward == "profit"


def test_more_aversion_likes_less_risk_at_the_same_mean():
    """A bet of 2% up or down, and cash: the difference is half the aversion times the variance."""
    for aversion in (1.0, 2.0, 5.0):
        config = EnvConfig(reward="log_growth", risk_aversion=aversion, reward_scale=1.0)
        bet = excess_reward(f64(1, 1), f64(1.02, 0.98), f64(0, 0), f64(1, 1), f64(0, 0), config).mean()
        assert float(bet) == pytest.approx(-0.5 * aversion * 0.02**2 * 1e4, rel=0.01)


@pytest.mark.parametrize("aversion", [1.0, 5.0, 60.0])
def test_ruin_is_finite_at_any_aversion_and_every_loss_is_felt(aversion):
    """Also in float32: a straight line goes on where the curve would be steeper than a thousand."""
    config = EnvConfig(reward="log_growth", risk_aversion=aversion, reward_scale=1.0)
    after = torch.tensor([1.0, 0.95, 0.7, 0.3, 0.01, 0.0, -2.0])
    one, none = torch.ones_like(after), torch.zeros_like(after)
    found = excess_reward(one, after, none, one, none, config)
    assert found.isfinite().all()
    assert (found.diff() < 0).all()
    due = [reward_due(config, 1.0, float(x), 0.0, 1.0) for x in after]
    torch.testing.assert_close(found.double(), torch.tensor(due, dtype=torch.float64), rtol=1e-5, atol=1e-2)


def test_unknown_rewards_and_aversions_are_named():
    with pytest.raises(ConfigError, match="unknown reward 'sharpe'"):
        EnvConfig(reward="sharpe")
    with pytest.raises(ConfigError, match="risk_aversion=0"):
        EnvConfig(risk_aversion=0.0)


@pytest.mark.parametrize("reward", ["log_growth", "mean_variance"])
def test_a_penalty_that_a_reward_would_leave_out_is_refused(reward):
    with pytest.raises(ConfigError, match=rf"risk_penalty=0.1 with reward='{reward}'.*risk_aversion"):
        EnvConfig(reward=reward, risk_penalty=0.1)


def walked(world, expected: bool, steps=HORIZON, n=512, **rules) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and equities [T, N] of random accounts."""
    config = EnvConfig(horizon=HORIZON, expected_reward=expected, **rules)
    env = OptionsEnv(world, config, n_envs=n, stagger=False)
    generator, rewards, equities = torch.Generator().manual_seed(0), [], []
    mask = env.observe()[1]
    for _ in range(steps):
        mask = mask.clone()
        mask[:, CLOSE_ALL] &= torch.rand(n, generator=generator) < 0.1
        step = env.step(torch.where(mask, torch.rand(mask.shape, generator=generator), -1.0).argmax(dim=1))
        rewards.append(step.reward.double())
        equities.append(env.state.equity_N)
        mask = step.action_mask
    return torch.stack(rewards), torch.stack(equities)


@pytest.mark.parametrize("family", ["historical", "heston", "bates"])
@pytest.mark.parametrize("reward", ["profit", "log_growth"])
def test_a_reward_less_its_surprise_expects_the_same_and_varies_far_less(market, family, reward):
    world = world_of(market, only(WorldsConfig(), family), HORIZON)
    (raw, equity), (less, same) = (walked(world, expected, reward=reward) for expected in (False, True))
    assert torch.equal(equity, same)  # what is earned is as it was
    difference = (raw - less).sum(dim=0)
    assert abs(float(difference.mean())) < 4.0 * float(difference.std()) / math.sqrt(len(difference))
    assert float(less.std()) < 0.4 * float(raw.std())


@pytest.mark.parametrize("family", ["blocks", "history"])
def test_where_tomorrow_is_fixed_by_today_the_reward_stays_raw(market, family):
    world = world_of(market, only(WorldsConfig(), family), HORIZON)
    assert torch.equal(walked(world, False)[0], walked(world, True)[0])


def test_tables_are_always_rewarded_raw(market):
    raw, less = (walked_on_tables(market, expected) for expected in (False, True))
    assert torch.equal(raw, less)


def walked_on_tables(market, expected: bool) -> torch.Tensor:
    env = OptionsEnv(market, EnvConfig(horizon=HORIZON, reward="log_growth", expected_reward=expected), n_envs=32)
    generator, rewards, mask = torch.Generator().manual_seed(1), [], env.observe()[1]
    for _ in range(20):
        step = env.step(torch.where(mask, torch.rand(mask.shape, generator=generator), -1.0).argmax(dim=1))
        rewards.append(step.reward)
        mask = step.action_mask
    return torch.stack(rewards)


@pytest.mark.parametrize("dynamics", [None, PlantedDynamics(quoted=(0.14, 0.24), realised=(0.7, 1.3), switch=0.05)])
def test_planted_and_fair_worlds_know_their_surprises(dynamics):
    world = simulated_world(n_steps=HORIZON + 2, fair=dynamics is None, planted=dynamics)
    paths = world.paths
    index = paths.begin(torch.arange(4000), torch.zeros(4000, dtype=torch.int64), HORIZON, fixed=False)
    point = paths.start(index)
    for k in range(3):
        surprise = paths.surprise(point, index + k)
        for part in surprise:
            assert abs(float(part.mean())) <= 4.0 * float(part.std()) / math.sqrt(len(part)) + 1e-15
        point = paths.after(point, index + k)
    raw, less = (walked(world, expected)[0] for expected in (False, True))
    assert float(less.std()) < 0.5 * float(raw.std())


def test_sellers_earn_where_options_cost_more_than_they_are_worth():
    rich = simulated_world(n_steps=HORIZON + 2, planted=PlantedDynamics(realised=(0.5, 0.5)))
    sell = ACTIONS.index("near_short_strangle")
    env = OptionsEnv(rich, EnvConfig(horizon=HORIZON, reward="log_growth", reward_scale=1.0), n_envs=256, stagger=False)
    total = torch.zeros(256)
    for _ in range(HORIZON):
        mask = env.observe()[1]
        total += env.step(torch.where(mask[:, sell], sell, 0)).reward
    assert float(total.mean()) > 4.0 * float(total.std()) / 16.0
