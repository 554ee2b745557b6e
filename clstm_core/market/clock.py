"""The one clock: nanoseconds UTC, years of 365 days, and when an exchange opens and closes. Numpy only.

Everything that turns dates into instants or instants into years comes here: dynamics, carry and time to expiry share
one clock, or weekends would earn money.
"""

from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

DAY_NS = 86_400 * 10**9
MINUTE_NS = 60 * 10**9
DAYS_YEAR = 365
YEAR_NS = DAYS_YEAR * DAY_NS
DAY_YEARS = 1.0 / DAYS_YEAR
AM_BEFORE_CLOSE_NS = 9 * 1800 * 10**9
"""A contract that settles this long before the time of the full close takes the open: later than a half day's close
(three hours before), earlier than an open (six and a half), with an hour to spare for either clock change."""


class Hours(NamedTuple):
    """When an exchange opens and closes, in minutes after midnight of its own zone."""

    zone: str  # IANA name
    open_minutes: int
    close_minutes: int


NEW_YORK = Hours("America/New_York", 9 * 60 + 30, 16 * 60)
"""The close is 16:00 on half days too: one snapshot time for every session of a vendor's file. What settles on a half
day does at 13:00 (`calendars.settlement_minutes`); a modelled market is quoted then too (`calendars.session_ends`)."""


def instant_ns(dates: np.ndarray, minutes: int, zone: str) -> np.ndarray:
    """Each date (datetime64[D]) at `minutes` after midnight in `zone` as UTC nanoseconds (int64)."""
    local, hour, minute = ZoneInfo(zone), minutes // 60, minutes % 60
    days = dates.astype("datetime64[D]").tolist()
    instants = (datetime(d.year, d.month, d.day, hour, minute, tzinfo=local).astimezone(UTC) for d in days)
    return np.array([int(instant.timestamp()) * 10**9 for instant in instants], dtype=np.int64)


def close_ns(dates: np.ndarray, hours: Hours = NEW_YORK) -> np.ndarray:
    """The close of each date (datetime64[D]) as UTC nanoseconds: the snapshot of its session, and PM settlement."""
    return instant_ns(dates, hours.close_minutes, hours.zone)


def weekday(dates: np.ndarray) -> np.ndarray:
    """0 Monday .. 6 Sunday of each date (datetime64[D])."""
    return (dates.astype("datetime64[D]").astype(np.int64) + 3) % 7


def session_on_or_before(dates: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """Each date where it is one of `sessions` (ascending), else the session before it.

    Shapes:  datetime64[D] -> datetime64[D]
    Assumes: a date outside the span of `sessions` stays as it is: nothing is known about it
    """
    at = np.searchsorted(sessions, dates, side="right") - 1
    known = (at >= 0) & (dates <= sessions[-1])
    return np.where(known, sessions[np.maximum(at, 0)], dates)


def sessions_between(first: np.ndarray, last: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """How many of `sessions` (ascending) come after `first`, up to and with `last`; float64.

    Variance comes session by session: an option over a weekend is not worth three sessions of it. Pass *scheduled*
    sessions (`calendars.scheduled_sessions`), or an option priced on 10 September 2001 knows of the week after.
    """
    count = np.searchsorted(sessions, last, side="right") - np.searchsorted(sessions, first, side="right")
    return count.astype(np.float64)
