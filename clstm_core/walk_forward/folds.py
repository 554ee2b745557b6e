"""Which sessions each fold trains on, chooses on and is judged on. Numpy only.

    fold 1   [ train ......... ]  gap  [ validation ]  gap  [ test ]
    fold 2   [ train ..................... ]  gap  [ validation ]  gap  [ test ]

The tests tile the history after the first fold's training span; a session is in one of them at most. `gap` is an
embargo: sessions that neither side of it may use, since what is held or remembered on one side reaches across.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.errors import ConfigError
from clstm_core.plural import counted

SESSIONS_YEAR, DAYS_YEAR = 252.0, 365.0

FEWEST_TEST = 61
"""Sessions of a test or a validation: fewer have no interval (`evaluation.statistics.MIN_OBSERVATIONS` returns)."""

EXPANDING, ROLLING = "expanding", "rolling"
WINDOWS = (EXPANDING, ROLLING)


class Span(NamedTuple):
    """Sessions [start, stop) by their place in the history."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How a history is cut.

    Units: all but `folds` in sessions
    """

    folds: int = 8
    training: int = 1260  # of the first fold, and of every fold where the window rolls
    validation: int = 504  # the rung is chosen on it; part of the span that a fold may know
    embargo: int = 147  # before validation, and again before the test: `embargo_of`
    window: str = EXPANDING

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise ConfigError(f"unknown window {self.window!r}: expected {' or '.join(WINDOWS)}. Pass one as --window.")
        for name, least in (("folds", 1), ("training", 1), ("validation", FEWEST_TEST), ("embargo", 0)):
            if (found := getattr(self, name)) < least:
                raise ConfigError(f"{name}={found}: expected at least {least}. Raise it.")

    @property
    def before_tests(self) -> int:
        """Sessions before the first test."""
        return self.training + self.validation + 2 * self.embargo


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One fold; `number` counts from 1."""

    number: int
    train: Span
    validation: Span
    test: Span


def embargo_of(env: EnvConfig, market: MarketConfig) -> int:
    """Sessions between two windows of a fold.

        max(horizon, longest life of an option that can be held) + lookback of a feature

    An episode that begins on the last training day reaches `horizon` sessions ahead, and a contract that is opened then
    until it expires; a feature reaches `feature_lookback` sessions back. Across so many sessions nothing is shared.

    Units: sessions; the far tenor listed at its longest, `far_days` x (1 + tolerance) calendar days
    """
    longest = math.ceil(market.far_days * (1.0 + market.tenor_tolerance) * SESSIONS_YEAR / DAYS_YEAR)
    return max(env.horizon, longest) + market.feature_lookback


def make_folds(n_sessions: int, sizes: Sizes) -> list[Fold]:
    """The folds of a history, tests as equal as whole sessions allow, the longer ones first.

    Raises: ConfigError for a history that is too short, saying how long it would have to be
    Source: as skfolio's `WalkForward` cuts (`purged_size` the embargo), with a validation span before each test; a test
            holds the two against each other
    """
    first, needed = sizes.before_tests, sizes.before_tests + sizes.folds * FEWEST_TEST
    if n_sessions < needed:
        raise ConfigError(
            f"a history of {counted(n_sessions, 'session')} for {counted(sizes.folds, 'fold')}: expected at least "
            f"{needed:,} ({sizes.training:,} to train on, {sizes.validation:,} to choose on, two embargoes of "
            f"{sizes.embargo}, and {FEWEST_TEST} to judge each fold on). Pass fewer folds, a shorter --training or "
            "--validation, or a longer history."
        )
    ends = first + np.cumsum([len(part) for part in np.array_split(np.arange(n_sessions - first), sizes.folds)])
    folds = []
    for number, (start, stop) in enumerate(zip([first, *ends[:-1].tolist()], ends.tolist(), strict=True), start=1):
        chosen_on = Span(start - sizes.embargo - sizes.validation, start - sizes.embargo)
        known = chosen_on.start - sizes.embargo
        begin = known - sizes.training if sizes.window == ROLLING else 0
        folds.append(Fold(number=number, train=Span(begin, known), validation=chosen_on, test=Span(start, stop)))
    require_apart(folds, sizes.embargo)
    return folds


def require_apart(folds: Sequence[Fold], embargo: int) -> None:
    """Refuse folds that share a test session, or whose windows lie closer than the embargo.

    Raises: ConfigError naming the fold
    """
    for fold in folds:
        gaps = (fold.validation.start - fold.train.stop, fold.test.start - fold.validation.stop)
        if min(gaps) < embargo or min(map(len, (fold.train, fold.validation, fold.test))) < 1:
            raise ConfigError(
                f"fold {fold.number}: found {gaps[0]} and {gaps[1]} sessions between its windows, expected at least "
                f"{embargo} and no empty window. Cut the history otherwise."
            )
    for before, after in pairwise(folds):
        if after.test.start < before.test.stop:
            raise ConfigError(
                f"folds {before.number} and {after.number} are both judged on "
                f"{counted(before.test.stop - after.test.start, 'session')}: expected no session in two tests. Cut the "
                "history otherwise."
            )


def market_of(fold: Fold, sessions: Sequence[date]) -> dict[str, Any]:
    """The settings of `MarketConfig` that make a market of one fold: what it may know, and where its windows end.

    Whatever a source fits, a scaler or a surface, it fits to sessions until `train_until`; sessions after the test are
    no part of that market at all.
    """
    return {
        "first_date": sessions[fold.train.start].isoformat(),
        "train_until": sessions[fold.train.stop - 1].isoformat(),
        "validation_until": sessions[fold.validation.stop - 1].isoformat(),
        "last_date": sessions[fold.test.stop - 1].isoformat(),
    }
