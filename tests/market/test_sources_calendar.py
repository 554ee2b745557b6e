"""The exchange's calendar by rule, against years that are known."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from clstm_core.market.calendars import (
    easter,
    holidays,
    is_trading_day,
    monthly_expiration,
    new_york_instant,
    previous_trading_day,
    session_close,
    session_date,
    trading_days,
)


@pytest.mark.parametrize(
    ("year", "sessions"), [(2001, 248), (2012, 250), (2018, 251), (2021, 252), (2023, 250), (2024, 252), (2025, 250)]
)
def test_sessions_a_year_are_those_of_the_exchange(year, sessions):
    assert len(trading_days(date(year, 1, 1), date(year, 12, 31))) == sessions


@pytest.mark.parametrize(("year", "sunday"), [(1999, (4, 4)), (2000, (4, 23)), (2024, (3, 31)), (2026, (4, 5))])
def test_easter(year, sunday):
    assert easter(year) == date(year, *sunday)


def test_holidays_of_2026():
    assert sorted(holidays(2026)) == [
        date(2026, 1, 1),
        date(2026, 1, 19),
        date(2026, 2, 16),
        date(2026, 4, 3),
        date(2026, 5, 25),
        date(2026, 6, 19),
        date(2026, 7, 3),  # the Fourth falls on a Saturday
        date(2026, 9, 7),
        date(2026, 11, 26),
        date(2026, 12, 25),
    ]


def test_new_year_on_a_saturday_closes_no_friday():
    assert is_trading_day(date(2021, 12, 31))
    assert not is_trading_day(date(2023, 1, 2))  # a Sunday's is kept on Monday


@pytest.mark.parametrize(
    ("month", "day"), [((2026, 3), date(2026, 3, 20)), ((2026, 6), date(2026, 6, 18)), ((2025, 4), date(2025, 4, 17))]
)
def test_monthly_expiration_moves_before_a_holiday(month, day):
    assert monthly_expiration(*month) == day


def test_previous_trading_day_skips_weekend_and_holiday():
    assert previous_trading_day(date(2026, 4, 6)) == date(2026, 4, 2)


def test_close_follows_daylight_saving():
    days = pl.DataFrame({"day": [date(2026, 3, 6), date(2026, 3, 9)]})
    closes = days.select(session_close(pl.col("day"))).to_series().to_list()
    assert [c.astimezone(UTC) for c in closes] == [
        datetime(2026, 3, 6, 21, tzinfo=UTC),
        datetime(2026, 3, 9, 20, tzinfo=UTC),
    ]


def test_session_date_of_open_and_close_is_the_new_york_date():
    days = trading_days(date(2026, 1, 1), date(2026, 12, 31))
    frame = pl.DataFrame({"day": days}).with_columns(
        opened=new_york_instant(pl.col("day"), 570), closed=session_close(pl.col("day"))
    )
    assert frame.select(session_date(pl.col("opened"))).to_series().to_list() == days
    assert frame.select(session_date(pl.col("closed"))).to_series().to_list() == days
