"""Whole episodes, raw growth, an error that counts how few the stretches are; and a memoriser that is caught."""

import dataclasses
import math

import pytest
import torch

from clstm_core.env.options_env import OptionsEnv
from clstm_core.evaluation.generalisation import FRESH_WORLDS, TRAINING_WORLDS, gap, generalises, growth, with_gaps
from clstm_core.generalisation.kinds import kinds_of
from clstm_core.generalisation.measure import Rung, walk_kind
from clstm_core.generalisation.trained import newest_met
from clstm_core.generalisation.walk import TERCILES, Episodes, Lane, earned, habits, raw, walk_episodes
from clstm_core.market.worlds.training import world_of
from clstm_core.specs import ACTIONS

HORIZON = 6  # of the fixtures


def walked(model, market, config, *, worlds=None, n=64, **options) -> Episodes:
    world = world_of(market, worlds or config.worlds, config.env.horizon)
    env = OptionsEnv(world, raw(config.env), n_envs=n, seed=0, stagger=False)
    return walk_episodes([Lane(model, **options)], env, config.env)[0]


def test_growth_is_what_the_accounts_made_beyond_cash(market, config, policies):
    """The sum over an episode against equity at its end, written by the ledger of the same walk."""
    settings = config(historical=1.0)
    world = world_of(market, settings.worlds, HORIZON)
    env = OptionsEnv(world, raw(settings.env), n_envs=16, seed=0, stagger=False, dtype=torch.float64)
    (found,) = walk_episodes([Lane(policies["always"]("near_short_strangle"))], env, settings.env)
    env.reset()
    total = torch.zeros(16, dtype=torch.float64)
    for action in found.rollout.action:
        env.step(action)
        told = env.last
        total += torch.log(told.equity_N / (told.equity_before_N + told.interest_N + told.dividends_N))
    assert found.growth.double().sum(dim=0).numpy() == pytest.approx(1e4 * total.numpy(), abs=0.3)
    assert bool(found.alive.all())
    assert bool(found.rollout.truncated[-1].all())


def test_cash_grows_like_cash_and_nothing_is_made_of_rounding(market, config, policies):
    settings = config(heston=1.0)
    found = earned(walked(policies["cash"](), market, settings), 0.99)
    assert (found.growth_bps, found.error_bps, found.deviation_bps, found.per_risk) == (0.0, 0.0, 0.0, 0.0)
    assert found.explained_variance_5 is None
    assert found.actions == {"hold": 1.0}


def test_rewards_of_the_critic_are_those_of_training_and_raw(market, config, policies):
    settings = config(historical=1.0)
    trained = dataclasses.replace(
        settings, env=dataclasses.replace(settings.env, reward="log_growth", reward_scale=0.02, expected_reward=True)
    )
    found = walked(policies["always"]("near_long_call"), market, trained)
    assert found.rollout.reward.numpy() == pytest.approx(0.02 * found.growth.numpy(), abs=1e-3)
    profit = walked(policies["always"]("near_long_call"), market, settings)
    assert profit.growth.numpy() == pytest.approx(found.growth.numpy(), abs=0.02)
    assert profit.rollout.reward[0].numpy() == pytest.approx(0.02 * profit.growth[0].numpy(), rel=0.02, abs=1e-2)


def test_a_sampled_walk_is_repeated_and_takes_other_actions(market, config):
    from clstm_core.config import ModelConfig
    from clstm_core.model.clstm import CLSTM
    from clstm_core.specs import OBSERVATION

    torch.manual_seed(0)
    model = CLSTM(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=8, attention_window=2)).eval()
    settings = config(blocks=1.0)
    likeliest, one, two = (
        walked(model, market, settings, sampled=sampled).rollout.action for sampled in (False, True, True)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, likeliest)
    assert likeliest.unique().numel() < one.unique().numel()


