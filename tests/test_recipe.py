"""One choice for every stage: what a recipe says of the market, the account and the run."""

import dataclasses
import shlex

import pytest

from clstm_core.config import FEWEST_SESSIONS, RECIPES, EnvConfig, MarketConfig, RunConfig
from clstm_core.errors import ConfigError
from clstm_core.market.sources import default_config, source_names
from clstm_core.recipe import Recipe


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: Recipe(name="nope"),
            "unknown recipe 'nope': expected one of seed_100m, steady_100m, default_cpu, smoke",
        ),
        (lambda: Recipe(name=""), "unknown recipe ''"),
        (lambda: Recipe(audit="none"), r"unknown audit 'none': expected one of quick, full\."),
        (lambda: Recipe(source="nope").market(), "unknown market source 'nope': expected one of .*sp500_modelled"),
        (lambda: Recipe(device="tpu").run_config(), "unknown device 'tpu'"),
        (lambda: Recipe(seed=-1).run_config(), "seed=-1: expected"),
        (lambda: Recipe(timesteps=-5).run_config(), "timesteps=-5: expected at least one rollout"),
        (lambda: Recipe(timesteps=0).run_config(), "timesteps=0: expected at least one rollout"),
        (lambda: Recipe(source="simulated", n_snapshots=0).market(), "n_snapshots=0: expected 1 to 10,000"),
        (lambda: Recipe(source="simulated", n_snapshots=10**12).market(), "n_snapshots=1,000,000,000,000: expected"),
        (lambda: Recipe(n_snapshots=300).market(), "n_snapshots=300: the source sp500_modelled has no such setting"),
        (
            lambda: Recipe(source="simulated", data_dir="/vendor").market(),
            "data_dir='/vendor': the source simulated has no such setting",
        ),
    ],
)
def test_a_choice_that_cannot_work_is_a_sentence(build, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build()


@pytest.mark.parametrize("name", RECIPES)
def test_the_account_is_the_same_wherever_it_is_asked_for(name):
    """The audited, the trained and the judged account are one: nothing else types it."""
    recipe = Recipe(name=name)
    assert recipe.env == recipe.settings.env == recipe.run_config().env
    assert recipe.embargo == recipe.env.horizon + recipe.market().feature_lookback
    assert recipe.run_config().recipe == name


def test_a_market_is_its_sources_with_the_choices_of_the_recipe():
    made = {"min_training_snapshots": FEWEST_SESSIONS}  # by default a policy trains in worlds
    assert Recipe().market() == default_config("sp500_modelled", **made)
    assert Recipe(source="simulated", n_snapshots=260).market() == default_config("simulated", n_snapshots=260, **made)
    for source in source_names():
        assert Recipe(source=source).market() == default_config(source, **made)
        assert Recipe(source=source, name="seed_100m").market() == default_config(source)


def test_what_is_chosen_is_in_the_runs_configuration_and_the_rest_is_the_settings():
    usual = RECIPES["smoke"]()
    chosen = Recipe(name="smoke", source="simulated", n_snapshots=260, timesteps=512, seed=7, device="cpu").run_config()
    assert (chosen.timesteps, chosen.seed, chosen.device) == (512, 7, "cpu")
    assert chosen.market == default_config("simulated", n_snapshots=260)
    same = dataclasses.replace(
        chosen, timesteps=usual.timesteps, seed=usual.seed, device=usual.device, market=usual.market
    )
    assert same == usual
    assert Recipe(name="smoke").run_config().timesteps == usual.timesteps


def test_where_the_files_lie_is_no_setting_of_a_run():
    recipe = Recipe(source="spx_cboe", data_dir="/some/where", n_snapshots=None)
    assert recipe.market().data_dir == "/some/where"
    moved = dataclasses.replace(recipe, data_dir="/else/where")
    assert recipe.run_config() == moved.run_config()
    assert recipe.run_config().market.data_dir is None
    assert "where" not in str(recipe.run_config().to_dict())


def test_the_audit_is_no_setting_of_a_run():
    assert Recipe(audit="full").run_config() == Recipe(audit="quick").run_config()


def test_its_flags_are_those_of_the_command():
    from typer.main import get_command

    from orchestration.cli import app

    recipe = Recipe(name="smoke", source="simulated", n_snapshots=260)
    assert recipe.flags() == "--source simulated --recipe smoke --snapshots 260"
    assert Recipe().flags() == "--source sp500_modelled --recipe default_cpu"
    full = Recipe(name="smoke", source="spx_cboe", data_dir="/a", n_snapshots=3)
    for command in ("demo", "audit"):
        known = {flag for option in get_command(app).commands[command].params for flag in option.opts}
        assert {word for word in shlex.split(full.flags()) if word.startswith("--")} <= known


def test_flags_can_be_typed_whatever_the_folder_is_called():
    data_dir = "/my data/it's here"
    words = shlex.split(Recipe(source="spx_cboe", data_dir=data_dir).flags())
    assert words[words.index("--data") + 1] == data_dir


def test_a_recipe_is_frozen_and_known_by_its_values():
    assert Recipe(seed=3) == Recipe(seed=3) != Recipe(seed=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 4
    assert isinstance(Recipe().run_config(), RunConfig)
    assert isinstance(Recipe().market(), MarketConfig)
    assert isinstance(Recipe().env, EnvConfig)
