"""Expiries and strikes of modelled markets."""

import numpy as np
import pytest

from clstm_core.market.clock import close_ns, weekday
from clstm_core.market.worlds import listing


def test_expiries_are_third_fridays_and_weeklies():
    first, last = np.datetime64("2014-01-02"), np.datetime64("2014-06-30")
    found = listing.listed_expiries(first, last, near_days=30, far_days=60, tolerance=0.5)
    assert set(weekday(found.date).tolist()) == {listing.FRIDAY}
    long_lived = found.date[found.listed_days > 45]
    assert np.datetime64("2014-03-21") in long_lived
    assert np.datetime64("2014-03-14") not in long_lived
    short = listing.listed_expiries(first, last, near_days=5, far_days=9, tolerance=0.5)
    assert set(weekday(short.date).tolist()) == {0, 2, 4}


@pytest.fixture(scope="module")
def chain():
    dates = np.arange("2014-01-01", "2014-05-01", dtype="datetime64[D]")
    dates = dates[weekday(dates) < 5]
    spot = 2000.0 * np.exp(np.cumsum(0.02 * np.random.default_rng(2).standard_normal(len(dates))))
    vol = np.full(len(dates), 0.2)
    expiries = listing.listed_expiries(dates[0], dates[-1], near_days=30, far_days=60, tolerance=0.5)
    close = close_ns(dates)
    return close, spot, vol, expiries, listing.list_strikes(close, spot, vol, expiries, 30.0)


def test_a_listed_strike_stays_until_expiry(chain):
    close, _, _, expiries, rows = chain
    expiration = close_ns(expiries.date)
    pair, pair_expiry, pair_strike = listing.number_contracts(rows)
    assert len(np.unique(pair * 1000 + rows.snapshot)) == len(pair)
    np.testing.assert_array_equal(pair_strike[pair], rows.strike)
    np.testing.assert_array_equal(pair_expiry[pair], rows.expiry)
    for index in range(len(pair_strike)):
        at = rows.snapshot[pair == index]
        stop = np.searchsorted(close, expiration[pair_expiry[index]])
        assert at.tolist() == list(range(at.min(), stop))


def test_listing_knows_nothing_of_later_sessions(chain):
    close, spot, vol, expiries, rows = chain
    wild_spot, wild_vol = spot.copy(), vol.copy()
    wild_spot[41:], wild_vol[41:] = 10 * spot[41:], 3 * vol[41:]
    again = listing.list_strikes(close, wild_spot, wild_vol, expiries, 30.0)
    before, after = rows.snapshot <= 40, again.snapshot <= 40
    for one, other in zip(rows, again, strict=True):
        np.testing.assert_array_equal(one[before], other[after])


def test_strikes_are_dense_near_the_money_and_sparse_in_the_wings(chain):
    _, spot, _, _, rows = chain
    at = (rows.snapshot == 0) & (rows.expiry == rows.expiry[rows.snapshot == 0].max())
    strikes = rows.strike[at]
    gaps = np.diff(strikes)
    middle = np.abs(strikes[:-1] / spot[0] - 1) < 0.03
    assert gaps[middle].max() == gaps.min()
    assert gaps[0] == gaps[-1] == 2 * gaps.min()


def test_contract_names_are_osi_like():
    names = listing.contract_names(
        "SPX", np.array(["2014-03-21"], dtype="datetime64[D]"), np.array([1862.5]), np.array([-1])
    )
    assert names.tolist() == ["SPX140321P01862500"]