def test_lanes_walk_the_same_episodes_and_each_as_if_alone(market, config, policies):
    settings = config(historical=1.0, bates=1.0)
    world = world_of(market, settings.worlds, HORIZON)
    models = [policies["always"](name) for name in ("near_long_call", "near_long_put")]
    env = OptionsEnv(world, raw(settings.env), n_envs=64, seed=0, stagger=False)
    both = walk_episodes([Lane(model) for model in models], env, settings.env)
    for model, found in zip(models, both, strict=True):
        alone = walked(model, market, settings, n=32)
        torch.testing.assert_close(found.growth, alone.growth, atol=0.02, rtol=1e-4)
        torch.testing.assert_close(found.rollout.observation, alone.rollout.observation, atol=1e-4, rtol=1e-4)
    assert torch.equal(both[0].rollout.observation[0], both[1].rollout.observation[0])


def made_up(growth_TN: torch.Tensor, alive: torch.Tensor | None = None) -> Episodes:
    """Episodes of given growth, of an account that waits."""
    from clstm_core.ppo.storage import Rollout

    steps, n = growth_TN.shape
    nothing = torch.zeros(steps, n)
    fields = dict.fromkeys(Rollout._fields, nothing) | {"action": nothing.long()}
    fields |= {"reward": growth_TN.float(), "terminated": nothing.bool(), "truncated": nothing.bool()}
    alive = torch.ones(steps, n, dtype=torch.bool) if alive is None else alive
    return Episodes(growth_TN, alive, Rollout(**fields))


