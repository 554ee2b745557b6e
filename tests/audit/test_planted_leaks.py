"""Each planted leak is caught by the proof that is named beside it, and by the quick audit."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from clstm_core.audit.run import audit
from clstm_core.config import EnvConfig
from clstm_core.env import actions, budget, options_env, record, step, table_view, trading, turn
from clstm_core.env import columns as col
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.settlement import HoldingFlows

CONFIG = EnvConfig(horizon=21)

Plant = Callable[[pytest.MonkeyPatch], None]


def _wrap(patch: pytest.MonkeyPatch, name: str, change: Callable, *modules) -> None:
    """Replace function `name` in each module by one that changes the honest result: change(result, *args)."""
    honest = getattr(modules[0], name)

    def leaky(*args, **kwargs):
        return change(honest(*args, **kwargs), *args, **kwargs)

    for module in modules:
        patch.setattr(module, name, leaky)


def sale_without_liability(patch):
    def forget(placed, decision, *_):
        after, *rest = placed
        return after._replace(quantity=after.quantity.clamp(min=0.0)), *rest

    _wrap(patch, "_place", forget, trading)


def fees_with_the_wrong_sign(patch):
    _wrap(patch, "contract_fee", lambda fee, *_: -fee, trading, record, actions)


def fill_at_tomorrows_quote(patch):
    def later(table, market, config, *_):
        following = torch.where(market.next_row_Q >= 0, market.next_row_Q, torch.arange(market.n_rows))
        tomorrow = table.row_QC[following]
        row = table.row_QC.clone()
        row[:, col.BUY], row[:, col.SELL] = tomorrow[:, col.BUY], tomorrow[:, col.SELL]
        return dataclasses.replace(table, row_QC=row)

    _wrap(patch, "derive", later, table_view)


def spread_paid_once_for_two_legs(patch):
    honest = trading.side_price

    def cheap(quantity, buy, sell):
        price = honest(quantity, buy, sell)
        free = torch.zeros_like(price, dtype=torch.bool)
        free[:, 1:] = True
        return torch.where(free, 0.5 * (buy + sell), price)

    patch.setattr(trading, "side_price", cheap)


def expiry_settled_twice(patch):
    _wrap(patch, "settlement_cash", lambda paid, *_: 2 * paid, step)


def interest_on_debt_with_the_wrong_sign(patch):
    _wrap(patch, "holding_flows", lambda flows, *_: flows._replace(interest=flows.interest.abs()), step)


def no_interest_on_debt(patch):
    _wrap(patch, "holding_flows", lambda flows, *_: flows._replace(interest=flows.interest.clamp(min=0.0)), step)


def dividends_paid_to_nobody(patch):
    _wrap(patch, "holding_flows", lambda f, *_: HoldingFlows(f.interest, torch.zeros_like(f.dividends), f.borrow), step)


def short_sellers_keep_the_dividend(patch):
    _wrap(patch, "holding_flows", lambda flows, *_: flows._replace(dividends=flows.dividends.clamp(min=0.0)), step)


def borrow_is_free(patch):
    _wrap(patch, "holding_flows", lambda flows, *_: flows._replace(borrow=torch.zeros_like(flows.borrow)), step)


def _table(patch, change):
    """Change the derived table [Q, C] of a market in place."""

    def altered(table, market, *_):
        row = table.row_QC.clone()
        change(row, market)
        return dataclasses.replace(table, row_QC=row)

    _wrap(patch, "derive", altered, table_view)


def stale_contract_tradable(patch):
    def open_up(row, market):
        row[market.stale_Q, col.CAN_BUY] = row[market.stale_Q, col.CAN_SELL] = 1.0
        row[market.stale_Q, col.BUY] = row[market.stale_Q, col.SELL] = row[market.stale_Q, col.MARK]

    _table(patch, open_up)


def zero_bid_sold(patch):
    _table(patch, lambda row, market: row[:, col.CAN_SELL].copy_(row[:, col.CAN_BUY]))


def marks_from_the_next_snapshot(patch):
    def peek(row, market):
        goes_on = market.next_row_Q >= 0
        row[goes_on, col.MARK] = market.mark_Q[market.next_row_Q[goes_on]].to(row)

    _table(patch, peek)


def double_multiplier_on_puts(patch):
    def double(row, market):
        row[:, col.MULTIPLIER] *= torch.where(market.right_K[market.row_contract_Q] < 0, 2.0, 1.0)

    _table(patch, double)


def worthless_expiry_pays_its_last_mark(patch):
    def keep(table, market, *_):
        row = table.row_QC
        worthless = (row[:, col.SETTLES] > 0) & (table.settle_value_Q == 0)
        return dataclasses.replace(table, settle_value_Q=torch.where(worthless, row[:, col.MARK], table.settle_value_Q))

    _wrap(patch, "derive", keep, table_view)


def liquidation_at_mid(patch):
    def generous(result, holdings, book, config):
        back = result.slippage
        return result._replace(
            holdings=result.holdings._replace(cash=result.holdings.cash + back), slippage=torch.zeros_like(back)
        )

    _wrap(patch, "liquidate", generous, step)


def no_margin_call(patch):
    honest = trading.liquidate

    def patient(holdings, book, config):
        return honest(holdings, book._replace(margin=torch.zeros_like(book.margin)), config)

    patch.setattr(step, "liquidate", patient)


def half_the_margin(patch):
    def half(requirement, pnl_S, short_contracts, config):
        return 0.5 * requirement

    from clstm_core.env import book

    _wrap(patch, "margin_requirement", half, book, actions)


def mask_without_the_budget(patch):
    def ask_the_others(room, *_):
        return torch.cat([room[:, :3], torch.full_like(room[:, 3:], 1e30)], dim=1)

    _wrap(patch, "room_for", ask_the_others, actions)


def mask_up_to_the_whole_budget(patch):
    _wrap(patch, "room_for", lambda room, *_: torch.cat([room[:, :3], room[:, 3:] / 0.9], dim=1), actions)


def hedges_beyond_the_budget(patch):
    _wrap(patch, "may_hedge", lambda may, *_: torch.ones_like(may), actions)


def fills_beyond_the_budget(patch):
    _wrap(patch, "may_fill", lambda may, *_: torch.ones_like(may), trading)


def fills_that_shares_cannot_cure(patch):
    """What an order overshoots is never asked after the trim."""

    def trusting(*args):
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(budget, "trim", lambda book, shares, config: honest_trim(book, 0.0 * shares, config))
            return honest(*args)

    honest, honest_trim = budget.may_fill, budget.trim
    patch.setattr(trading, "may_fill", trusting)


def a_cure_that_does_nothing(patch):
    def idle(cure, *_):
        return cure._replace(shares=0.0 * cure.shares, over=torch.zeros_like(cure.over))

    _wrap(patch, "trim", idle, trading)


def a_cure_that_trims_and_never_closes(patch):
    _wrap(patch, "trim", lambda cure, *_: cure._replace(over=torch.zeros_like(cure.over)), trading)


def a_cure_of_half_the_shares(patch):
    _wrap(patch, "trim", lambda cure, *_: cure._replace(shares=torch.round(0.5 * cure.shares)), trading)


def premium_forgotten_every_day(patch):
    patch.setattr(budget, "PREMIUM_SESSIONS", 1)


def premium_never_forgotten(patch):
    patch.setattr(budget, "PREMIUM_SESSIONS", 10_000)


def premium_forgotten_where_it_was_just_sold(patch):
    """What a lagged order sells at a multiple of 21 goes with what the stretch before it sold."""
    honest = step.still_counted

    def hasty(premium_sold, age, config):
        return honest(premium_sold, age, dataclasses.replace(config, fill_lag=0))

    patch.setattr(step, "still_counted", hasty)


def a_crash_without_its_vol(patch):
    from clstm_core.env import margin

    _wrap(patch, "vol_factors", lambda factors, config: (1.0, *factors[1:]), margin)


def a_crash_in_the_margin(patch):
    from clstm_core.env import book

    honest = book.value_book

    def frightened(holdings, facts, spot, move, config):
        valued = honest(holdings, facts, spot, move, config)
        return valued._replace(margin=torch.maximum(valued.margin, -valued.crash))

    for module in (book, step, trading):
        patch.setattr(module, "value_book", frightened)


def gross_exposure_of_the_net(patch):
    from clstm_core.env import book

    honest = book.value_book

    def netted(holdings, *rest):
        valued = honest(holdings, *rest)
        return valued._replace(option_gross=(valued.delta - holdings.shares).abs())

    for module in (book, step, trading):
        patch.setattr(module, "value_book", netted)


def a_budget_that_looks_away_in_the_record(patch):
    _wrap(patch, "over_budget", lambda over, *_: torch.zeros_like(over), record)


def mask_peeks_ahead(patch):
    def peek(standing, view, config, account, book):
        ahead = (account.snapshot_index_N + 1).clamp(max=len(view.features_TF) - 1)
        _, mask_NA = actions.sizes_and_mask(view.offered(ahead), account, book, view.move_S, config)
        return standing._replace(mask_NA=mask_NA)

    _wrap(patch, "stand", peek, turn, options_env)


def features_of_tomorrow(patch):
    def peek(seen, view, account, book):
        ahead = (account.snapshot_index_N + 1).clamp(max=len(view.features_TF) - 1)
        seen[:, 0] = view.features(ahead)[:, 0]
        return seen

    _wrap(patch, "observe_accounts", peek, turn, options_env)


def sizes_twice_the_risk(patch):
    _wrap(patch, "sizes_and_mask", lambda result, *_: (2 * result[0], result[1]), turn)


def reward_without_the_cost_of_cash(patch):
    honest = step.excess_reward

    def generous(equity, equity_next, growth, *rest):
        return honest(equity, equity_next, torch.zeros_like(growth), *rest)

    patch.setattr(step, "excess_reward", generous)


def fees_rebated_in_bulk(patch):
    _wrap(patch, "contract_fee", lambda fee, quantity, _: torch.where(fee > 2.0, 2.0, fee), trading, record, actions)


def accounts_share_a_purse(patch):
    def pooled(flows, *_):
        return flows._replace(interest=flows.interest.mean().expand_as(flows.interest))

    _wrap(patch, "holding_flows", pooled, step)


def _rough(money: torch.Tensor) -> bool:
    return money.dtype == torch.float32


def no_commission_in_float32(patch):
    _wrap(patch, "contract_fee", lambda fee, *_: 0.0 * fee if _rough(fee) else fee, trading, record, actions)


def interest_on_debt_with_the_wrong_sign_in_float32(patch):
    def flip(flows, *_):
        return flows._replace(interest=flows.interest.abs()) if _rough(flows.interest) else flows

    _wrap(patch, "holding_flows", flip, step)


def reward_without_the_cost_of_cash_in_float32(patch):
    honest = step.excess_reward

    def generous(equity, equity_next, growth, *rest):
        return honest(equity, equity_next, 0.0 * growth if _rough(equity) else growth, *rest)

    patch.setattr(step, "excess_reward", generous)


def settled_by_another_contract(patch):
    """Each settles for what the contract one row on settles for."""

    def shift(table, *_):
        return dataclasses.replace(table, settle_value_Q=table.settle_value_Q.roll(-1))

    _wrap(patch, "derive", shift, table_view)


def settled_by_the_last_spot(patch):
    """At yesterday's close, in the environment: the payoff at the spot before the settlement."""

    def behind(table, market, *_):
        contract = market.row_contract_Q
        value = market.right_K[contract] * (market.spot_T[market.row_snapshot_Q] - market.strike_K[contract])
        settles = table.row_QC[:, col.SETTLES] > 0
        value = torch.where(settles, value.clamp(min=0.0), 0.0)
        return dataclasses.replace(table, settle_value_Q=value.to(table.settle_value_Q))

    _wrap(patch, "derive", behind, table_view)


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
    _table(patch, lambda row, _: row[:, col.MULTIPLIER].clamp_(min=100.0, max=100.0))


