"""Where the joined record stands among luck: records of the same policies in fair worlds, joined as it was. NumPy.

World w of the record is world w of each fold, one after the other: fair worlds of two windows have nothing to do with
each other, and neither have the windows' own surprises. Sums are enough, since the statistic is the mean over seeds of
the Sharpe ratio of returns in excess of cash: the one that a run's judged policy is placed by.

Assumes: each fold's policies are taken as they are. What a fold earned is training data of later ones, and that is not
trained anew in each world; the folds' own p-values do not need it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm_core.evaluation import luck
from clstm_core.evaluation.statistics import PERIODS_PER_YEAR, YEAR_OF_RETURNS, Floats

NOTHING = 5e-7
"""A return beyond cash at or below this is what 32 bits make of none: whoever holds nothing has earned nothing."""

LEVEL = luck.HEADLINE_LEVEL


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Returns in excess of cash of S seeds in W worlds of one fold, added up.

    Shapes: total, squares [S, W]; n: sessions
    """

    n: int
    total: Floats
    squares: Floats


def sums_of(excess: Sequence[Floats]) -> Sums:
    """Of returns in excess of cash, one [T, W] per seed."""
    moved = np.stack([np.where(np.abs(values) > NOTHING, values, 0.0) for values in excess])
    return Sums(n=moved.shape[1], total=moved.sum(axis=1), squares=(moved**2).sum(axis=1))


def ratios(folds: Sequence[Sums]) -> Floats:
    """Mean over seeds of the joined record's ratio of mean to deviation, in each world [W]: per year, or over it all.

    A seed that never moved against cash counts with nothing.
    """
    n = sum(fold.n for fold in folds)
    mean = np.sum([fold.total for fold in folds], axis=0) / n
    variance = (np.sum([fold.squares for fold in folds], axis=0) - n * mean**2).clip(0.0) / (n - 1)
    deviation = np.sqrt(variance)
    moved = deviation > NOTHING / math.sqrt(n)
    ratio = np.where(moved, mean / np.where(moved, deviation, 1.0), 0.0)
    return np.asarray(ratio.mean(axis=0) * math.sqrt(PERIODS_PER_YEAR if n >= YEAR_OF_RETURNS else n))


def placed(observed: Sequence[Sums], worlds: Sequence[Sums]) -> dict[str, Any]:
    """A record, or one fold of it, among those of as many fair worlds as were walked.

    p = (1 + worlds in which it was at least as high) / (1 + worlds)

    Shapes: observed: a world each, the one that happened; worlds: W each
    """
    (found,), pool = ratios(observed), ratios(worlds)
    p = float(luck.tail_share(np.array([found]), pool)[0])
    return {
        "observed": float(found),
        "luck_median": float(np.median(pool)),
        "luck_high": float(np.quantile(pool, 1.0 - LEVEL)),
        "worlds": len(pool),
        "p": p,
        "level": LEVEL,
    }


def record_luck(observed: Sequence[Sums], worlds: Sequence[Sums | None]) -> dict[str, Any] | None:
    """The joined record's place, with a row per fold under `by_fold`; None where a fold walked no fair worlds."""
    known = [each for each in worlds if each is not None]
    if not known or len(known) < len(worlds):
        return None
    by_fold = [placed([mine], [theirs]) for mine, theirs in zip(observed, known, strict=True)]
    return placed(observed, known) | {"by_fold": by_fold}
