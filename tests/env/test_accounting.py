"""Each rule of the account against arithmetic done by hand."""

import dataclasses
import math

import pytest
import torch

from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.state import FILL_REASONS, Orders
from clstm_core.market.tensors import MarketTensors

GROWTH = math.expm1(0.05 * 0.02)
DIVIDEND = math.expm1(0.02 * 0.02)


def make(market, config, **kwargs) -> OptionsEnv:
    return OptionsEnv(market, config, n_envs=1, dtype=torch.float64, fixed_start=True, window=(0, 6), **kwargs)


def order(legs=(), shares=0, close=False, hedge=False) -> Orders:
    orders = Orders.none(1)
    for p, (row, quantity) in enumerate(legs):
        orders.leg_row_NP[0, p], orders.leg_quantity_NP[0, p] = row, quantity
    orders.share_quantity_N[0], orders.close_all_N[0], orders.hedge_N[0] = shares, close, hedge
    return orders


def reasons(env) -> list[str]:
    return sorted(FILL_REASONS[r] for r in env.last.fill_reason_NX[0].tolist() if r)


def test_a_bought_call_pays_the_ask_and_commission_then_interest(tiny_market, tiny_config):
    env = make(tiny_market, tiny_config)
    env.step_orders(order([(0, 3)]))
    paid = 3 * 100 * float(tiny_market.ask_Q[0]) + 3 * 0.65
    assert float(env.last.cash_N[0]) == pytest.approx((1_000_000 - paid) * (1 + GROWTH), abs=1e-6)
    assert float(env.last.slippage_N[0]) == pytest.approx(3 * 100 * 0.10, abs=1e-9)
    assert float(env.last.option_mark_N[0]) == pytest.approx(300 * float(tiny_market.mark_Q[6]), abs=1e-9)
    assert reasons(env) == ["open"]


def test_fraction_of_the_half_spread(tiny_market, tiny_config):
    config = dataclasses.replace(tiny_config, fill_rule="fraction", fill_fraction=0.25)
    env = make(tiny_market, config)
    env.step_orders(order([(0, -1)]))
    slot = int(env.last.fill_quantity_NX[0].nonzero()[0])
    assert float(env.last.fill_price_NX[0, slot]) == pytest.approx(float(tiny_market.mark_Q[0]) - 0.025, abs=1e-12)


def test_lag_one_fills_at_the_next_snapshots_quotes(tiny_market, tiny_config):
    env = make(tiny_market, dataclasses.replace(tiny_config, fill_lag=1))
    env.step_orders(order([(0, -2)]))
    received = 2 * 100 * float(tiny_market.bid_Q[6]) - 2 * 0.65
    assert float(env.last.cash_N[0]) == pytest.approx(1_000_000 * (1 + GROWTH) + received, abs=1e-6)
    assert int(env.last.fill_snapshot_NX[0].max()) == 1


def test_debts_pay_interest_shares_earn_dividends_and_short_shares_pay_borrow(tiny_market, tiny_config):
    env = make(tiny_market, tiny_config)
    env.step_orders(order(shares=12_000))
    cash = 1_000_000 - 12_000 * 100 * (1 + 0.5e-4) - 12_000 * 0.005
    assert cash < 0
    assert float(env.last.interest_N[0]) == pytest.approx(cash * GROWTH, abs=1e-6)
    assert float(env.last.dividends_N[0]) == pytest.approx(12_000 * 102 * DIVIDEND, abs=1e-6)
    short = make(tiny_market, tiny_config)
    short.step_orders(order(shares=-100))
    assert float(short.last.dividends_N[0]) == pytest.approx(-100 * 102 * DIVIDEND, abs=1e-9)
    assert float(short.last.borrow_N[0]) == pytest.approx(100 * 100 * 0.003 * 0.02, abs=1e-9)