def margin_without_the_multiplier(patch):
    from clstm_core.env import book

    honest = book.value_book

    def per_share(holdings, facts, *rest):
        valued = honest(holdings, facts, *rest)
        plain = facts.clone()
        plain[..., col.MULTIPLIER] = 1.0
        return valued._replace(margin=honest(holdings, plain, *rest).margin)

    for module in (book, step, trading):
        patch.setattr(module, "value_book", per_share)


def margin_of_a_hundred_a_contract(patch):
    from clstm_core.env import book

    honest = book.value_book

    def hundred(holdings, facts, *rest):
        plain = facts.clone()
        plain[..., col.MULTIPLIER] = 100.0
        return honest(holdings, facts, *rest)._replace(margin=honest(holdings, plain, *rest).margin)

    for module in (book, step, trading):
        patch.setattr(module, "value_book", hundred)


def dividends_on_yesterdays_value(patch):
    def early(flows, cash, shares, now, spot_next, config):
        return flows._replace(dividends=shares * now[:, col.SPOT] * now[:, col.DIVIDEND_GROWTH])

    _wrap(patch, "holding_flows", early, step)


def borrow_charged_on_longs(patch):
    def longs(flows, cash, shares, now, spot_next, config):
        return flows._replace(borrow=shares.abs() * now[:, col.SPOT] * config.borrow_rate * now[:, col.DT])

    _wrap(patch, "holding_flows", longs, step)


