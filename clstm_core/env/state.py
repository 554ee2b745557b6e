"""What one account holds, what it may order, and the record of one step. Every field name here is read elsewhere.

Fill slots X of a StepLedger, in order: L expiries, L closes, P opens, L liquidations of options, then four share
trades (close, open, hedge, liquidation). A slot with quantity 0 holds no fill.
"""

from typing import NamedTuple

import torch

from clstm_core.specs import MAX_LEGS, PACKAGE_LEGS

FILL_REASONS = ("none", "open", "close", "hedge", "liquidation", "expiry")
NONE, OPEN, CLOSE, HEDGE, LIQUIDATION, EXPIRY = range(len(FILL_REASONS))

SLOT_REASON: tuple[int, ...] = (
    (EXPIRY,) * MAX_LEGS
    + (CLOSE,) * MAX_LEGS
    + (OPEN,) * PACKAGE_LEGS
    + (LIQUIDATION,) * MAX_LEGS
    + (CLOSE, OPEN, HEDGE, LIQUIDATION)
)
N_FILL_SLOTS = len(SLOT_REASON)
FIRST_SHARE_SLOT = N_FILL_SLOTS - 4
UNDERLYING_CONTRACT = -1
"""`fill_contract_NX` of a share trade (and of empty option slots; their quantity is 0)."""


class Holdings(NamedTuple):
    """What an account owns: cash_N, shares_N, row_NL (-1 = empty), quantity_NL, entry_price_NL."""

    cash: torch.Tensor
    shares: torch.Tensor
    row: torch.Tensor
    quantity: torch.Tensor
    entry_price: torch.Tensor


def holds_any(holdings: Holdings) -> torch.Tensor:
    """Whether accounts [N] hold anything but cash."""
    return (holdings.quantity != 0).any(dim=1) | (holdings.shares != 0)


