"""The headline: which backtests are shown first, and whose differences the verdict rests on."""

from types import SimpleNamespace

import pytest

from clstm_core.evaluation.figures import MEAN_METRIC, SHARPE_METRIC
from clstm_core.evaluation.headline import champion_of, headline_of, judged_pairs, window_rank
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


def rung(steps: int, n_returns: int, ratio: float) -> SimpleNamespace:
    """A rung's backtest, as choosing takes it."""
    trader = {"checkpoint": {"env_steps": steps}}
    manifest = {"policy": "checkpoint", "mode": "argmax", "milestone": f"{steps:03d}", "trader": trader}
    summary = {"n_returns": n_returns, "ratio": ratio}
    return SimpleNamespace(name=f"clstm_{steps:03d}", manifest={**manifest, "summary": summary})


def test_a_rung_that_was_ruined_at_once_makes_the_window_no_shorter():
    """Its account ends early; the others lived through all of it, and the best of them is chosen."""
    key = Key("test", 1, *TOUCH)
    ladder = [rung(20, 5, -3.0), rung(60, 400, 0.2), rung(100, 400, 0.1)]
    groups = {key: ladder, key._replace(window="validation"): ladder}
    assert champion_of(groups, key).judged.name == "clstm_060"
    short = [rung(20, 5, -3.0), rung(60, 40, 0.2), rung(100, 40, 0.1)]
    choice = champion_of({key: ladder, key._replace(window="validation"): short}, key)
    assert (choice.judged.name, "too short" in choice.reason) == ("clstm_100", True)