def borrow_on_tomorrows_value(patch):
    def late(flows, cash, shares, now, spot_next, config):
        return flows._replace(borrow=flows.borrow * spot_next / now[:, col.SPOT])

    _wrap(patch, "holding_flows", late, step)


def a_leg_becomes_its_neighbour(patch):
    honest = table_view.TableView.next_row

    def neighbour(self, row):
        after = honest(self, row)
        beside = (after + 1).clamp(max=len(self.row_contract_Q) - 1)
        swap = (after >= 0) & (after % 31 == 0) & (self.next_row_Q[beside] >= 0)
        return torch.where(swap, beside, after)

    patch.setattr(table_view.TableView, "next_row", neighbour)


def stale_legs_marked_at_nothing(patch):
    def zero(row, market):
        row[market.stale_Q, col.MARK] = 0.0

    _table(patch, zero)


def stale_legs_closed_in_a_liquidation(patch):
    def close(row, market):
        row[market.stale_Q, col.CAN_BUY] = 1.0
        row[market.stale_Q, col.BUY] = row[market.stale_Q, col.MARK]

    _table(patch, close)


def final_observation_after_the_reset(patch):
    honest = OptionsEnv.step_orders

    def late(self, orders):
        result = honest(self, orders)
        done = (result.terminated | result.truncated)[:, None]
        return result._replace(final_observation=torch.where(done, result.observation, result.final_observation))

    patch.setattr(OptionsEnv, "step_orders", late)