def test_expiry_pays_the_settlement_value_without_fee(tiny_market, tiny_config):
    env = make(tiny_market, tiny_config)
    env.step_orders(order([(0, -2)]))
    for _ in range(3):
        env.step_orders(order())
    last = env.last
    assert reasons(env) == ["expiry"]
    assert float(last.fill_quantity_NX[0].sum()) == 2
    assert float(last.fill_fee_NX.sum()) == 0
    assert float(last.cash_N[0]) == pytest.approx(float(last.cash_before_N[0]) * (1 + GROWTH) - 2 * 100 * 3.0, abs=1e-6)
    assert float(last.settlement_N[0]) == pytest.approx(-200 * (3.0 - float(tiny_market.mark_Q[18])), abs=1e-9)
    assert int((last.leg_contract_NL >= 0).sum()) == 0


def test_a_package_with_one_unquoted_leg_does_not_fill_at_all(tiny_market, tiny_config, unquote):
    env = make(unquote(tiny_market, 1), tiny_config)
    env.step_orders(order([(0, 1), (1, -1)], shares=10))
    assert bool(env.last.unfilled_N[0])
    assert reasons(env) == []
    assert float(env.last.cash_N[0]) == pytest.approx(1_000_000 * (1 + GROWTH), abs=1e-6)


def test_a_zero_bid_may_be_bought_but_not_sold(tiny_market, tiny_config):
    tensors = {name: tensor.clone() for name, tensor in tiny_market.tensors().items()}
    tensors["bid_Q"][2], tensors["can_sell_Q"][2] = 0.0, False
    market = MarketTensors(**tensors, info=tiny_market.info)
    seller, buyer = make(market, tiny_config), make(market, tiny_config)
    seller.step_orders(order([(2, -1)]))
    buyer.step_orders(order([(2, 1)]))
    assert bool(seller.last.unfilled_N[0])
    assert reasons(buyer) == ["open"]


def test_a_stale_leg_keeps_its_mark_and_blocks_close_all(tiny_market, tiny_config, unquote):
    env = make(unquote(tiny_market, 6), tiny_config)
    env.step_orders(order([(0, 1)]))
    assert bool(env.last.leg_stale_NL[0, 0])
    assert float(env.last.leg_mark_NL[0, 0]) == float(tiny_market.mark_Q[6])
    assert not bool(env.observe()[1][0, 1])
    env.step_orders(order(close=True))
    assert bool(env.last.unfilled_N[0])
    assert bool(env.observe()[1][0, 1])


def test_close_all_sells_every_leg_and_share(tiny_market, tiny_config):
    env = make(tiny_market, tiny_config)
    env.step_orders(order([(0, 1), (4, -1)], shares=50))
    before = env.last
    env.step(torch.tensor([1]))
    price = float(tiny_market.bid_Q[6]) * 100 - float(tiny_market.ask_Q[10]) * 100 + 50 * 102 * (1 - 0.5e-4)
    cash = float(before.cash_N[0]) + price - 2 * 0.65 - 50 * 0.005
    assert float(env.last.equity_N[0]) == pytest.approx(cash * (1 + GROWTH), abs=1e-6)
    assert float(before.equity_liquidation_N[0]) == pytest.approx(cash, abs=1e-6)


def test_hedge_brings_the_delta_within_one_share(tiny_market, tiny_config):
    env = make(tiny_market, tiny_config)
    env.step_orders(order([(0, 7)], hedge=True))
    assert float(env.last.shares_N[0]) == -round(700 * float(tiny_market.delta_Q[0]))
    flat = make(tiny_market, dataclasses.replace(tiny_config, fill_lag=1))
    assert not bool(flat.observe()[1][0, 2])


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("lag", [0, 1])
def test_a_hedge_leaves_out_what_settles_before_it_is_filled(tiny_market, tiny_config, lag, close):
    """Every contract settles at snapshot 4: decided at 3, a lagged hedge meets a book of shares alone."""
    env = make(tiny_market, dataclasses.replace(tiny_config, fill_lag=lag))
    env.step_orders(order([(0, 7), (4, -3)], shares=40))
    for _ in range(2):
        env.step_orders(order())
    env.step_orders(order(hedge=True, close=close))
    held = [(18, 7), (22, -3)]  # the same contracts' rows at snapshot 3
    delta = 40 + 100 * sum(quantity * float(tiny_market.delta_Q[row]) for row, quantity in held)
    assert "expiry" in reasons(env) or (close and lag == 0)
    expected = {(0, False): 40 - round(delta), (1, False): 0, (0, True): 0, (1, True): 0}[lag, close]
    assert float(env.last.shares_N[0]) == expected


