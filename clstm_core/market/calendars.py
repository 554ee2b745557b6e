"""US equity-index sessions by rule: holidays, monthly expirations, and the instants of close and settlement."""

from datetime import date, timedelta
from functools import cache

import polars as pl

NEW_YORK = "America/New_York"
CLOSE_MINUTES = 16 * 60  # after midnight, New York: PM settlement and the snapshot
OPEN_MINUTES = 9 * 60 + 30  # AM settlement

# Closures that no rule gives: attacks of 2001, mournings, the storm of 2012.
SPECIAL_CLOSURES = frozenset(
    {
        *(date(2001, 9, day) for day in (11, 12, 13, 14)),
        date(2004, 6, 11),
        date(2007, 1, 2),
        date(2012, 10, 29),
        date(2012, 10, 30),
        date(2018, 12, 5),
        date(2025, 1, 9),
    }
)


def easter(year: int) -> date:
    """Easter Sunday. Source: the anonymous Gregorian computus (Meeus, Astronomical Algorithms, 1991, ch. 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = b // 4, b % 4
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    leap = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * leap) // 451
    month, day = divmod(h + leap - 7 * m + 114, 31)
    return date(year, month, day + 1)


def nth_weekday(year: int, month: int, weekday: int, n: int) -> date:
    """The n-th (1-based) weekday (Monday = 0) of a month; n = -1 is the last."""
    if n > 0:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
    last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - weekday) % 7)


def _observed(day: date) -> date:
    return day + timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0))


@cache
def holidays(year: int) -> frozenset[date]:
    """Full-day holidays of the US exchanges in `year`, observed dates.

    Source: NYSE rule 7.2; a New Year's Day on a Saturday is not observed on the Friday of the old year; Martin Luther
            King Day since 1998, Juneteenth since 2022.
    """
    days = {
        nth_weekday(year, 2, 0, 3),  # Presidents
        easter(year) - timedelta(days=2),  # Good Friday
        nth_weekday(year, 5, 0, -1),  # Memorial
        _observed(date(year, 7, 4)),
        nth_weekday(year, 9, 0, 1),  # Labor
        nth_weekday(year, 11, 3, 4),  # Thanksgiving
        _observed(date(year, 12, 25)),
    }
    if date(year, 1, 1).weekday() != 5:
        days.add(_observed(date(year, 1, 1)))
    if year >= 1998:
        days.add(nth_weekday(year, 1, 0, 3))
    if year >= 2022:
        days.add(_observed(date(year, 6, 19)))
    return frozenset(days)


def is_trading_day(day: date) -> bool:
    """Whether the US exchanges hold a session on `day`."""
    return day.weekday() < 5 and day not in holidays(day.year) and day not in SPECIAL_CLOSURES


def trading_days(first: date, last: date) -> list[date]:
    """Sessions in [first, last], ascending."""
    return [day for n in range((last - first).days + 1) if is_trading_day(day := first + timedelta(days=n))]


def previous_trading_day(day: date) -> date:
    """The last session before `day`."""
    day -= timedelta(days=1)
    while not is_trading_day(day):
        day -= timedelta(days=1)
    return day


@cache
def monthly_expiration(year: int, month: int) -> date:
    """The standard monthly expiration: the third Friday, or the session before when that is a holiday."""
    friday = nth_weekday(year, month, 4, 3)
    return friday if is_trading_day(friday) else previous_trading_day(friday)


def new_york_instant(day: pl.Expr, minutes: int | pl.Expr) -> pl.Expr:
    """A date and minutes after midnight in New York as a UTC instant in nanoseconds."""
    local = day.cast(pl.Datetime("ns")) + pl.duration(minutes=minutes, time_unit="ns")
    return local.dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC")


def session_close(day: pl.Expr) -> pl.Expr:
    """The session's close, 16:00 New York, as a UTC instant: the snapshot of every end-of-day source."""
    return new_york_instant(day, CLOSE_MINUTES)


def session_date(instant: pl.Expr) -> pl.Expr:
    """The session of a snapshot or an expiration: open and close in New York lie in the UTC date of the same name."""
    return instant.dt.date()
