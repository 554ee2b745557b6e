"""At home are the paths that a rung was trained on, from beginning to end, and no others."""

import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import CheckpointError
from clstm_core.generalisation.trained import newest_met
from clstm_core.market.worlds.training import world_of

HORIZON, N, WARMUP = 6, 16, 20


def walked(market, config, steps):
    """The state after so many steps of training, and the episodes that were trained on whole: (seed, episode)."""
    env = OptionsEnv(world_of(market, config.worlds, HORIZON), EnvConfig(horizon=HORIZON), n_envs=N, seed=3)
    whole, began = set(), {}
    for t in range(WARMUP + steps):
        state = env.state_dict()
        now = list(zip(state["seed_N"].tolist(), state["episode_N"].tolist(), strict=True))
        for at, age in zip(now, state["age_N"].tolist(), strict=True):
            if age == 0:
                began.setdefault(at, t)
        told = env.step(torch.zeros(N, dtype=torch.int64))
        ended = (told.terminated | told.truncated).tolist()
        whole |= {at for at, done in zip(now, ended, strict=True) if done and began.get(at, -1) >= WARMUP}
    return {f"env.{name}": value for name, value in env.state_dict().items()}, whole


@pytest.mark.parametrize("steps", [5, 12, 30, 64])
def test_every_account_stands_on_a_path_that_was_trained_on_whole(market, config, steps):
    state, whole = walked(market, config(historical=1.0), steps)
    met = newest_met(state, env_steps=N * steps, horizon=HORIZON, wanted=500)
    found = list(zip(met.seed.tolist(), met.episode.tolist(), strict=True))
    assert len(set(found)) == len(found) >= N
    untrained = set(found) - whole
    # a run shorter than an episode has trained none to its end, and is shown the last that its envs met
    assert len(untrained) <= (N if steps < 2 * HORIZON else 0)
    assert len(found) >= N * (steps // HORIZON - 1)
    assert found[:N] == [(seed, episode - 1) for seed, episode in zip(*both(state), strict=True)]


def both(state):
    return state["env.seed_N"].tolist(), state["env.episode_N"].tolist()


def test_the_newest_come_first_and_no_more_than_wanted(market, config):
    state, _ = walked(market, config(historical=1.0), 64)
    every = newest_met(state, env_steps=N * 64, horizon=HORIZON, wanted=500)
    few = newest_met(state, env_steps=N * 64, horizon=HORIZON, wanted=21)
    assert len(few.seed) == 21
    assert torch.equal(few.seed, every.seed[:21])
    assert torch.equal(few.episode, every.episode[:21])
    assert few.episode[N:].tolist() == (few.episode[:5] - 1).tolist()


def test_envs_of_all_processes_that_trained_count(market, config):
    state, _ = walked(market, config(historical=1.0), 64)
    halves = {key: value[:10] for key, value in state.items()}
    halves |= {f"rank1.{key}": value[10:] for key, value in state.items()}
    one, other = (newest_met(found, env_steps=N * 64, horizon=HORIZON, wanted=40) for found in (state, halves))
    assert torch.equal(one.seed, other.seed)
    assert torch.equal(one.episode, other.episode)


def test_a_checkpoint_that_tells_nothing_of_its_envs_is_refused():
    with pytest.raises(CheckpointError, match="tells no seed_N of its envs"):
        newest_met({}, env_steps=64, horizon=HORIZON, wanted=4)
