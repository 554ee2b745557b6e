"""Each rule says by which figure and which limit it was passed, and each can refuse alone."""

import numpy as np
import pytest

from clstm_core.errors import ConfigError
from clstm_core.evaluation.e_process import ENOUGH, harm, non_inferiority
from clstm_core.evaluation.statistics import max_drawdown
from clstm_core.feedback import rules
from clstm_core.feedback.promotion_plan import PromotionPlan
from clstm_core.feedback.rules_names import RULES

PLAN = PromotionPlan()
T = 252


def growth(mean=0.0, deviation=0.005, size=T, seed=1):
    return np.random.default_rng(seed).normal(mean, deviation, size)


def test_better_days_are_superior_and_those_of_nobody_are_not():
    good = rules.superiority(growth(0.002), PLAN)
    assert rules.superior(good, T).passed
    assert rules.evidence(good).passed
    nothing = rules.superiority(growth(), PLAN)
    assert not rules.superior(nothing, T).passed
    assert not rules.evidence(nothing).passed
    assert "lower bound -" in rules.superior(nothing, T).words
    worse = rules.superiority(growth(-0.002), PLAN)
    assert worse.lower < 0.0
    assert worse.most < ENOUGH


def test_more_looks_ask_for_more():
    few, many = (rules.superiority(growth(0.002), PromotionPlan(looks_per_year=n)).lower for n in (1, 52))
    assert many < few


def test_who_never_lost_by_luck_alone_is_superior_to_the_bootstrap_and_not_to_the_bettor():
    """A seller of insurance in a year without the event: the bootstrap has seen no loss."""
    draw = np.random.default_rng(3)
    lucky = rules.superiority(0.0001 + draw.normal(0.0, 0.0002, T), PLAN)
    assert rules.superior(lucky, T).passed
    assert not rules.evidence(lucky).passed


def test_days_that_a_policy_knows_are_refused_by_name():
    assert rules.unseen_days("2020-01-02", {"challenger b": "2019-12-31", "champion a": "2019-06-30"}).passed
    late = rules.unseen_days("2020-01-02", {"challenger b": "2020-01-02", "champion a": "2019-06-30"})
    assert not late.passed
    assert "challenger b knows days until 2020-01-02" in late.words
    unknown = rules.unseen_days("2020-01-02", {"challenger b": None, "champion a": "2019-06-30"})
    assert not unknown.passed
    assert "Nothing says until when challenger b was trained" in unknown.words


def test_looks_are_counted_and_no_day_decides_twice():
    assert rules.fresh_look(52, PLAN, None).passed
    assert not rules.fresh_look(53, PLAN, None).passed
    again = rules.fresh_look(3, PLAN, 7)
    assert not again.passed
    assert "Decision 7 decided on it" in again.words


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), "0.01", True, -0.01, 10**400])
def test_what_was_not_measured_passes_nothing(missing):
    for ruling in (rules.not_luck(missing, PLAN), rules.latency(missing, PLAN)):
        assert not ruling.passed
        assert ruling.figure is None
        assert "was not measured" in ruling.words
    assert not rules.not_luck(1.5, PLAN).passed
    assert not rules.latency(0.0, PLAN).passed
    assert not rules.parity(None).passed
    assert not rules.regression([]).passed
    assert "No regression stage" in rules.regression([{"name": "kl", "passed": True}]).words


@pytest.mark.parametrize(
    ("ruling", "passed", "figure"),
    [
        (rules.not_luck(0.025, PLAN), True, 0.025),
        (rules.not_luck(0.026, PLAN), False, 0.026),
        (rules.latency(1000.0, PLAN), True, 1000.0),
        (rules.latency(1001.0, PLAN), False, 1001.0),
        (rules.enough_days(126, PLAN), True, 126),
        (rules.enough_days(125, PLAN), False, 125),
        (rules.parity(False), False, None),
        (rules.regression([{"name": "regression", "passed": False, "words": "lost 2008"}]), False, None),
        (rules.qualified("challenger", "UNQUALIFIED: none", False), False, None),
        (rules.qualified("regression", "champion: best", True), False, None),
        (rules.own_champion("a" * 64, "b" * 64), False, None),
        (rules.own_champion("", ""), True, None),
        (rules.not_rolled_back(4, "worse"), False, None),
    ],
)
def test_limits_hold_to_the_number(ruling, passed, figure):
    assert (ruling.passed, ruling.figure) == (passed, figure)
    assert ruling.words


def test_a_fall_and_a_tail_beyond_the_margin_are_refused():
    calm = np.full(100, 0.0005)
    deep, bad = calm.copy(), calm.copy()
    deep[50:55] = -0.01
    strict = PromotionPlan(drawdown_floor=0.0, shortfall_floor=0.0)
    found = rules.drawdown(deep, calm, strict)
    assert not found.passed
    assert found.figure == pytest.approx(1 - np.exp(-0.05))
    assert found.limit == pytest.approx(PLAN.drawdown_margin)
    assert rules.drawdown(deep, deep, PLAN).passed
    assert rules.drawdown(deep, None, PLAN).passed  # a first champion is held against a limit of its own
    bad[[3, 40, 60, 70, 80]] = -0.004
    tail = rules.tails(bad, calm, strict)
    assert not tail.passed
    assert tail.figure == pytest.approx(0.004, rel=1e-2)
    assert rules.tails(bad, bad, PLAN).passed


