"""Writing a step down: flows, attribution, fills and positions of every account."""

from collections.abc import Callable

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import liquidation_equity
from clstm_core.env.budget import POINT, of_equity, over_budget, taken
from clstm_core.env.fills import contract_fee, share_fee, share_price
from clstm_core.env.rewards import explain
from clstm_core.env.state import (
    EXPIRY,
    FIRST_SHARE_SLOT,
    LIQUIDATION,
    NONE,
    SLOT_REASON,
    UNDERLYING_CONTRACT,
    StepLedger,
)
from clstm_core.env.step import Step
from clstm_core.market.tensors import SIZE_ZERO_ASK, SIZE_ZERO_BID

Contract = Callable[[torch.Tensor], torch.Tensor]


def write_ledger(
    step: Step, contract: Contract, config: EnvConfig, size_zero_Q: torch.Tensor | None = None
) -> StepLedger:
    """The StepLedger of one step; every flow from quotes, only the attribution's residual as a remainder.

    Args:
        contract: `MarketView.contract` of a view of the market: the number of each row's contract, -1 of none
        size_zero_Q: [Q] int8 as in MarketTensors, None or empty where no size is known
    """
    facts, after, book = step.facts, step.account, step.book
    before, execution, liquidation, interval = facts.before, facts.execution, facts.liquidation, facts.interval
    old, new = interval.book.facts, interval.facts_next
    weight = interval.book.weight
    spot_change = facts.then[:, col.SPOT] - facts.now[:, col.SPOT]
    staying = torch.where(interval.settles, 0.0, weight)
    settling = torch.where(interval.settles, weight, 0.0)
    mark_change = (staying * (new[..., col.MARK] - old[..., col.MARK])).sum(dim=1)
    settlement = (settling * (interval.settle_value - old[..., col.MARK])).sum(dim=1)
    share_change = interval.held.shares * spot_change
    explained = explain(
        interval.book,
        new,
        interval.held.shares,
        spot_change,
        facts.then[:, col.RATE] - facts.now[:, col.RATE],
        facts.now[:, col.DT],
    )
    interest, dividends, borrow = interval.flows
    by_greeks = explained.delta + explained.gamma + explained.vega + explained.theta + explained.rho
    held = after.leg_quantity_NL != 0
    final = book.facts
    premium_sold = before.premium_sold_N + execution.premium
    use = of_equity(taken(book, after.shares_N, premium_sold), after.equity_N[:, None])
    net, gross, crash_loss, vega, premium_sold = use.unbind(dim=1)
    fills = _fills(step, contract, config, size_zero_Q)
    return StepLedger(
        episode_N=before.episode_N,
        snapshot_from_N=before.snapshot_index_N,
        snapshot_N=after.snapshot_index_N,
        fill_snapshot_N=before.snapshot_index_N + config.fill_lag,
        equity_before_N=before.equity_N,
        cash_before_N=before.cash_N,
        cash_N=after.cash_N,
        shares_N=after.shares_N,
        equity_N=after.equity_N,
        equity_liquidation_N=liquidation_equity(after.holdings, book, config),
        option_mark_N=book.sums[:, col.MARK],
        spot_N=book.spot,
        margin_N=book.margin,
        net_exposure_N=net,
        gross_exposure_N=gross,
        crash_loss_N=crash_loss,
        vega_N=vega,
        premium_sold_N=premium_sold,
        book_vega_N=POINT * book.sums[:, col.VEGA],
        interest_N=interest,
        dividends_N=dividends,
        borrow_N=borrow,
        fees_N=execution.fees + liquidation.fees,
        slippage_N=execution.slippage + liquidation.slippage,
        settlement_N=settlement,
        option_mark_change_N=mark_change,
        share_mark_change_N=share_change,
        attribution_delta_N=explained.delta,
        attribution_gamma_N=explained.gamma,
        attribution_vega_N=explained.vega,
        attribution_theta_N=explained.theta,
        attribution_carry_N=interest + dividends - borrow + explained.rho,
        attribution_residual_N=mark_change + share_change - by_greeks,
        ordered_N=execution.ordered,
        unfilled_N=execution.unfilled,
        rejected_N=execution.rejected,
        liquidated_N=liquidation.liquidated,
        breached_N=book.margin > book.equity,
        over_budget_N=liquidation.over_budget,
        budget_breached_N=over_budget(book, after.holdings, config),
        terminated_N=step.terminated,
        truncated_N=step.truncated,
        **fills,
        leg_contract_NL=torch.where(held, contract(after.leg_row_NL), -1),
        leg_quantity_NL=after.leg_quantity_NL,
        leg_mark_NL=torch.where(held, final[..., col.MARK], 0.0),
        leg_multiplier_NL=torch.where(held, final[..., col.MULTIPLIER], 0.0),
        leg_stale_NL=held & (final[..., col.STALE] > 0),
    )


