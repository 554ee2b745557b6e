"""Policies in the market and in the worlds beside it: returns and distances from cash, by hand and as compared."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from clstm_core.evaluation.compare import compare
from clstm_core.evaluation.statistics import PERIODS_PER_YEAR
from clstm_core.evaluation.worlds import across_worlds

N = 61
DATES = pl.Series([datetime(2024, 1, 2, 21, tzinfo=UTC) + timedelta(days=k) for k in range(N)])


def account(name, log_returns, *, window="test", lag=1, sessions=N):
    """A backtest of which only the curve is known."""
    equity = 1e6 * np.exp(np.concatenate([[0.0], np.cumsum(log_returns)]))[:sessions, None]
    rung = name.startswith("clstm")
    manifest = {
        "policy": "checkpoint" if rung else name,
        "run": "demo",
        "seed": 0,
        "milestone": "100" if rung else "",
        "mode": "argmax" if rung else "",
        "trader": {"label": name, "checkpoint": {"env_steps": 100} if rung else None},
        "window": {"name": window},
        "first_date": "2024-01-02",
        "last_date": "2024-03-02",
        "n_snapshots": N,
        "fill_lag": lag,
        "fill_rule": "touch",
        "fill_fraction": 1.0,
        "label": "modelled quotes",
        "summary": {
            "total_return": float(equity[-1, 0] / 1e6 - 1),
            "sharpe": 0.1,
            "n_returns": N - 1,
            "n_fills": 1,
            "n_ruined": 0,
        },
    }
    curves = (equity, np.full(sessions - 1, 1e-4), DATES.head(sessions))
    ledger = pl.DataFrame({"episode": [0], "step": [0]})  # of no move: the account's own figures are not asked for
    return SimpleNamespace(
        id=f"{name}-{window}-{lag}", name=name, manifest=manifest, curves=lambda: curves, table=lambda _: ledger
    )


def world(shift, *names, **options):
    """Accounts that earn cash's return and, but for cash, `shift` more a session, with noise."""
    noise = np.random.default_rng(0).normal(0.0, 1e-3, N - 1)
    return [account(name, 1e-4 + (shift + noise) * (name != "cash"), **options) for name in names]


def test_each_policy_stands_beside_cash_in_each_world():
    worlds = {
        "calibrated": world(2e-3, "clstm_100", "cash", "put_write"),
        "zero-premium": world(-2e-3, "cash", "clstm_100"),
        "stressed": world(0.0, "clstm_100", "cash", "put_write", "random"),
    }
    rows = across_worlds(worlds, ["clstm_100", "cash", "put_write"])
    assert [(row["policy"], row["world"]) for row in rows] == [
        *(("clstm_100", name) for name in worlds),
        *(("cash", name) for name in worlds),
        ("put_write", "calibrated"),
        ("put_write", "stressed"),
    ]
    said = {row["world"]: row["verdict"] for row in rows if row["policy"] == "clstm_100"}
    assert said == {
        "calibrated": "beats cash",
        "zero-premium": "trails cash",
        "stressed": "not distinguishable from cash",
    }
    noise = np.random.default_rng(0).normal(0.0, 1e-3, N - 1).mean()
    assert rows[0]["less_cash"] == pytest.approx(100 * PERIODS_PER_YEAR * (2e-3 + noise))
    assert rows[0]["ci_low"] < rows[0]["less_cash"] < rows[0]["ci_high"]
    assert rows[0]["total_return"] == worlds["calibrated"][0].manifest["summary"]["total_return"]
    assert "less_cash" not in rows[3]


def test_the_difference_is_that_of_the_comparison_and_its_stressed_one_also():
    """The table may not contradict the verdict: the same interval, in percent per year."""
    calibrated, stressed = world(5e-4, "clstm_100", "cash"), world(1e-4, "clstm_100", "cash")
    (pair,) = (pair for pair in compare(calibrated, stressed).judged() if pair["against"] == "cash")
    rows = across_worlds({"calibrated": calibrated, "stressed": stressed}, ["clstm_100"])
    yearly = PERIODS_PER_YEAR / 1e4 * 100
    for row, start in zip(rows, ("", "stressed_"), strict=True):
        for name, own in (("estimate", "less_cash"), ("ci_low", "ci_low"), ("ci_high", "ci_high")):
            assert row[own] == pytest.approx(yearly * pair[start + name])


def test_a_world_is_shown_at_the_headlines_fills():
    both = [*world(2e-3, "clstm_100", "cash", lag=0), *world(-2e-3, "clstm_100", "cash", lag=1)]
    (row,) = across_worlds({"stressed": both}, ["clstm_100"])
    assert row["less_cash"] < 0


def test_without_cash_or_without_enough_dates_there_is_a_return_alone():
    (alone,) = across_worlds({"stressed": world(2e-3, "clstm_100")}, ["clstm_100"])
    assert set(alone) == {"policy", "world", "total_return"}
    (short,) = across_worlds({"stressed": world(2e-3, "clstm_100", "cash", sessions=6)}, ["clstm_100"])
    assert (short["ci_low"], short["ci_high"], short["n_dates"]) == (None, None, 5)
    assert across_worlds({"calibrated": [], "stressed": []}, ["clstm_100"]) == []
