"""The judged account and how sure one may be, made anew from equity alone; every figure that is altered is named."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from clstm_core.evaluation.compare import compare
from clstm_core.evidence_audit.account import account_recomputed
from clstm_core.evidence_audit.sureness import statistics_recomputed
from tests.evidence_audit.made_up import MadeUp, case_of

YEARLY = ("Return per year", "Volatility per year", "Sharpe ratio", "Sortino ratio", "Calmar ratio", "Alpha per year")


@pytest.fixture(scope="module")
def made():
    return case_of()


@pytest.fixture
def case(made):
    """A copy that a test may alter."""
    return SimpleNamespace(comparison=copy.deepcopy(made.comparison), headline=made.headline)


def test_an_honest_comparison_passes(case):
    account, statistics = account_recomputed(case), statistics_recomputed(case)
    assert account.passed, account.wrong
    assert statistics.passed, statistics.wrong
    assert account.counted > 200
    assert statistics.counted > 20
    assert case.comparison["statistics"]["overfit"]["policies"] == 4


@pytest.mark.parametrize("n", [40, 100, 200])
def test_short_windows_have_no_more_than_they_may(n):
    """Below a year nothing is yearly, below 160 sessions there is no PBO, below 60 no interval and no track record."""
    short = case_of(n)
    account, statistics = account_recomputed(short), statistics_recomputed(short)
    assert account.passed, account.wrong
    assert statistics.passed, statistics.wrong
    rows = {row["figure"]: row for row in short.comparison["account"]["tear_sheet"]}
    assert all(rows[name]["value"] is None for name in YEARLY)
    rows["Sharpe ratio"]["value"] = 1.0
    assert "Sharpe ratio" in account_recomputed(short).wrong[0]
    for what, missing in (("record", n < 60), ("overfit", n < 160)):
        assert (short.comparison["statistics"][what] is None) == missing


@pytest.mark.parametrize(
    "judged",
    [
        lambda waits: waits,
        lambda waits: np.where(np.arange(len(waits)) == 200, -0.9999999999, waits),
        lambda waits: np.where(np.arange(len(waits)) % 2 == 0, 0.001, 0.0),
    ],
    ids=["it never trades", "it is ruined", "it loses nothing"],
)
def test_accounts_at_the_edge_are_agreed_on(judged):
    edge = case_of(judged=judged)
    account, statistics = account_recomputed(edge), statistics_recomputed(edge)
    assert account.passed, account.wrong
    assert statistics.passed, statistics.wrong


@pytest.mark.parametrize("rungs", [("100",), ("020", "040")])
def test_a_ladder_that_does_not_say_how_trials_differ_is_agreed_on(rungs):
    """One rung, or two that do the same: no deflated ratio, and no figure in its place."""
    few = case_of(rungs=rungs)
    statistics = statistics_recomputed(few)
    assert statistics.passed, statistics.wrong
    record = few.comparison["statistics"]["record"]
    assert (record["dsr"], record["expected_maximum"]) == (None, None)
    record["dsr"] = record["psr"]
    assert "dsr of the track record" in statistics_recomputed(few).wrong[0]


def test_every_altered_figure_of_the_tear_sheet_is_named(case):
    rows = case.comparison["account"]["tear_sheet"]
    assert len(rows) > 25
    for row in rows:
        for key in ("value", "low", "high"):
            honest = row[key]
            if honest is None:
                continue
            row[key] = honest * 1.001 + 1e-6
            wrong = account_recomputed(case).wrong
            assert len(wrong) == 1
            assert row["figure"] in wrong[0]
            row[key] = honest
        if row["when"]:
            honest, row["when"] = row["when"], "2014-12-31"
            assert f"{row['figure']} is dated" in account_recomputed(case).wrong[0]
            row["when"] = honest
    taken = rows.pop(7)
    assert taken["figure"] in account_recomputed(case).wrong[0]


@pytest.mark.parametrize("table", ["years", "months", "drawdowns"])
def test_every_altered_cell_of_the_tables_is_named(case, table):
    rows = case.comparison["account"][table]
    for row in (rows[0], rows[-1]):
        for name, honest in row.items():
            row[name] = "2014-12-31" if isinstance(honest, str) else 1.0 if honest is None else honest * 1.001 + 1
            wrong = account_recomputed(case).wrong
            assert len(wrong) == 1
            assert wrong[0].startswith(f"{name} of {table}")
            row[name] = honest
    rows.pop()
    assert f"{len(rows)} {table} are said" in account_recomputed(case).wrong[0]


def test_a_cut_of_the_worst_days_is_named(made):
    """A tear sheet of an account that its worst days were taken from."""
    judged = made.comparison["champion"]["name"]
    kind = next(result for result in made.headline() if result.name == judged)
    milder = MadeUp(kind.name, np.maximum(kind.returns, np.quantile(kind.returns, 0.02)), kind.milestone)
    others = [result for result in made.headline() if result.name != judged]
    altered = case_of()
    altered.comparison["account"] = compare([*others, milder], trials=37, replications=60).account
    said = " ".join(account_recomputed(altered).wrong)
    assert all(
        name in said for name in ("VaR 95, one day", "CVaR 95, one day", "Worst day", "Sharpe ratio", "Skewness")
    )


@pytest.mark.parametrize("part", ["record", "overfit"])
def test_every_altered_figure_of_how_sure_one_may_be_is_named(case, part):
    figures = case.comparison["statistics"][part]
    for name, honest in figures.items():
        if name == "logits":
            continue
        figures[name] = honest * 1.001 + 1e-6
        wrong = statistics_recomputed(case).wrong
        assert any(found.startswith(name) for found in wrong)
        figures[name] = honest
    case.comparison["statistics"][part] = None
    assert "is missing" in statistics_recomputed(case).wrong[0]


def test_an_altered_histogram_table_and_answer_are_named(case):
    statistics = case.comparison["statistics"]
    low, high = statistics["overfit"]["logits"][0], statistics["overfit"]["logits"][-1]
    low["count"], high["count"] = low["count"] - 1, high["count"] + 1
    assert statistics_recomputed(case).wrong[0].startswith("logits of the probability of overfitting")
    low["count"], high["count"] = low["count"] + 1, high["count"] - 1
    for row in statistics["figures"]:
        honest, row["value"] = row["value"], 0.123
        assert f"the table's {row['figure']} is 0.123" in statistics_recomputed(case).wrong[0]
        row["value"] = honest
    for said, other in (("PBO ", "PBO 1"), ("one of ", "one of 1"), ("takes ", "takes 1,")):
        honest = statistics["answers"]
        statistics["answers"] = [answer.replace(said, other) for answer in honest]
        assert statistics["answers"] != honest
        assert "the answer does not say" in statistics_recomputed(case).wrong[0]
        statistics["answers"] = honest


def test_fewer_trials_than_are_registered_deflate_too_little(case):
    """The count itself is held against the registry by `figures_recomputed`."""
    case.comparison["trials"] = 2
    said = " ".join(statistics_recomputed(case).wrong)
    assert "expected_maximum of the track record" in said
    assert "dsr of the track record" in said


def test_another_policys_record_is_named(case):
    case.comparison["statistics"]["policy"] = "cash"
    assert "not the judged one's" in statistics_recomputed(case).wrong[0]
