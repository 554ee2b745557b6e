"""What canonical tables say of contracts and of the index, in plain Python: terms, sessions, what is paid at expiry.

Written from the rules of the tables, not from the builder: a contract settles at the open or at the close of its date's
session, by its root.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Columns = dict[str, np.ndarray]
Tables = tuple[Columns, Columns, Columns]
"""Quotes, underlyings and rates as columns of `market/tables/schema.py`; times int64 UTC nanoseconds."""

DAY_NS = 86_400 * 10**9
MORNING_NS = 9 * 1800 * 10**9
"""An expiry more than this before the time of the close is one at the open: half days close three hours early at most,
and an open lies more than six hours before."""


class Session(NamedTuple):
    """The index on one day; prices in index points, NaN where there is none."""

    close_ns: int
    open: float
    close: float
    spot: float  # what marks the book at the close


class Terms(NamedTuple):
    """One listed contract as its rows state it."""

    root: str
    expiration_ns: int
    strike: float
    right: int  # +1 call, -1 put
    multiplier: float


class Paid(NamedTuple):
    """How a contract settles: by which price of which day."""

    settles: str  # AM or PM
    day: int  # days since 1970 of the session whose price it is
    on_its_date: bool  # False where the date held no session, and the one before gave the price
    price: float


def read_sessions(underlyings: Mapping[str, np.ndarray]) -> dict[int, Session]:
    """Sessions by day (days since 1970), in time order."""
    times = nanoseconds(underlyings["snapshot"])
    opens, closes = floats(underlyings["open"]), floats(underlyings["close"])
    proxy = floats(underlyings["parity_spot"]) if "parity_spot" in underlyings else [math.nan] * len(times)
    rows = zip(times, opens, closes, proxy, strict=True)
    return {ns // DAY_NS: Session(ns, o, c, p if math.isfinite(p) else c) for ns, o, c, p in rows}


def read_terms(quotes: Mapping[str, np.ndarray]) -> dict[str, Terms]:
    """The terms of every contract in the quotes, by its name."""
    names = quotes["contract_id"].tolist()
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        first.setdefault(name, row)
    at = np.fromiter(first.values(), np.int64, len(first))
    columns = zip(
        quotes["root"][at].tolist(),
        nanoseconds(quotes["expiration"][at]),
        floats(quotes["strike"][at]),
        [1 if right == "C" else -1 for right in quotes["right"][at].tolist()],
        floats(quotes["multiplier"][at]),
        strict=True,
    )
    return {name: Terms(*values) for name, values in zip(first, columns, strict=True)}


def settlement(terms: Terms, sessions: Mapping[int, Session], days: list[int], roots: Mapping[str, str]) -> Paid:
    """The price that settles a contract: its date's open or close, of the session before where there is none.

    Args:
        days: the keys of `sessions`, ascending
        roots: AM or PM by root; a root that is not there settles by the time of day of its expiration
    """
    dated = terms.expiration_ns // DAY_NS
    at = bisect_right(days, dated) - 1
    if at < 0:
        return Paid("PM", dated, False, math.nan)
    session = sessions[days[at]]
    by_clock = "AM" if terms.expiration_ns % DAY_NS < session.close_ns % DAY_NS - MORNING_NS else "PM"
    settles = roots.get(terms.root, by_clock)
    price = session.open if settles == "AM" else session.close
    return Paid(settles, days[at], days[at] == dated, price)


def nanoseconds(times: np.ndarray) -> list[int]:
    """UTC nanoseconds as plain ints, from int64 or any datetime64."""
    times = np.asarray(times)
    whole: list[int] = (times.astype("datetime64[ns]").astype(np.int64) if times.dtype.kind == "M" else times).tolist()
    return whole


def floats(values: np.ndarray) -> list[float]:
    """Plain floats; what is no number is NaN."""
    plain: list[float] = np.asarray(values, dtype=np.float64).tolist()
    return plain
