"""The gap by hand, and which rung may be believed: every way in which a rung qualifies or does not, and none at all."""

import math
from typing import Any

import pytest

from clstm_core.evaluation.generalisation import (
    FRESH_WORLDS,
    TRAINING_DATES,
    TRAINING_WORLDS,
    VALIDATION_DATES,
    gap,
    generalises,
    growth,
    ratio,
    share_of_rule,
    with_gaps,
)
from clstm_core.evaluation.habits import WORDS, sentence
from clstm_core.evaluation.qualification import champion_milestone, standings
from clstm_core.specs import ACTIONS


def row(kind: str, mean: float, error: float | None = 0.5, *, milestone: str = "100", draws: float = 512.0, **facts):
    """What a rung earned in one kind of market."""
    deviation = facts.pop("deviation_bps", 50.0)
    return {
        "milestone": milestone,
        "kind": kind,
        "mode": "argmax",
        "draws": draws,
        "growth_bps": mean,
        "error_bps": error,
        "deviation_bps": deviation,
        "per_risk": mean / deviation,
        **facts,
    }


def ladder(**rungs: tuple[float, float]):
    """Rungs with their growth on fresh worlds and on validation dates, each with a standard error of 0.5."""
    rows = []
    for name, (fresh, dates) in rungs.items():
        rung = {"milestone": name.removeprefix("r")}
        rows += [row(TRAINING_WORLDS, fresh, **rung), row(FRESH_WORLDS, fresh, **rung)]
        rows.append(row(VALIDATION_DATES, dates, draws=40.0, **rung))
    return rows


def test_a_gap_by_hand():
    """Errors 3 and 4 make 5; with 10 and 5 draws Welch leaves 625 / (81 / 9 + 256 / 4) = 8.56 degrees of freedom."""
    found = gap(row("a", 7.0, 3.0, draws=10.0), row("b", 1.0, 4.0, draws=5.0))
    assert (found.mean, found.error) == (6.0, 5.0)
    assert found.high - found.mean == pytest.approx(5.0 * 2.280, rel=1e-3)
    assert found.sign == 0
    assert str(found) == f"+6.00 bp ({found.low:+.2f} to {found.high:+.2f})"


def test_one_stretch_tells_nothing():
    found = gap(row("a", 7.0, None, draws=1.0), row("b", 1.0))
    assert (found.mean, found.low, found.high, found.sign) == (6.0, None, None, 0)
    assert "too few episodes" in str(found)
    assert growth(row("a", 7.0, 1.0, draws=1.0)).sign == 0


@pytest.mark.parametrize(
    "home", [row(TRAINING_WORLDS, math.nan), row(TRAINING_WORLDS, 1.0, math.nan), row(TRAINING_WORLDS, 1.0, draws=1.0)]
)
def test_a_gap_that_is_no_number_or_of_one_stretch_is_not_called_generalising(home):
    found = generalises([home, row(FRESH_WORLDS, 0.0)])
    assert not found.passed
    assert found.words.startswith("Not told")
    assert growth(home).low is None


def test_gaps_are_told_within_a_rung_and_mode_alone():
    rows = [
        row(TRAINING_WORLDS, 5.0),
        row(FRESH_WORLDS, 1.0),
        row(FRESH_WORLDS, 2.0, mode="stochastic"),
        row(FRESH_WORLDS, 1.0, milestone="020"),
    ]
    assert [one["gap_bps"] for one in with_gaps(rows)] == [None, 4.0, None, None]


@pytest.mark.parametrize(("at_home", "passed", "says"), [(1.2, True, "Nothing memorised"), (9.0, False, "memorised:")])
@pytest.mark.parametrize("home", [TRAINING_WORLDS, TRAINING_DATES])
def test_the_check_follows_the_last_rungs_gap_to_fresh_worlds(home, at_home, passed, says):
    rows = [row(home, 30.0, milestone="020"), row(FRESH_WORLDS, 0.0, milestone="020")]
    rows += [row(home, at_home), row(FRESH_WORLDS, 1.0), row("bates", 0.25), row(VALIDATION_DATES, -1.5, draws=40.0)]
    found = generalises(rows)
    assert found.passed is passed
    assert says in found.words
    assert "worlds with jumps +0.25 bp" in found.words
    assert f"validation dates -1.50 bp (-2.51 to -0.49), gap {at_home + 1.5:+.2f}" in found.words


def test_less_at_home_than_elsewhere_is_told_too():
    found = generalises([row(TRAINING_WORLDS, 0.0), row(FRESH_WORLDS, 9.0)])
    assert not found.passed
    assert "less where it was trained" in found.words