def observation_of_the_step_before(patch):
    honest = OptionsEnv.step_orders

    def old(self, orders):
        seen, _ = self.observe()
        return honest(self, orders)._replace(final_observation=seen)

    patch.setattr(OptionsEnv, "step_orders", old)


def money_kept_across_a_reset(patch):
    def richer(account, *_):
        return account._replace(cash_N=torch.where(account.episode_N > 0, account.cash_N + 1.0, account.cash_N))

    _wrap(patch, "fresh_accounts", richer, turn, options_env)


def episodes_beyond_the_window(patch):
    _wrap(
        patch,
        "last_snapshots",
        lambda last, segment_end_T, stop: (last + 3).clamp(max=len(last) - 1),
        options_env,
        table_view,
    )


def observations_scaled_by_all_dates(patch):
    def everything(fitted, market, device):
        mean, std = fitted
        features = market.features_TF
        mean[: features.shape[1]] = features.mean(dim=0)
        return mean, std

    _wrap(patch, "scaler", everything, options_env)


LEAKS: list[tuple[Plant, str]] = [
    (episodes_beyond_the_window, "no_look_ahead"),
    (observations_scaled_by_all_dates, "no_look_ahead"),
    *(
        (leak, "conservation")
        for leak in (
            settled_by_another_contract,
            settled_by_the_last_spot,
            settlement_of_a_hundred_a_contract,
            a_hundred_a_contract_everywhere,
            margin_without_the_multiplier,
            margin_of_a_hundred_a_contract,
            dividends_on_yesterdays_value,
            borrow_charged_on_longs,
            borrow_on_tomorrows_value,
            a_leg_becomes_its_neighbour,
            stale_legs_marked_at_nothing,
            stale_legs_closed_in_a_liquidation,
            final_observation_after_the_reset,
            observation_of_the_step_before,
            money_kept_across_a_reset,
            mask_without_the_budget,
            hedges_beyond_the_budget,
            fills_beyond_the_budget,
            a_cure_that_does_nothing,
            premium_forgotten_every_day,
            premium_forgotten_where_it_was_just_sold,
            a_crash_without_its_vol,
            gross_exposure_of_the_net,
        )
    ),
    (final_observation_after_the_reset, "invariance"),
    (sale_without_liability, "conservation"),
    (fees_with_the_wrong_sign, "fees_never_help"),
    (fill_at_tomorrows_quote, "no_look_ahead"),
    (spread_paid_once_for_two_legs, "conservation"),
    (expiry_settled_twice, "conservation"),
    (interest_on_debt_with_the_wrong_sign, "conservation"),
    (no_interest_on_debt, "conservation"),
    (dividends_paid_to_nobody, "martingale_sampled"),
    (short_sellers_keep_the_dividend, "conservation"),
    (borrow_is_free, "fees_never_help"),
    (stale_contract_tradable, "conservation"),
    (zero_bid_sold, "conservation"),
    (marks_from_the_next_snapshot, "no_look_ahead"),
    (double_multiplier_on_puts, "conservation"),
    (worthless_expiry_pays_its_last_mark, "martingale_exact"),
    (liquidation_at_mid, "conservation"),
    (no_margin_call, "conservation"),
    (half_the_margin, "conservation"),
    (mask_peeks_ahead, "no_look_ahead"),
    (features_of_tomorrow, "no_look_ahead"),
    (sizes_twice_the_risk, "conservation"),
    (reward_without_the_cost_of_cash, "conservation"),
    (fees_rebated_in_bulk, "conservation"),
    (accounts_share_a_purse, "invariance"),
    (no_commission_in_float32, "invariance"),
    (interest_on_debt_with_the_wrong_sign_in_float32, "invariance"),
    (reward_without_the_cost_of_cash_in_float32, "invariance"),
]

