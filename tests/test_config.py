import dataclasses
from typing import Any

import pytest

from clstm_core import config as configuration
from clstm_core.config import RECIPES, EnvConfig, MarketConfig, ModelConfig, PPOConfig, RunConfig, WorldsConfig
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
        (lambda: EnvConfig(reward_scale=float("nan")), "reward_scale=nan: expected a number.* Leave it out for 0.02"),
        (lambda: EnvConfig(ruin_fraction=float("nan")), "ruin_fraction=nan: expected less than 1"),
        (lambda: EnvConfig(crash_vol_shock=1e300), "crash_vol_shock=1e.300: expected a number"),
        (lambda: EnvConfig(crash_vol_shock=1e9), "crash_vol_shock=1000000000.0: expected 0 .* to 100"),
        (lambda: EnvConfig(scan_vol_shock=1e9), "scan_vol_shock=1000000000.0: expected 0 .* to 100"),
        (lambda: EnvConfig(scan_down=1.0), "scan_down=1.0: expected a fall"),
        (lambda: EnvConfig(scan_up=-0.1), "scan_up=-0.1: expected a rise"),
        (lambda: EnvConfig(assignable_fraction=-1.0), "assignable_fraction=-1.0: expected 0"),
        (lambda: EnvConfig(scan_points=10**6), "scan_points=1000000: expected .* at most 1000"),
        (lambda: EnvConfig(horizon=2.5), "horizon=2.5: expected a whole number. Leave it out for 126"),
        (lambda: WorldsConfig(historical=1e308, heston=1e308), "historical=1e.308: expected a number"),
        (lambda: WorldsConfig(historical=1.0, years=1e12), "worlds: years=1.* at most"),
        (lambda: WorldsConfig(historical=1.0, varied=1e3), "worlds: varied=1000.0: expected 0"),
        (lambda: WorldsConfig(seed=-1), "worlds: seed=-1: expected a whole number"),
        (lambda: RunConfig(seed=2**63 - 1), "seed=9223372036854775807: expected a whole number from 0 to 2.62"),
        (lambda: EnvConfig(reward_scale=0.0), "reward_scale=0.0: expected a positive"),
        (lambda: EnvConfig(commission_per_share_usd=-0.1), "a cost cannot be negative"),
        (lambda: RunConfig.from_dict({"ppo": {"clip": 0.1}}), "unknown ppo setting clip"),
    ],
)
def test_a_configuration_that_cannot_work_says_why_and_what_to_do(build, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build()


@pytest.mark.parametrize("room", [EnvConfig, WorldsConfig, RunConfig])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308, 10**400, None, "much", True], ids=repr)
def test_no_setting_that_is_a_number_is_none(room, value):
    """NaN is on no side of a limit: a cap, a share or a cost of it would bound and mean nothing."""
    numbers = [item for item in dataclasses.fields(room) if item.type in (int, float, float | None)]
    assert numbers
    for item in numbers:
        if (value is None and item.type == float | None) or (value == 10**400 and item.type is int):
            continue
        with pytest.raises(ConfigError, match=item.name):
            room(**{item.name: value})


def with_a_knob(kind: type, name: str, default: Any) -> type:
    """The class as a later release may have it: one setting more, which has a default."""
    fields = [(name, type(default), dataclasses.field(default=default))]
    return dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)