@pytest.mark.parametrize(("lag", "legal"), [(0, True), (1, False)])
def test_where_all_settles_before_the_fill_there_is_nothing_to_hedge(tiny_market, tiny_config, lag, legal):
    env = make(tiny_market, dataclasses.replace(tiny_config, fill_lag=lag))
    env.step_orders(order([(0, 7)]))
    masks = []
    for _ in range(2):
        masks.append(bool(env.observe()[1][0, 2]))
        env.step_orders(order())
    assert masks == [True, True]
    assert bool(env.observe()[1][0, 2]) is legal


def test_shares_left_by_what_settles_are_hedged_in_time(tiny_market, tiny_config):
    """A call hedged with short shares: on the day before it settles the network buys them back, and no day later."""
    env = make(tiny_market, dataclasses.replace(tiny_config, fill_lag=1))
    env.step_orders(order([(0, 2)], shares=-150))
    for _ in range(2):
        env.step_orders(order())
    env.step(torch.tensor([2]))
    assert reasons(env) == ["expiry", "hedge"]
    assert float(env.last.shares_N[0]) == 0


def test_margin_is_the_worst_scenario_or_the_floor(tiny_market, tiny_config):
    env = make(tiny_market, dataclasses.replace(tiny_config, fill_lag=1))
    env.step_orders(order(shares=-1000))
    assert float(env.last.margin_N[0]) == pytest.approx(1000 * 102 * 0.06, abs=1e-6)
    covered = make(tiny_market, dataclasses.replace(tiny_config, fill_lag=1))
    covered.step_orders(order([(0, -4), (0, 4)]))
    assert float(covered.last.margin_N[0]) == pytest.approx(4 * 37.5, abs=1e-6)


def test_an_order_that_the_account_cannot_hold_is_rejected(tiny_market, tiny_config):
    env = make(tiny_market, tiny_config)
    env.step_orders(order([(0, -5000)]))
    assert bool(env.last.rejected_N[0])
    assert not bool(env.last.unfilled_N[0])
    assert reasons(env) == []
    full = make(tiny_market, tiny_config)
    full.step_orders(order([(0, 1), (1, 1), (2, 1), (3, 1)]))
    full.step_orders(order([(6, 1), (7, 1), (8, 1), (9, 1)]))
    full.step_orders(order([(12, 1)]))
    assert bool(full.last.rejected_N[0])
    assert int((full.last.leg_contract_NL >= 0).sum()) == 8


def test_a_margin_breach_liquidates_what_trades(tiny_market, tiny_config, unquote):
    tensors = {name: tensor.clone() for name, tensor in tiny_market.tensors().items()}
    tensors["spot_T"][1] = 160.0
    for row, value in ((6, 60.0), (7, 55.0)):
        tensors["mark_Q"][row], tensors["bid_Q"][row], tensors["ask_Q"][row] = value, value - 0.1, value + 0.1
    market = unquote(MarketTensors(**tensors, info=tiny_market.info), 7)
    env = make(market, tiny_config)
    env.step_orders(order([(0, -130), (1, -60)]))
    assert bool(env.last.liquidated_N[0])
    assert reasons(env).count("liquidation") == 1
    assert env.last.leg_contract_NL[0].tolist().count(1) == 1
    assert float(env.last.equity_N[0]) < 0.1 * 1_000_000
    assert bool(env.last.terminated_N[0])
    assert bool(env.last.breached_N[0])
    assert float(env.state.equity_N[0]) == 1_000_000


def test_reward_is_the_excess_over_cash_in_scaled_basis_points(tiny_market, tiny_config):
    env = make(tiny_market, tiny_config)
    idle = env.step(torch.tensor([0]))
    assert float(idle.reward[0]) == pytest.approx(0.0, abs=1e-7)
    env.reset()
    traded = env.step_orders(order([(0, 1)]))
    profit = float(env.last.equity_N[0]) - 1_000_000 * (1 + GROWTH)
    assert float(traded.reward[0]) == pytest.approx(0.02 * 1e4 * profit / 1_000_000, abs=1e-6)
