"""What a walk-forward's record says of one recipe: against cash and each baseline, fold by fold, seed by seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clstm_core.evaluation.iqm import iqm_interval
from clstm_core.evaluation.periods import by_session
from clstm_core.evaluation.regimes import by_tercile, in_crises, volatility_before
from clstm_core.evaluation.statistics import (
    CONFIDENCE,
    PERIODS_PER_YEAR,
    YEAR_OF_RETURNS,
    Floats,
    Interval,
    bootstrap_counts,
    max_drawdown,
    paired_mean,
    sharpe_ratio,
)
from clstm_core.walk_forward.luck import Sums, record_luck, sums_of
from clstm_core.walk_forward.stitch import CASH, ROUNDING, Piece, Record, excess_of, joined

BPS = 1e4

Rows = list[dict[str, Any]]


def figures_of(
    recipe: str,
    pieces: Sequence[Piece],
    implied: Mapping[str, float],
    *,
    simulated: bool,
    modelled: bool = False,
    fair: Sequence[Sums | None] = (),
) -> dict[str, Any]:
    """Everything that is shown of one recipe, as plain rows.

    pairs: the record's mean difference from each baseline; luck: the record's place among luck, as
    `luck.record_luck` has it, None where no fair worlds were walked; by_fold, by_seed: rows; cells: one per fold and
    seed

    Args:
        implied: implied volatility by ISO date, where it is known
        simulated: whether its dates are made up, so that no crisis can lie in them
        modelled: whether its prices are a model's, so that a lead would have to hold in the stressed world as well
        fair: what the pieces' policies made in fair worlds, in their order; empty where none were walked

    Units: differences in basis points of log return per session; ratios per year; drawdowns as fractions
    """
    record = joined(pieces)
    account = record.account(record.policy)
    volatility, words = volatility_before(account, implied)
    cells = cells_of(pieces)
    observed = [_earned(piece) for piece in pieces]
    luck = record_luck(observed, fair) if fair else None
    table = np.array(
        [[row["excess_bps"] for row in cells if row["seed"] == seed] for seed in record.seeds], dtype=np.float64
    )
    return {
        "recipe": recipe,
        "first_date": record.first,
        "last_date": record.dates[-1],
        "sessions": record.cash.size,
        "pairs": [
            _pair(name, record.policy, values, luck if name == CASH else None, modelled=modelled)
            for name, values in record.baselines.items()
        ],
        "luck": luck,
        "sharpe": _sharpe(record),
        "iqm": iqm_interval(table).to_dict(),
        "by_seed": [_seed(seed, record) for seed in record.seeds],
        "by_fold": [_fold(piece) for piece in pieces],
        "cells": cells,
        "shares": shares_of(cells, list(record.baselines)),
        "curve": by_session(account).select("date", "excess", "excess_low", "excess_high").fill_nan(None).to_dicts(),
        "regimes": by_tercile(account, volatility),
        "regimes_words": words,
        "crises": [] if simulated else in_crises(account),
    }


def cells_of(pieces: Sequence[Piece]) -> Rows:
    """One row per fold and seed: its mean excess over cash, and over each baseline, on the fold's test.

    Units: basis points of log return per session
    """
    return [
        {
            "fold": piece.fold,
            "seed": seed,
            "excess_bps": float((values - piece.baselines[CASH]).mean() * BPS),
            "over": {name: float((values - other).mean() * BPS) for name, other in piece.baselines.items()},
        }
        for piece in pieces
        for seed, values in piece.seeds.items()
    ]


def shares_of(cells: Sequence[Mapping[str, Any]], baselines: Sequence[str]) -> Rows:
    """Of how many folds and seeds the mean was above each baseline's: a count, no test."""
    return [
        {
            "against": name,
            "above": sum(cell["over"][name] > 0.0 for cell in cells),
            "of": len(cells),
            "share": sum(cell["over"][name] > 0.0 for cell in cells) / len(cells),
        }
        for name in baselines
    ]


