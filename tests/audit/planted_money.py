"""Planted leaks of money: fills, fees, settlement and what holding earns and costs."""

import dataclasses

import torch

from clstm_core.env import actions, record, step, table_view, trading
from clstm_core.env import columns as col
from clstm_core.env.settlement import HoldingFlows
from tests.audit.plant import change_table, wrap


def sale_without_liability(patch):
    def forget(placed, decision, *_):
        after, *rest = placed
        return after._replace(quantity=after.quantity.clamp(min=0.0)), *rest

    wrap(patch, "_place", forget, trading)


def fees_with_the_wrong_sign(patch):
    wrap(patch, "contract_fee", lambda fee, *_: -fee, trading, record, actions)


def spread_paid_once_for_two_legs(patch):
    honest = trading.side_price

    def cheap(quantity, buy, sell):
        price = honest(quantity, buy, sell)
        free = torch.zeros_like(price, dtype=torch.bool)
        free[:, 1:] = True
        return torch.where(free, 0.5 * (buy + sell), price)

    patch.setattr(trading, "side_price", cheap)


def expiry_settled_twice(patch):
    wrap(patch, "settlement_cash", lambda paid, *_: 2 * paid, step)


def interest_on_debt_with_the_wrong_sign(patch):
    wrap(patch, "holding_flows", lambda flows, *_: flows._replace(interest=flows.interest.abs()), step)


def no_interest_on_debt(patch):
    wrap(patch, "holding_flows", lambda flows, *_: flows._replace(interest=flows.interest.clamp(min=0.0)), step)


def dividends_paid_to_nobody(patch):
    wrap(patch, "holding_flows", lambda f, *_: HoldingFlows(f.interest, torch.zeros_like(f.dividends), f.borrow), step)


def short_sellers_keep_the_dividend(patch):
    wrap(patch, "holding_flows", lambda flows, *_: flows._replace(dividends=flows.dividends.clamp(min=0.0)), step)


def borrow_is_free(patch):
    wrap(patch, "holding_flows", lambda flows, *_: flows._replace(borrow=torch.zeros_like(flows.borrow)), step)


def stale_contract_tradable(patch):
    def open_up(row, market):
        row[market.stale_Q, col.CAN_BUY] = row[market.stale_Q, col.CAN_SELL] = 1.0
        row[market.stale_Q, col.BUY] = row[market.stale_Q, col.SELL] = row[market.stale_Q, col.MARK]

    change_table(patch, open_up)


def zero_bid_sold(patch):
    change_table(patch, lambda row, market: row[:, col.CAN_SELL].copy_(row[:, col.CAN_BUY]))


def double_multiplier_on_puts(patch):
    def double(row, market):
        row[:, col.MULTIPLIER] *= torch.where(market.right_K[market.row_contract_Q] < 0, 2.0, 1.0)

    change_table(patch, double)


def worthless_expiry_pays_its_last_mark(patch):
    def keep(table, market, *_):
        row = table.row_QC
        worthless = (row[:, col.SETTLES] > 0) & (table.settle_value_Q == 0)
        return dataclasses.replace(table, settle_value_Q=torch.where(worthless, row[:, col.MARK], table.settle_value_Q))

    wrap(patch, "derive", keep, table_view)


def liquidation_at_mid(patch):
    def generous(result, holdings, book, config):
        back = result.slippage
        return result._replace(
            holdings=result.holdings._replace(cash=result.holdings.cash + back), slippage=torch.zeros_like(back)
        )

    wrap(patch, "liquidate", generous, step)


def reward_without_the_cost_of_cash(patch):
    honest = step.excess_reward

    def generous(equity, equity_next, growth, *rest):
        return honest(equity, equity_next, torch.zeros_like(growth), *rest)

    patch.setattr(step, "excess_reward", generous)


def fees_rebated_in_bulk(patch):
    wrap(patch, "contract_fee", lambda fee, quantity, _: torch.where(fee > 2.0, 2.0, fee), trading, record, actions)


def _rough(money: torch.Tensor) -> bool:
    return money.dtype == torch.float32


def no_commission_in_float32(patch):
    wrap(patch, "contract_fee", lambda fee, *_: 0.0 * fee if _rough(fee) else fee, trading, record, actions)


def interest_on_debt_with_the_wrong_sign_in_float32(patch):
    def flip(flows, *_):
        return flows._replace(interest=flows.interest.abs()) if _rough(flows.interest) else flows

    wrap(patch, "holding_flows", flip, step)


def reward_without_the_cost_of_cash_in_float32(patch):
    honest = step.excess_reward

    def generous(equity, equity_next, growth, *rest):
        return honest(equity, equity_next, 0.0 * growth if _rough(equity) else growth, *rest)

    patch.setattr(step, "excess_reward", generous)


def settled_by_another_contract(patch):
    """Each settles for what the contract one row on settles for."""

    def shift(table, *_):
        return dataclasses.replace(table, settle_value_Q=table.settle_value_Q.roll(-1))

    wrap(patch, "derive", shift, table_view)


def settled_by_the_last_spot(patch):
    """At yesterday's close, in the environment: the payoff at the spot before the settlement."""

    def behind(table, market, *_):
        contract = market.row_contract_Q
        value = market.right_K[contract] * (market.spot_T[market.row_snapshot_Q] - market.strike_K[contract])
        settles = table.row_QC[:, col.SETTLES] > 0
        value = torch.where(settles, value.clamp(min=0.0), 0.0)
        return dataclasses.replace(table, settle_value_Q=value.to(table.settle_value_Q))

    wrap(patch, "derive", behind, table_view)


def settlement_of_a_hundred_a_contract(patch):
    honest = step.settlement_cash
    patch.setattr(
        step,
        "settlement_cash",
        lambda quantity, multiplier, settles, value: honest(
            quantity, torch.full_like(multiplier, 100.0), settles, value
        ),
    )


def a_hundred_a_contract_everywhere(patch):
    change_table(patch, lambda row, _: row[:, col.MULTIPLIER].clamp_(min=100.0, max=100.0))


def dividends_on_yesterdays_value(patch):
    def early(flows, cash, shares, now, spot_next, config):
        return flows._replace(dividends=shares * now[:, col.SPOT] * now[:, col.DIVIDEND_GROWTH])

    wrap(patch, "holding_flows", early, step)


def borrow_charged_on_longs(patch):
    def longs(flows, cash, shares, now, spot_next, config):
        return flows._replace(borrow=shares.abs() * now[:, col.SPOT] * config.borrow_rate * now[:, col.DT])

    wrap(patch, "holding_flows", longs, step)


def borrow_on_tomorrows_value(patch):
    def late(flows, cash, shares, now, spot_next, config):
        return flows._replace(borrow=flows.borrow * spot_next / now[:, col.SPOT])

    wrap(patch, "holding_flows", late, step)


def stale_legs_marked_at_nothing(patch):
    def zero(row, market):
        row[market.stale_Q, col.MARK] = 0.0

    change_table(patch, zero)


def stale_legs_closed_in_a_liquidation(patch):
    def close(row, market):
        row[market.stale_Q, col.CAN_BUY] = 1.0
        row[market.stale_Q, col.BUY] = row[market.stale_Q, col.MARK]

    change_table(patch, close)
