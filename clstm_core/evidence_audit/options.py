"""Black-Scholes by SciPy's normal distribution: volatilities by bisection, and Greeks; none of it the market's code."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Floats = npt.NDArray[np.float64]

HALVINGS = 60
WIDEST = 8.0
"""Largest volatility x sqrt(T) that is looked for."""


class Sensitivities(NamedTuple):
    """Per share, as the market's: vega per 1.00 of volatility, theta a year."""

    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats


def price(
    spot: Floats, strike: Floats, years: Floats, vol: Floats, rate: Floats, carry: Floats, side: Floats
) -> Floats:
    """European price; side is +1 for a call and -1 for a put, carry the dividend yield."""
    d1, d2 = _d(spot, strike, years, vol, rate, carry)
    share, cash = spot * np.exp(-carry * years), strike * np.exp(-rate * years)
    return side * (share * ndtr(side * d1) - cash * ndtr(side * d2))


def volatility(
    paid: Floats, spot: Floats, strike: Floats, years: Floats, rate: Floats, carry: Floats, side: Floats
) -> Floats:
    """The volatility at which an option costs `paid`; NaN at or below its intrinsic value and above what it can be.

    The option on the other side of the forward is solved for, by parity: its price is time value alone.
    """
    share, cash = spot * np.exp(-carry * years), strike * np.exp(-rate * years)
    forward_value = share - cash
    inside = side * forward_value > 0
    target = np.where(inside, paid - side * forward_value, paid)
    other = np.where(inside, -side, side)
    low, high = np.full_like(paid, 1e-9), np.full_like(paid, WIDEST) / np.sqrt(years)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        dear = price(spot, strike, years, middle, rate, carry, other) > target
        low, high = np.where(dear, low, middle), np.where(dear, middle, high)
    noise = 1e-13 * np.maximum(share, cash)
    known = (target > noise) & (target < np.where(other > 0, share, cash)) & (years > 0)
    return np.where(known, 0.5 * (low + high), np.nan)


def sensitivities(
    spot: Floats, strike: Floats, years: Floats, vol: Floats, rate: Floats, carry: Floats, side: Floats
) -> Sensitivities:
    """Delta, gamma, vega and theta of European options."""
    d1, d2 = _d(spot, strike, years, vol, rate, carry)
    density = np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi)
    fading, discount, root = np.exp(-carry * years), np.exp(-rate * years), np.sqrt(years)
    theta = (
        -spot * fading * density * vol / (2.0 * root)
        + side * carry * spot * fading * ndtr(side * d1)
        - side * rate * strike * discount * ndtr(side * d2)
    )
    return Sensitivities(
        delta=side * fading * ndtr(side * d1),
        gamma=fading * density / (spot * vol * root),
        vega=spot * fading * density * root,
        theta=theta,
    )


def _d(spot: Floats, strike: Floats, years: Floats, vol: Floats, rate: Floats, carry: Floats) -> tuple[Floats, Floats]:
    deviation = vol * np.sqrt(years)
    d1 = (np.log(spot / strike) + (rate - carry) * years) / deviation + 0.5 * deviation
    return d1, d1 - deviation
