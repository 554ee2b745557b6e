"""Performance of one account's curve, and whether two curves on the same dates can be told apart. NumPy; arch lazily.

Every figure is of daily (per-snapshot) returns of a continuous account; nothing is annualised from per-episode profit
and no drawdown runs across concatenated episodes.
"""

import functools
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clstm_core.errors import EvaluationError

Floats = npt.NDArray[np.float64]

PERIODS_PER_YEAR = 252.0
"""Trading sessions per year that annualised figures assume; stated beside each of them."""

MIN_OBSERVATIONS = 60
"""Below this many returns, about a quarter of a year, no interval is given and nothing is called better."""

YEAR_OF_RETURNS = 250
"""Below this many returns nothing is annualised: a year of sessions, by any exchange's calendar."""

CONFIDENCE = 0.95
REPLICATIONS = 2000
_EQUITY_FLOOR = 1e-6
"""Share of the first equity below which a log return is not taken (a ruined account's equity may be negative)."""
NO_VARIATION = 1e-12
"""A standard deviation of returns at or below this is rounding."""

_ROUNDING = 1e-12
"""What is left of a sum of squares, relative to it, when nothing varies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Performance:
    """What one curve did. Annual figures are None where there is too little to compute them.

    Units: returns, volatility and drawdown as fractions; annual figures with `periods_per_year` periods per year;
           ratio: mean over standard deviation of a session's excess return; max_drawdown 0 or negative
    """

    n_returns: int
    periods_per_year: float
    total_return: float
    ratio: float | None
    annual_return: float | None
    annual_volatility: float | None
    sharpe: float | None
    max_drawdown: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its bootstrap interval; low and high are None where the sample is too short for one."""

    estimate: float
    low: float | None
    high: float | None
    n_returns: int
    block_length: float | None = None
    confidence: float = CONFIDENCE

    @property
    def too_short(self) -> bool:
        """Fewer dates than `MIN_OBSERVATIONS`: nothing can be told."""
        return self.low is None or self.high is None

    @property
    def sign(self) -> int:
        """+1 or -1 when the interval leaves out zero on that side, else 0: not distinguishable."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, the sign included."""
        return {**asdict(self), "sign": self.sign, "too_short": self.too_short}


def simple_returns(equity: Floats) -> Floats:
    """Returns [T] of a curve [T + 1]; after ruin (equity at or below the floor) they are 0.

    Raises: EvaluationError when the curve has fewer than two points or starts at or below zero
    """
    curve = _floored(equity)
    return curve[1:] / curve[:-1] - 1.0


def log_returns(equity: Floats) -> Floats:
    """Log returns [T] of a curve [T + 1], floored at a millionth of its start so that ruin stays a (huge) number."""
    return np.diff(np.log(_floored(equity)))


def _floored(equity: Floats) -> Floats:
    curve = np.asarray(equity, dtype=np.float64)
    if curve.ndim != 1 or curve.size < 2 or not curve[0] > 0:
        raise EvaluationError(
            f"an equity curve of shape {curve.shape} starting at {curve[:1]}: expected at least two points, the first "
            "above zero. Use a longer window."
        )
    return np.maximum(curve, _EQUITY_FLOOR * curve[0])


def sharpe_ratio(excess: Floats, periods_per_year: float = PERIODS_PER_YEAR) -> float | None:
    """Annualised mean over sample standard deviation of excess returns; None where it does not exist.

        S = mean(r) / std(r, ddof=1) * sqrt(periods_per_year)

    A series without variation has no Sharpe ratio: cash is None, not infinity.
    """
    values = np.asarray(excess, dtype=np.float64)
    if values.size < 2:
        return None
    deviation = float(values.std(ddof=1))
    if deviation <= NO_VARIATION:
        return None
    return float(values.mean()) / deviation * math.sqrt(periods_per_year)


def underwater(equity: Floats) -> Floats:
    """Drawdown at each point, 0 at a peak and negative below it."""
    curve = np.asarray(equity, dtype=np.float64)
    return curve / np.maximum.accumulate(curve) - 1.0