@pytest.mark.parametrize(
    ("rungs", "champion"),
    [
        ({"r020": (2.0, 1.0), "r040": (3.0, 1.0)}, "040"),
        ({"r020": (3.0, 1.0), "r040": (2.0, 2.0)}, "040"),  # equal in the mean: the later one
        ({"r020": (3.0, 1.5), "r040": (2.0, 2.0)}, "020"),
        ({"r020": (3.0, -3.0), "r040": (2.0, 0.0)}, "040"),  # the first loses on validation dates beyond chance
        ({"r020": (3.0, -0.9), "r040": (0.9, 9.0)}, "020"),  # the second earns nothing beyond chance in fresh worlds
        ({"r020": (0.9, 9.0), "r040": (3.0, -3.0)}, None),
        ({"r020": (-3.0, 9.0)}, None),
        ({"r020": (2.0, 1.0), "r040": (3.0, math.nan)}, "020"),  # what is no number loses nothing, and proves nothing
        ({"r020": (math.inf, 1.0)}, None),
    ],
)
def test_the_champion_earns_in_fresh_worlds_and_loses_on_no_validation_dates(rungs, champion):
    rows = ladder(**rungs)
    assert champion_milestone(rows, [name.removeprefix("r") for name in rungs]) == champion


def test_a_rung_is_told_why():
    found = {rung.milestone: rung for rung in standings(ladder(r020=(3.0, -3.0), r040=(0.5, 1.0), r060=(2.0, 0.0)))}
    assert "loses on validation dates: -3.00 bp" in found["020"].words
    assert "not told from cash's: +0.50 bp" in found["040"].words
    assert found["060"].qualifies
    assert "earns +2.00 bp" in found["060"].words


def test_without_validation_dates_fresh_worlds_decide():
    rows = [one for one in ladder(r020=(2.0, -9.0), r040=(3.0, -9.0)) if one["kind"] != VALIDATION_DATES]
    assert champion_milestone(rows, ["020", "040"]) == "040"


def test_only_rungs_that_were_backtested_can_be_champion():
    assert champion_milestone(ladder(r020=(2.0, 1.0), r040=(3.0, 1.0)), ["020"]) == "020"


@pytest.mark.parametrize("kinds", [(), (TRAINING_WORLDS, VALIDATION_DATES)])
def test_no_rung_qualifies_that_was_not_walked_through_fresh_worlds(kinds):
    assert champion_milestone([row(kind, 9.0) for kind in kinds], ["100"]) is None


def test_habits_are_said_in_words_that_a_trader_uses():
    assert tuple(WORDS) == ACTIONS
    assert not [words for words in WORDS.values() if "_" in words]
    shares = {"hold": 0.7, "near_short_strangle": 0.2, "far_long_put": 0.1}
    said = sentence(
        [
            {"tercile": "calm", "from_vol": 0.05, "to_vol": 0.125, "actions": shares},
            {"tercile": "wild", "from_vol": 0.2, "to_vol": 0.7, "actions": {"close_all": 0.02, "hold": 0.98}},
        ]
    )
    assert said == (
        "In calm markets (volatility at the money up to 12%) it waits in 70% of sessions and opens something in 30%: "
        "sells a strangle of the near expiry (67%), buys a put at the money of the far expiry (33%); in wild ones "
        "(from 20%) it waits in 98%, closes everything in 2% of sessions and opens nothing."
    )
    assert sentence([]) == ""


def rule(per_risk: float, error: float) -> dict[str, Any]:
    return {
        "rule": "far put",
        "growth_bps": 10.0 * per_risk,
        "error_bps": error,
        "deviation_bps": 10.0,
        "per_risk": per_risk,
    }


def test_a_share_of_a_rule_has_the_error_of_both():
    """Of two means with errors of a tenth each: 0.5 +- 1.96 sqrt(0.1^2 + (0.5 x 0.1)^2) ... over one."""
    mine, best = rule(0.5, 1.0), rule(1.0, 1.0)
    reach = 1.96 * (0.1**2 + (0.5 * 0.1) ** 2) ** 0.5
    assert ratio(mine, best) == f"50% of it ({0.5 - reach:.0%} to {0.5 + reach:.0%})"
    assert ratio(rule(-0.5, 1.0), best).startswith("-50% of it")
    assert ratio(mine, rule(-0.1, 1.0)) == "", "a share of what loses says nothing"
    assert ratio({**mine, "error_bps": None}, best) == ""


def test_no_share_is_told_where_there_is_no_rule_or_no_rung():
    fresh = {"kind": "fresh_worlds", "mode": "argmax", "milestone": "100", **rule(0.5, 1.0)}
    assert "checkpoint 100% earns 0.500, 50% of it" in share_of_rule([fresh], [rule(1.0, 1.0)])
    assert share_of_rule([fresh], []) == share_of_rule([], [rule(1.0, 1.0)]) == ""
    assert share_of_rule([fresh], [rule(1.0, 1.0)], "020") == ""