class AccountState(NamedTuple):
    """N accounts, each somewhere in the market.

    Shapes: `_N` [N]; `_NL` [N, L]. An empty leg slot has row -1 and quantity 0.
    Units:  money in the account's currency in the env's dtype; quantities in contracts and shares (whole numbers kept
            in the same dtype); `leg_entry_price_NL` per share.
    """

    cash_N: torch.Tensor
    shares_N: torch.Tensor
    leg_row_NL: torch.Tensor  # int64 row of the market view at snapshot_index_N
    leg_quantity_NL: torch.Tensor
    leg_entry_price_NL: torch.Tensor
    entry_equity_N: torch.Tensor
    equity_N: torch.Tensor  # at marks
    snapshot_index_N: torch.Tensor  # int64
    age_N: torch.Tensor  # int64 snapshots since the episode began (a staggered first episode begins older)
    episode_N: torch.Tensor  # int64
    seed_N: torch.Tensor  # int64: of this env alone; with episode_N it determines the episode
    premium_sold_N: torch.Tensor  # by options sold to open, in the stretch in which the next order fills

    @classmethod
    def fresh(
        cls,
        capital_usd: float,
        *,
        snapshot_index_N: torch.Tensor,
        seed_N: torch.Tensor,
        episode_N: torch.Tensor,
        age_N: torch.Tensor,
        dtype: torch.dtype,
    ) -> "AccountState":
        """Accounts all in cash where their episodes begin."""
        cash = torch.full_like(seed_N, capital_usd, dtype=dtype)
        slots = cash.new_zeros(len(cash), MAX_LEGS)
        return cls(
            cash_N=cash,
            shares_N=torch.zeros_like(cash),
            leg_row_NL=torch.full_like(slots, -1, dtype=torch.int64),
            leg_quantity_NL=slots,
            leg_entry_price_NL=slots.clone(),
            entry_equity_N=cash.clone(),
            equity_N=cash.clone(),
            snapshot_index_N=snapshot_index_N,
            age_N=age_N,
            episode_N=episode_N,
            seed_N=seed_N,
            premium_sold_N=torch.zeros_like(cash),
        )

    @property
    def holdings(self) -> Holdings:
        """What the accounts own."""
        return Holdings(*self[:5])

    def moved(self, holdings: Holdings, **changes: torch.Tensor) -> "AccountState":
        """The same accounts with other holdings, and whatever else changes."""
        return AccountState(*holdings, *self[5:])._replace(**changes)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by field name."""
        return self._asdict()


def choose(flag_N: torch.Tensor, yes: AccountState, no: AccountState) -> AccountState:
    """`yes` where the flag holds, field by field."""
    return AccountState(*(where_env(flag_N, a, b) for a, b in zip(yes, no, strict=True)))


def where_env(flag_N: torch.Tensor, yes: torch.Tensor, no: torch.Tensor | float) -> torch.Tensor:
    """Choose by env, whatever the trailing dimensions of `yes`."""
    return torch.where(flag_N.view(-1, *([1] * (yes.dim() - 1))), yes, no)


class Orders(NamedTuple):
    """What each account wants traded; one order is one package, filled whole or not at all.

    Shapes: leg_row_NP int64 rows at the *decision* snapshot, -1 = no leg; leg_quantity_NP signed contracts and
            share_quantity_N signed shares (any number type, whole numbers); close_all_N, hedge_N bool.
    Assumes: close_all_N sells every leg and share held before the package's own legs and shares are opened; hedge_N
            adds the whole shares that bring the delta of the book *after* this order to zero, at the decision's Greeks,
            legs that settle before the fill left out.
    """

    leg_row_NP: torch.Tensor
    leg_quantity_NP: torch.Tensor
    share_quantity_N: torch.Tensor
    close_all_N: torch.Tensor
    hedge_N: torch.Tensor

    @classmethod
    def none(cls, n_envs: int, device: torch.device | str = "cpu") -> "Orders":
        """Orders that do nothing, to be filled in by a rule."""
        return cls(
            leg_row_NP=torch.full((n_envs, PACKAGE_LEGS), -1, dtype=torch.int64, device=device),
            leg_quantity_NP=torch.zeros(n_envs, PACKAGE_LEGS, dtype=torch.int64, device=device),
            share_quantity_N=torch.zeros(n_envs, dtype=torch.int64, device=device),
            close_all_N=torch.zeros(n_envs, dtype=torch.bool, device=device),
            hedge_N=torch.zeros(n_envs, dtype=torch.bool, device=device),
        )


class StepLedger(NamedTuple):
    """Everything that moved money in one step from snapshot t to t + 1, before any auto-reset.

        cash' = cash + interest + dividends - borrow - sum(quantity x price x multiplier) - sum(fees)
        equity' - equity = option_mark_change + share_mark_change + interest + dividends - borrow
                           - fees - slippage + settlement
                         = attribution_delta + gamma + vega + theta + carry - slippage - fees + settlement + residual

    Shapes: `_N` [N]; `_NX` [N, fill slots]; `_NL` [N, L] positions after the step.
    Units:  currency; prices and marks per share; rates of change as MarketTensors states them.
    Assumes: every term is computed from quotes; only attribution_residual is a remainder (what Greeks do not explain).
    """

    episode_N: torch.Tensor
    snapshot_from_N: torch.Tensor  # int64 index t
    snapshot_N: torch.Tensor  # int64 index t + 1
    fill_snapshot_N: torch.Tensor  # int64 index at which this step's orders filled: t + fill_lag
    # account before and after
    equity_before_N: torch.Tensor
    cash_before_N: torch.Tensor
    cash_N: torch.Tensor
    shares_N: torch.Tensor
    equity_N: torch.Tensor
    equity_liquidation_N: torch.Tensor  # when everything that trades were closed under the fill rule, costs paid
    option_mark_N: torch.Tensor  # sum of quantity x multiplier x mark after the step
    spot_N: torch.Tensor  # at t + 1
    margin_N: torch.Tensor  # of the book after the step
    # what that book takes of the risk budget: shares of its equity, from 0 to `budget.MOST`
    net_exposure_N: torch.Tensor
    gross_exposure_N: torch.Tensor
    crash_loss_N: torch.Tensor
    vega_N: torch.Tensor  # per point of implied vol
    premium_sold_N: torch.Tensor  # in the stretch of 21 ages that this step's fills are in, they included
    book_vega_N: torch.Tensor  # signed, of that book: what a point of implied vol is worth to it, currency
    # flows
    interest_N: torch.Tensor
    dividends_N: torch.Tensor
    borrow_N: torch.Tensor
    fees_N: torch.Tensor
    slippage_N: torch.Tensor  # sum of quantity x multiplier x (price - mark), expiries apart
    settlement_N: torch.Tensor  # sum of quantity x multiplier x (settle value - last mark)
    option_mark_change_N: torch.Tensor
    share_mark_change_N: torch.Tensor
    # what explains the mark changes
    attribution_delta_N: torch.Tensor
    attribution_gamma_N: torch.Tensor
    attribution_vega_N: torch.Tensor
    attribution_theta_N: torch.Tensor
    attribution_carry_N: torch.Tensor  # interest + dividends - borrow + rho x change of rate
    attribution_residual_N: torch.Tensor
    # flags (bool)
    ordered_N: torch.Tensor
    unfilled_N: torch.Tensor  # an order that some leg's quote did not fill
    rejected_N: torch.Tensor  # an order that the account could not hold: margin, budget, or no free leg slot
    liquidated_N: torch.Tensor  # what trades was closed: a margin breach, or a budget's that no trim of shares cures
    breached_N: torch.Tensor  # still more margin than equity after the liquidation
    over_budget_N: torch.Tensor  # the market moved the book over its risk budget, and it was trimmed or closed
    budget_breached_N: torch.Tensor  # still over it after that: something did not trade
    terminated_N: torch.Tensor
    truncated_N: torch.Tensor
    # fills
    fill_contract_NX: torch.Tensor  # int64 contract index, -1 = underlying or empty
    fill_quantity_NX: torch.Tensor
    fill_price_NX: torch.Tensor
    fill_multiplier_NX: torch.Tensor  # 1 for shares
    fill_bid_NX: torch.Tensor
    fill_ask_NX: torch.Tensor
    fill_fee_NX: torch.Tensor
    fill_reason_NX: torch.Tensor  # int64 index into FILL_REASONS, NONE where empty
    fill_snapshot_NX: torch.Tensor  # int64 index whose quote filled it (t or t + 1)
    fill_size_zero_NX: torch.Tensor  # bool: the side that filled it was quoted with size 0; False where none is known
    # positions after the step
    leg_contract_NL: torch.Tensor  # int64, -1 = empty
    leg_quantity_NL: torch.Tensor
    leg_mark_NL: torch.Tensor
    leg_multiplier_NL: torch.Tensor
    leg_stale_NL: torch.Tensor  # bool
