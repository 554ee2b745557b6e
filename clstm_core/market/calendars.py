"""The sessions of exchanges, as `exchange_calendars` knows them, and their instants as Polars expressions.

Two lists are kept apart. *Sessions* are those that were held. *Scheduled sessions* are those that everybody expected
to be held: attacks, mournings and storms closed the exchange on days that no option's price could know of, so whatever
looks ahead (listed expiries, time in sessions) counts by the schedule.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl

from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.clock import MINUTE_NS, NEW_YORK, Hours, close_ns, session_on_or_before

XNYS = "XNYS"
FIRST, LAST = date(1900, 1, 1), date(2100, 12, 31)
"""The years asked for: the library's own default is the last twenty and the next one."""

UNFORESEEN = frozenset({XNYS})
"""Exchanges whose holidays without a rule were surprises. Elsewhere (India, China) such a list is the year's own
calendar, published before it begins."""


class Exchange(NamedTuple):
    """What is known about one exchange."""

    sessions: np.ndarray  # datetime64[D], ascending, as held
    scheduled: np.ndarray  # datetime64[D], ascending, as expected
    hours: Hours
    early: Mapping[date, int]  # sessions that close early, and when: minutes after midnight of the exchange's zone


@cache
def exchange(name: str = XNYS) -> Exchange:
    """Sessions and hours of an exchange by its ISO code; read once per process.

    Raises:  ConfigError for a code that the library does not know
    Source:  https://github.com/gerrymanoim/exchange_calendars; XNYS reaches back before 1900, others as far as it knows
    Assumes: the hours are the latest ones in force; sessions that close early are in `early`, and the snapshot of a
             vendor's file keeps the full close
    """
    # Half a second and pandas: only for those who ask for a calendar.
    import exchange_calendars

    try:
        kind = type(exchange_calendars.get_calendar(name))
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise ConfigError(
            f"unknown exchange {name!r}: expected a code of exchange_calendars, e.g. XNYS. Correct the instrument's "
            "calendar."
        ) from error
    low, high = kind.bound_min(), kind.bound_max()
    calendar = kind(
        start=FIRST.isoformat() if low is None else max(low.date(), FIRST).isoformat(),
        end=LAST.isoformat() if high is None else min(high.date(), LAST).isoformat(),
    )
    sessions = calendar.sessions.to_numpy().astype("datetime64[D]")
    scheduled = sessions
    if calendar.name in UNFORESEEN:  # its own name, whatever alias was asked for
        closed = np.array([day.date() for day in calendar.adhoc_holidays], dtype="datetime64[D]")
        closed = closed[(closed > sessions[0]) & (closed < sessions[-1]) & np.is_busday(closed)]
        scheduled = np.union1d(sessions, closed)
    opens, closes = calendar.open_times[-1][1], calendar.close_times[-1][1]
    hours = Hours(str(calendar.tz), opens.hour * 60 + opens.minute, closes.hour * 60 + closes.minute)
    ends = calendar.closes.loc[calendar.early_closes].dt.tz_convert(calendar.tz)
    early = {day.date(): end.hour * 60 + end.minute for day, end in ends.items()}
    return Exchange(sessions, scheduled, hours, early)


def scheduled_sessions(calendar: str = XNYS) -> np.ndarray:
    """Sessions as they were expected (datetime64[D], ascending): closures that nobody could foresee are among them."""
    return exchange(calendar).scheduled


def is_trading_day(day: date, calendar: str = XNYS) -> bool:
    """Whether the exchange holds a session on `day`; outside FIRST .. LAST nothing is known and none is held."""
    sessions = exchange(calendar).sessions
    at = int(np.searchsorted(sessions, np.datetime64(day, "D")))
    return at < len(sessions) and bool(sessions[at] == np.datetime64(day, "D"))


def trading_days(first: date, last: date, calendar: str = XNYS) -> list[date]:
    """Sessions in [first, last], ascending."""
    sessions = exchange(calendar).sessions
    start = np.searchsorted(sessions, np.datetime64(first, "D"))
    stop = np.searchsorted(sessions, np.datetime64(last, "D"), side="right")
    return sessions[start:stop].tolist()


