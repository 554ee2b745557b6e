"""Market features by hand, and what stands where nothing is known."""

import numpy as np
import pytest

from clstm_core.market.build import features
from clstm_core.specs import CELLS, MARKET_FEATURES

DAY_NS = 86_400 * 10**9
COLUMN = {name: index for index, name in enumerate(MARKET_FEATURES)}


def build(grid_vol, close=None, near_tenor=None):
    n = len(grid_vol)
    close = np.full(n, 100.0) if close is None else close
    time = np.arange(len(close)) / 365.0
    at = np.arange(len(close) - n, len(close))
    return features.market_features(
        session=features.session_features(close, time, at),
        surface=features.surface_features(grid_vol),
        rate=np.full(n, 0.03),
        near_tenor_years=np.full(n, np.nan) if near_tenor is None else near_tenor,
        far_tenor_years=np.full(n, 0.16),
        near_days=30.0,
        far_days=60.0,
        snapshot_ns=np.arange(n, dtype=np.int64) * DAY_NS,  # day 0 is a Thursday
    )


def cells(n: int, **vols: float) -> np.ndarray:
    grid = np.full((n, len(CELLS)), np.nan)
    for index, cell in enumerate(CELLS):
        if cell.name in vols:
            grid[:, index] = vols[cell.name]
    return grid


def test_values_by_hand():
    close = 100.0 * 1.01 ** np.arange(30)
    grid = cells(
        5,
        near_call_atm=0.19,
        near_put_atm=0.21,
        far_call_atm=0.22,
        far_put_atm=0.24,
        near_put_20=0.25,
        near_call_20=0.17,
    )
    row = build(grid, close, np.full(5, 0.08))[4]
    step = np.log(1.01)
    realised = step * np.sqrt(365.0)
    expected = {
        "return_1d": step,
        "return_5d": 5 * step,
        "return_21d": 21 * step,
        "realised_vol_5d": realised,
        "realised_vol_21d": realised,
        "near_atm_vol": 0.20,
        "far_atm_vol": 0.23,
        "near_skew": 0.08,
        "far_skew": 0.0,
        "term_slope": 0.03,
        "variance_premium": 0.04 - realised**2,
        "near_atm_vol_change_1d": 0.0,
        "rate": 0.03,
        "near_tenor_years": 0.08,
        "far_tenor_years": 0.16,
        "days_to_next_snapshot": 1.0,
    }
    assert tuple(expected) == MARKET_FEATURES
    np.testing.assert_allclose(row, list(expected.values()), rtol=1e-5, atol=1e-7)


def test_the_weekend_is_three_days_away_on_a_friday():
    days = build(cells(7))[:, COLUMN["days_to_next_snapshot"]]
    assert days.tolist() == [1.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0]


def test_an_empty_cell_keeps_the_last_known_volatility_and_never_the_next():
    grid = cells(4)
    for name, value in (("near_call_atm", 0.3), ("near_put_atm", 0.3)):
        grid[1, [cell.name for cell in CELLS].index(name)] = value
    found = build(grid)[:, COLUMN["near_atm_vol"]]
    assert found[1:].tolist() == pytest.approx([0.3, 0.3, 0.3])
    assert found[0] != pytest.approx(0.3)


def test_nothing_known_is_neutral_and_finite():
    found = build(cells(1))
    assert np.isfinite(found).all()
    assert found[0, COLUMN["near_atm_vol"]] == pytest.approx(features.NEUTRAL_VOL)
    assert found[0, COLUMN["near_tenor_years"]] == pytest.approx(30 / 365)
    assert found[0, COLUMN["return_21d"]] == 0.0
