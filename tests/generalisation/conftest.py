"""A market just long enough to make worlds of, at tenors of one and two weeks, and policies of a few lines."""

import dataclasses

import pytest
import torch

from clstm_core.config import EnvConfig, MarketConfig, ModelConfig, RunConfig, WorldsConfig, smoke
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.worlds.training import world_of
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION

HORIZON = 6


@pytest.fixture(scope="session")
def market():
    config = MarketConfig(
        source="simulated", n_snapshots=520, train_fraction=0.6, validation_fraction=0.2, near_days=7.0, far_days=14.0
    )
    return simulated_market(config, embargo=HORIZON + config.feature_lookback)


@pytest.fixture
def config():
    """Builds a run's configuration; keywords are shares of families and other settings of its worlds."""

    def build(**worlds) -> RunConfig:
        return dataclasses.replace(smoke(), env=EnvConfig(horizon=HORIZON), worlds=WorldsConfig(**worlds))

    return build


@pytest.fixture
def trained_through(market):
    """Where a training of `n` envs stands after `steps` sessions in a run's worlds: the state of its checkpoint.

    Those of `warmup` were walked before, by a policy that was not trained yet.
    """

    def walk(config, *, n, steps, warmup=0):
        env = OptionsEnv(world_of(market, config.worlds, config.env.horizon), config.env, n_envs=n, seed=config.seed)
        for _ in range(warmup + steps):
            env.step(torch.zeros(n, dtype=torch.int64))
        return {f"env.{name}": value for name, value in env.state_dict().items()}

    return walk


class Once(CLSTM):
    """Takes one action where an episode begins, by what it sees there, and waits; its critic knows nothing."""

    def __init__(self):
        super().__init__(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=4, n_heads=1, attention_window=2))
        self.eval()

    def first(self, observation):
        return torch.zeros(len(observation), dtype=torch.int64)

    def decide(self, observation, mask, state, start, noise):
        wanted = torch.where(start, self.first(observation), 0)
        action = torch.where(mask.gather(1, wanted[:, None]).squeeze(1), wanted, 0)
        return action, torch.zeros(len(action)), state


class Always(Once):
    """Opens the same package whatever it sees."""

    def __init__(self, action: str):
        super().__init__()
        self.action = ACTIONS.index(action)

    def first(self, observation):
        return torch.full((len(observation),), self.action)


class Memoriser(Once):
    """Remembers what paid on each path that it was shown, and does on any other what paid on the one most like it."""

    def remember(self, seen, answers):
        self.seen, self.answers = seen, answers

    def first(self, observation):
        return self.answers[torch.cdist(observation, self.seen).argmin(dim=1)]


@pytest.fixture
def policies():
    """The policies by name."""
    return {"cash": Once, "always": Always, "memoriser": Memoriser}
