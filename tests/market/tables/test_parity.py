"""Parity over tables: known forwards and rates come back, wide quotes do not sway it, the future is not used."""

import math
from datetime import date

import polars as pl
import pytest

from clstm_core.market.calendars import session_close, trading_days
from clstm_core.market.tables.parity import (
    DIVIDEND_BOUNDS,
    MIN_PAIRS,
    RATE_BOUNDS,
    fit_parity,
    implied_rates,
    pairs,
    parity_spots,
    residuals,
)

SPOT, RATE, YIELD = 7000.0, 0.04, 0.015
SNAPSHOTS = trading_days(date(2026, 3, 2), date(2026, 3, 20))


def world(rate=RATE, snapshots=SNAPSHOTS, half=0.5, days=(7, 14, 21, 30, 40)):
    """Two-sided quotes that obey C - P = D (F - K) to the last digit."""
    rows = []
    for session in snapshots:
        for n in days:
            expiry = date.fromordinal(session.toordinal() + n)
            years = n / 365
            discount, forward = math.exp(-rate * years), SPOT * math.exp((rate - YIELD) * years)
            for strike in range(6000, 8001, 50):
                put = 400.0 + max(0.0, strike - forward)
                call = put + discount * (forward - strike)
                for right, mid in (("C", call), ("P", put)):
                    rows.append((session, expiry, float(strike), right, mid - half, mid + half))
    frame = pl.DataFrame(rows, schema=["session", "expiry", "strike", "right", "bid", "ask"], orient="row")
    return frame.with_columns(
        snapshot=session_close(pl.col("session")),
        # 24-hour days on both sides of the clock change, so that n days are n / 365 years
        expiration=session_close(pl.col("session"))
        + pl.duration(days=(pl.col("expiry") - pl.col("session")).dt.total_days()),
        root=pl.lit("SPXW"),
    )


def test_forward_and_discount_are_recovered():
    fits = fit_parity(pairs(world()))
    years = fits["tte_years"]
    assert fits.height == 5 * len(SNAPSHOTS)
    assert (fits["discount"] - (-RATE * years).exp()).abs().max() < 1e-12
    assert (fits["forward"] - SPOT * ((RATE - YIELD) * years).exp()).abs().max() < 1e-8


def test_strikes_quoted_on_one_side_are_left_out_and_too_few_give_no_fit():
    quotes = world(snapshots=SNAPSHOTS[:1], days=(30,))
    both_sides = pl.col("strike").is_in([6800.0, 6900.0, 7000.0, 7100.0, 7200.0])
    puts_gone = quotes.filter((pl.col("right") == "C") | both_sides)
    fit = fit_parity(pairs(puts_gone)).row(0, named=True)
    assert fit["n"] == MIN_PAIRS == 5
    assert fit["forward"] == pytest.approx(SPOT * math.exp((RATE - YIELD) * 30 / 365), abs=1e-8)
    too_few = puts_gone.filter((pl.col("right") == "C") | (pl.col("strike") < 7200))
    assert pairs(too_few).height == 4
    assert fit_parity(pairs(too_few)).is_empty()


def test_pairs_are_near_the_money_and_two_sided():
    quotes = world(snapshots=SNAPSHOTS[:1], days=(30,))
    no_bid = quotes.with_columns(bid=pl.when(pl.col("strike") == 7000).then(0.0).otherwise("bid"))
    strikes = pairs(no_bid)["strike"].to_list()
    assert 7000.0 not in strikes
    assert min(strikes) >= 0.96 * SPOT
    assert max(strikes) <= 1.04 * SPOT * 1.01


def test_wide_quotes_hardly_sway_the_fit():
    quotes = world(snapshots=SNAPSHOTS[:1], days=(30,))
    far = (pl.col("strike") >= 7200) & (pl.col("right") == "C")
    spoilt = quotes.with_columns(
        bid=pl.when(far).then(pl.col("bid") - 40.0).otherwise("bid"),
        ask=pl.when(far).then(pl.col("ask") + 60.0).otherwise("ask"),
    )
    fit = fit_parity(pairs(spoilt)).row(0, named=True)
    forward = SPOT * math.exp((RATE - YIELD) * 30 / 365)
    assert abs(fit["forward"] - forward) < 0.6  # unweighted least squares is off by more than a point
    near = residuals(pairs(spoilt), fit_parity(pairs(spoilt))).filter(pl.col("strike") < 7200)
    assert near["residual"].abs().max() < 1.0


def test_rates_and_yield_are_recovered_and_match_the_forward():
    fits = fit_parity(pairs(world()))
    rates = implied_rates(fits)
    assert rates["rate"].to_list() == pytest.approx([RATE] * len(SNAPSHOTS), abs=1e-9)
    assert rates["dividend_yield"].to_list() == pytest.approx([YIELD] * len(SNAPSHOTS), abs=1e-9)
    spots = parity_spots(fits, rates)
    assert spots["parity_spot"].to_list() == pytest.approx([SPOT] * len(SNAPSHOTS), abs=1e-6)


def test_rates_see_no_later_session():
    before = implied_rates(fit_parity(pairs(world())))
    changed = pl.concat([world(snapshots=SNAPSHOTS[:4]), world(rate=0.09, snapshots=SNAPSHOTS[4:])])
    after = implied_rates(fit_parity(pairs(changed)))
    assert after.head(4).equals(before.head(4))
    assert not after.tail(1).equals(before.tail(1))


def test_absurd_rates_are_bounded():
    rates = implied_rates(fit_parity(pairs(world(rate=0.40))))
    assert rates["rate"].max() == RATE_BOUNDS[1]
    assert rates["dividend_yield"].is_between(*DIVIDEND_BOUNDS).all()


def test_the_same_quotes_give_the_same_bits_in_any_order():
    quotes = world()
    fits = fit_parity(pairs(quotes))
    for seed in range(5):
        shuffled = quotes.sample(fraction=1.0, shuffle=True, seed=seed)
        again = fit_parity(pairs(shuffled))
        assert again.equals(fits)
        assert implied_rates(again).equals(implied_rates(fits))
