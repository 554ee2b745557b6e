"""Which sessions a market has, and where training and validation end. Numpy only."""

import numpy as np

from clstm_core.config import MarketConfig


def window_stops(dates: np.ndarray, config: MarketConfig) -> tuple[int, int]:
    """How many of the sessions `dates` come before the end of training, and of validation.

    By date where the settings name dates among these, else by fractions.

    Shapes: dates datetime64[D], ascending
    """
    if config.train_until is not None and config.validation_until is not None:
        until = np.array([config.train_until, config.validation_until], dtype="datetime64[D]")
        train, validation = np.searchsorted(dates, until, side="right").tolist()
        if 0 < train < validation < len(dates):
            return train, validation
    share = config.train_fraction + config.validation_fraction
    return int(config.train_fraction * len(dates)), int(share * len(dates))


def used_sessions(dates: np.ndarray, config: MarketConfig) -> slice:
    """The sessions among `dates` from `first_date` to `last_date`, both included; all of them where neither is named.

    Shapes: dates datetime64[D], ascending
    """
    start = 0 if config.first_date is None else int(np.searchsorted(dates, np.datetime64(config.first_date)))
    stop = len(dates)
    if config.last_date is not None:
        stop = int(np.searchsorted(dates, np.datetime64(config.last_date), side="right"))
    return slice(start, stop)