def test_the_error_is_that_of_the_mean_over_episodes():
    drawn = torch.randn(10, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = earned(made_up(drawn), 0.99)
    means = drawn.mean(dim=0)
    assert found.growth_bps == pytest.approx(float(means.mean()), abs=1e-3)
    assert found.error_bps == pytest.approx(float(means.std() / math.sqrt(400)), rel=1e-2)
    assert found.deviation_bps == pytest.approx(float(drawn.std()), rel=1e-2)
    assert found.draws == pytest.approx(400.0)


def test_what_follows_an_early_end_does_not_count():
    growth_TN = torch.full((4, 3), 5.0, dtype=torch.float64)
    alive = torch.ones(4, 3, dtype=torch.bool)
    alive[2:, 0] = False
    growth_TN[2:, 0] = 1e6
    found = earned(made_up(growth_TN, alive), 0.99)
    assert (found.growth_bps, found.sessions) == (5.0, 10)


@pytest.mark.parametrize("stretches", [8, 40, 1000])
def test_intervals_hold_the_truth_as_often_as_they_say(stretches):
    """300 episodes drawn from few stretches, whose own growth is all that varies: 95% of intervals hold the mean."""
    generator, held, trials = torch.Generator().manual_seed(stretches), 0, 1000
    for _ in range(trials):
        worlds = torch.randn(stretches, generator=generator, dtype=torch.float64)
        episodes = worlds[torch.randint(stretches, (300,), generator=generator)]
        found = earned(made_up(1.0 + episodes.repeat(2, 1)), 0.99, draws=stretches)
        interval = growth(dataclasses.asdict(found))
        held += interval.low <= 1.0 <= interval.high
    assert 0.93 <= held / trials <= 0.975


def test_a_gap_of_nothing_is_told_from_zero_once_in_twenty():
    generator, told, trials = torch.Generator().manual_seed(3), 0, 1000
    for _ in range(trials):
        rows = []
        for stretches, n, noise in ((20, 256, 3.0), (1_000_000, 512, 1.0)):
            worlds = noise * torch.randn(stretches if stretches < n else n, generator=generator, dtype=torch.float64)
            episodes = worlds[torch.randint(stretches, (n,), generator=generator)] if stretches < n else worlds
            rows.append(dataclasses.asdict(earned(made_up(episodes.repeat(2, 1)), 0.99, draws=stretches)))
        told += gap(*rows).sign != 0
    assert 0.03 <= told / trials <= 0.07


def row(kind: str, model, market, config, worlds, draws=math.inf, n=512):
    found = earned(walked(model, market, config, worlds=worlds, n=n), config.ppo.gamma, draws)
    return {"milestone": "100", "kind": kind, "mode": "argmax", **dataclasses.asdict(found)}


def test_a_policy_that_memorised_its_paths_is_caught_and_one_that_did_not_is_not(market, config, policies):
    settings = config(historical=1.0, years=4.0)
    kinds = {kind.name: kind for kind in kinds_of(market, settings)}
    assert kinds[TRAINING_WORLDS].draws == 4 * 252 / HORIZON
    fresh = dataclasses.replace(settings.worlds, seed=99, years=None)
    bets = [ACTIONS.index(name) for name in ("near_long_call", "near_long_put")]
    memoriser = policies["memoriser"]()
    tried = [walked(policies["always"](ACTIONS[bet]), market, settings, n=2048) for bet in bets]
    paid = torch.stack([one.growth.sum(dim=0) for one in tried])
    memoriser.remember(tried[0].rollout.observation[0], torch.tensor(bets)[paid.argmax(dim=0)])

    def rows(model):
        draws = kinds[TRAINING_WORLDS].draws
        return with_gaps(
            [
                row(TRAINING_WORLDS, model, market, settings, settings.worlds, draws),
                row(FRESH_WORLDS, model, market, settings, fresh),
            ]
        )

    caught, honest = generalises(rows(memoriser)), generalises(rows(policies["always"]("near_long_call")))
    assert not caught.passed
    assert caught.gap.low > 0
    assert "memorised: checkpoint 100%" in caught.words
    assert honest.passed, honest.words


@pytest.mark.parametrize("years", [None, 4.0])
def test_a_policy_that_memorised_what_its_envs_met_is_caught_by_all_that_it_would_gain(
    market, config, policies, trained_through, years
):
    """128 envs, nine episodes each: of more accounts than there are envs, each stands where one of them stood."""
    settings = config(historical=1.0, years=years)
    state, steps = trained_through(settings, n=128, steps=64, warmup=10), 64
    met = newest_met(state, env_steps=128 * steps, horizon=HORIZON, wanted=10_000)
    world = world_of(market, settings.worlds, HORIZON)
    begin = world.paths.begin(met.seed, met.episode, HORIZON, fixed=False)
    bets, tried = [ACTIONS.index(name) for name in ("near_long_call", "near_long_put")], []
    for bet in bets:
        env = OptionsEnv(world, raw(settings.env), n_envs=len(begin), stagger=False)
        tried += walk_episodes([Lane(policies["always"](ACTIONS[bet]))], env, settings.env, begin=begin)
    paid = torch.stack([one.growth.sum(dim=0) for one in tried])
    memoriser = policies["memoriser"]()
    memoriser.remember(tried[0].rollout.observation[0], torch.tensor(bets)[paid.argmax(dim=0)])
    would_gain = float(paid.max(dim=0).values.mean()) / HORIZON

    def rows(model):
        kinds = [kind for kind in kinds_of(market, settings) if kind.name in (TRAINING_WORLDS, FRESH_WORLDS)]
        rungs = {"100": Rung(model, 128 * steps, state)}
        return with_gaps([row for kind in kinds for row in walk_kind(rungs, kind, settings)[0]])

    found = {row["kind"]: row for row in rows(memoriser) if row["mode"] == "argmax"}
    assert found[TRAINING_WORLDS]["episodes"] == 512
    assert found[TRAINING_WORLDS]["growth_bps"] == pytest.approx(would_gain, abs=3.0)
    caught = generalises(list(found.values()))
    assert not caught.passed
    assert caught.gap.low > 5.0
    assert generalises(rows(policies["always"]("near_long_call"))).passed


def test_habits_split_decisions_by_volatility(market, config, policies):
    found = habits(walked(policies["always"]("near_iron_condor"), market, config(historical=1.0)))
    assert [part["tercile"] for part in found] == list(TERCILES)
    assert found[0]["to_vol"] == found[1]["from_vol"] < found[1]["to_vol"] == found[2]["from_vol"]
    assert sum(part["decisions"] for part in found) == 64 * HORIZON
    assert all(sum(part["actions"].values()) == pytest.approx(1.0) for part in found)
