"""Sessions of exchanges: the same as the exchange's own rules since 1990, and nothing known before it happened."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.calendars import (
    FIRST,
    exchange,
    is_trading_day,
    local_instant,
    monthly_expiration,
    previous_trading_day,
    scheduled_sessions,
    session_close,
    session_date,
    session_ends,
    settlement_date,
    settlement_minutes,
    trading_days,
)
from clstm_core.market.clock import NEW_YORK, sessions_between

SURPRISES = [
    *(date(2001, 9, day) for day in (11, 12, 13, 14)),  # the attacks
    date(1994, 4, 27),  # mournings
    date(2004, 6, 11),
    date(2007, 1, 2),
    date(2018, 12, 5),
    date(2025, 1, 9),
    date(2012, 10, 29),  # the storm
    date(2012, 10, 30),
]


def digest(days) -> str:
    return hashlib.sha256(" ".join(map(str, days)).encode()).hexdigest()[:16]


def test_sessions_of_1990_to_2030_are_those_that_the_rules_gave():
    """The rules of NYSE 7.2 as we held them, but for 1994-04-27, a day of mourning that they missed."""
    days = trading_days(date(1990, 1, 1), date(2030, 12, 31))
    assert len(days) == 10_322
    assert digest(days) == "b21259e92f02bb5b"
    every = (date(1990, 1, 1) + timedelta(days=n) for n in range(14_975))
    assert [day for day in every if is_trading_day(day)] == days


def test_monthly_expirations_of_1990_to_2030_are_those_that_the_rules_gave():
    months = [monthly_expiration(year, month) for year in range(1990, 2031) for month in range(1, 13)]
    assert digest(months) == "f978d3d1fa02b666"
    assert all(is_trading_day(day) for day in months)


@pytest.mark.parametrize(
    ("year", "sessions"), [(1994, 252), (2001, 248), (2012, 250), (2018, 251), (2021, 252), (2023, 250), (2025, 250)]
)
def test_sessions_a_year_are_those_of_the_exchange(year, sessions):
    assert len(trading_days(date(year, 1, 1), date(year, 12, 31))) == sessions


def test_new_year_on_a_saturday_closes_no_friday():
    assert is_trading_day(date(2021, 12, 31))
    assert not is_trading_day(date(2023, 1, 2))  # a Sunday's is kept on Monday


@pytest.mark.parametrize(
    ("month", "day"), [((2026, 3), date(2026, 3, 20)), ((2026, 6), date(2026, 6, 18)), ((2025, 4), date(2025, 4, 17))]
)
def test_monthly_expiration_moves_before_a_holiday(month, day):
    assert monthly_expiration(*month) == day


def test_previous_trading_day_skips_weekend_holiday_and_closure():
    assert previous_trading_day(date(2026, 4, 6)) == date(2026, 4, 2)
    assert previous_trading_day(date(2001, 9, 17)) == date(2001, 9, 10)


@pytest.mark.parametrize("day", SURPRISES)
def test_a_closure_that_nobody_could_foresee_is_known_to_nothing_that_looks_ahead(day):
    """It is no session; but the schedule, by which expiries are listed and variance is counted, has it."""
    assert not is_trading_day(day)
    assert settlement_date(day) == day
    span = np.array([day - timedelta(days=1)]), np.array([day])
    span = [dates.astype("datetime64[D]") for dates in span]
    assert sessions_between(*span, scheduled_sessions()) == 1.0
    assert sessions_between(*span, exchange().sessions) == 0.0


def test_the_schedule_of_1990_to_2030_is_the_sessions_and_the_surprises():
    start, stop = np.datetime64("1990-01-01"), np.datetime64("2030-12-31")
    scheduled = {day for day in scheduled_sessions().tolist() if date(1990, 1, 1) <= day <= date(2030, 12, 31)}
    assert scheduled - set(trading_days(start.item(), stop.item())) == set(SURPRISES)


def test_holidays_are_known_ahead():
    def count(first, last):
        dates = (np.array([day], dtype="datetime64[D]") for day in (first, last))
        return sessions_between(*dates, scheduled_sessions())[0]

    assert count("2014-03-07", "2014-03-10") == 1  # Friday to Monday
    assert count("2014-04-17", "2014-04-21") == 1  # over Good Friday
    assert count("2014-03-03", "2014-03-07") == 4
    assert count("2001-09-10", "2001-09-14") == 4  # nobody knew


@pytest.mark.parametrize(
    ("dated", "session"),
    [
        (date(2012, 2, 18), date(2012, 2, 17)),  # monthlies were dated Saturday until 2015
        (date(2008, 3, 22), date(2008, 3, 20)),  # ... and Good Friday is no session either
        (date(2026, 4, 3), date(2026, 4, 2)),
        (date(2026, 4, 2), date(2026, 4, 2)),
        (date(9999, 12, 31), date(9999, 12, 31)),  # beyond the calendar nothing is known
    ],
)
def test_a_contract_settles_on_a_session(dated, session):
    assert settlement_date(dated) == session


def test_early_years_are_there():
    assert is_trading_day(date(1929, 10, 29))
    assert is_trading_day(date(1987, 10, 19))
    assert not is_trading_day(date(1933, 3, 6))  # the bank holiday


def test_outside_the_calendar_nothing_is_a_session():
    assert not is_trading_day(date(9999, 12, 31))
    assert trading_days(date(3000, 1, 1), date(3001, 1, 1)) == []
    with pytest.raises(MarketDataError, match=rf"no session of XNYS before {FIRST}: its calendar begins on"):
        previous_trading_day(FIRST)


def test_another_exchange_has_its_own_sessions_and_hours():
    mumbai = exchange("XBOM")
    assert mumbai.hours == ("Asia/Kolkata", 9 * 60 + 15, 15 * 60 + 30)
    assert is_trading_day(date(2024, 7, 4), "XBOM")
    assert not is_trading_day(date(2024, 8, 15), "XBOM")  # Independence Day
    assert settlement_date(date(2024, 8, 15), "XBOM") == date(2024, 8, 14)  # a published holiday is no surprise


def test_an_unknown_exchange_is_refused():
    with pytest.raises(ConfigError, match="unknown exchange 'XXXX': expected a code of exchange_calendars"):
        exchange("XXXX")


def test_new_york_keeps_the_hours_that_worlds_use():
    assert exchange().hours == NEW_YORK


def test_close_follows_daylight_saving():
    days = pl.DataFrame({"day": [date(2026, 3, 6), date(2026, 3, 9)]})
    closes = days.select(session_close(pl.col("day"))).to_series().to_list()
    assert [c.astimezone(UTC) for c in closes] == [
        datetime(2026, 3, 6, 21, tzinfo=UTC),
        datetime(2026, 3, 9, 20, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("day", "end"),
    [
        ("2014-11-26", "2014-11-26T21:00"),
        ("2014-11-28", "2014-11-28T18:00"),  # half days, in winter and in summer
        ("2014-07-03", "2014-07-03T17:00"),
        ("1992-12-24", "1992-12-24T19:00"),  # at two o'clock then
        ("2014-07-02", "2014-07-02T20:00"),
        ("2014-11-29", "2014-11-29T21:00"),  # a Saturday has no close of its own
    ],
)
def test_a_session_ends_at_its_own_close(day, end):
    assert session_ends(np.array([day], "datetime64[D]")).astype("datetime64[ns]") == np.datetime64(end)


@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "XBOM"])
def test_every_session_ends_where_what_expires_on_it_settles(calendar):
    known = exchange(calendar)
    dates = known.sessions[-3000:]
    zone = ZoneInfo(known.hours.zone)
    minutes = settlement_minutes(pl.Series(dates), calendar).to_list()
    for end, minute, day in zip(session_ends(dates, calendar).tolist(), minutes, dates.tolist(), strict=True):
        local = datetime.fromtimestamp(end / 1e9, zone)
        assert (local.date(), local.hour * 60 + local.minute) == (day, minute)


def test_session_date_of_open_and_close_is_the_new_york_date():
    days = trading_days(date(2026, 1, 1), date(2026, 12, 31))
    frame = pl.DataFrame({"day": days}).with_columns(
        opened=local_instant(pl.col("day"), NEW_YORK.open_minutes, NEW_YORK.zone), closed=session_close(pl.col("day"))
    )
    assert frame.select(session_date(pl.col("opened"))).to_series().to_list() == days
    assert frame.select(session_date(pl.col("closed"))).to_series().to_list() == days
