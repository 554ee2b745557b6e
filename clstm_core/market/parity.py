"""Forward, discount and residuals of one expiry from put-call parity, for sources whose own spot cannot be trusted."""

from typing import NamedTuple

import numpy as np

MIN_STRIKES = 4
MAX_ITERATIONS = 20


class ParityFit(NamedTuple):
    """C - P = D (F - K), fitted over the strikes of one expiry at one snapshot.

    Units: forward and residual_median (median absolute residual) in currency a share; discount a fraction;
           n strikes that carried weight. All NaN and n = 0 where too few strikes quote both sides.
    """

    forward: float
    discount: float
    residual_median: float
    n: int

    def rate(self, tte_years: float) -> float:
        """Continuous rate a year that the discount implies."""
        return float(-np.log(self.discount) / tte_years)

    def dividend_yield(self, spot: float, tte_years: float) -> float:
        """Continuous dividend yield a year that carries `spot` to the forward."""
        return float(self.rate(tte_years) - np.log(self.forward / spot) / tte_years)


def parity_by_expiry(
    strike: np.ndarray,
    call_mid: np.ndarray,
    put_mid: np.ndarray,
    tte_years: float,
    *,
    discount: float | None = None,
    rate_bounds: tuple[float, float] = (-0.05, 0.20),
) -> ParityFit:
    """Fit the forward and the discount of one expiry to call and put mids at the same strikes.

        C(K) - P(K) = D F - D K,   least squares with bisquare weights (robust to stale and crossed quotes)

    Shapes:  strike, call_mid, put_mid [n] float64, NaN where a side has no quote
    Units:   currency a share; tte_years > 0
    Raises:  nothing: too few strikes give a fit of NaN with n = 0
    Assumes: European options; pass strikes near the money (say +-4%), where spreads are tight. A `discount` given, or
             a fitted one outside rate_bounds (continuous, a year), leaves the forward alone to be fitted: over a few
             days the slope says little about the rate.
    """
    known = np.isfinite(strike) & np.isfinite(call_mid) & np.isfinite(put_mid)
    k, y = strike[known].astype(np.float64), (call_mid - put_mid)[known].astype(np.float64)
    if len(k) < MIN_STRIKES or np.ptp(k) == 0.0 or tte_years <= 0:
        return ParityFit(np.nan, np.nan, np.nan, 0)
    centre = k.mean()
    floor = 1e-9 * centre
    if discount is None:
        level, slope, weight = _robust_line(k - centre, y, floor)
        discount = -slope
        low, high = np.exp(-rate_bounds[1] * tte_years), np.exp(-rate_bounds[0] * tte_years)
        if low <= discount <= high:
            residual = y - level - slope * (k - centre)
            forward = centre + level / discount
            return ParityFit(
                float(forward), float(discount), float(np.median(np.abs(residual))), int((weight > 0).sum())
            )
        discount = float(np.clip(discount, low, high))
    implied = k + y / discount
    forward, weight = _robust_mean(implied, floor)
    residual = y - discount * (forward - k)
    return ParityFit(forward, discount, float(np.median(np.abs(residual))), int((weight > 0).sum()))


def _bisquare(residual: np.ndarray, floor: float) -> np.ndarray:
    """Tukey's weights at 4.685 robust standard deviations."""
    scale = max(1.4826 * float(np.median(np.abs(residual))), floor)
    return np.where(np.abs(residual) < 4.685 * scale, (1.0 - (residual / (4.685 * scale)) ** 2) ** 2, 0.0)


def _robust_line(x: np.ndarray, y: np.ndarray, floor: float) -> tuple[float, float, np.ndarray]:
    # Start at the medians of pairwise slopes and levels (Theil-Sen), which half of the points cannot move.
    i, j = np.triu_indices(len(x), 1)
    apart = x[i] != x[j]
    slope = float(np.median((y[j] - y[i])[apart] / (x[j] - x[i])[apart]))
    level = float(np.median(y - slope * x))
    weight = np.ones_like(y)
    for _ in range(MAX_ITERATIONS):
        weight = _bisquare(y - level - slope * x, floor)
        total = weight.sum()
        mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
        variance = (weight * (x - mean_x) ** 2).sum()
        if variance <= 0:
            break
        new_slope = float((weight * (x - mean_x) * (y - mean_y)).sum() / variance)
        new_level = float(mean_y - new_slope * mean_x)
        settled = abs(new_level - level) <= floor and abs(new_slope - slope) <= 1e-12
        level, slope = new_level, new_slope
        if settled:
            break
    return level, slope, weight


def _robust_mean(values: np.ndarray, floor: float) -> tuple[float, np.ndarray]:
    centre, weight = float(np.median(values)), np.ones_like(values)
    for _ in range(MAX_ITERATIONS):
        weight = _bisquare(values - centre, floor)
        new = float((weight * values).sum() / weight.sum())
        settled = abs(new - centre) <= floor
        centre = new
        if settled:
            break
    return centre, weight
