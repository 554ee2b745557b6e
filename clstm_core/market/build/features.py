"""Market features of specs.MARKET_FEATURES at each snapshot, from that snapshot's quotes and the sessions before it."""

import numpy as np

from clstm_core.market.clock import DAY_NS, DAY_YEARS, weekday
from clstm_core.specs import CELL_INDEX, MARKET_FEATURES

NEUTRAL_VOL = 0.20


def session_features(close: np.ndarray, time_years: np.ndarray, at: np.ndarray) -> dict[str, np.ndarray]:
    """Returns and realised volatility over the last 1, 5 and 21 sessions at the sessions `at`.

        realised_vol_n = sqrt( sum of the last n squared log returns / calendar time they took )

    Shapes:  close, time_years [sessions] (the whole history, before the first quote too); at [T] indices into it
    Units:   log returns; volatility a year on the ACT/365 clock
    Assumes: a return without enough history is 0; realised volatility uses what there is, else NaN
    """
    log_close = np.log(close)
    squares = np.concatenate([[0.0], np.cumsum(np.diff(log_close) ** 2)])
    out = {}
    for n in (1, 5, 21):
        out[f"return_{n}d"] = np.where(at >= n, log_close[at] - log_close[np.maximum(at - n, 0)], 0.0)
    for n in (5, 21):
        since = np.maximum(at - n, 0)
        elapsed = time_years[at] - time_years[since]
        known = elapsed > 0
        variance = (squares[at] - squares[since]).clip(0.0) / np.where(known, elapsed, 1.0)
        out[f"realised_vol_{n}d"] = np.where(known, np.sqrt(variance), np.nan)
    return out


def surface_features(grid_vol_TG: np.ndarray) -> dict[str, np.ndarray]:
    """At-the-money volatility and skew (20-delta put minus 20-delta call) of both tenors; NaN where a cell is empty.

    Shapes: grid_vol_TG [T, G] implied volatility of each cell's contract, NaN where the cell is empty
    """
    cell = {name: grid_vol_TG[:, index] for name, index in CELL_INDEX.items()}
    out = {}
    for tenor in ("near", "far"):
        out[f"{tenor}_atm_vol"] = 0.5 * (cell[f"{tenor}_call_atm"] + cell[f"{tenor}_put_atm"])
        out[f"{tenor}_skew"] = cell[f"{tenor}_put_20"] - cell[f"{tenor}_call_20"]
    return out


def market_features(
    *,
    session: dict[str, np.ndarray],
    surface: dict[str, np.ndarray],
    rate: np.ndarray,
    near_tenor_years: np.ndarray,
    far_tenor_years: np.ndarray,
    near_days: float,
    far_days: float,
    snapshot_ns: np.ndarray,
) -> np.ndarray:
    """All features, raw, float32 [T, F] in the order of specs.MARKET_FEATURES; no value is missing.

    Shapes:  everything per snapshot [T], NaN where unknown; `session` and `surface` as the functions above give
    Units:   as named; rate continuous a year; tenors in years; days_to_next_snapshot in calendar days
    Assumes: a volatility that is unknown now is the last one known before, else neutral (realised volatility, else
             0.20); skews 0; tenors their target. days_to_next_snapshot follows the weekday rule (3 on a Friday), not
             the data, so that it knows nothing of the future.
    """
    realised_21 = _filled(session["realised_vol_21d"], NEUTRAL_VOL)
    near_vol = _filled(surface["near_atm_vol"], realised_21)
    far_vol = _filled(surface["far_atm_vol"], near_vol)
    day_of_week = weekday((snapshot_ns // DAY_NS).astype("datetime64[D]"))
    values = {
        **{name: session[name] for name in ("return_1d", "return_5d", "return_21d")},
        "realised_vol_5d": _filled(session["realised_vol_5d"], realised_21),
        "realised_vol_21d": realised_21,
        "near_atm_vol": near_vol,
        "far_atm_vol": far_vol,
        "near_skew": _filled(surface["near_skew"], 0.0),
        "far_skew": _filled(surface["far_skew"], 0.0),
        "term_slope": far_vol - near_vol,
        "variance_premium": near_vol**2 - realised_21**2,
        "near_atm_vol_change_1d": np.diff(near_vol, prepend=near_vol[:1]),
        "rate": rate,
        "near_tenor_years": np.where(np.isnan(near_tenor_years), near_days * DAY_YEARS, near_tenor_years),
        "far_tenor_years": np.where(np.isnan(far_tenor_years), far_days * DAY_YEARS, far_tenor_years),
        "days_to_next_snapshot": np.where(day_of_week >= 4, 7.0 - day_of_week, 1.0),
    }
    return np.stack([values[name] for name in MARKET_FEATURES], axis=1).astype(np.float32)


def _filled(values: np.ndarray, neutral: np.ndarray | float) -> np.ndarray:
    """Values with gaps filled from the last known one before, and before the first with `neutral`."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], neutral)
