import pytest

from clstm_core.config import RECIPES, EnvConfig, PPOConfig, RunConfig
from clstm_core.errors import ConfigError


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_a_round_trip_through_json_types(name):
    config = RECIPES[name]()
    assert RunConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: PPOConfig(batch_size=0), "batch_size=0: expected at least 1"),
        (lambda: PPOConfig(batch_size=4000, bptt_steps=128), "cuts sequences.*Use a multiple of 128"),
        (lambda: PPOConfig(n_envs=100_000_000), "expected at most .* Use fewer envs"),
        (lambda: RunConfig(seed=10**20), "seed=1.*expected a whole number"),
        (lambda: EnvConfig(reward_scale=float("nan")), "reward_scale=nan: expected a positive"),
        (lambda: EnvConfig(reward_scale=0.0), "reward_scale=0.0: expected a positive"),
        (lambda: EnvConfig(commission_per_share_usd=-0.1), "a cost cannot be negative"),
        (lambda: RunConfig.from_dict({"ppo": {"clip": 0.1}}), "unknown ppo setting clip"),
    ],
)
def test_a_configuration_that_cannot_work_says_why_and_what_to_do(build, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build()
