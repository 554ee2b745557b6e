"""How often the best of a ladder on some dates is below the middle of it on the others: PBO by CSCV. NumPy, SciPy.

The dates are cut into blocks. Every half of the blocks is once what is chosen on, the other half what comes after; the
rung with the best ratio of mean to deviation on the first is ranked among all on the second. Ours: a few lines.
"""

import math
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.statistics import NO_VARIATION, Floats

BLOCKS = 16
"""Blocks of dates, S: 12,870 halves. Source: the paper's own choice."""

MIN_SESSIONS = 10 * BLOCKS
"""Below this many sessions no probability is given: a ratio of half of them is of fewer than eighty."""

LEVEL = 0.05
"""Above this a choice is not held to be better than one by lot. Source: the paper's "customary approach"."""

BY_LOT = 0.5
"""What choosing by lot comes to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overfit:
    """Probability of backtest overfitting, and the ranks that it is the share of.

    logits: one row per rank that the chosen one may have on the other half: `rank` (1 the worst), `logit`, `count`; of
            two policies that are equal there the rank is between theirs
    """

    probability: float
    policies: int
    sessions: int
    blocks: int
    halves: int
    logits: list[dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def overfit_probability(returns: Floats, blocks: int = BLOCKS) -> Overfit:
    """PBO of choosing the best of several policies by its ratio of mean to deviation.

        logit = ln(w / (1 - w)),  w = rank of the chosen one on the other half / (policies + 1)
        PBO   = share of halves with logit < 0, and half of those with logit = 0

    The paper counts a logit of 0 in full. It speaks of thousands of trials, among which the very middle weighs nothing;
    among five rungs it weighs a fifth, and counting half of it keeps the value of a choice by lot at one half.

    Shapes: returns [T, N], excess returns of N different policies on the same dates
    Raises: EvaluationError for fewer than two policies, an odd number of blocks, or fewer than two sessions per block
    Source: Bailey, Borwein, Lopez de Prado and Zhu 2017, "The probability of backtest overfitting", section 3.1
    Assumes: blocks as near to equal as the number of sessions allows; the paper leaves out sessions until they are
    """
    from scipy.stats import rankdata

    n, policies = returns.shape
    if policies < 2 or blocks % 2 or n < 2 * blocks:
        raise EvaluationError(
            f"{policies} policies, {n} sessions and {blocks} blocks: expected two policies or more, an even number of "
            "blocks and two sessions per block or more. Use a longer window."
        )
    inside = _halves(blocks)
    sums = _block_sums(returns, blocks)
    ratios = [_ratios(*(half @ each for each in sums)) for half in (inside, 1.0 - inside)]
    best = ratios[0].argmax(axis=1)
    ranks = rankdata(ratios[1], axis=1)[np.arange(len(best)), best]
    below, middle = float((ranks < (policies + 1) / 2).mean()), float((ranks == (policies + 1) / 2).mean())
    found, counts = np.unique(np.concatenate([ranks, np.arange(1.0, policies + 1)]), return_counts=True)
    whole = np.isin(found, np.arange(1.0, policies + 1))
    return Overfit(
        probability=below + middle / 2,
        policies=policies,
        sessions=n,
        blocks=blocks,
        halves=len(best),
        logits=[
            {"rank": float(rank), "logit": math.log(rank / (policies + 1 - rank)), "count": int(count - named)}
            for rank, count, named in zip(found, counts, whole, strict=True)
        ],
    )


def _halves(blocks: int) -> Floats:
    """Every half of the blocks as a row of ones and zeros [C, S]."""
    chosen = list(combinations(range(blocks), blocks // 2))
    inside = np.zeros((len(chosen), blocks))
    inside[np.arange(len(chosen))[:, None], chosen] = 1.0
    return inside


def _block_sums(returns: Floats, blocks: int) -> tuple[Floats, Floats, Floats]:
    """Per block [S, 1] how many sessions, and [S, N] sums and sums of squares."""
    parts = np.array_split(returns, blocks)
    length = np.array([[float(len(part))] for part in parts])
    return length, np.stack([part.sum(axis=0) for part in parts]), np.stack([(part**2).sum(axis=0) for part in parts])


def _ratios(length: Floats, total: Floats, square: Floats) -> Floats:
    """Mean over sample deviation [C, N]; 0 of a policy that does not move, as cash's."""
    mean = total / length
    variance = (square - length * mean**2) / (length - 1.0)
    moved = variance > np.maximum(NO_VARIATION**2, 1e-12 * square / length)
    return np.where(moved, mean / np.sqrt(np.where(moved, variance, 1.0)), 0.0)
