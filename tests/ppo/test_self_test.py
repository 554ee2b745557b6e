"""The self-test passes on a sound policy and fails on each way to plant a wrong recurrent state."""

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.errors import SelfTestError
from clstm_core.model.clstm import CLSTM, RecurrentState
from clstm_core.model.trunk import Steps, TrunkState
from clstm_core.ppo import self_test, target_test
from clstm_core.ppo.advantages import generalised_advantages, monte_carlo_returns
from clstm_core.ppo.self_test import forgetful, require, run_self_test, zeroed


def no_state(data, n_envs):
    return forgetful(data)


def zero_at_rollout_start(data, n_envs):
    first = torch.arange(data.start.shape[1]) < n_envs
    return data._replace(state=data.state.reset(first))


def zero_at_each_chunk(data, n_envs):
    return data._replace(state=zeroed(data.state))


def resets_ignored(data, n_envs):
    return data._replace(start=torch.zeros_like(data.start))


FAULTS = [no_state, zero_at_rollout_start, zero_at_each_chunk, resets_ignored]
KINDS = {
    "dual": ModelConfig(hidden_dim=16, attention_window=4),
    "no attention": ModelConfig(hidden_dim=16, use_attention=False),
    "single trunk": ModelConfig(hidden_dim=16, attention_window=4, dual_trunk=False),
}


@pytest.fixture
def setup(toys, tiny):
    def build(kind="dual", length=40):
        config = tiny().ppo
        env = toys.NoiseEnv(config.n_envs, length=length)
        env.reset()
        torch.manual_seed(0)
        return CLSTM(env.observation_size, env.n_actions, KINDS[kind]), env, config

    return build


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_policy_passes(setup, kind):
    report = require(run_self_test(*setup(kind)))
    assert report.max_ratio_error <= 1e-4
    assert report.approx_kl <= 1e-6
    assert report.clip_fraction == 0
    assert report.resets_inside > 0
    assert report.state_at_start > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_state_is_caught(setup, fault, kind):
    model, env, config = setup(kind)
    report = run_self_test(model, env, config, plant=lambda data: fault(data, config.n_envs))
    assert not report.passed
    assert report.max_ratio_error > 1e-2
    with pytest.raises(SelfTestError, match="differs from the rollout's"):
        require(report)


def test_a_wrong_critic_state_alone_is_caught(setup):
    model, env, config = setup()
    report = run_self_test(
        model, env, config, plant=lambda data: data._replace(state=data.state.with_critic(zeroed(data.state).critic))
    )
    assert report.max_ratio_error <= 1e-4
    assert not report.passed
    assert "values" in report.reason


def test_an_attention_ring_lost_alone_is_caught(setup):
    model, env, config = setup()

    def lose_ring(data):
        state: RecurrentState = data.state
        return data._replace(state=state._replace(actor_valid=torch.zeros_like(state.actor_valid)))

    assert not run_self_test(model, env, config, plant=lose_ring).passed


def test_nothing_is_disturbed(setup):
    model, env, config = setup()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before, rng = env.state_dict(), torch.get_rng_state()
    run_self_test(model, env, config)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in env.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_policy_that_cannot_remember_proves_nothing(setup):
    model, env, config = setup("no attention")
    model.actor_trunk.lstm.weight_hh.data.zero_()
    model.actor_trunk.lstm.bias.data[16:32] = -50.0
    report = run_self_test(model, env, config)
    assert not report.passed
    assert "proves nothing" in report.reason


def test_a_rollout_that_forgets_its_carry_proves_nothing(setup, monkeypatch):
    honest = self_test.collect

    def forgets(model, env, carry, rollout, **options):
        return honest(model, env, carry._replace(state=zeroed(carry.state)), rollout, **options)

    monkeypatch.setattr(self_test, "collect", forgets)
    report = run_self_test(*setup())
    assert report.max_ratio_error <= 1e-4
    assert "began from an empty state" in report.reason


def truncated_is_terminated(reward, value, next_value, terminated, truncated, **rates):
    return generalised_advantages(reward, value, next_value, terminated | truncated, truncated, **rates)


def terminated_is_truncated(reward, value, next_value, terminated, truncated, **rates):
    never = torch.zeros_like(terminated)
    return generalised_advantages(reward, value, next_value, never, terminated | truncated, **rates)


def ends_ignored(reward, value, next_value, terminated, truncated, **rates):
    never = torch.zeros_like(terminated)
    return generalised_advantages(reward, value, next_value, terminated, never, **rates)


@pytest.mark.parametrize("planted", [truncated_is_terminated, terminated_is_truncated, ends_ignored])
def test_advantages_that_confuse_the_two_ends_are_caught(setup, monkeypatch, planted):
    monkeypatch.setattr(self_test, "generalised_advantages", planted)
    report = run_self_test(*setup())
    assert not report.passed
    assert "advantages" in report.reason
    with pytest.raises(SelfTestError, match="advantages are not what rewards"):
        require(report)


def test_the_learners_own_advantages_are_what_is_tested(setup):
    model, env, config = setup()
    report = run_self_test(model, env, config, advantages=lambda rollout: rollout.reward)
    assert "advantages" in report.reason


def test_returns_of_the_warmup_that_confuse_the_two_ends_are_caught(setup, monkeypatch):
    def planted(reward, next_value, terminated, truncated, *, gamma):
        return monte_carlo_returns(reward, next_value, terminated | truncated, truncated, gamma=gamma)

    monkeypatch.setattr(target_test, "monte_carlo_returns", planted)
    report = run_self_test(*setup())
    assert "returns" in report.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_bootstrap_from_the_state_after_the_reset_is_caught(setup, monkeypatch, kind):
    original = CLSTM.look_ahead

    def planted(self, features, steps, *where):
        nothing = TrunkState(*map(torch.zeros_like, steps.before))
        forgotten = Steps(torch.zeros_like(steps.h), torch.zeros_like(steps.c), steps.start, nothing)
        return original(self, features, forgotten, *where)

    monkeypatch.setattr(CLSTM, "look_ahead", planted)
    report = run_self_test(*setup(kind))
    assert not report.passed
    assert "bootstrap" in report.reason


def test_a_last_observation_taken_after_the_reset_is_caught(setup):
    model, env, config = setup(length=10)
    step = env.step
    env.step = lambda action: (done := step(action))._replace(final_observation=done.observation)
    report = run_self_test(model, env, config)
    assert report.ends_inside > 0
    assert report.unseen_ends == report.ends_inside
    assert "after the reset" in report.reason


def test_an_observation_that_jumps_inside_an_episode_is_caught(setup):
    model, env, config = setup()
    step = env.step
    env.step = lambda action: (done := step(action))._replace(final_observation=done.final_observation + 1.0)
    assert "led to another observation" in run_self_test(model, env, config).reason


def test_ends_are_met_in_a_rollout_of_the_market(setup):
    report = run_self_test(*setup(length=10))
    assert report.passed, report.reason
    assert report.ends_inside > 0
    assert report.unseen_ends == 0
    assert max(report.max_next_value_error, report.max_advantage_error, report.max_return_error) < 1e-5
