"""Tilt and timing: what a policy's average Greeks would have earned, held constant, and what varying them added.

A Greek's profit over a session is an exposure that stood before it times a factor that came:

    delta   delta S         x  dS / S                      gamma   gamma S^2            x  (dS / S)^2 / 2
    vega    what a point of implied volatility is worth    x  change of the at-the-money volatility, in points
    theta   theta per day                                  x  calendar days

    sum of x f  =  mean(x) sum of f   (tilt)   +   sum of (x - mean(x)) f   (timing)

Timing is T times the covariance of exposure and factor. What the volatilities of the legs did beside the money's is no
part of either (`smile`). Settlement, carry, costs and the residual stand in the attribution.

Source: the decomposition that jquantstats makes for positions; here for Greeks, in currency
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from clstm_core.evaluation.statistics import CONFIDENCE, MIN_OBSERVATIONS, REPLICATIONS, Floats, bootstrap_counts
from clstm_core.plural import counted

Rows = list[dict[str, Any]]

GREEKS = ("delta", "gamma", "vega", "theta")
ALL, SMILE = "all four", "smile"
_SECONDS_PER_DAY = 86_400.0
_STILL = 1e-9
"""A relative move below which an exposure cannot be read off the profit that it made."""

POINTS = 100.0


def tilt_and_timing(
    equity: pl.DataFrame, implied: Sequence[float], *, seed: int = 0, replications: int = REPLICATIONS
) -> tuple[Rows, Rows]:
    """One row per Greek and for all four together, and the same by month.

        term, pnl_usd, tilt_usd, timing_usd, tilt_low, tilt_high, timing_low, timing_high, confidence, n_dates
        month, term, pnl_usd, tilt_usd, timing_usd

    Args:
        equity: ledger of one episode
        implied: at-the-money volatility of the near expiry at each of its snapshots [T + 1], fractions per year

    Units: the account's currency; intervals by the stationary bootstrap of sessions, None below `MIN_OBSERVATIONS`
    Assumes: where the index stood still, the exposure to it is the average one: it earned nothing either way
    """
    book = equity.sort("step")
    exposures, factors, smile = _parts(book, np.asarray(implied, dtype=np.float64))
    n = len(smile)
    made = {name: exposures[name] * factors[name] for name in GREEKS}
    tilts = {name: exposures[name].mean() * factors[name] for name in GREEKS}
    made[ALL], tilts[ALL] = (np.sum([parts[name] for name in GREEKS], axis=0) for parts in (made, tilts))
    spans = _intervals(exposures, factors, made[ALL], seed, replications) if n >= MIN_OBSERVATIONS else {}
    empty = dict.fromkeys(("tilt_low", "tilt_high", "timing_low", "timing_high"))
    totals = [{"term": name, **_split(made[name], tilts[name]), **spans.get(name, empty)} for name in (*GREEKS, ALL)]
    totals.append({"term": SMILE, "pnl_usd": float(smile.sum()), "tilt_usd": None, "timing_usd": None, **empty})
    said = [{**row, "confidence": CONFIDENCE, "n_dates": n} for row in totals]
    months = book["snapshot"].dt.strftime("%Y-%m").to_numpy()[1:]
    by_month = [
        {"month": str(month), "term": name, **_split(made[name][months == month], tilts[name][months == month])}
        for month in dict.fromkeys(months)
        for name in (*GREEKS, ALL)
    ]
    return said, by_month


def tilt_words(totals: Sequence[Mapping[str, Any]]) -> str:
    """The answer in words."""
    found = next((row for row in totals if row["term"] == ALL), None)
    if found is None:
        return "No account to split into tilt and timing."
    tilt, timing, low, high = (found[name] for name in ("tilt_usd", "timing_usd", "timing_low", "timing_high"))
    said = (
        f"Its average Greeks, held constant, would have earned {tilt:+,.0f} USD over the window (tilt); varying them "
        f"added {timing:+,.0f} USD (timing"
    )
    if low is None or high is None:
        return f"{said}; {counted(found['n_dates'], 'session is', 'sessions are')} too few for an interval)."
    told = "more than chance explains" if low > 0 else "less than nothing" if high < 0 else "not told from zero"
    return f"{said}, {found['confidence']:.0%} CI {low:+,.0f} to {high:+,.0f}: {told})."


def _parts(book: pl.DataFrame, implied: Floats) -> tuple[dict[str, Floats], dict[str, Floats], Floats]:
    """Exposures [T] that stood before each session, the factors [T] that came, and what the smile did [T]."""
    spot = book["spot"].to_numpy()
    move = np.diff(spot) / spot[:-1]
    days = book["snapshot"].diff().dt.total_seconds().to_numpy()[1:] / _SECONDS_PER_DAY
    vols = POINTS * np.diff(implied)
    factors = {"delta": move, "gamma": 0.5 * move**2, "vega": vols, "theta": days}
    known = {"delta": np.abs(move) > _STILL, "gamma": np.abs(move) > _STILL, "theta": days > 0.0}
    exposures = {name: _read(book[f"{name}_usd"].to_numpy()[1:], factors[name], known[name]) for name in known}
    exposures["vega"] = book["book_vega_usd"].to_numpy()[:-1]
    return exposures, factors, book["vega_usd"].to_numpy()[1:] - exposures["vega"] * vols


def _read(profit: Floats, factor: Floats, known: np.ndarray) -> Floats:
    """The exposure behind each profit; the mean of those that are known elsewhere."""
    found = np.where(known, profit / np.where(known, factor, 1.0), 0.0)
    return np.where(known, found, found[known].mean() if known.any() else 0.0)


def _split(made: Floats, tilt: Floats) -> dict[str, float]:
    return {
        "pnl_usd": float(made.sum()),
        "tilt_usd": float(tilt.sum()),
        "timing_usd": float(made.sum() - tilt.sum()),
    }


def _intervals(
    exposures: Mapping[str, Floats], factors: Mapping[str, Floats], together: Floats, seed: int, replications: int
) -> dict[str, dict[str, float]]:
    """Percentile intervals of tilt and timing: each sample of sessions has its own average exposure."""
    counts, _ = bootstrap_counts(together, seed=seed, replications=replications)
    n = len(together)
    tilts = {name: (counts @ exposures[name]) * (counts @ factors[name]) / n for name in GREEKS}
    timings = {name: counts @ (exposures[name] * factors[name]) - tilts[name] for name in GREEKS}
    tilts[ALL], timings[ALL] = (np.sum([parts[name] for name in GREEKS], axis=0) for parts in (tilts, timings))
    tail = (1.0 - CONFIDENCE) / 2.0
    found = {}
    for name in (*GREEKS, ALL):
        (tilt_low, tilt_high), (low, high) = (np.quantile(x[name], (tail, 1.0 - tail)) for x in (tilts, timings))
        found[name] = {
            "tilt_low": float(tilt_low),
            "tilt_high": float(tilt_high),
            "timing_low": float(low),
            "timing_high": float(high),
        }
    return found