def _fills(
    step: Step, contract: Contract, config: EnvConfig, size_zero_Q: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    """The fill_* fields [N, X], slots in the order of `state.SLOT_REASON`; values of empty slots are 0."""
    facts, interval = step.facts, step.facts.interval
    execution, liquidation = facts.execution, facts.liquidation
    expiring, met, opened, closed = (
        interval.book.facts,
        facts.met_book.facts,
        execution.open_facts,
        facts.breach_book.facts,
    )
    value = interval.settle_value
    shares = torch.cat([execution.share_quantity, liquidation.share_quantity[:, None]], dim=1)
    spot = torch.cat([facts.met_book.spot[:, None].expand(-1, 3), step.book.spot[:, None]], dim=1)
    half_quote = 0.5e-4 * config.share_spread_bps
    quantity = torch.cat(
        [
            torch.where(interval.settles, -interval.held.quantity, 0.0),
            execution.close_quantity,
            execution.open_quantity,
            liquidation.quantity,
            shares,
        ],
        dim=1,
    )
    filled = quantity != 0

    def slots(expiry: torch.Tensor, column: int, share: torch.Tensor) -> torch.Tensor:
        options = [expiry, met[..., column], opened[..., column], closed[..., column]]
        return torch.where(filled, torch.cat([*options, share], dim=1), 0.0)

    reason = torch.tensor(SLOT_REASON, device=quantity.device)
    rows = torch.cat(
        [interval.held.row, facts.met_row, facts.decision.row, facts.breach_row, torch.full_like(shares, -1).long()],
        dim=1,
    )
    price = torch.cat(
        [value, execution.close_price, execution.open_price, liquidation.price, share_price(shares, spot, config)],
        dim=1,
    )
    fee = torch.cat(
        [
            torch.zeros_like(value),
            contract_fee(quantity[:, value.shape[1] : FIRST_SHARE_SLOT], config),
            share_fee(shares, config),
        ],
        dim=1,
    )
    size_zero = torch.zeros_like(filled)
    if size_zero_Q is not None and len(size_zero_Q):
        bit = torch.where(quantity > 0, SIZE_ZERO_ASK, SIZE_ZERO_BID)
        quoted = filled & (rows >= 0) & (reason != EXPIRY)
        size_zero = quoted & ((size_zero_Q[rows.clamp(min=0)] & bit) != 0)
    arrived = (reason == EXPIRY) | (reason == LIQUIDATION)
    before, after = facts.before.snapshot_index_N[:, None], step.account.snapshot_index_N[:, None]
    return {
        "fill_contract_NX": torch.where(filled, contract(rows), UNDERLYING_CONTRACT),
        "fill_quantity_NX": quantity,
        "fill_price_NX": torch.where(filled, price, 0.0),
        "fill_multiplier_NX": slots(expiring[..., col.MULTIPLIER], col.MULTIPLIER, torch.ones_like(shares)),
        "fill_bid_NX": slots(value, col.BID, spot * (1.0 - half_quote)),
        "fill_ask_NX": slots(value, col.ASK, spot * (1.0 + half_quote)),
        "fill_fee_NX": torch.where(filled, fee, 0.0),
        "fill_reason_NX": torch.where(filled, reason, NONE),
        "fill_size_zero_NX": size_zero,
        "fill_snapshot_NX": torch.where(arrived, after, before + config.fill_lag),
    }
