"""The published indices by their rules: three months by hand, and worlds where the answer is known."""

import itertools
import math
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from clstm_core.market.realism import published
from clstm_core.market.realism.index_rules import (
    RULES,
    Market,
    index_levels,
    monthly_deviation,
    monthly_expiries,
    total_return,
    yearly_returns,
)
from clstm_core.options import black_scholes

RATE, DIVIDEND = 0.05, 0.02


def flat(market: Market, vol: float, strikes: np.ndarray) -> pl.DataFrame:
    """Quotes of every monthly expiry at one volatility, on every session of its last 60 days."""
    friday = np.datetime64("1990-01-19")
    expiries = [np.datetime64(f"{m}") for m in np.arange(friday, market.date[-1] + 40, dtype="datetime64[D]")]
    third = [e for e in expiries if (e.astype(int) + 3) % 7 == 4 and 15 <= e.item().day <= 21]
    parts = []
    for expiry in third:
        held = market.date[np.maximum(np.searchsorted(market.date, expiry, side="right") - 1, 0)]
        at = np.flatnonzero((market.date < held) & (market.date >= held - np.timedelta64(60, "D")))
        if len(at) == 0:
            continue
        t, k = np.repeat(at, len(strikes)), np.tile(strikes, len(at))
        years = (held - market.date[t]).astype(float) / 365
        for right, side in (("C", 1.0), ("P", -1.0)):
            facts = (market.spot[t], k, years, vol, market.rate[t], market.dividend_yield[t], side)
            price = black_scholes.price(*(torch.from_numpy(np.full(k.shape, fact, dtype=float)) for fact in facts))
            parts.append(
                pl.DataFrame(
                    {
                        "date": market.date[t],
                        "expiry": np.full(len(k), held),
                        "strike": k,
                        "right": [right] * len(k),
                        "mid": price.numpy(),
                    }
                )
            )
    return pl.concat(parts)


def business_days(first: str, last: str) -> np.ndarray:
    days = np.arange(first, last, dtype="datetime64[D]")
    return days[np.is_busday(days)]


def a_market(dates: np.ndarray, spot: np.ndarray) -> Market:
    return Market(dates, spot, np.full(len(dates), RATE), np.full(len(dates), DIVIDEND))


def test_put_and_bxm_over_two_months_by_hand():
    dates = business_days("2020-01-01", "2020-03-24")
    spot = np.interp(np.arange(len(dates)), [0, 12, 37, 57], [1000.0, 1003.0, 950.0, 990.0])
    market = a_market(dates, spot)
    levels = index_levels(market, flat(market, 0.2, np.arange(800.0, 1200.0, 5.0)))
    rolls = [int(np.searchsorted(dates, np.datetime64(day))) for day in ("2020-01-17", "2020-02-21", "2020-03-20")]

    def price(at, stop, strike, right):
        years = float((dates[stop] - dates[at]).astype(int)) / 365
        facts = [spot[at], strike, years, 0.2, RATE, DIVIDEND, right]
        return float(black_scholes.price(*(torch.tensor(x, dtype=torch.float64) for x in facts)))

    put = bxm = 1.0
    for start, stop in itertools.pairwise(rolls):
        years = float((dates[stop] - dates[start]).astype(int)) / 365
        below, above = math.floor(spot[start] / 5) * 5, math.floor(spot[start] / 5 + 1) * 5
        sold = price(start, stop, below, -1.0)
        units = 1.0 / (below * math.exp(-RATE * years) - sold)
        # bills and premium grow to the strikes: what is left is the strike less what the put costs at settlement
        put *= units * (below - max(below - spot[stop], 0.0))
        sold = price(start, stop, above, 1.0)
        # a day's dividend buys index at that day's close, so growth is counted day by day
        growth = 1.0
        for t in range(start, stop):
            after = price(t + 1, stop, above, 1.0) if t + 1 < stop else max(spot[stop] - above, 0.0)
            before = price(t, stop, above, 1.0)
            day = float((dates[t + 1] - dates[t]).astype(int)) / 365
            growth *= (spot[t + 1] * math.exp(DIVIDEND * day) - after) / (spot[t] - before)
        bxm *= growth
    assert levels["PUT"][rolls[-1]] == pytest.approx(put, rel=1e-12)
    assert levels["BXM"][rolls[-1]] == pytest.approx(bxm, rel=1e-12)
    assert np.isnan(levels["PUT"][rolls[0] - 1])
    assert levels["PUT"][rolls[0]] == levels["CNDR"][rolls[0]] == 1.0