def test_beside_a_champion_that_holds_cash_a_risk_within_the_floor_is_taken_and_no_more():
    cash, risky = np.full(100, 0.0001), np.full(100, 0.002)
    risky[50:55] = -0.009  # a fall of 4.4%, 0.9% in the worst sessions: beyond both margins
    for rule, margin, floor in (
        (rules.drawdown, PLAN.drawdown_margin, PLAN.drawdown_floor),
        (rules.tails, PLAN.shortfall_margin, PLAN.shortfall_floor),
    ):
        found = rule(risky, cash, PLAN)
        assert found.passed
        assert margin < found.figure < found.limit == floor
        assert f"at most {floor:.2%} is allowed" in found.words
        assert not rule(1.5 * risky, cash, PLAN).passed
        # a champion that takes risks itself is the measure as before
        assert rule(risky, 2 * risky, PLAN).limit == pytest.approx(rule(2 * risky, None, PLAN).figure + margin)


def test_a_plan_that_knew_no_floor_has_none():
    limits = PromotionPlan().to_dict()
    del limits["drawdown_floor"], limits["shortfall_floor"]
    kept = PromotionPlan.kept(limits)
    assert (kept.drawdown_floor, kept.shortfall_floor) == (0.0, 0.0)
    assert PromotionPlan.kept(PromotionPlan().to_dict()) == PLAN


def test_one_bad_tercile_refuses_and_too_few_days_say_nothing():
    regime = ["calm"] * 84 + ["middle"] * 84 + ["wild"] * 84
    mine = growth(0.001, 0.002)
    assert rules.regimes(mine, np.zeros(T), regime).passed
    mine[168:] -= 0.004
    found = rules.regimes(mine, np.zeros(T), regime)
    assert not found.passed
    assert found.figure < 0.0
    assert "Worse in wild" in found.words
    few = rules.regimes(mine[193:], np.zeros(59), regime[193:])
    assert few.passed
    assert "too few to tell" in few.words
    assert "calm: no session" in few.words


def test_shadow_is_asked_where_both_traded_and_required_where_the_plan_says_so():
    asked = PromotionPlan(shadow=True)
    assert rules.shadow_harm(None, 0).passed
    assert rules.shadow_no_worse(None, 0, PLAN).passed
    assert not rules.shadow_no_worse(None, 0, asked).passed
    worse = growth(-0.02, 0.01)
    assert not rules.shadow_harm(harm(worse), T).passed
    safe = non_inferiority(growth(0.01, 0.01), 0.0001)
    assert rules.shadow_no_worse(safe, T, asked).passed
    assert not rules.shadow_no_worse(safe, 62, asked).passed
    assert not rules.shadow_no_worse(non_inferiority(worse, 0.0001), T, asked).passed


def test_a_plan_that_cannot_be_is_a_sentence():
    for limits, words in (
        ({"sessions": 59}, "sessions=59: expected at least 60"),
        ({"year_level": 0.2}, "year_level=0.2"),
        ({"looks_per_year": 200}, "leaves 0.00025 for each: expected at least 0.0004"),
        ({"drawdown_margin": -1.0}, "drawdown_margin=-1.0"),
        ({"latency_us": 0.0}, "latency_us=0.0"),
        ({"latency_us": float("inf")}, "latency_us=inf: expected above 0, and finite"),
        ({"drawdown_margin": float("inf")}, "drawdown_margin=inf: expected a part of equity"),
        ({"shadow_margin_bps": float("inf")}, "shadow_margin_bps=inf"),
        ({"shadow_margin_bps": float("nan")}, "shadow_margin_bps=nan"),
        ({"shortfall_floor": 0.04}, "shortfall_floor=0.04: expected at most first_shortfall=0.03"),
        ({"sesions": 90}, "unknown limits sesions"),
        ({"sessions": "90"}, "sessions='90': expected a whole number"),
        ({"shadow": 1}, "shadow=1: expected true or false"),
        ({"sessions": True}, "sessions=True"),
    ):
        with pytest.raises(ConfigError, match=words):
            PromotionPlan.from_dict(limits)
    plan = PromotionPlan(sessions=90)
    assert PromotionPlan.from_dict(plan.to_dict()) == plan
    assert plan.sha256 != PLAN.sha256


def test_the_level_of_a_look_is_the_years_shared_by_its_looks():
    assert PLAN.look_level * PLAN.looks_per_year == pytest.approx(PLAN.year_level)
    assert len(RULES) == 17


def test_falls_and_tails_are_those_of_the_curve_and_numbers_whatever_the_growth():
    draw = growth(0.0005, 0.02)
    curve = np.exp(np.concatenate([[0.0], np.cumsum(draw)]))
    assert rules.drawdown(draw, None, PLAN).figure == pytest.approx(-max_drawdown(curve), rel=1e-12)
    worst = np.sort(np.expm1(draw))[: round(0.05 * T)]
    assert rules.tails(draw, None, PLAN).figure == pytest.approx(-worst.mean(), rel=1e-12)
    steep = np.full(T, 800.0)  # an account of e^200,000 times its start, and then half of it
    steep[-1] = -np.log(2.0)
    found = rules.drawdown(steep, steep, PLAN)
    assert found.figure == pytest.approx(0.5)
    assert found.limit == pytest.approx(0.52)
    for flat in (np.zeros(T), np.full(T, 1e-3), np.full(T, 1e-18)):  # nothing varies
        assert not rules.evidence(rules.superiority(flat, PLAN)).passed
        assert rules.drawdown(flat, flat, PLAN).figure == 0.0
        assert rules.regimes(flat, np.zeros(T), ["calm"] * T).passed