ALSO_CAUGHT_BY: list[tuple[Plant, str]] = [  # by a second proof, or much as one above
    (sale_without_liability, "martingale_exact"),
    (sale_without_liability, "martingale_sampled"),
    (fees_with_the_wrong_sign, "conservation"),
    (fees_with_the_wrong_sign, "martingale_exact"),
    (fill_at_tomorrows_quote, "conservation"),
    (spread_paid_once_for_two_legs, "martingale_exact"),
    (expiry_settled_twice, "martingale_exact"),
    (interest_on_debt_with_the_wrong_sign, "martingale_exact"),
    (interest_on_debt_with_the_wrong_sign, "martingale_sampled"),
    (dividends_paid_to_nobody, "conservation"),
    (marks_from_the_next_snapshot, "conservation"),
    (liquidation_at_mid, "martingale_exact"),
    (mask_up_to_the_whole_budget, "conservation"),
    (fills_that_shares_cannot_cure, "conservation"),
    (a_cure_that_trims_and_never_closes, "conservation"),
    (a_cure_of_half_the_shares, "conservation"),
    (premium_never_forgotten, "conservation"),
    (a_crash_in_the_margin, "conservation"),
    (a_budget_that_looks_away_in_the_record, "conservation"),
]


def _names(leaks):
    return [f"{leak.__name__}-{proof}" for leak, proof in leaks]


@pytest.mark.parametrize(("leak", "proof"), LEAKS, ids=_names(LEAKS))
def test_a_leak_is_caught_by_the_named_proof(leak: Plant, proof: str, premium_market, monkeypatch) -> None:
    leak(monkeypatch)
    report = audit(premium_market, CONFIG, size="quick", only=[proof])
    assert report.failed == (proof,)
    assert "could not be run" not in report.proofs[0].detail


@pytest.mark.slow
@pytest.mark.parametrize(("leak", "proof"), ALSO_CAUGHT_BY, ids=_names(ALSO_CAUGHT_BY))
def test_a_second_proof_catches_it_too(leak: Plant, proof: str, premium_market, monkeypatch) -> None:
    leak(monkeypatch)
    assert audit(premium_market, CONFIG, size="quick", only=[proof]).failed == (proof,)
