"""Quadrature over tomorrow: closed forms, and every option of a real chain a martingale."""

import math

import numpy as np
import pytest
import torch

from clstm_core.audit.reference.rules import black_scholes
from clstm_core.audit.worlds.branch import branch_market, branch_row, spot_nodes
from clstm_core.audit.worlds.markets import fair_world, pricing_vol


def test_nodes_integrate_one_and_the_forward() -> None:
    spot, weight = spot_nodes(4000.0, 0.02, 0.18, 3 / 365, [3990.0, 4010.0])
    assert weight.sum() == pytest.approx(1.0, abs=1e-13)
    assert (spot * weight).sum() == pytest.approx(4000.0 * math.exp(0.02 * 3 / 365), rel=1e-13)


@pytest.mark.parametrize("right", [1, -1])
@pytest.mark.parametrize("strike", [3800.0, 3999.0, 4100.0])
def test_a_kinked_payoff_is_exact_where_the_pieces_split_at_its_strike(strike: float, right: int) -> None:
    spot, weight = spot_nodes(4000.0, 0.03 - 0.015, 0.18, 1 / 365, [strike])
    payoff = np.maximum(right * (spot - strike), 0.0)
    value = math.exp(-0.03 / 365) * float((payoff * weight).sum())
    assert value == pytest.approx(black_scholes(4000.0, strike, 1 / 365, 0.18, 0.03, 0.015, right), abs=1e-9 * 4000)


def test_without_the_split_the_kink_costs_accuracy() -> None:
    exact = black_scholes(4000.0, 3999.0, 1 / 365, 0.18, 0.03, 0.015, 1)
    spot, weight = spot_nodes(4000.0, 0.015, 0.18, 1 / 365, [])
    value = math.exp(-0.03 / 365) * float((np.maximum(spot - 3999.0, 0.0) * weight).sum())
    assert abs(value - exact) > 1e-6 * 4000


def test_every_contract_of_a_branched_chain_is_worth_its_discounted_tomorrow(fair_market) -> None:
    world = fair_world(fair_market, 60)
    settled = 0
    for t in range(20, 50, 3):
        rows = torch.arange(int(world.row_offset_T1[t]), int(world.row_offset_T1[t + 1]))
        contract = world.row_contract_Q[rows]
        settles = world.settle_index_K[contract] == t + 1
        settled += int(settles.sum())
        dt = float(world.time_years_T[t + 1] - world.time_years_T[t])
        rate, carry = float(world.rate_T[t]), float(world.rate_T[t] - world.dividend_yield_T[t])
        kinks = world.strike_K[contract[settles]].unique().tolist()
        spot, weight = spot_nodes(float(world.spot_T[t]), carry, 0.18, dt, kinks)
        branched = branch_market(world, t, spot, pricing_vol(world), 0.02)
        mine = branch_row(world, t, torch.arange(len(spot))[:, None], rows[None])
        after = branched.next_row_Q[mine]
        value = torch.where(
            after >= 0, branched.mark_Q[after.clamp(min=0)], branched.settle_value_K[branched.row_contract_Q[mine]]
        )
        expected = math.exp(-rate * dt) * (torch.from_numpy(weight)[:, None] * value).sum(dim=0)
        torch.testing.assert_close(expected, world.mark_Q[rows], rtol=0.0, atol=1e-8)
    assert settled > 0


def test_an_unknown_row_stays_unknown(fair_market) -> None:
    node = torch.tensor([0, 3])
    assert branch_row(fair_market, 5, node, torch.tensor([-1, -1])).tolist() == [-1, -1]
