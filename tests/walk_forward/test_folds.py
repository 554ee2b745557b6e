"""How a history is cut: held against skfolio's splitter, and refused in a sentence where it cannot be."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.errors import ConfigError
from clstm_core.market.build.splits import split_windows
from clstm_core.walk_forward.folds import Fold, Sizes, Span, embargo_of, make_folds, market_of, require_apart

SIZES = Sizes(folds=5, training=400, validation=100, embargo=30)


@pytest.mark.parametrize("window", ["expanding", "rolling"])
@pytest.mark.parametrize("n", [960, 1200, 3001])
def test_tests_tile_the_history_and_windows_stand_apart(window, n):
    sizes = Sizes(folds=5, training=400, validation=100, embargo=30, window=window)
    folds = make_folds(n, sizes)
    assert folds[0].test.start == 560
    assert folds[-1].test.stop == n
    assert all(before.test.stop == after.test.start for before, after in pairwise(folds))
    lengths = [len(fold.test) for fold in folds]
    assert max(lengths) - min(lengths) <= 1
    for fold in folds:
        assert fold.validation.start - fold.train.stop == fold.test.start - fold.validation.stop == 30
        assert len(fold.validation) == 100
        assert len(fold.train) == 400 if window == "rolling" or fold.number == 1 else fold.train.start == 0


@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_without_a_validation_they_are_skfolios(window):
    """Its `WalkForward` purges the embargo before each test; ours then cuts the validation out of what is left."""
    from skfolio.model_selection import WalkForward

    n, sizes = 560 + 5 * 100, Sizes(folds=5, training=400, validation=100, embargo=30, window=window)
    theirs = WalkForward(test_size=100, train_size=530, purged_size=30, expand_train=window == "expanding")
    pairs = list(theirs.split(np.zeros((n, 1))))
    ours = make_folds(n, sizes)
    assert len(pairs) == len(ours)
    for fold, (train, test) in zip(ours, pairs, strict=True):
        assert (fold.test.start, fold.test.stop) == (test[0], test[-1] + 1)
        assert fold.validation.stop == train[-1] + 1
        assert fold.train.start == train[0]


def test_a_history_that_is_too_short_says_how_long_it_must_be():
    with pytest.raises(ConfigError, match=r"864 sessions for 5 folds: expected at least 865 .* Pass fewer folds"):
        make_folds(864, SIZES)
    assert len(make_folds(865, SIZES)) == 5


def test_an_embargo_that_swallows_a_fold_is_refused():
    with pytest.raises(ConfigError, match=r"two embargoes of 300"):
        make_folds(1000, Sizes(folds=5, training=400, validation=100, embargo=300))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"folds": 0}, "folds=0"), ({"validation": 60}, "validation=60"), ({"window": "sliding"}, "'sliding'")],
)
def test_sizes_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        Sizes(**changes)


def test_planted_overlaps_are_named():
    fold = Fold(number=1, train=Span(0, 100), validation=Span(130, 230), test=Span(260, 330))
    near = Fold(number=2, train=Span(0, 180), validation=Span(205, 305), test=Span(335, 400))
    shared = Fold(number=2, train=Span(0, 150), validation=Span(180, 280), test=Span(329, 400))
    require_apart([fold], 30)
    with pytest.raises(ConfigError, match="fold 2: found 25 and 30"):
        require_apart([fold, near], 30)
    with pytest.raises(ConfigError, match="folds 1 and 2 are both judged on 1 session"):
        require_apart([fold, shared], 30)


def test_the_embargo_outlasts_an_episode_and_an_option():
    market = MarketConfig()
    assert embargo_of(EnvConfig(horizon=126), market) == 126 + 21
    longest = 63  # 90 calendar days
    assert embargo_of(EnvConfig(horizon=21), market) == longest + 21


def test_a_folds_market_has_the_windows_of_the_fold():
    """The dates that a fold hands to its market give back its spans, whatever lies before and after."""
    sessions = [date(2000, 1, 3) + timedelta(days=day) for day in range(1200)]
    for window in ("expanding", "rolling"):
        for fold in make_folds(1200, Sizes(folds=4, training=300, validation=90, embargo=40, window=window)):
            config = MarketConfig(**market_of(fold, sessions))
            used = sessions[fold.train.start : fold.test.stop]
            found = split_windows(np.array(used, dtype="datetime64[D]"), config, 40)
            start = fold.train.start
            expected = {
                name: tuple(at - start for at in getattr(fold, name)) for name in ("train", "validation", "test")
            }
            assert found == expected


@pytest.mark.parametrize(
    "dates",
    [
        {"first_date": "2000-01-03"},
        {"first_date": "2013-01-01", "train_until": "2012-12-31", "validation_until": "2016-12-31"},
        {"last_date": "2016-12-31", "train_until": "2012-12-31", "validation_until": "2016-12-31"},
        {"last_date": "someday", "train_until": "2012-12-31", "validation_until": "2016-12-31"},
    ],
)
def test_dates_that_do_not_fit_are_refused(dates):
    with pytest.raises(ConfigError, match="first_date"):
        MarketConfig(**dates)
