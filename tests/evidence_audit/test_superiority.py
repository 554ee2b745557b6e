"""SPA, StepM and the confidence set, made anew by code of our own beside arch's tests; what is altered is named."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from clstm_core.evidence_audit.superiority import superiority_recomputed
from tests.evidence_audit.made_up import case_of


def once(waits):
    """An account that differs from cash on one day: its samples tie with what happened."""
    return np.where(np.arange(len(waits)) == 200, 0.01, waits)


@pytest.fixture(scope="module")
def made():
    return case_of()


@pytest.fixture
def case(made):
    """A copy that a test may alter."""
    return SimpleNamespace(comparison=copy.deepcopy(made.comparison), headline=made.headline)


def wrong(case):
    return superiority_recomputed(case).wrong


@pytest.mark.parametrize(
    ("n", "judged"),
    [
        (320, None),
        (100, None),
        (40, None),
        (320, lambda waits: waits),
        (320, once),
        (320, lambda waits: np.where(np.arange(len(waits)) == 200, -0.9999999999, waits)),
        (320, lambda waits: np.where(np.arange(len(waits)) % 2 == 0, 0.001, 0.0)),
    ],
    ids=["usual", "a hundred", "too short", "it never trades", "it trades once", "it is ruined", "it loses nothing"],
)
def test_an_honest_comparison_passes(n, judged):
    case = case_of(n, judged=judged)
    found = superiority_recomputed(case)
    assert found.passed, found.wrong
    assert found.counted > (8 if n < 60 else 20)
    assert (case.comparison["statistics"]["confidence_set"]["rows"] == []) == (n < 60)


def test_the_made_up_ladder_has_rungs_that_are_ahead_and_benchmarks_that_none_is_ahead_of(case):
    """Else the tests below would alter nothing that counts."""
    better = {row["against"]: row["better"] for row in case.comparison["statistics"]["superior"]}
    assert better == {"cash": ["clstm_080_argmax", "clstm_100_argmax"], "buy_and_hold": []}


@pytest.mark.parametrize("against", [0, 1])
@pytest.mark.parametrize(
    ("name", "other"), [("p", lambda p: p * 0.9), ("block", lambda n: n + 1), ("policies", lambda n: n - 1)]
)
def test_an_altered_figure_against_a_benchmark_is_named(case, against, name, other):
    row = case.comparison["statistics"]["superior"][against]
    row[name] = other(row[name])
    assert len(wrong(case)) == 1
    assert wrong(case)[0].startswith(f"{name} of the ladder against {row['against']} is {row[name]}")


def test_a_rung_that_is_called_ahead_and_is_not_is_named_and_one_that_is_left_out(case):
    cash, index = case.comparison["statistics"]["superior"]
    index["better"] = ["clstm_100_argmax"]
    said = " ".join(wrong(case))
    assert "better of the ladder against buy_and_hold are clstm_100_argmax, equity says none" in said
    index["better"], cash["better"] = [], ["clstm_080_argmax"]
    assert "better of the ladder against cash are clstm_080_argmax" in wrong(case)[0]


def test_a_p_that_is_missing_and_one_that_is_given_for_too_few_dates_are_named(case):
    case.comparison["statistics"]["superior"][0]["p"] = None
    assert "against cash is None" in wrong(case)[0]
    short = case_of(40)
    short.comparison["statistics"]["superior"][0]["p"] = 0.01
    assert "against cash is 0.01, equity says None" in wrong(short)[0]


def test_a_benchmark_that_is_left_out_is_named(case):
    case.comparison["statistics"]["superior"].pop()
    assert "the ladder against buy_and_hold is missing" in wrong(case)[0]


def test_every_altered_p_of_the_confidence_set_is_named(case):
    for row in case.comparison["statistics"]["confidence_set"]["rows"]:
        honest, row["p"] = row["p"], row["p"] * 0.97 + 1e-3
        assert f"p of {row['name']} in the confidence set" in wrong(case)[0]
        row["p"] = honest
        row["included"] = not row["included"]
        assert f"{row['name']} with p {honest}" in wrong(case)[0]
        row["included"] = not row["included"]


def test_a_p_of_the_confidence_set_that_leaves_out_what_happened_is_named(case):
    """What happened is one of the draws: the bare share of samples, which may be nothing at all, is no p."""
    drawn = case.comparison["statistics"]["replications"]
    rows = [row for row in case.comparison["statistics"]["confidence_set"]["rows"] if row["p"] < 1.0]
    assert rows
    for row in rows:
        row["p"] = ((1 + drawn) * row["p"] - 1) / drawn
    found = [one for one in wrong(case) if "in the confidence set is" in one]
    assert len(found) == len(rows)


def test_a_policy_that_is_taken_out_of_the_confidence_set_or_the_whole_of_it_is_named(case):
    found = case.comparison["statistics"]["confidence_set"]
    taken = found["rows"].pop(0)
    assert taken["name"] in wrong(case)[0]
    found["rows"] = []
    assert "confidence set is missing" in wrong(case)[0]


@pytest.mark.parametrize("said", ["superior_answer", "confidence_answer"])
def test_an_answer_that_says_otherwise_is_named(case, said):
    case.comparison["statistics"][said] = "All is well."
    assert "the answer does not say" in wrong(case)[0]


@pytest.mark.parametrize(("name", "value"), [("seed", 7), ("replications", 0), ("replications", 5000)])
def test_samples_of_another_seed_or_number_are_named(case, name, value):
    case.comparison["statistics"][name] = value
    assert str(value) in wrong(case)[0]


def test_a_comparison_whose_worst_days_were_clipped_is_named(made):
    kind = made.headline()[4]
    clipped = np.maximum(kind.returns, np.quantile(kind.returns, 0.05))
    other = SimpleNamespace(
        comparison=made.comparison,
        headline=lambda: [*made.headline()[:4], type(kind)(kind.name, clipped, kind.milestone), *made.headline()[5:]],
    )
    assert any("in the confidence set is" in found for found in wrong(other))
