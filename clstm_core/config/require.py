"""How a setting is refused: `ConfigError` with a sentence that names the remedy."""

from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from clstm_core.errors import ConfigError

LARGEST = 1e15
"""Of a setting that is measured: products of larger ones are infinite where money is float32."""


def require(condition: bool, message: str) -> None:
    """Raises: ConfigError with `message` where the condition does not hold"""
    if not condition:
        raise ConfigError(message)


def require_numbers(room: Any, *, but: Sequence[str] = ()) -> None:
    """Every setting of a room that is a number is one, and finite; one that counts is whole, others are no monsters.

    Beyond these no comparison can be trusted: NaN is on no side of a limit, and what is infinite makes NaN.

    Args:
        but: settings that look after themselves

    Raises: ConfigError that names the first that is not
    """
    for item in fields(room):
        value, kind = getattr(room, item.name), item.type
        if item.name in but or kind not in (int, float, float | None) or (value is None and kind == float | None):
            continue
        wanted, expected = (Integral, "a whole number") if kind is int else (Real, f"a number, at most {LARGEST:g}")
        sound = isinstance(value, wanted) and not isinstance(value, bool)
        sound = sound and (kind is int or -LARGEST <= value <= LARGEST)
        require(sound, f"{item.name}={value!r}: expected {expected}. Leave it out for {item.default!r}.")