def _earned(piece: Piece) -> Sums:
    """What the seeds earned beyond cash on a fold's own sessions, as one world of it."""
    return sums_of([excess_of(values, piece.cash)[:, None] for values in piece.seeds.values()])


def _pair(
    name: str, policy: Floats, other: Floats, luck: Mapping[str, Any] | None, *, modelled: bool
) -> dict[str, Any]:
    """One paired difference over the whole record, as `words.claim` takes it.

    Args:
        luck: the record's place among fair worlds; None where these were not asked about this baseline
    """
    found = paired_mean(policy, other, scale=BPS)
    place: dict[str, Any] = {"beyond_luck": False, "p_value": None}
    if luck is not None:
        place = {
            "beyond_luck": luck["p"] <= luck["level"],
            "p_value": luck["p"],
            "unstressed": modelled,
        }
    return {"against": name, **_ends(found), "n_dates": found.n_returns, **place}


def _ends(found: Interval) -> dict[str, Any]:
    return {
        "estimate": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "confidence": found.confidence,
        "block": found.block_length,
    }


def _sharpe(record: Record) -> dict[str, Any]:
    """The mean of the seeds' Sharpe ratios over the record, and its interval by resampled dates.

    Never the ratio of the seeds' mean: several accounts are not taken for one that spreads its money.

    Assumes: None in a record of less than a year
    """
    if record.cash.size < YEAR_OF_RETURNS:
        return {"estimate": None, "low": None, "high": None}
    excess = np.stack([excess_of(values, record.cash) for values in record.seeds.values()], axis=1)
    counts, _ = bootstrap_counts(excess.mean(axis=1))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(_ratios(counts, excess), (tail, 1.0 - tail))
    once = np.ones((1, len(excess)))
    return {"estimate": float(_ratios(once, excess)[0]), "low": float(low), "high": float(high)}


def _ratios(counts: Floats, excess: Floats) -> Floats:
    """Mean over seeds of the Sharpe ratios [R] of samples; a seed that never traded counts as cash does, with nothing.

    Shapes: counts [R, T], how often each date is in a sample; excess [T, S]
    """
    n = len(excess)
    mean = counts @ excess / n
    variance = (counts @ excess**2 - n * mean**2).clip(0.0) / (n - 1)
    deviation = np.sqrt(variance)
    ratio = np.where(deviation > ROUNDING, mean / np.maximum(deviation, ROUNDING), 0.0)
    return ratio.mean(axis=1) * math.sqrt(PERIODS_PER_YEAR)


def _seed(seed: int, record: Record) -> dict[str, Any]:
    """One seed over the whole record. Its drawdown is of the joined curve: across accounts that each began anew."""
    values = record.seeds[seed]
    found = paired_mean(values, record.baselines[CASH], scale=BPS)
    return {
        "seed": seed,
        **_ends(found),
        "total_return": float(np.expm1(values.sum())),
        "cash": float(np.expm1(np.log1p(record.cash).sum())),
        "sharpe": sharpe_ratio(excess_of(values, record.cash)) if values.size >= YEAR_OF_RETURNS else None,
        "max_drawdown": max_drawdown(record.account(values).equity),
    }


def _fold(piece: Piece) -> dict[str, Any]:
    """One fold over its seeds: the mean excess per session with its interval, and what cash and the index returned."""
    policy = np.mean(list(piece.seeds.values()), axis=0)
    found = paired_mean(policy, piece.baselines[CASH], scale=BPS)
    grown = {name: float(np.expm1(values.sum())) for name, values in piece.baselines.items()}
    falls = [max_drawdown(np.exp(np.concatenate([[0.0], np.cumsum(values)]))) for values in piece.seeds.values()]
    return {
        "fold": piece.fold,
        "first_date": piece.dates[0],
        "last_date": piece.dates[-1],
        "sessions": piece.sessions,
        **_ends(found),
        "return": float(np.expm1(policy.sum())),
        "returns": grown,
        "max_drawdown": min(falls),
    }