def previous_trading_day(day: date, calendar: str = XNYS) -> date:
    """The last session before `day`; raises MarketDataError where the calendar does not reach back so far."""
    sessions = exchange(calendar).sessions
    at = int(np.searchsorted(sessions, np.datetime64(day, "D"))) - 1
    if at < 0:
        raise MarketDataError(
            f"no session of {calendar} before {day}: its calendar begins on {sessions[0]}. Use later dates."
        )
    return sessions[at].item()


def settlement_date(expiry: date, calendar: str = XNYS) -> date:
    """The session on which a contract dated `expiry` settles: that date, or the scheduled session before it.

    So a monthly dated Saturday (before 2015) or on Good Friday settles on the session before.
    """
    return session_on_or_before(np.array([expiry], dtype="datetime64[D]"), scheduled_sessions(calendar))[0].item()


def newest_ended_session(at: datetime, calendar: str = XNYS) -> date:
    """The last session that has ended by an instant with a time zone: half days end early, holidays are none."""
    day = np.datetime64(at.astimezone(UTC).date(), "D") + 1  # east of Greenwich a session is a day ahead of UTC
    sessions = exchange(calendar).sessions
    known = sessions[: int(np.searchsorted(sessions, day, side="right"))][-12:]
    ended = known[session_ends(known, calendar) <= int(at.timestamp()) * 10**9]
    if not len(ended):
        raise MarketDataError(f"no session of {calendar} had ended by {at}: its calendar begins on {sessions[0]}.")
    return ended[-1].item()


@cache
def monthly_expiration(year: int, month: int, calendar: str = XNYS) -> date:
    """The standard monthly expiration: the third Friday, or the session before when that is a holiday."""
    first = date(year, month, 1)
    friday = first + timedelta(days=(4 - first.weekday()) % 7 + 14)
    return settlement_date(friday, calendar)


def local_instant(day: pl.Expr, minutes: int | pl.Expr, zone: str) -> pl.Expr:
    """A date and minutes after midnight in `zone` as a UTC instant; null for a date beyond nanoseconds (after 2262)."""
    local = day.cast(pl.Datetime("ns"), strict=False) + pl.duration(minutes=minutes, time_unit="ns")
    return local.dt.replace_time_zone(zone).dt.convert_time_zone("UTC")


def settlement_minutes(day: pl.Series, calendar: str = XNYS) -> pl.Series:
    """When contracts that settle at the close of each session do: at its close, 13:00 New York on half days.

    Units: minutes after midnight of the exchange's zone; an early close longer than the usual day's is none
    """
    known = exchange(calendar)
    usual = known.hours.close_minutes
    early = {date_: end for date_, end in known.early.items() if end < usual}
    return day.replace_strict(early, default=usual, return_dtype=pl.Int64)


def session_ends(dates: np.ndarray, calendar: str = XNYS) -> np.ndarray:
    """When each session ends, as UTC nanoseconds (int64): at its close, 13:00 New York on half days.

    A date that is no session ends at the usual close.

    Shapes:  dates datetime64[D]
    Assumes: half days are known beforehand, as those of `exchange` are: announced, not called on the day
    """
    hours = exchange(calendar).hours
    sooner = hours.close_minutes - settlement_minutes(pl.Series(dates.astype("datetime64[D]")), calendar).to_numpy()
    return close_ns(dates, hours) - sooner * MINUTE_NS


def session_close(day: pl.Expr, hours: Hours = NEW_YORK) -> pl.Expr:
    """The session's close as a UTC instant: the snapshot of every end-of-day source (16:00 New York)."""
    return local_instant(day, hours.close_minutes, hours.zone)


def session_date(instant: pl.Expr) -> pl.Expr:
    """The session of a snapshot or an expiration.

    Assumes: open and close lie in the UTC date of the session's own name, as they do from Tokyo to New York
    """
    return instant.dt.date()