def max_drawdown(equity: Floats) -> float:
    """Largest fall from a running peak of one continuous curve, 0 or negative: -0.2 = a fifth of the peak was lost."""
    return float(underwater(equity).min())


def performance(equity: Floats, cash_returns: Floats, periods_per_year: float = PERIODS_PER_YEAR) -> Performance:
    """Summary of one curve; the Sharpe ratio and the volatility are of returns in excess of cash.

    Shapes: equity [T + 1]; cash_returns [T], simple returns of cash over the same steps
    Raises: EvaluationError when the lengths do not fit
    """
    curve, cash = np.asarray(equity, dtype=np.float64), np.asarray(cash_returns, dtype=np.float64)
    returns = simple_returns(curve)
    if returns.shape != cash.shape:
        raise EvaluationError(
            f"{returns.size} returns of equity beside {cash.size} of cash: expected one per step of each. "
            "Take both from the same ledger."
        )
    total = float(curve[-1] / curve[0] - 1.0)
    excess = returns - cash
    # part of a year compounded to a whole one is a fiction
    enough = returns.size >= YEAR_OF_RETURNS
    growth = max(1.0 + total, 0.0) ** (periods_per_year / returns.size) - 1.0 if enough else None
    return Performance(
        n_returns=returns.size,
        periods_per_year=periods_per_year,
        total_return=total,
        ratio=sharpe_ratio(excess, 1.0),
        annual_return=growth,
        annual_volatility=float(excess.std(ddof=1) * math.sqrt(periods_per_year)) if enough else None,
        sharpe=sharpe_ratio(excess, periods_per_year) if enough else None,
        max_drawdown=max_drawdown(curve),
    )


def block_length(series: Floats) -> int:
    """Mean length of the stationary bootstrap's blocks for a series [T]: at least 1 date, at most a third of all.

    Source: Politis and White 2004 as corrected by Patton, Politis and White 2009, through `arch.bootstrap`
    """
    from arch.bootstrap import optimal_block_length

    length = 1.0
    if float(series.std()) > NO_VARIATION:
        estimate = float(optimal_block_length(series)["stationary"].iloc[0])
        length = min(max(estimate, 1.0), series.size / 3.0) if math.isfinite(estimate) else 1.0
    return max(1, math.ceil(length))


def bootstrap_counts(
    series: Floats, *, seed: int = 0, replications: int = REPLICATIONS, block: int | None = None
) -> tuple[Floats, float]:
    """How often each date is drawn [R, T] in stationary-bootstrap samples of the dates, and the mean block length used.

    Means and deviations of a sample are products with its counts.

    Args:
        block: the mean length where it is known; `block_length` of `series`, the differences compared, when left out

    Source: Politis and Romano 1994 (stationary bootstrap) through `arch.bootstrap`
    """
    block = block_length(series) if block is None else block
    return _stationary_counts(len(series), block, seed, replications).astype(np.float64), float(block)


@functools.lru_cache(maxsize=64)
def _stationary_counts(n: int, block: int, seed: int, replications: int) -> npt.NDArray[np.uint16]:
    """Drawn once for all series of a length: they depend on no data."""
    from arch.bootstrap import StationaryBootstrap

    bootstrap = StationaryBootstrap(block, np.arange(n), seed=seed)
    counts = np.stack([np.bincount(sample[0][0], minlength=n) for sample in bootstrap.bootstrap(replications)])
    return counts.astype(np.uint16)  # no date is drawn more often than there are dates


def _percentiles(draws: Floats, estimate: float, n_returns: int, block: float) -> Interval:
    """The percentile interval of bootstrap draws; draws that do not exist (NaN) are left out."""
    tail = (1.0 - CONFIDENCE) / 2.0
    finite = draws[np.isfinite(draws)]
    if finite.size == 0:
        return Interval(estimate=estimate, low=None, high=None, n_returns=n_returns, block_length=block)
    low, high = np.quantile(finite, (tail, 1.0 - tail))
    return Interval(estimate=estimate, low=float(low), high=float(high), n_returns=n_returns, block_length=block)


