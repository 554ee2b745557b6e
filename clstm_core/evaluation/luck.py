"""How often luck alone looks as good: a result placed among those that the same policy had in fair worlds. NumPy.

The registered statistic is the Sharpe ratio of returns in excess of cash (of the difference of two policies' returns,
against another baseline). It was chosen before any test window was looked at, and does not depend on how large the
positions are.

    p = (1 + worlds in which it was at least as high) / (1 + worlds)
"""

from collections.abc import Mapping

import numpy as np

from clstm_core.evaluation.statistics import NO_VARIATION, Floats

HEADLINE_LEVEL = 0.025
"""The one test that was registered, the champion against cash, is held at this level, one-sided."""

_ROUNDING = 1e-12

FAMILY_LEVEL = 0.05
"""All other baselines together, by Holm's rule: the chance that any is called beaten where none is."""


def ratios(excess: Floats) -> Floats:
    """Mean over standard deviation [W] of returns [T, W]; 0 for an account that never moved against cash.

    Not annualised: only its rank is read.
    """
    deviation = excess.std(axis=0, ddof=1)
    moved = deviation > NO_VARIATION
    return np.where(moved, excess.mean(axis=0) / np.where(moved, deviation, 1.0), 0.0)


def p_value(observed: Floats, worlds: Floats) -> float:
    """How often luck did at least as well.

    Shapes: observed [T], of the window itself; worlds [T, W], of the same policy in fair worlds
    """
    return float(tail_share(ratios(observed[:, None]), ratios(worlds))[0])


def tail_share(observed: Floats, pool: Floats) -> Floats:
    """(1 + how many of `pool` [W] are at least each of `observed`) / (1 + W)."""
    # what two orders of summation make of one number counts as equal
    at_least = len(pool) - np.searchsorted(np.sort(pool), observed - _ROUNDING, side="left")
    return np.asarray((1.0 + at_least) / (1.0 + len(pool)), dtype=np.float64)


def left_out(pool: Floats) -> Floats:
    """The p-value of every world among the others [W]: what fair worlds themselves get."""
    at_least = len(pool) - np.searchsorted(np.sort(pool), pool, side="left")  # itself included
    return np.asarray(at_least / len(pool), dtype=np.float64)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values of a family of tests.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure"; through statsmodels
    """
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return {}
    adjusted = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, map(float, adjusted), strict=True))
