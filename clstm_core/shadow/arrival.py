"""A session's quotes as they arrive, and what is wrong with them: nothing is decided on what is found wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import numpy as np
import torch

from clstm_core.market.calendars import session_ends, trading_days
from clstm_core.market.clock import MINUTE_NS
from clstm_core.market.tensors import MarketTensors
from clstm_core.shadow.limits import Limits
from clstm_core.specs import MARKET_FEATURES

DAY_S = 86_400.0
UNREAD = ("unusable: ", "torn: ", "spoilt: ")
"""How a source's word begins on a session of which it made no market, or none that can be trusted: what was missing may
lie in another file than the session's own, e.g. its close, and come later."""

COPY_ROWS = 8
"""Contracts in two sessions that must all be quoted alike before the second is called a copy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One session's quotes.

    pair:    the market of the snapshot (int64 UTC ns) that an account stands at, None for none, and of this one
    quoted_at, seen_at: when the quotes were taken and when they arrived, int64 UTC ns
    session_sha256: of what arrived of this session alone: a session that was refused is looked at again when it differs
    files: names of what arrived of this session alone; empty where nothing is
    problem: why a source could make no market of it; empty where it could
    """

    snapshot: int
    seen_at: int
    quoted_at: int
    source: str
    source_sha256: str
    session_sha256: str
    label: str
    pair: Callable[[int | None], MarketTensors]
    files: str = ""
    problem: str = ""

    @property
    def age_s(self) -> float:
        """Age of the quotes when they arrived, in seconds."""
        return (self.seen_at - self.quoted_at) / 1e9


class QuoteSource(Protocol):
    """Where sessions come from, in the order of their arrival."""

    name: str
    label: str
    currency: str

    def arrivals(self, after: int | None) -> Iterator[Arrival]:
        """Sessions that arrived and are newer than the snapshot `after`; all where it is None."""
        ...


def end_of(snapshot: int, calendar: str) -> int:
    """When a session ends (int64 UTC ns): at its snapshot, or sooner on a half day."""
    return min(snapshot, int(session_ends(np.array([day_of(snapshot)], dtype="datetime64[D]"), calendar)[0]))


def too_early(snapshot: int, quoted_at: int, seen_at: int, calendar: str) -> str:
    """Why a session cannot have arrived when it did, by the clock that was read; empty where it can."""
    end, taken, seen = (np.datetime64(at // MINUTE_NS, "m") for at in (end_of(snapshot, calendar), quoted_at, seen_at))
    if end > seen:
        return f"reordered: session {day_of(snapshot)} ends at {end} UTC, after {seen}, when it arrived"
    if quoted_at > seen_at + MINUTE_NS:
        return f"reordered: quotes of {taken} UTC, after {seen}, when they arrived"
    return ""


def out_of_order(arrival: Arrival, last: int | None, calendar: str) -> str:
    """Why a session cannot follow the last one that was decided on; empty where it can."""
    if early := too_early(arrival.snapshot, arrival.quoted_at, arrival.seen_at, calendar):
        return early
    if last is None or arrival.snapshot > last:
        return ""
    when, then = day_of(arrival.snapshot), day_of(last)
    if arrival.snapshot == last:
        return f"duplicate: session {when} was seen before"
    return f"reordered: session {when} arrived after {then}"


def aged(arrival: Arrival, limits: Limits, calendar: str) -> str:
    """Why the quotes are too old; empty where they are not. Days on which the exchange was closed age nothing."""
    if limits.max_quote_age_s is None:
        return ""
    first, last = (date.fromisoformat(day_of(at)) for at in (arrival.quoted_at, arrival.seen_at))
    closed = max(0, (last - first).days - len(trading_days(first + timedelta(days=1), last, calendar)))
    age = arrival.age_s - DAY_S * closed
    if age <= limits.max_quote_age_s:
        return ""
    without = f" without {closed} closed days" if closed else ""
    return f"stale: quotes are {age:,.0f} s old{without}, at most {limits.max_quote_age_s:,.0f} s"


def faults_of(pair: MarketTensors, limits: Limits) -> list[str]:
    """What is wrong with the newest snapshot of a pair, in words; nothing where it can be decided on.

    Numbers that are not finite, prices that cross, and quotes that are a copy of those before.
    """
    last = pair.n_snapshots - 1
    first, stop = pair.row_offset_T1[last : last + 2].tolist()
    rows = slice(first, stop)
    found = []
    numbers = {name: float(getattr(pair, f"{name}_T")[last]) for name in ("spot", "rate", "dividend_yield")}
    found += [f"not finite: {name} is {value}" for name, value in numbers.items() if not np.isfinite(value)]
    if not float(pair.spot_T[last]) > 0:
        found.append(f"not finite: spot is {float(pair.spot_T[last])}, expected above 0")
    features = pair.features_TF[last]
    bad = [name for name, sound in zip(MARKET_FEATURES, features.isfinite().tolist(), strict=True) if not sound]
    if bad:
        found.append(f"not finite: feature {', '.join(bad)}")
    for name in ("bid", "ask", "mark", "implied_vol", "delta", "gamma", "vega", "theta", "rho"):
        column = getattr(pair, f"{name}_Q")[rows]
        if count := int((~column.isfinite()).sum()):
            found.append(f"not finite: {name} of {count} of {stop - first} contracts")
    quoted = ~pair.stale_Q[rows]
    if not quoted.any():
        return [*found, "stale: no contract is quoted"]
    crossed = quoted & (pair.bid_Q[rows] > pair.ask_Q[rows])
    share = float(crossed.sum() / quoted.sum())
    if limits.max_crossed_share is None:
        pass
    elif share > limits.max_crossed_share:
        found.append(f"crossed: bid above ask in {int(crossed.sum())} of {int(quoted.sum())} quoted contracts")
    return [*found, *([_COPY] if last and _copied(pair, rows) else [])]


_COPY = "stale: every contract is quoted as at the session before"


def _copied(pair: MarketTensors, rows: slice) -> bool:
    """Whether all that is quoted in both snapshots is quoted alike."""
    before = (pair.next_row_Q >= 0).nonzero()[:, 0]
    now = pair.next_row_Q[before]
    both = ~pair.stale_Q[before] & ~pair.stale_Q[now]
    before, now = before[both], now[both]
    if len(now) < COPY_ROWS:
        return False
    alike = (pair.bid_Q[before] == pair.bid_Q[now]) & (pair.ask_Q[before] == pair.ask_Q[now])
    return bool(torch.all(alike))


def missing_between(last: int | None, now: int, calendar: str) -> int:
    """Sessions of the exchange between two snapshots."""
    if last is None:
        return 0
    first, until = (np.datetime64(at, "ns").astype("datetime64[D]").item() for at in (last, now))
    return max(0, len([day for day in trading_days(first, until, calendar) if first < day < until]))


def day_of(snapshot: int) -> str:
    """ISO date of a snapshot."""
    return str(np.datetime64(snapshot, "ns").astype("datetime64[D]"))
