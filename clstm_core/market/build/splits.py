"""Windows of time for training, validation and test, and the feature scaler fitted on the first."""

from typing import Any

import numpy as np

from clstm_core.config import MarketConfig
from clstm_core.market.windows import window_stops

CONSTANT = 1e-4
"""A feature that varies less than this over the training window (tick noise of a flat volatility) is left unscaled."""

SHORTEST = 21
"""Snapshots below which a validation or test window says nothing."""


def split_windows(dates: np.ndarray, config: MarketConfig, embargo: int) -> dict[str, tuple[int, int]]:
    """Train, validation and test windows [start, stop) in time order, with `embargo` snapshots unused between them.

    Shapes:  dates of the snapshots (datetime64[D], ascending)
    Units:   embargo in snapshots
    Assumes: where validation does not fit it is left out; where train and test do not both fit, train gives way down
             to config.min_training_snapshots; below that the whole range is the test window and nothing is trained
    """
    n_snapshots = len(dates)
    train_stop, validation_stop = window_stops(dates, config)
    minimum = max(config.min_training_snapshots, 1)
    if train_stop >= minimum:
        validation, test = (train_stop + embargo, validation_stop), (validation_stop + embargo, n_snapshots)
        if _fits(validation) and _fits(test):
            return {"train": (0, train_stop), "validation": validation, "test": test}
        test = (train_stop + embargo, n_snapshots)
        if _fits(test):
            return {"train": (0, train_stop), "test": test}
        train_stop = n_snapshots - embargo - max(n_snapshots - validation_stop, SHORTEST)
        if train_stop >= minimum:
            return {"train": (0, train_stop), "test": (train_stop + embargo, n_snapshots)}
    return {"test": (0, n_snapshots)}


def _fits(window: tuple[int, int]) -> bool:
    return window[1] - window[0] >= SHORTEST


def fit_scaler(features_TF: np.ndarray, window: tuple[int, int]) -> dict[str, Any]:
    """Mean and standard deviation of each feature over the snapshots [start, stop) of `window`, as plain lists."""
    start, stop = window
    sample = features_TF[start:stop].astype(np.float64)
    std = sample.std(axis=0)
    return {
        "mean": sample.mean(axis=0).tolist(),
        "std": np.where(std > CONSTANT, std, 1.0).tolist(),
        "fitted_on": [int(start), int(stop)],
    }
