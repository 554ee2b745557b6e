"""Conditional variance of an index from its own past, and an arbitrage-free smile around it. Numpy only."""

from typing import NamedTuple

import numpy as np

SESSIONS_YEAR = 252.0
HORIZONS = (3, 5, 10, 21, 42, 63, 84)
"""Sessions ahead at which expected variance is fitted; between them total variance is interpolated."""

RHO, ETA = -0.7, 0.55
"""SSVI correlation and curvature; eta (1 + |rho|) <= 2 keeps every slice free of butterfly arbitrage.

Set so that on training dates, without a premium, options hedged daily earn within 6% of their price
at mid, from 10-delta puts to 20-delta calls.
"""


class VarianceModel(NamedTuple):
    """Expected variance over each horizon: exp(2 x'b) times the mean of the exponentiated residual."""

    coefficient_HX: np.ndarray  # of log volatility
    factor_H: np.ndarray  # makes the fitted mean variance equal the realised one

    def total_variance(self, design_TX: np.ndarray) -> np.ndarray:
        """Expected total variance [T, H] over the horizons, rising with the horizon (no calendar arbitrage)."""
        annual = np.exp(2.0 * design_TX @ self.coefficient_HX.T) * self.factor_H
        total = annual * np.array(HORIZONS) / SESSIONS_YEAR
        return np.maximum.accumulate(total, axis=1)


def variance_design(close: np.ndarray) -> np.ndarray:
    """What is known at each close about coming variance: a constant, fast and slow volatility, recent direction.

    Shapes: close [T] -> [T, 4]: 1, log EWMA volatility (decay 0.94, 0.99; a year), EWMA return (0.90) over daily
            volatility (0.97), the leverage effect
    Source: RiskMetrics 1996 decays; in the spirit of Corsi 2009 (HAR). The first 63 rows are burn-in.
    """
    returns = np.diff(np.log(close), prepend=np.log(close[0]))
    squares = returns**2
    start = float(squares[1:22].mean()) if len(close) > 22 else 1e-4
    fast, middle, slow = (_ewma(squares, decay, start) for decay in (0.94, 0.97, 0.99))
    direction = _ewma(returns, 0.90, 0.0) / np.sqrt(middle)
    annual = [0.5 * np.log(SESSIONS_YEAR * v) for v in (fast, slow)]
    return np.stack([np.ones_like(close), *annual, direction], axis=1)


def fit_variance_model(close: np.ndarray, design_TX: np.ndarray, start: int, stop: int) -> VarianceModel:
    """Least squares of log realised volatility over each horizon on the design, on sessions [start, stop) alone.

    Assumes: the realised windows end before `stop`, so nothing after the training dates is read
    """
    squares = np.concatenate([[0.0], np.cumsum(np.diff(np.log(close[:stop])) ** 2)])
    coefficients, factors = [], []
    for horizon in HORIZONS:
        at = np.arange(start, stop - horizon)
        realised = (squares[at + horizon] - squares[at]) * SESSIONS_YEAR / horizon
        log_vol = 0.5 * np.log(np.maximum(realised, 1e-8))
        coefficient = np.linalg.lstsq(design_TX[at], log_vol, rcond=None)[0]
        coefficients.append(coefficient)
        factors.append(realised.mean() / np.exp(2.0 * design_TX[at] @ coefficient).mean())
    return VarianceModel(np.array(coefficients), np.array(factors))


def interpolate_total_variance(total_TH: np.ndarray, snapshot: np.ndarray, session_years: np.ndarray) -> np.ndarray:
    """Total variance to any expiry: linear in time between horizons, through 0 at the start, at the last slope beyond.

    Shapes: total_TH [T, H]; snapshot (index into T) and session_years [rows]
    Units:  session_years in years of 252 sessions
    """
    knots = np.array((0, *HORIZONS)) / SESSIONS_YEAR
    values = np.concatenate([np.zeros((len(total_TH), 1)), total_TH], axis=1)
    right = np.searchsorted(knots, session_years, side="left").clip(1, len(knots) - 1)
    low, high = values[snapshot, right - 1], values[snapshot, right]
    return low + (high - low) * (session_years - knots[right - 1]) / (knots[right] - knots[right - 1])


def ssvi_total_variance(log_moneyness: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Total implied variance at ln(K / F) where the at-the-money total variance is theta.

        w = theta / 2 (1 + rho phi k + sqrt((phi k + rho)^2 + 1 - rho^2)),   phi = eta / sqrt(theta)

    Source: Gatheral and Jacquier 2014, "Arbitrage-free SVI volatility surfaces", eq. 4.1
    """
    scaled = ETA * log_moneyness / np.sqrt(theta)
    return 0.5 * theta * (1.0 + RHO * scaled + np.sqrt((scaled + RHO) ** 2 + 1.0 - RHO**2))


def model_free_variance(theta: np.ndarray) -> np.ndarray:
    """Total variance of the log contract (what the VIX measures) under the SSVI slice of each theta [n].

        E[-2 ln S/F] = integral of w(k(z)) n(z) dz,   z = d2(k)

    Source: Fukasawa 2012, "The normalizing transformation of the implied volatility smile"
    """
    z = np.linspace(-7.0, 5.0, 1501)
    k = z[None, :] * np.sqrt(theta)[:, None] * 1.5
    w = ssvi_total_variance(k, theta[:, None])
    d2 = -k / np.sqrt(w) - 0.5 * np.sqrt(w)
    integrand = w * np.exp(-0.5 * d2**2) / np.sqrt(2.0 * np.pi)
    return np.trapezoid(integrand, -d2, axis=1)


def theta_for_model_free(total_variance: np.ndarray) -> np.ndarray:
    """At-the-money total variance whose smile has the given model-free total variance [n]."""
    theta = np.exp(np.linspace(np.log(1e-6), np.log(1.5), 200))
    return np.exp(np.interp(np.log(total_variance), np.log(model_free_variance(theta)), np.log(theta)))


def _ewma(values: np.ndarray, decay: float, start: float) -> np.ndarray:
    out = np.empty_like(values)
    level = start
    for index, value in enumerate(values.tolist()):
        level = decay * level + (1.0 - decay) * value
        out[index] = level
    return out
