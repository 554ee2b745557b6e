"""Figures drawn again with the registered seed, for whatever is audited that has an interval.

The stationary bootstrap of `arch`, a mean block as long as Politis and White's rule says for the series drawn.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from clstm_core.evaluation.statistics import CONFIDENCE
from clstm_core.evidence_audit.returns import Floats

SEED, SAMPLES = 0, 2000
"""Of the bootstrap, as registered: a lucky seed is none of the run's choices."""

YEAR = 252
TOLERANCE = 1e-9
"""What a figure may differ by, relative to itself where beyond 1."""


def close(said: float, own: float) -> bool:
    return abs(said - own) <= TOLERANCE * max(1.0, abs(own))


def sharpes(returns: Floats, times: Floats) -> Floats:
    """Annualised ratio of each sample: of each episode's returns [T, E], drawn `times` [R, T], then their mean."""
    n = len(returns)
    mean = times @ returns / n
    variance = (times @ (returns * returns) - n * mean * mean) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(np.maximum(variance, 0.0))
        ratio = mean / np.where(deviation > 1e-12, deviation, np.nan)
    return ratio.mean(axis=1) * math.sqrt(YEAR)


def ends(draws: Floats) -> list[float]:
    tail = (1.0 - CONFIDENCE) / 2.0
    known = draws[np.isfinite(draws)]
    return [float(end) for end in np.quantile(known, (tail, 1.0 - tail))] if len(known) else [math.nan, math.nan]


def without_rounding(d: Floats) -> Floats:
    return np.where(np.abs(d) < 1e-12, 0.0, d)


def samples(series: Floats, seed: int) -> Floats:
    """How often each date comes in each stationary-bootstrap sample [R, T]; the rule's mean block for `series`."""
    return times_drawn(len(series), block_of(series), seed)


def block_of(series: Floats) -> int:
    """The rule's mean block for a series: at least 1 date, at most a third of all."""
    from arch.bootstrap import optimal_block_length

    length = 1.0
    if float(series.std()) > 1e-12:
        found = float(optimal_block_length(series)["stationary"].iloc[0])
        length = min(max(found, 1.0), len(series) / 3.0) if math.isfinite(found) else 1.0
    return max(1, math.ceil(length))


def times_drawn(n: int, block: int, seed: int) -> Floats:
    """How often each of n dates comes in each sample [R, n], with blocks of that mean length."""
    return _drawn(n, block, seed).astype(np.float64)


@lru_cache(maxsize=96)
def _drawn(n: int, block: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    from arch.bootstrap import StationaryBootstrap

    samples = StationaryBootstrap(block, np.arange(n), seed=seed).bootstrap(SAMPLES)
    return np.stack([np.bincount(sample[0][0], minlength=n) for sample in samples]).astype(np.uint16)
