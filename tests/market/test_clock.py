"""Instants and years."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from clstm_core.market.clock import (
    DAY_NS,
    NEW_YORK,
    YEAR_NS,
    Hours,
    close_ns,
    instant_ns,
    session_on_or_before,
    weekday,
)


def dates(*days: str) -> np.ndarray:
    return np.array(days, dtype="datetime64[D]")


def test_a_year_is_365_days():
    assert YEAR_NS == 365 * DAY_NS == 31_536_000_000_000_000


def test_closes_follow_daylight_saving():
    found = close_ns(dates("2014-03-07", "2014-03-10", "2014-10-31", "2014-11-03"))
    assert ((found // (3600 * 10**9)) % 24).tolist() == [21, 20, 20, 21]


@pytest.mark.parametrize("hours", [NEW_YORK, Hours("Asia/Kolkata", 9 * 60 + 15, 15 * 60 + 30)])
def test_instants_are_the_hours_of_their_zone(hours):
    for minutes in (hours.open_minutes, hours.close_minutes):
        for ns in instant_ns(dates("2014-01-06", "2014-07-07"), minutes, hours.zone).tolist():
            local = datetime.fromtimestamp(ns / 1e9, ZoneInfo(hours.zone))
            assert local.hour * 60 + local.minute == minutes


def test_a_half_day_keeps_the_full_close():
    assert close_ns(dates("2014-11-28")) == instant_ns(dates("2014-11-28"), 16 * 60, "America/New_York")


def test_weekdays_count_from_monday():
    assert weekday(dates("1969-12-31", "1970-01-01", "2024-01-01", "2024-01-07")).tolist() == [2, 3, 0, 6]


def test_a_date_goes_to_its_session_or_the_one_before():
    sessions = dates("2014-04-16", "2014-04-17", "2014-04-21")
    asked = dates("2014-04-17", "2014-04-18", "2014-04-20", "2014-04-21", "2014-04-10", "2014-05-01")
    expected = dates("2014-04-17", "2014-04-17", "2014-04-17", "2014-04-21", "2014-04-10", "2014-05-01")
    np.testing.assert_array_equal(session_on_or_before(asked, sessions), expected)
