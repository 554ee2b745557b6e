"""What one configuration does over several seeds: the interquartile mean and its interval. NumPy, SciPy."""

import numpy as np

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.statistics import CONFIDENCE, REPLICATIONS, Floats, Interval

TRIMMED = 0.25
"""Share of the values that is left out at either end."""

MIN_SEEDS = 3
"""Below this many seeds no interval is given: resampling two of them shows nothing but these two."""


def iqm(values: Floats) -> float:
    """Mean of the middle half of all values, whatever their seed and task.

    Shapes: values [seeds, tasks]
    Source: Agarwal et al. 2021, arXiv:2108.13264: `scipy.stats.trim_mean(x, 0.25)`, as rliable's `aggregate_iqm`
    """
    from scipy.stats import trim_mean

    return float(trim_mean(values, proportiontocut=TRIMMED, axis=None))


def iqm_interval(values: Floats, *, seed: int = 0, replications: int = REPLICATIONS) -> Interval:
    """The interquartile mean of several seeds' values with its stratified bootstrap interval.

    Each sample draws, with replacement and for every task on its own, as many seeds as there are; tasks are never
    resampled. The interval is the percentile one. With fewer than `MIN_SEEDS` seeds it has no ends.

    Shapes: values [seeds, tasks]: what each seed earned in each task (a window, a fold, a kind of market)
    Raises: EvaluationError where there is no value, or one that is not finite
    Source: Agarwal et al. 2021, arXiv:2108.13264, section 4.1; rliable's `StratifiedBootstrap`, method "percentile"
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise EvaluationError(
            f"values of shape {table.shape}, {int(np.isfinite(table).sum())} of {table.size} finite: expected finite "
            "ones of shape [seeds, tasks]. Leave out a seed that did not finish, in every task."
        )
    seeds, tasks = table.shape
    estimate = iqm(table)
    if seeds < MIN_SEEDS:
        return Interval(estimate=estimate, low=None, high=None, n_returns=seeds)
    from scipy.stats import trim_mean

    drawn = np.random.default_rng(seed).integers(seeds, size=(replications, seeds, tasks))
    samples = table[drawn, np.arange(tasks)].reshape(replications, seeds * tasks)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(trim_mean(samples, proportiontocut=TRIMMED, axis=1), (tail, 1.0 - tail))
    return Interval(estimate=estimate, low=float(low), high=float(high), n_returns=seeds)
