"""How sure a comparison is: each answer in its words, where the count of trials is from, and the glossary."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from clstm_core.evaluation.overfit import LEVEL, MIN_SESSIONS
from clstm_core.evaluation.sureness import DEFINITIONS, MCS, SPA, STEPM, statistics_of
from clstm_core.evaluation.trial_ledger import Known

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
CASH = 1e-4


def backtest(name, returns):
    """A policy's account; a rung where its name says how many env steps it was trained for."""
    steps = int(name.split("_")[1]) if name.startswith("clstm_") else None
    curve = np.concatenate([[1.0], np.cumprod(1.0 + returns)])[:, None]
    checkpoint = None if steps is None else {"env_steps": steps}
    policy = name if steps is None else "checkpoint"
    return SimpleNamespace(
        name=name,
        manifest={"policy": policy, "mode": "argmax", "trader": {"checkpoint": checkpoint}},
        curves=lambda: (curve, np.full(len(returns), CASH), pl.Series(range(len(curve)))),
    )


def ladder(edges, n=400, turn=False):
    """Rungs of noise with an edge each, beside cash and a random trader."""
    random = np.random.default_rng(0)
    rungs = []
    for k, edge in enumerate(edges, start=1):
        noise = random.normal(0.0, 0.01, n)
        rungs.append(backtest(f"clstm_{20 * k:03d}_argmax", CASH + edge + (noise - noise.mean() if turn else noise)))
    return [*rungs, backtest("cash", np.full(n, CASH)), backtest("random", random.normal(0.0, 0.01, n))]


def asked(members, judged=0, trials=30, **options):
    return statistics_of(members, members[judged], trials, "made up", replications=200, **options)


def test_a_choice_that_holds_is_said_to():
    found = asked(ladder([0.0, 0.0, 0.006, 0.0]), judged=2)
    assert found.choice_holds
    assert found.choice_words.startswith("The ladder's best rung is chosen better than by lot: PBO 0% of 12,870 halves")
    assert found.superior_answer == "All 4 rungs taken together, one or more are ahead of cash, random (StepM)."
    assert found.superior[0].better == ["clstm_060_argmax"]
    assert "1 of 6 policies may be the best" in found.confidence_answer
    assert found.confidence_answer.endswith("the judged one among them.")
    assert found.record.psr > 0.99 > 0.95
    assert f"there are {found.record.sessions:,} sessions." in found.answers[1]


def test_a_choice_that_turns_round_is_said_to_be_no_better_than_by_lot():
    found = asked(ladder([0.0] * 5, turn=True))
    assert not found.choice_holds
    assert "is chosen no better than by lot: PBO 100%" in found.choice_words
    assert "takes more than a century; there are 400 sessions." in found.answers[1]
    assert f"({LEVEL:.0%} or less is asked, 50% is a choice by lot)" in found.choice_words
    assert found.superior_answer == "All 5 rungs taken together, none is ahead of any of 2 benchmarks (StepM)."


def test_between_the_level_and_a_lot_the_words_are_careful():
    found = next(
        said
        for edge in np.arange(0.0005, 0.004, 0.0005)
        if LEVEL < (said := asked(ladder([edge, 0.0, 0.0]))).overfit.probability < 0.5
    )
    assert "chosen better than by lot, but not surely: PBO" in found.choice_words
    assert not found.choice_holds


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (ladder([0.0, 0.001], n=MIN_SESSIONS - 1), f"{MIN_SESSIONS - 1} returns are too few, {MIN_SESSIONS} are asked"),
        (ladder([0.001]), "no two rungs of the ladder did different things"),
        ([backtest(f"clstm_{k}_argmax", np.full(400, CASH)) for k in (20, 40)], "no two rungs of the ladder did"),
    ],
)
def test_where_there_is_no_probability_it_is_said_why_and_the_check_does_not_hold(members, why):
    found = asked(members)
    assert found.overfit is None
    assert why in found.choice_words
    assert not found.choice_holds
    assert {row["figure"]: row["value"] for row in found.figures}["PBO"] is None


def test_a_ladder_that_waits_beside_cash_has_sentences_and_no_p():
    waits = [backtest(f"clstm_{k}_argmax", np.full(400, CASH)) for k in (20, 40)]
    found = asked([*waits, backtest("cash", np.full(400, CASH))])
    assert found.record is None
    assert found.answers[1] == "No probability of its Sharpe ratio: fewer than 60 returns, or none that vary."
    assert [row.p for row in found.superior] == [None]
    assert found.superior_answer.endswith("could be asked of none.")
    assert found.confidence_answer == (
        "Which policies may be the best is not known: no policy did anything else than the others."
    )


def test_one_rung_of_many_trials_has_no_deflated_ratio_and_it_is_said_why():
    found = asked(ladder([0.002]), trials=30)
    assert found.record.dsr is None
    assert "What is left of that after 30 trials is not known: the rungs of the ladder do not say" in found.answers[1]
    assert {row["figure"]: row["value"] for row in found.figures}["DSR"] is None


def test_baselines_alone_have_no_record():
    found = statistics_of(ladder([])[:2], None, 0, "", replications=50)
    assert (found.policy, found.record, found.superior[0].p) == ("", None, None)
    assert len(found.answers) == 1


def test_it_is_plain_json_and_repeats():
    members = ladder([0.0, 0.001])
    assert json.loads(json.dumps(asked(members).to_dict())) == asked(members).to_dict()
    assert asked(members, seed=1).superior != asked(members, seed=2).superior


def test_more_trials_ask_for_more_and_it_is_said_where_they_come_from():
    members = ladder([0.001, 0.0, 0.002])
    few, many = (asked(members, trials=trials) for trials in (2, 200))
    assert few.record.dsr > many.record.dsr
    assert few.record.psr == many.record.psr
    assert "200 policies without skill" in many.answers[1]
    assert {row["figure"]: row["value"] for row in many.figures}["N"] == 200
    known = Known(base=30, entered=7)
    assert known.words == (
        "Policies that looked at these dates: 30 before this package was installed, 7 in this data folder's registry."
    )


def test_the_glossary_has_every_definition_in_the_same_words():
    glossary = " ".join(DOCS.read_text().split())
    assert [name for name, words in DEFINITIONS.items() if f"| {name} | {words} |" not in glossary] == []
    assert [words for words in (SPA, STEPM, MCS) if words.split(": ", 1)[1] not in glossary] == []


def test_the_check_states_the_level():
    from assets.checkpoint_comparison import checkpoint_comparison

    spec = next(spec for spec in checkpoint_comparison.check_specs if spec.name == "choice_holds")
    assert f"at most {LEVEL:.0%}" in spec.description
    assert not spec.blocking
