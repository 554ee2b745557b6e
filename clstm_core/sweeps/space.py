"""What a sweep may change: settings of how a policy learns, never of the account or the market that judge it."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clstm_core.config import RunConfig
from clstm_core.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROOMS = ("ppo", "model")
LOG = "log"
EXAMPLES = "ppo.critic_lr=1e-4:1e-2:log, ppo.policy_epochs=1:4 or model.attention_window=8,16,32"

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """One setting: a range (of whole numbers where the setting is one), or choices.

    name: room and setting, e.g. `ppo.actor_lr`; log: drawn evenly over its logarithm
    """

    name: str
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range or among the choices."""
        if self.choices:
            return value in self.choices
        return value is not None and self.low is not None and self.high is not None and self.low <= value <= self.high

    def __str__(self) -> str:
        """As it is written on a command line."""
        if self.choices:
            return f"{self.name}={','.join(map(str, self.choices))}"
        return f"{self.name}={self.low:g}:{self.high:g}" + (f":{LOG}" if self.log else "")


USUAL = (
    "ppo.actor_lr=3e-4:3e-3:log",
    "ppo.critic_lr=1e-4:3e-3:log",
    "ppo.policy_epochs=1:4",
    "ppo.entropy_start=0.003:0.1:log",
    "ppo.gae_lambda=0.8:0.99",
)
"""Searched where nothing else is asked for."""


def dimension(text: str) -> Dimension:
    """A dimension as a person writes it: `NAME=LOW:HIGH`, `NAME=LOW:HIGH:log` or `NAME=a,b,c`.

    Raises: ConfigError that says what is wrong with it and what a right one looks like
    """
    name, equals, asked = text.strip().partition("=")
    if not equals or not asked.strip():
        raise ConfigError(f"space {text!r}: expected NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=a,b, e.g. {EXAMPLES}.")
    kind = _kind_of(name)
    if ":" in asked:
        return _range(text, name, kind, asked.split(":"))
    choices = tuple(_value(text, kind, part) for part in asked.split(","))
    if len(set(choices)) < 2 or len(set(choices)) < len(choices):
        raise ConfigError(f"space {text!r}: expected two choices or more, each once, e.g. {EXAMPLES}.")
    return Dimension(name=name, choices=choices)


def dimensions(texts: Sequence[str]) -> tuple[Dimension, ...]:
    """Several, each setting once; ConfigError otherwise."""
    found = tuple(map(dimension, texts))
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"space names {', '.join(twice)} twice: expected each setting once. Leave one out.")
    if not found:
        raise ConfigError(f"no space: expected what to search, e.g. {EXAMPLES}.")
    return found


def with_settings(config: RunConfig, settings: Settings) -> RunConfig:
    """A configuration with some settings changed.

    Raises: ConfigError for a combination that cannot be trained
    """
    for room in ROOMS:
        mine = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{room}.")}
        if mine:
            config = dataclasses.replace(config, **{room: dataclasses.replace(getattr(config, room), **mine)})
    return config


def settings_of(config: RunConfig, space: Sequence[Dimension]) -> dict[str, Any]:
    """What a configuration has for each dimension."""
    return {each.name: getattr(getattr(config, each.name.partition(".")[0]), each.name.partition(".")[2])
            for each in space}  # fmt: skip


def _kind_of(name: str) -> type:
    """The type of a setting; ConfigError for one that there is not, or that a sweep may not change."""
    room, _, setting = name.partition(".")
    rooms = {each: typing.get_type_hints(type(getattr(RunConfig(), each))) for each in ROOMS}
    if setting not in rooms.get(room, {}):
        known = ", ".join(f"{each}.{one}" for each, hints in rooms.items() for one in hints)
        raise ConfigError(
            f"unknown setting {name!r}: expected one of how a policy learns ({known}). The account and the market "
            "judge it and are not searched."
        )
    hint = rooms[room][setting]
    kinds = [kind for kind in (*typing.get_args(hint), hint) if kind in (bool, int, float)]
    return kinds[0]


def _range(text: str, name: str, kind: type, parts: list[str]) -> Dimension:
    if kind is bool or len(parts) not in (2, 3) or (len(parts) == 3 and parts[2].strip() != LOG):
        raise ConfigError(f"space {text!r}: expected NAME=LOW:HIGH or NAME=LOW:HIGH:log, e.g. {EXAMPLES}.")
    low, high = (_value(text, kind, part) for part in parts[:2])
    log = len(parts) == 3
    if not low < high or (log and low <= 0):
        raise ConfigError(f"space {text!r}: expected {'0 < ' if log else ''}low < high, e.g. {EXAMPLES}.")
    return Dimension(name=name, low=low, high=high, log=log)


def _value(text: str, kind: type, part: str) -> Any:
    said = part.strip()
    if kind is bool and said.lower() in ("true", "false"):
        return said.lower() == "true"
    try:
        number = float(said)
    except ValueError:
        number = float("nan")
    if kind is bool or number != number or abs(number) == float("inf") or (kind is int and number != int(number)):
        what = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise ConfigError(f"space {text!r}: found {said!r}, expected {what}, e.g. {EXAMPLES}.")
    return int(number) if kind is int else number
