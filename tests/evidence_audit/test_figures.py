"""Every figure of the comparison's rows and pairs made anew: what is altered, left out or not to be had is named."""

import copy
from types import SimpleNamespace

import pytest

from clstm_core.evidence_audit import figures
from clstm_core.evidence_audit.figures import figures_recomputed
from tests.evidence_audit.made_up import case_of

YEARLY = ("annual_return", "annual_volatility", "sharpe")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """A registry that knows of the made-up trials."""
    monkeypatch.setattr(figures, "tried", lambda places, results: 0)
    monkeypatch.setattr(figures, "known_to", lambda places, results: SimpleNamespace(base=37, total=37))


def again(n):
    made = case_of(n)
    return SimpleNamespace(**{**vars(made), "places": None}, made=made)


@pytest.fixture(scope="module")
def whole():
    return again(320)


@pytest.fixture(scope="module")
def short():
    return again(100)


def copied(case):
    return SimpleNamespace(**{**vars(case), "comparison": copy.deepcopy(case.comparison)})


def wrong(case):
    return figures_recomputed(case).wrong


@pytest.fixture
def drawn_as_often(monkeypatch):
    """The made-up comparison draws dates 60 times."""
    honest = figures.samples
    monkeypatch.setattr(figures, "samples", lambda series, seed: honest(series, seed)[:60])


@pytest.mark.parametrize("window", ["whole", "short"])
def test_an_honest_comparison_passes(window, request, drawn_as_often):
    found = figures_recomputed(request.getfixturevalue(window))
    assert found.passed, found.wrong


@pytest.mark.parametrize("name", [*YEARLY, "ratio", "final_equity_usd"])
def test_a_figure_that_is_left_out_though_equity_gives_it_is_named(whole, drawn_as_often, name):
    case = copied(whole)
    row = next(row for row in case.comparison["rows"] if row["policy"] == "checkpoint")
    row[name] = None
    assert [f"{name} of {row['name']}" in found for found in wrong(case)] == [True]


@pytest.mark.parametrize("name", YEARLY)
def test_a_figure_per_year_of_less_than_a_year_is_named(short, drawn_as_often, name):
    case = copied(short)
    row = next(row for row in case.comparison["rows"] if row["policy"] == "checkpoint")
    assert row[name] is None
    row[name] = 0.1
    assert [f"{name} of {row['name']}" in found for found in wrong(case)] == [True]


def test_a_backtest_of_before_a_figure_was_added_may_lack_it(whole, drawn_as_often, monkeypatch):
    case = copied(whole)
    kind = type(case.judged[0])
    honest = kind.performance.fget
    monkeypatch.setattr(
        kind, "performance", property(lambda self: {k: v for k, v in honest(self).items() if k != "ratio"})
    )
    for row in case.comparison["rows"]:
        row["ratio"] = None
    assert wrong(case) == []


def test_a_difference_that_is_left_out_is_named(whole, drawn_as_often):
    case = copied(whole)
    taken = next(pair for pair in case.comparison["pairs"] if pair["against"] == "cash")
    case.comparison["pairs"].remove(taken)
    assert [f"{taken['policy_name']} less cash (test, lag 1, touch) is left out" in found for found in wrong(case)] == [
        True
    ]