def test_without_a_premium_the_indices_earn_the_bill():
    """Index and options under one measure: over many paths each index earns the bill's rate, within sampling error."""
    dates = business_days("2000-01-03", "2003-01-20")
    rng = np.random.default_rng(7)
    years = np.diff(dates).astype(float) / 365
    growth: dict[str, list[float]] = {name: [] for name in RULES}
    for _ in range(24):
        shocks = rng.standard_normal(len(years))
        steps = (RATE - DIVIDEND - 0.5 * 0.2**2) * years + 0.2 * np.sqrt(years) * shocks
        market = a_market(dates, 1000.0 * np.exp(np.concatenate([[0.0], np.cumsum(steps)])))
        levels = index_levels(market, flat(market, 0.2, np.arange(200.0, 3000.0, 20.0)))
        for name, level in levels.items():
            alive = np.flatnonzero(np.isfinite(level))
            span = float((dates[alive[-1]] - dates[alive[0]]).astype(int)) / 365
            growth[name].append(level[alive[-1]] * math.exp(-RATE * span) - 1.0)
    for name, found in growth.items():
        error = np.std(found, ddof=1) / math.sqrt(len(found))
        assert abs(np.mean(found)) < 3 * error + 1e-3, (name, np.mean(found), error)


def test_a_condor_cannot_lose_more_than_a_tenth_a_month():
    dates = business_days("2000-01-03", "2000-12-29")
    crash = 1000.0 * np.where(np.arange(len(dates)) < 60, 1.0, 0.5)
    market = a_market(dates, crash)
    level = index_levels(market, flat(market, 0.25, np.arange(300.0, 1600.0, 5.0)))["CNDR"]
    worst = np.nanmin(level[60:85]) / level[59]
    assert 0.89 < worst < 0.93


def test_monthly_expiries_are_third_fridays_or_the_session_before():
    sessions = business_days("2014-01-01", "2014-12-31")
    sessions = sessions[sessions != np.datetime64("2014-04-18")]  # Good Friday
    listed = np.concatenate([sessions[sessions.astype(int) % 7 == 1], [np.datetime64("2014-04-17")]])  # Fridays
    found = monthly_expiries(np.sort(listed), sessions).tolist()
    assert found[:5] == [date(2014, 1, 17), date(2014, 2, 21), date(2014, 3, 21), date(2014, 4, 17), date(2014, 5, 16)]


def test_without_monthly_expiries_there_is_no_index():
    dates = business_days("2020-01-01", "2020-03-24")
    market = a_market(dates, np.full(len(dates), 1000.0))
    nothing = flat(market, 0.2, np.array([1000.0])).clear()
    assert all(np.isnan(level).all() for level in index_levels(market, nothing).values())


def test_an_index_ends_where_its_strikes_are_not_quoted():
    dates = business_days("2020-01-01", "2020-05-24")
    market = a_market(dates, np.full(len(dates), 1000.0))
    quotes = flat(market, 0.2, np.arange(800.0, 1200.0, 5.0))
    gone = quotes.filter((pl.col("expiry") != date(2020, 3, 20)) | (pl.col("strike") <= 1000.0))
    levels = index_levels(market, gone)
    assert np.isfinite(levels["PUT"]).sum() > np.isfinite(levels["BXM"]).sum() > 0
    at = int(np.searchsorted(dates, np.datetime64("2020-02-21")))
    assert np.isnan(levels["BXM"][at + 1 :]).all()
    unquoted = quotes.filter((pl.col("expiry") != date(2020, 3, 20)) | (pl.col("date") != date(2020, 3, 4)))
    assert np.isnan(index_levels(market, unquoted)["PUT"][-1])


def test_years_that_are_not_whole_are_left_out():
    dates = business_days("2000-06-01", "2003-06-30")
    levels = np.exp(0.1 * np.arange(len(dates)) / 261)
    assert sorted(yearly_returns(dates, levels)) == [2001, 2002]
    assert yearly_returns(dates, levels)[2001] == pytest.approx(100 * (math.exp(0.1) - 1), abs=0.2)


def test_the_deviation_of_months_is_the_yearly_one():
    rng = np.random.default_rng(0)
    dates = business_days("1990-01-01", "2020-01-01")
    levels = np.exp(np.cumsum(0.01 * rng.standard_normal(len(dates))))
    found = monthly_deviation(dates, levels, (1991, 1, 2019, 11))
    assert found == pytest.approx(100 * 0.01 * math.sqrt(261), rel=0.12)


def test_dividends_are_reinvested_in_the_total_return():
    dates = business_days("2000-01-03", "2001-01-04")
    level = total_return(a_market(dates, np.full(len(dates), 100.0)))
    assert level[-1] == pytest.approx(math.exp(DIVIDEND * float((dates[-1] - dates[0]).astype(int)) / 365), rel=1e-12)


def test_nothing_published_after_2016_decides_anything():
    assert max(year for index in published.BY_INDEX.values() for year in index.returns) <= 2016
    assert published.PUT_DEVIATION_SPAN[2] <= 2016
