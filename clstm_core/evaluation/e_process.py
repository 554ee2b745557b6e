"""Evidence that may be looked at every day: wealth of a bettor who cannot win while the null hypothesis holds.

    W_t = mean over k of prod over s <= t of (1 + lambda_k x_s),   |x_s| <= 1,  lambda_k in (0, 1)

Where E[x_s | past] <= 0, each product is a nonnegative supermartingale that begins at 1, and so is their mean: the
chance that it ever reaches 20 is at most 1 in 20 (Ville), whenever one looks and whenever one stops.

Source:  Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", arXiv:2010.09686: bets
         against a bounded mean; the mixture over fixed bets is their diversified betting. The truncation is ours
"""

from typing import NamedTuple

import numpy as np

Floats = np.ndarray

LEVEL = 0.05
ENOUGH = 1.0 / LEVEL
"""Wealth at which the null hypothesis is given up."""

BETS = np.geomspace(0.02, 0.98, 24)
BOUND = 0.05
"""Daily difference of growth that counts in full; more counts as this much. Stated before one looks: a bound taken from
calm sessions truncates what makes a seller of insurance fair, and a buyer's gains (39% of fair sellers passed so)."""


class Evidence(NamedTuple):
    """Wealth after each session [T], and when it first sufficed (index, None where never).

    truncated: sessions whose difference counted as the bound
    """

    wealth: Floats
    reached: int | None
    truncated: int


def bettor(x: Floats) -> Floats:
    """Wealth [T] of a bettor on positive means of x [T], |x| <= 1: the mean over fixed bets.

    Raises: ValueError for a number outside [-1, 1] or not finite
    """
    if not (np.abs(x) <= 1.0).all():
        raise ValueError(f"x holds {x[~(np.abs(x) <= 1.0)][0]}: expected numbers in [-1, 1]. Divide by their bound.")
    return np.exp(np.log1p(BETS[:, None] * x[None, :]).cumsum(axis=1)).mean(axis=0)


def harm(difference: Floats, *, bound: float = BOUND) -> Evidence:
    """Evidence that an account does worse than its reference; the null is that it does not.

    Shapes:  difference [T] daily growth of the account less the reference's
    Units:   growth per session; `bound` in the same
    Assumes: E[truncated difference | past] >= 0 under the null; the bound is stated before one looks
    """
    return _evidence(-np.asarray(difference, dtype=float), bound)


def non_inferiority(difference: Floats, margin: float, *, bound: float = BOUND) -> Evidence:
    """Evidence that an account does not do worse than its reference by more than `margin` per session.

    The null is that it does: E[truncated (difference + margin) | past] <= 0. Units, shapes and the bound as in `harm`.

    Raises: ValueError for a margin that is negative
    """
    if not margin >= 0.0:
        raise ValueError(f"margin={margin}: expected at least 0, in the unit of the differences.")
    return _evidence(np.asarray(difference, dtype=float) + margin, bound)


def _evidence(x: Floats, bound: float) -> Evidence:
    if not np.isfinite(x).all():
        raise ValueError("a difference is not finite: expected numbers. Leave out sessions without both accounts.")
    if not bound > 0.0:
        raise ValueError(f"bound={bound}: expected above 0, in the unit of the differences.")
    wealth = bettor((x / bound).clip(-1.0, 1.0))
    enough = np.flatnonzero(wealth >= ENOUGH)
    return Evidence(wealth, int(enough[0]) if len(enough) else None, int((np.abs(x) > bound).sum()))
