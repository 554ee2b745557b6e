"""The interquartile mean of several tasks over several seeds, with a stratified bootstrap interval. NumPy and SciPy."""

import numpy as np
from scipy.stats import trim_mean

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.statistics import CONFIDENCE, REPLICATIONS, Floats, Interval

QUARTER = 0.25


def iqm_interval(values: Floats, *, seed: int = 0, replications: int = REPLICATIONS) -> Interval:
    """Mean of the middle half of all values, and its interval: seeds drawn anew within each task.

    Shapes: values [seeds, tasks]
    Raises: EvaluationError for values that are no such table, or not finite
    Source: Agarwal et al. 2021, arXiv:2108.13264 (rliable's `aggregate_iqm`); `scipy.stats.trim_mean`
    Assumes: with one seed no interval: there is nothing to draw
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise EvaluationError(
            f"values of shape {table.shape}: expected finite numbers [seeds, tasks]. Measure each task with each seed."
        )
    estimate = float(trim_mean(table, QUARTER, axis=None))
    seeds, tasks = table.shape
    if seeds < 2:
        return Interval(estimate=estimate, low=None, high=None, n_returns=table.size)
    drawn = np.random.default_rng(seed).integers(0, seeds, size=(replications, seeds, tasks))
    samples = table[drawn, np.arange(tasks)].reshape(replications, -1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(trim_mean(samples, QUARTER, axis=1), (tail, 1.0 - tail))
    return Interval(estimate=estimate, low=float(low), high=float(high), n_returns=table.size)
