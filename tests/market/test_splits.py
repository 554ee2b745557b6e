"""Windows in time order with the embargo between them, and a scaler that sees the training window alone."""

import itertools

import numpy as np
import pytest

from clstm_core.config import MarketConfig
from clstm_core.market.build.splits import SHORTEST, fit_scaler, split_windows
from clstm_core.market.windows import window_stops

CONFIG = MarketConfig(train_fraction=0.7, validation_fraction=0.15)
DATED = MarketConfig(train_until="1990-06-30", validation_until="1990-12-31")


def sessions(n):
    """n days in a row from 1990-01-01 on."""
    return np.datetime64("1990-01-01") + np.arange(n)


@pytest.mark.parametrize("n", [100, 250, 400, 1500, 4968])
@pytest.mark.parametrize("embargo", [0, 26, 42, 147])
def test_windows_are_disjoint_ordered_and_kept_apart(n, embargo):
    windows = split_windows(sessions(n), CONFIG, embargo)
    spans = [windows[name] for name in ("train", "validation", "test") if name in windows]
    assert spans[-1][1] == n
    assert all(0 <= start < stop <= n for start, stop in spans)
    for before, after in itertools.pairwise(spans):
        assert after[0] - before[1] == embargo
    if "train" in windows:
        assert windows["train"][0] == 0
        assert windows["train"][1] >= CONFIG.min_training_snapshots
        assert all(stop - start >= SHORTEST for start, stop in spans[1:])
    else:
        assert windows == {"test": (0, n)}


def test_too_few_sessions_train_nothing():
    assert split_windows(sessions(104), CONFIG, 42) == {"test": (0, 104)}
    assert split_windows(sessions(11), CONFIG, 0) == {"test": (0, 11)}


def test_the_long_history_has_all_three():
    assert split_windows(sessions(1000), CONFIG, 42) == {
        "train": (0, 700),
        "validation": (742, 850),
        "test": (892, 1000),
    }


def test_windows_end_on_the_dates_that_are_named():
    windows = split_windows(sessions(730), DATED, 42)
    assert windows == {"train": (0, 181), "validation": (223, 365), "test": (407, 730)}
    assert window_stops(sessions(730), DATED) == (181, 365)


@pytest.mark.parametrize("n", [100, 181, 300, 365])
def test_dates_outside_the_data_leave_the_fractions(n):
    fractions = MarketConfig(train_fraction=DATED.train_fraction, validation_fraction=DATED.validation_fraction)
    assert split_windows(sessions(n), DATED, 5) == split_windows(sessions(n), fractions, 5)


def test_scaler_ignores_everything_outside_its_window():
    features = np.random.default_rng(0).normal(3.0, 2.0, (200, 4)).astype(np.float32)
    features[:, 2] = 0.5
    scaler = fit_scaler(features, (0, 100))
    wild = features.copy()
    wild[100:] = 1e9
    assert fit_scaler(wild, (0, 100)) == scaler
    assert scaler["std"][2] == 1.0
    assert scaler["fitted_on"] == [0, 100]
    scaled = (features[:100] - scaler["mean"]) / scaler["std"]
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0)[[0, 1, 3]], 1.0, atol=1e-5)
