"""The headline: which backtests are shown first, and whose differences the verdict rests on."""

import pytest

from clstm_core.evaluation.figures import MEAN_METRIC, SHARPE_METRIC
from clstm_core.evaluation.headline import headline_of, judged_pairs, window_rank
from clstm_core.evaluation.pairing import Key

TOUCH, INSIDE = ("touch", 1.0), ("fraction", 0.56)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([("test", 0, *TOUCH), ("test", 1, *TOUCH)], ("test", 1, *TOUCH)),
        ([("test", 1, *INSIDE), ("test", 1, *TOUCH)], ("test", 1, *TOUCH)),
        ([("test", 0, *TOUCH), ("test", 1, *INSIDE)], ("test", 1, *INSIDE)),
        ([("test", 0, *TOUCH), ("test", 2, *TOUCH)], ("test", 2, *TOUCH)),
        ([("validation", 1, *TOUCH), ("test", 0, *TOUCH)], ("test", 0, *TOUCH)),
        ([("in_sample", 1, *TOUCH), ("validation", 0, *TOUCH)], ("validation", 0, *TOUCH)),
        ([("10-20", 1, *TOUCH), ("in_sample", 0, *TOUCH)], ("in_sample", 0, *TOUCH)),
        ([("10-20", 0, *TOUCH), ("10-20", 1, *TOUCH)], ("10-20", 1, *TOUCH)),
    ],
)
def test_the_headline_is_the_window_that_counts_most_at_the_later_fill(keys, expected):
    for order in (keys, keys[::-1]):
        assert headline_of({Key(*key): ["a backtest"] for key in order}) == Key(*expected)


def test_of_two_alike_the_fuller_group_is_the_headline():
    few, many = Key("test", 1, "fraction", 0.75), Key("test", 1, "fraction", 0.56)
    assert headline_of({few: ["a"], many: ["a", "b"]}) == many


def test_windows_are_ranked():
    assert [window_rank(name) for name in ("test", "validation", "in_sample", "fold-3")] == [0, 1, 2, 3]


def test_judged_pairs_are_the_champions_against_baselines_in_the_headline():
    pair = {"policy_name": "clstm_080_argmax", "against": "cash", "headline": True, "baseline": True}
    pair["metric"] = MEAN_METRIC
    others = [
        {**pair, "metric": SHARPE_METRIC},
        {**pair, "headline": False},
        {**pair, "against": "clstm_100_argmax", "baseline": False},
        {**pair, "policy_name": "clstm_080_stochastic"},
    ]
    assert judged_pairs([*others, pair], {"name": "clstm_080_argmax"}) == [pair]
    assert judged_pairs([pair], None) == []
