"""What a policy earns beyond cash as the spread it pays grows, and the spread at which that is nothing."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

MULTIPLES = (0.0, 0.56, 0.75, 1.0, 2.0)
"""Multiples of the quoted half-spread that are paid: mid, what a patient order pays, touch, and twice that."""

ENDS = (MULTIPLES[0], MULTIPLES[-1])
"""Multiples at which the rungs that are not judged are walked: with touch enough for their break-even spread."""

_NOTHING = 1e-12


class BreakEven(NamedTuple):
    """The multiple of the quoted half-spread at which a policy earns what cash does, None where there is none; and why.

    The policy decides anew at each multiple that was walked; between two of them its excess is taken as linear. It is
    so for an account whose trades do not depend on the spread.
    """

    multiple: float | None
    words: str


def break_even(multiples: Sequence[float], excess: Sequence[float]) -> BreakEven:
    """Where the excess first falls to zero as the spread widens, between two multiples that were walked.

        m = m0 + (m1 - m0) e0 / (e0 - e1),   e0 > 0 >= e1

    Shapes: both [M], by rising multiple
    Units:  excess: total return less that of cash, or any other measure that is zero where cash is met
    """
    if all(abs(value) <= _NOTHING for value in excess):
        return BreakEven(None, "none, since it never moved against cash: no spread touches it")
    if excess[0] <= 0.0:
        at = "at mid" if multiples[0] == 0.0 else f"at {multiples[0]:g} times the spread"
        return BreakEven(None, f"none, since even {at} it earns no more than cash")
    for (m0, e0), (m1, e1) in pairwise(zip(multiples, excess, strict=True)):
        if e1 <= 0.0:
            multiple = m0 + (m1 - m0) * e0 / (e0 - e1)
            return BreakEven(multiple, f"{multiple:.2f} times the quoted spread")
    return BreakEven(None, f"none up to {multiples[-1]:g} times the quoted spread, where it still earns more than cash")


def paid_words(multiple: float) -> str:
    """A multiple of the half-spread as a person calls it."""
    return {0.0: "mid", 1.0: "touch"}.get(multiple, f"{multiple:g} x the half-spread")
