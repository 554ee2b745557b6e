"""Controls outlive a new setting that changes nothing, and no change of a recipe."""

import dataclasses
from pathlib import Path

import pytest

from clstm_core.artifacts.places import Places
from clstm_core.config import RECIPES, EnvConfig, default_cpu
from clstm_core.controls import settings
from clstm_core.controls.kept import kept_controls, recipe_sha256

ROOT = Path(__file__).resolve().parents[2]
SETTING = "slippage_bps"


def with_settings(config, **defaults):
    """The run's account by a class that has these settings too, or these defaults in place of its own.

    What the recipe does not set is as that class has it.
    """
    usual, account = EnvConfig(), dataclasses.asdict(config.env)
    fields = [(name, type(value), dataclasses.field(default=value)) for name, value in defaults.items()]
    kind = dataclasses.make_dataclass("Account", fields, bases=(EnvConfig,), frozen=True, kw_only=True)
    chosen = {name: value for name, value in account.items() if value != getattr(usual, name)}
    return dataclasses.replace(config, env=kind(**chosen))


def test_the_controls_that_ship_are_those_of_the_default_recipe():
    shipped = sorted((ROOT / "data" / "controls").glob("*.json"))
    found = kept_controls(default_cpu(), Places(ROOT / "data"))
    assert found is not None
    assert [found.place] == shipped
    assert found.recipe_sha256 == recipe_sha256(default_cpu())


def test_a_new_setting_at_its_default_keeps_the_controls_and_at_another_value_does_not():
    usual = default_cpu()
    newer = with_settings(usual, **{SETTING: 0.0})
    assert SETTING in dataclasses.asdict(newer.env)
    assert recipe_sha256(newer) == recipe_sha256(usual)
    other = dataclasses.replace(newer, env=dataclasses.replace(newer.env, **{SETTING: 1.0}))
    assert recipe_sha256(other) != recipe_sha256(usual)


@pytest.mark.parametrize("change", [{"borrow_rate": 0.01}, {"commission_per_contract_usd": 1.0}])
def test_another_default_of_a_known_setting_is_another_recipe(change):
    usual = default_cpu()
    (name,) = change
    assert getattr(usual.env, name) == getattr(EnvConfig(), name), "else the recipe sets it, whatever the default"
    assert recipe_sha256(with_settings(usual, **change)) != recipe_sha256(usual)


def test_another_default_of_a_setting_that_came_later_is_another_recipe(monkeypatch):
    usual = default_cpu()
    monkeypatch.setitem(settings.LATER, "env", {SETTING: 0.0})
    assert recipe_sha256(with_settings(usual, **{SETTING: 0.0})) == recipe_sha256(usual)
    assert recipe_sha256(with_settings(usual, **{SETTING: 1.0})) != recipe_sha256(usual)


@pytest.mark.parametrize("room", settings.FIRST)
def test_every_setting_is_known(room):
    """A new one belongs into `settings.LATER` with its default, so that a later change of that is seen."""
    there = {field.name: field.default for field in dataclasses.fields(getattr(default_cpu(), room))}
    never = settings.NEVER.get(room, frozenset())
    assert set(there) - never == settings.FIRST[room] | set(settings.LATER[room])
    assert not settings.FIRST[room] & set(settings.LATER[room])


def test_no_two_recipes_share_their_controls():
    assert len({recipe_sha256(make()) for make in RECIPES.values()}) == len(RECIPES)
