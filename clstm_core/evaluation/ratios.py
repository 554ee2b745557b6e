"""Ratios and moments that traders ask of an account, each by one stated formula. NumPy and SciPy.

Formulas are those of empyrical (pyfolio's), with cash's own returns as the risk-free and the required return; where
quantstats says otherwise, the docstring says how. Returns are per session, simple, of equity marked at mid.
"""

import math
from typing import Any

import numpy as np

from clstm_core.evaluation.statistics import (
    CONFIDENCE,
    MIN_OBSERVATIONS,
    NO_VARIATION,
    PERIODS_PER_YEAR,
    Floats,
    bootstrap_counts,
)

TAIL = 0.05


def downside_deviation(excess: Floats) -> float:
    """Root mean square of excess returns, gains counted as 0; per session.

    Source: empyrical `downside_risk` with the required return of each session, before it is annualised
    """
    return float(np.sqrt(np.mean(np.minimum(excess, 0.0) ** 2)))


def sortino_ratio(excess: Floats, periods_per_year: float = PERIODS_PER_YEAR) -> float | None:
    """Mean excess return over the downside deviation, annualised; None where nothing was lost.

    Source: empyrical `sortino_ratio`; quantstats `sortino` is the same with returns in excess of `rf`
    """
    below = downside_deviation(excess)
    return float(excess.mean()) / below * math.sqrt(periods_per_year) if below > 0.0 else None


def calmar_ratio(annual_return: float | None, max_drawdown: float) -> float | None:
    """Geometric yearly return over the largest drawdown's size; None under a year or where nothing was lost.

    Source: empyrical `calmar_ratio`; quantstats `calmar` counts years by calendar days, not by sessions
    """
    return None if annual_return is None or max_drawdown >= 0.0 else annual_return / -max_drawdown


def omega_ratio(excess: Floats) -> float | None:
    """Sum of gains over sum of losses, of returns beyond cash; None where nothing was lost.

    Source: empyrical and quantstats `omega_ratio` with cash's returns as `risk_free` and a required return of 0
    """
    lost = float(-excess[excess < 0.0].sum())
    return float(excess[excess > 0.0].sum()) / lost if lost > 0.0 else None


def value_at_risk(returns: Floats, tail: float = TAIL) -> float:
    """The return that one session in twenty falls below: a historical quantile, interpolated.

    Source: empyrical `value_at_risk`; quantstats' is that of a normal distribution instead
    """
    return float(np.percentile(returns, 100.0 * tail))


def expected_shortfall(returns: Floats, tail: float = TAIL) -> float:
    """CVaR: mean of the worst twentieth of sessions, counted by rank.

    Source: empyrical `conditional_value_at_risk`; quantstats averages what lies below its normal VaR instead
    """
    worst = int((returns.size - 1) * tail)
    return float(np.partition(returns, worst)[: worst + 1].mean())


def skewness(returns: Floats) -> float | None:
    """Third standardised moment; None where nothing varies.

    Source: `scipy.stats.skew` as pyfolio takes it (biased); quantstats' is pandas', times sqrt(n(n-1)) / (n-2)
    """
    from scipy.stats import skew

    return float(skew(returns)) if returns.std() > NO_VARIATION else None


def kurtosis(returns: Floats) -> float | None:
    """Fourth standardised moment less 3: 0 of a normal distribution; None where nothing varies.

    Source: `scipy.stats.kurtosis` as pyfolio takes it (biased); quantstats' is pandas' unbiased estimate
    """
    from scipy.stats import kurtosis as fourth

    return float(fourth(returns)) if returns.std() > NO_VARIATION else None


def tail_ratio(returns: Floats) -> float | None:
    """Size of the 95th percentile of returns over that of the 5th; None where the latter is 0.

    Source: empyrical and quantstats `tail_ratio`
    """
    high, low = np.percentile(returns, 95.0), np.percentile(returns, 5.0)
    return float(abs(high) / abs(low)) if low != 0.0 else None


def share_of_wins(returns: Floats) -> float | None:
    """Share of positive returns among those that are not 0; None where all are.

    Source: quantstats `win_rate`
    """
    moved = int(np.count_nonzero(returns))
    return float(np.count_nonzero(returns > 0.0)) / moved if moved else None


def alpha_beta(
    returns: Floats, market: Floats, cash: Floats, periods_per_year: float = PERIODS_PER_YEAR
) -> tuple[float, float] | tuple[None, None]:
    """Alpha per year (compounded) and beta to the underlying's returns; None where it did not move.

    Beta is the slope of returns, alpha the mean of excess returns that beta leaves.

    Source: empyrical `alpha_beta`; quantstats `greeks` multiplies alpha by the periods instead of compounding
    """
    around = market - market.mean()
    variance = float(around @ around)
    if variance <= 0.0:
        return None, None
    beta = float(around @ returns) / variance
    left = returns - cash - beta * (market - cash)
    with np.errstate(over="ignore", invalid="ignore"):  # of a few wild sessions there is no rate per year
        alpha = float((1.0 + left.mean()) ** periods_per_year - 1.0)
    return alpha, beta


def recovery_factor(total_return: float, max_drawdown: float) -> float | None:
    """Total return over the largest drawdown's size; None where nothing was lost.

    Source: quantstats `recovery_factor`, which sums returns where this compounds them
    """
    return total_return / -max_drawdown if max_drawdown < 0.0 else None


def correlation(returns: Floats, market: Floats) -> float | None:
    """Pearson's, with the underlying's returns; None where one of them does not vary."""
    if returns.std() <= NO_VARIATION or market.std() <= NO_VARIATION:
        return None
    return float(np.corrcoef(returns, market)[0, 1])


def sharpe_interval(excess: Floats, *, periods_per_year: float = PERIODS_PER_YEAR, seed: int = 0) -> tuple[Any, Any]:
    """Ends of the Sharpe ratio's percentile interval (None, None where the sample is short).

    Source: stationary bootstrap of dates, as `statistics.bootstrap_counts`
    """
    if excess.size < MIN_OBSERVATIONS or excess.std() <= NO_VARIATION:
        return None, None
    counts, _ = bootstrap_counts(excess, seed=seed)
    n, centre = excess.size, float(excess.mean())
    around = excess - centre
    mean = counts @ around / n
    deviation = np.sqrt(np.maximum(counts @ around**2 - n * mean**2, 0.0) / (n - 1))
    ratios = (centre + mean) / np.where(deviation > NO_VARIATION, deviation, np.nan) * math.sqrt(periods_per_year)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.nanquantile(ratios, (tail, 1.0 - tail))
    return float(low), float(high)
