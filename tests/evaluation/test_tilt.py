"""Tilt and timing of accounts worked out by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from clstm_core.evaluation.tilt import ALL, GREEKS, SMILE, tilt_and_timing, tilt_words

N = 300
FIRST = datetime(2024, 1, 2, 21, tzinfo=UTC)


def account(dollar_delta, *, n=N, seed=0, dollar_gamma=0.0, vega=0.0, theta_per_day=0.0, smile=0.0):
    """An equity ledger of exposures [n] that stood before each session, and the volatility at its snapshots."""
    random = np.random.default_rng(seed)
    moves, vols = random.normal(0.0, 0.01, n), random.normal(0.0, 0.005, n)
    moves[7] = 0.0  # a session in which the index stands still
    spot = 100.0 * np.concatenate([[1.0], np.cumprod(1.0 + moves)])
    implied = 0.2 + np.concatenate([[0.0], np.cumsum(vols)])
    move = np.diff(spot) / spot[:-1]
    exposure = {"delta": dollar_delta, "gamma": dollar_gamma, "vega": vega}
    exposure = {name: np.broadcast_to(value, n).astype(float) for name, value in exposure.items()}
    step = lambda values: np.concatenate([[0.0], values])  # noqa: E731
    equity = pl.DataFrame(
        {
            "step": range(n + 1),
            "snapshot": [FIRST + timedelta(days=day) for day in range(n + 1)],
            "spot": spot,
            "delta_usd": step(exposure["delta"] * move),
            "gamma_usd": step(exposure["gamma"] * 0.5 * move**2),
            "vega_usd": step(exposure["vega"] * 100.0 * np.diff(implied) + smile),
            "theta_usd": step(np.full(n, theta_per_day)),
            "book_vega_usd": np.concatenate([exposure["vega"], [0.0]]),
        }
    )
    return equity, implied, move


def of(rows, term):
    return next(row for row in rows if row["term"] == term)


def test_constant_greeks_are_tilt_alone():
    equity, implied, move = account(1000.0, dollar_gamma=-500.0, vega=20.0, theta_per_day=3.0, smile=0.5)
    totals, _ = tilt_and_timing(equity, implied)
    for name in GREEKS:
        row = of(totals, name)
        assert row["pnl_usd"] == pytest.approx(float(equity[f"{name}_usd"].sum()) - (0.5 * N if name == "vega" else 0))
        assert row["tilt_usd"] == pytest.approx(row["pnl_usd"], abs=1e-6)
        assert row["timing_usd"] == pytest.approx(0.0, abs=1e-6)
    assert of(totals, "delta")["tilt_usd"] == pytest.approx(1000.0 * move.sum())
    assert of(totals, "theta")["tilt_usd"] == pytest.approx(3.0 * N)
    assert of(totals, SMILE)["pnl_usd"] == pytest.approx(0.5 * N)


def test_an_exposure_that_knew_the_move_is_timing_and_is_told_from_zero():
    _, _, move = account(0.0)
    equity, implied, _ = account(1000.0 * np.sign(move))
    row = of(tilt_and_timing(equity, implied)[0], "delta")
    known = move != 0.0  # the average is of sessions that say an exposure
    average = 1000.0 * np.sign(move[known]).mean()
    assert row["tilt_usd"] == pytest.approx(average * move.sum())
    assert row["timing_usd"] == pytest.approx(1000.0 * np.abs(move).sum() - average * move.sum())
    assert row["timing_low"] > 0.0
    assert "more than chance explains" in tilt_words(tilt_and_timing(equity, implied)[0])


def test_an_exposure_that_varies_by_chance_is_not_told_from_zero():
    equity, implied, _ = account(np.random.default_rng(9).normal(0.0, 1000.0, N))
    row = of(tilt_and_timing(equity, implied)[0], "delta")
    assert row["timing_low"] < 0.0 < row["timing_high"]
    assert "not told from zero" in tilt_words(tilt_and_timing(equity, implied)[0])


def test_everything_adds_up():
    random = np.random.default_rng(4)
    varied = {"dollar_gamma": random.normal(0, 500, N), "vega": random.normal(0, 20, N), "theta_per_day": 2.0}
    equity, implied, _ = account(random.normal(0, 1000, N), smile=0.25, **varied)
    totals, months = tilt_and_timing(equity, implied)
    for name in ("pnl_usd", "tilt_usd", "timing_usd"):
        assert of(totals, ALL)[name] == pytest.approx(sum(of(totals, greek)[name] for greek in GREEKS))
        for term in (*GREEKS, ALL):
            assert sum(row[name] for row in months if row["term"] == term) == pytest.approx(of(totals, term)[name])
    explained = sum(float(equity[f"{name}_usd"].sum()) for name in GREEKS)
    assert of(totals, ALL)["pnl_usd"] + of(totals, SMILE)["pnl_usd"] == pytest.approx(explained)
    for row in totals[:-1]:
        assert row["pnl_usd"] == pytest.approx(row["tilt_usd"] + row["timing_usd"])
        assert row["timing_low"] <= row["timing_high"]


def test_few_sessions_have_no_interval():
    equity, implied, _ = account(1000.0, n=30)
    totals, _ = tilt_and_timing(equity, implied)
    assert of(totals, ALL)["timing_low"] is None
    assert "too few for an interval" in tilt_words(totals)
