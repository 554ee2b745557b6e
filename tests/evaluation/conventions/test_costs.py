"""The spread at which cash is met: exact for an account whose trades do not depend on it."""

import pytest

from clstm_core.config import WITHOUT_BUDGET, EnvConfig
from clstm_core.evaluation.backtest import trade
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.conventions.costs import MULTIPLES, break_even, paid_words
from clstm_core.evaluation.conventions.rows import break_even_rows, cost_rows

NAME = "buys_once"


class BuysOnce(Rule):
    """Trades a fixed number of shares at its first decision, and holds them."""

    def __init__(self, shares: int):
        super().__init__(NAME, "A fixed number of shares")
        self.shares = shares

    def write(self, env, state, orders):
        orders.share_quantity_N[state.age_N == 0] = self.shares


def walked(market, shares, spread_bps, multiple):
    config = EnvConfig(share_spread_bps=spread_bps, fill_rule="fraction", fill_fraction=multiple, **WITHOUT_BUDGET)
    return trade([BuysOnce(shares)], market, config, "test")[0]


def test_the_break_even_of_a_constructed_account_is_met_to_the_dollar(market):
    """Shares bought at the first fill and marked at mid pay one half-spread: their excess is linear in it."""
    free = {side: cost_rows({0.0: [walked(market, side * 2000, 1.0, 0.0)]}, [NAME])[0]["less_cash"] for side in (1, -1)}
    side = max(free, key=free.__getitem__)  # whichever way the index went
    assert free[side] > 0.0
    start, _ = market.split("test")
    worth = 2000 * float(market.spot_T[start + 1]) / 5e6
    spread = 2e4 * free[side] / worth / 1.3  # gone at some 1.3 half-spreads
    by_multiple = {multiple: [walked(market, side * 2000, spread, multiple)] for multiple in MULTIPLES}
    costs = cost_rows(by_multiple, [NAME])
    assert [row["spread_multiple"] for row in costs] == list(MULTIPLES)
    assert costs[0]["less_cash"] > 0.0 > costs[-1]["less_cash"]
    found = break_even_rows(costs)[0]
    assert found["spread_multiple"] == pytest.approx(1.3, rel=0.02)
    met = cost_rows({0.0: [walked(market, side * 2000, spread, found["spread_multiple"])]}, [NAME])[0]["less_cash"]
    assert met == pytest.approx(0.0, abs=1e-9)


def test_between_two_multiples_the_excess_is_taken_as_linear():
    assert break_even([0.0, 1.0, 2.0], [0.04, 0.02, -0.02]).multiple == pytest.approx(1.5)
    assert break_even([0.0, 1.0, 2.0], [0.04, 0.0, -0.02]).multiple == 1.0
    # the first crossing, where a policy that decides anew crosses more than once
    assert break_even([0.0, 1.0, 2.0], [0.01, -0.01, 0.05]).multiple == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("excess", "says"),
    [
        ([0.0, 0.0, 0.0], "never moved against cash"),
        ([-0.01, -0.02, -0.03], "even at mid it earns no more than cash"),
        ([0.03, 0.02, 0.01], "none up to 2 times the quoted spread"),
    ],
)
def test_without_a_break_even_there_are_words(excess, says):
    found = break_even([0.0, 1.0, 2.0], excess)
    assert found.multiple is None
    assert says in found.words


def test_what_is_paid_has_a_name():
    assert [paid_words(multiple) for multiple in MULTIPLES] == [
        "mid",
        "0.56 x the half-spread",
        "0.75 x the half-spread",
        "touch",
        "2 x the half-spread",
    ]


def test_a_wider_spread_costs_more(market):
    made = [cost_rows({m: [walked(market, 2000, 20.0, m)]}, [NAME])[0]["less_cash"] for m in MULTIPLES]
    assert made == sorted(made, reverse=True)