def paired_mean(
    a: Floats, b: Floats, *, scale: float = 1.0, seed: int = 0, replications: int = REPLICATIONS
) -> Interval:
    """Difference in mean return, a - b, on the same dates, times `scale`, with its paired bootstrap interval.

    Shapes: a, b [T]: row t of both belongs to the same step
    Raises: EvaluationError when the lengths differ
    """
    d = _paired(a, b)
    estimate = float(d.mean() * scale)
    if d.size < MIN_OBSERVATIONS:
        return Interval(estimate=estimate, low=None, high=None, n_returns=d.size)
    counts, block = bootstrap_counts(d, seed=seed, replications=replications)
    return _percentiles(counts @ d / d.size * scale, estimate, d.size, block)


def paired_sharpe(
    a: Floats,
    b: Floats,
    *,
    seed: int = 0,
    periods_per_year: float = PERIODS_PER_YEAR,
    replications: int = REPLICATIONS,
) -> Interval | None:
    """Difference in annualised Sharpe ratio, a - b, of excess returns on the same dates; None where one has none.

    Shapes: a [T, E], b [T, E']: one column per episode; a policy's ratio is the mean over its episodes, so that several
            accounts are not taken for one diversified one
    """
    d = _paired(a.mean(axis=1), b.mean(axis=1))
    once = np.ones((1, len(a)))
    ratios = [float(_sharpes(once, x, periods_per_year)[0]) for x in (a, b)]
    if not all(map(math.isfinite, ratios)):
        return None
    estimate = ratios[0] - ratios[1] if d.any() else 0.0
    if d.size < MIN_OBSERVATIONS:
        return Interval(estimate=estimate, low=None, high=None, n_returns=d.size)
    counts, block = bootstrap_counts(d, seed=seed, replications=replications)
    draws = _sharpes(counts, a, periods_per_year) - _sharpes(counts, b, periods_per_year)
    if not d.any():
        draws = np.zeros(replications)
    return _percentiles(draws, estimate, d.size, block)


def difference_of_means(
    a: Floats, b: Floats, *, scale: float = 1.0, seed: int = 0, replications: int = REPLICATIONS
) -> Interval:
    """Mean of `a` less mean of `b`, times `scale`, for two *separate* stretches of dates (in-sample and held-out).

    Assumes: the two stretches are independent, so each is resampled on its own
    """
    estimate = float((a.mean() - b.mean()) * scale)
    n = min(a.size, b.size)
    if n < MIN_OBSERVATIONS:
        return Interval(estimate=estimate, low=None, high=None, n_returns=n)
    counts_a, block_a = bootstrap_counts(a, seed=seed, replications=replications)
    counts_b, block_b = bootstrap_counts(b, seed=seed + 1, replications=replications)
    draws = (counts_a @ a / a.size - counts_b @ b / b.size) * scale
    return _percentiles(draws, estimate, n, max(block_a, block_b))


def _paired(a: Floats, b: Floats) -> Floats:
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise EvaluationError(
            f"series of shapes {a.shape} and {b.shape} cannot be paired: expected one return per date of each. "
            "Compare backtests of the same window."
        )
    d = a - b
    # two accounts that did the same differ by rounding, which no interval may take for skill
    return np.where(np.abs(d) < NO_VARIATION, 0.0, d)


def _sharpes(counts: Floats, returns: Floats, periods_per_year: float) -> Floats:
    """Sharpe ratios [R] of samples: of each episode, then their mean; NaN where an episode has none.

    Shapes: counts [R, T], how often each date is in a sample; returns [T, E]
    """
    n = len(returns)
    centre = returns.mean(axis=0)
    around = returns - centre  # what is squared is small: the difference below loses no digits
    mean, square = counts @ around / n, counts @ around**2
    variance = square - n * mean**2
    spread = np.where(variance > _ROUNDING * square, variance, 0.0) / (n - 1)
    deviation = np.sqrt(spread)
    ratio = (centre + mean) / np.where(deviation > NO_VARIATION, deviation, np.nan)
    return ratio.mean(axis=1) * math.sqrt(periods_per_year)