def as_later(config: RunConfig, room: str, **knob: Any) -> RunConfig:
    """The same configuration in a release with one knob more, in a room or in the run itself."""
    (name, default), *_ = knob.items()
    if room == "run":
        return with_a_knob(RunConfig, name, default)(
            **{item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
        )
    old = getattr(config, room)
    kind = with_a_knob(type(old), name, default)
    later = kind(**{item.name: getattr(old, item.name) for item in dataclasses.fields(old)})
    field = (room, kind, dataclasses.field(default_factory=kind))
    run = dataclasses.make_dataclass("RunConfig", [field], bases=(RunConfig,), frozen=True, kw_only=True)
    values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    return run(**(values | {room: later}))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("room", ["run", "market", "env", "model", "ppo"])
@pytest.mark.parametrize("default", [0, 0.5, "usual", True, (1, 2)])
def test_a_new_knob_with_a_default_leaves_the_hash_of_every_run_alone(name, room, default):
    config = RECIPES[name]()
    later = as_later(config, room, knob=default)
    assert later != config, "the later release knows one setting more"
    assert later.sha256 == config.sha256


@pytest.mark.parametrize("room", ["run", "market", "env", "model", "ppo"])
def test_a_new_knob_that_is_turned_changes_the_hash(room):
    config = RECIPES["smoke"]()
    later = as_later(config, room, knob=1)
    if room == "run":
        turned = dataclasses.replace(later, knob=2)
    else:
        turned = dataclasses.replace(later, **{room: dataclasses.replace(getattr(later, room), knob=2)})
    assert turned.sha256 != later.sha256 == config.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"timesteps": 1},
        {"seed": 1},
        {"device": "cpu"},
        {"recipe": "other"},
        {"market": MarketConfig(n_snapshots=3)},
        {"market": MarketConfig(premium=False)},
        {"env": EnvConfig(horizon=5)},
        {"env": EnvConfig(capital_usd=1.0)},
        {"model": ModelConfig(dual_trunk=False)},
        {"ppo": PPOConfig(target_kl=0.1)},
        {"ppo": PPOConfig(gamma=0.5)},
    ],
    ids=str,
)
def test_a_changed_value_changes_the_hash_and_the_default_back_restores_it(change):
    usual = RunConfig()
    changed = dataclasses.replace(usual, **change)
    assert changed.sha256 != usual.sha256
    (name,) = change
    assert dataclasses.replace(changed, **{name: getattr(usual, name)}).sha256 == usual.sha256


def test_every_setting_counts_but_where_the_files_lie():
    """Each field of each room in turn, so that none is forgotten by the hash."""
    usual = RunConfig()
    other = {bool: lambda v: not v, int: lambda v: v * 2, float: lambda v: v * 0.5, str: lambda v: v + "x"}
    seen = set()
    for room in ("market", "env", "model", "ppo"):
        mine = getattr(usual, room)
        for item in dataclasses.fields(mine):
            value = getattr(mine, item.name)
            if item.name == "data_dir" or type(value) not in other:
                continue
            copy = dataclasses.replace(mine)
            object.__setattr__(copy, item.name, other[type(value)](value) or 3)  # past the checks of what can work
            seen.add(dataclasses.replace(usual, **{room: copy}).sha256)
            assert usual.sha256 not in seen, f"{room}.{item.name}"
    assert len(seen) > 50, "each change has a hash of its own"


def test_where_the_files_lie_is_no_setting_of_a_run():
    one, other = (RunConfig(market=MarketConfig(source="spx_cboe", data_dir=place)) for place in ("/a", "/b"))
    assert one.sha256 == other.sha256 == RunConfig(market=MarketConfig(source="spx_cboe")).sha256
    assert configuration.non_defaults(one) == {"market": {"source": "spx_cboe"}}


def test_the_hash_is_of_plain_json_and_does_not_depend_on_the_order_of_the_arguments():
    one = RunConfig(seed=3, ppo=PPOConfig(gamma=0.5, clip_epsilon=0.2))
    other = RunConfig(ppo=PPOConfig(clip_epsilon=0.2, gamma=0.5), seed=3)
    assert one.sha256 == other.sha256 == RunConfig.from_dict(one.to_dict()).sha256
    assert configuration.non_defaults(one) == {"seed": 3, "ppo": {"gamma": 0.5, "clip_epsilon": 0.2}}


def test_a_configuration_of_before_a_knob_reads_as_its_default():
    kept = RECIPES["smoke"]().to_dict()
    del kept["ppo"]["gamma"], kept["env"]["risk_penalty"]
    assert RunConfig.from_dict(kept) == RECIPES["smoke"]()
