"""From a discrete action to an order: the packages each snapshot offers, their size, and what is forbidden."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import Book, closable_legs, delta_at_fill
from clstm_core.env.budget import NEXT_TO_NOTHING, may_hedge, most_units, room_for, unit_sides
from clstm_core.env.derived import Derived, put_columns
from clstm_core.env.fills import contract_fee, fillable, share_fee, share_half_spread, side_price
from clstm_core.env.margin import margin_requirement
from clstm_core.env.state import AccountState, Orders
from clstm_core.env.view import Offered
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import (
    ACTIONS,
    CELL_INDEX,
    CELLS,
    CLOSE_ALL,
    FIRST_TEMPLATE,
    HEDGE_DELTA,
    HOLD,
    PACKAGE_LEGS,
    RIGHT_CALL,
    TEMPLATES,
    Template,
)

MIN_RISK_OF_NOTIONAL = 0.001
"""No unit is sized as if it risked less than this share of one contract's notional (quotes may show free money)."""

_CHUNK = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Packages:
    """The templates of `specs.TEMPLATES` on the listed contracts of each snapshot, one unit each.

    Shapes: row_TAP int64 (-1 = no leg); quantity_AP contracts per unit; shares_TA shares per unit; unit_TAC the unit
            columns; n_legs_A; short_contracts_A. A counts templates here, without hold, close_all and hedge_delta.
            Snapshots outside the window have AVAILABLE = 0.
    """

    row_TAP: torch.Tensor
    quantity_AP: torch.Tensor
    shares_TA: torch.Tensor
    unit_TAC: torch.Tensor
    n_legs_A: torch.Tensor
    short_contracts_A: torch.Tensor


def is_defined_risk(template: Template) -> bool:
    """Whether the package's loss at its one expiry is bounded whatever the price does, short of the stock's own fall.

    Beyond the highest strike the payoff must not fall (calls + shares >= 0), below the lowest it must not fall
    either (shares - puts <= 0). Two expiries have no common payoff.
    """
    calls = sum(n for name, n in template.legs if CELLS[CELL_INDEX[name]].right == RIGHT_CALL)
    puts = sum(n for _, n in template.legs) - calls
    one_tenor = len({CELLS[CELL_INDEX[name]].tenor for name, _ in template.legs}) == 1
    return one_tenor and calls + template.shares >= 0 and template.shares - puts <= 0


class Defined(NamedTuple):
    """Templates of equally many legs whose loss is bounded: their places [A'] among all."""

    n_legs: int
    template: torch.Tensor


class TemplateTables(NamedTuple):
    """`specs.TEMPLATES` as tensors.

    Shapes: cell_AP int64 (-1 = no leg); quantity_AP contracts per unit; used_AP bool; lots_A multiples of the
            multiplier in shares; defined: those with a bounded loss, undefined the places of the others, with_shares
            those that hold shares; n_legs_A; short_contracts_A
    """

    cell_AP: torch.Tensor
    quantity_AP: torch.Tensor
    used_AP: torch.Tensor
    lots_A: torch.Tensor
    defined: tuple[Defined, ...]
    undefined: torch.Tensor
    with_shares: torch.Tensor
    n_legs_A: torch.Tensor
    short_contracts_A: torch.Tensor


def template_tables(device: torch.device, dtype: torch.dtype) -> TemplateTables:
    """The templates on a device, quantities in the money dtype."""
    cell_AP = torch.full((len(TEMPLATES), PACKAGE_LEGS), -1, dtype=torch.int64)
    quantity_AP = torch.zeros(len(TEMPLATES), PACKAGE_LEGS, dtype=dtype)
    for a, template in enumerate(TEMPLATES):
        for p, (name, quantity) in enumerate(template.legs):
            cell_AP[a, p], quantity_AP[a, p] = CELL_INDEX[name], quantity
    used_AP = cell_AP >= 0

    def places(wanted: Callable[[Template], bool]) -> torch.Tensor:
        return torch.tensor([a for a, template in enumerate(TEMPLATES) if wanted(template)], device=device)

    def defined(n_legs: int) -> Defined:
        return Defined(n_legs, places(lambda template: is_defined_risk(template) and len(template.legs) == n_legs))

    return TemplateTables(
        cell_AP=cell_AP.to(device),
        quantity_AP=quantity_AP.to(device),
        used_AP=used_AP.to(device),
        lots_A=torch.tensor([float(template.shares) for template in TEMPLATES], dtype=dtype, device=device),
        defined=tuple(defined(n) for n in sorted({len(t.legs) for t in TEMPLATES if is_defined_risk(t)})),
        undefined=places(lambda template: not is_defined_risk(template)),
        with_shares=places(lambda template: template.shares != 0),
        n_legs_A=used_AP.sum(dim=1).to(device),
        short_contracts_A=(-quantity_AP).clamp(min=0.0).sum(dim=1).to(device),
    )


def build_packages(market: MarketTensors, derived: Derived, config: EnvConfig, window: tuple[int, int]) -> Packages:
    """Price every template at every snapshot of a window: unit risk, cost, notional and margin scenarios.

    Unit risk is the maximum loss at expiry, entry price and commissions included, where that is bounded; otherwise the
    unit's margin (a calendar: the larger of its margin and what it costs to open).
    """
    device, dtype = derived.row_QC.device, derived.row_QC.dtype
    templates = template_tables(device, dtype)
    cell_AP, used_AP = templates.cell_AP, templates.used_AP

    n_snapshots, n_templates = market.n_snapshots, len(TEMPLATES)
    width = col.UNIT_CRASH + derived.move_S.shape[0]
    row_TAP = torch.full((n_snapshots, n_templates, PACKAGE_LEGS), -1, dtype=torch.int64, device=device)
    shares_TA = torch.zeros(n_snapshots, n_templates, dtype=dtype, device=device)
    unit_TAC = torch.zeros(n_snapshots, n_templates, width, dtype=dtype, device=device)
    for low in range(window[0], window[1], _CHUNK):
        chunk = slice(low, min(low + _CHUNK, window[1]))
        rows = torch.where(used_AP, market.grid_row_TG[chunk][:, cell_AP.clamp(min=0)], -1)
        row_TAP[chunk] = rows
        facts = derived.row_QC[rows.clamp(min=0)]
        shares_TA[chunk] = templates.lots_A * facts[:, :, 0, col.MULTIPLIER]
        weight = templates.quantity_AP * facts[..., col.MULTIPLIER]
        spot = derived.snapshot_TC[chunk, col.SPOT]
        pnl = (weight[..., None] * facts[..., col.CRASH :]).sum(dim=-2)
        held = templates.with_shares
        pnl[:, held] += (shares_TA[chunk] * spot[:, None])[:, held, None] * derived.move_S
        unit_TAC[chunk, :, col.UNIT_CRASH :] = pnl
        price_units(
            unit_TAC[chunk],
            _sum_legs(facts, rows, weight, templates),
            [_strikes(facts, weight, group) for group in templates.defined],
            templates,
            shares_TA[chunk].T,
            spot,
            config,
        )
    return Packages(
        row_TAP=row_TAP,
        quantity_AP=templates.quantity_AP,
        shares_TA=shares_TA,
        unit_TAC=unit_TAC,
        n_legs_A=templates.n_legs_A,
        short_contracts_A=templates.short_contracts_A,
    )


class LegSums(NamedTuple):
    """Sums over the legs of one unit of each package, each [A, T].

    Units: currency; debit, slippage and the short legs' notionals without fees and shares; premium of the short legs;
           delta and gross (of absolute values) in shares, vega per 1.00 of vol; multiplier of the first leg
    """

    debit: torch.Tensor
    slippage: torch.Tensor
    call_notional: torch.Tensor
    put_notional: torch.Tensor
    premium: torch.Tensor
    delta: torch.Tensor
    gross: torch.Tensor
    vega: torch.Tensor
    multiplier: torch.Tensor
    available: torch.Tensor  # bool: all legs listed, distinct, and quoted on the side needed


class Strikes(NamedTuple):
    """Legs of a group of packages [legs, A', T]: strikes of calls and of puts (0 of the other right), signed shares."""

    call: torch.Tensor
    put: torch.Tensor
    weight: torch.Tensor


def _sum_legs(facts: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, templates: TemplateTables) -> LegSums:
    """Of the facts [T, A, P, C] of rows [T, A, P]."""
    quantity_AP, used_AP = templates.quantity_AP, templates.used_AP
    price = side_price(quantity_AP, facts[..., col.BUY], facts[..., col.SELL])
    short = (-weight).clamp(min=0.0)
    delta = weight * facts[..., col.DELTA]
    quoted = fillable(quantity_AP, facts[..., col.CAN_BUY], facts[..., col.CAN_SELL])
    same = (rows[..., :, None] == rows[..., None, :]) & used_AP[:, :, None] & used_AP[:, None, :]
    distinct = same.sum(dim=(-1, -2)) == used_AP.sum(dim=-1)
    sums = LegSums(
        debit=(weight * price).sum(dim=-1),
        slippage=(weight * (price - facts[..., col.MARK])).sum(dim=-1),
        call_notional=(short * facts[..., col.CALL_STRIKE]).sum(dim=-1),
        put_notional=(short * facts[..., col.PUT_STRIKE]).sum(dim=-1),
        premium=(short * price).sum(dim=-1),
        delta=delta.sum(dim=-1),
        gross=delta.abs().sum(dim=-1),
        vega=(weight * facts[..., col.VEGA]).sum(dim=-1),
        multiplier=facts[:, :, 0, col.MULTIPLIER],
        available=((~used_AP) | ((rows >= 0) & quoted)).all(dim=-1) & distinct,
    )
    return LegSums(*(values.T for values in sums))


def _strikes(facts: torch.Tensor, weight: torch.Tensor, group: Defined) -> Strikes:
    legs = facts[:, group.template, : group.n_legs]
    columns = (legs[..., col.CALL_STRIKE], legs[..., col.PUT_STRIKE], weight[:, group.template, : group.n_legs])
    return Strikes(*(values.permute(2, 1, 0) for values in columns))


def price_units(
    out: torch.Tensor,
    sums: LegSums,
    strikes: Sequence[Strikes],
    templates: TemplateTables,
    shares: torch.Tensor,
    spot: torch.Tensor,
    config: EnvConfig,
) -> None:
    """Write the columns before UNIT_CRASH of packages into `out` [T, A, C].

    Shapes: T snapshots or accounts, last of all that is read; strikes per group of `templates.defined`; shares [A, T];
            spot [T]
    Assumes: the crash and scenario columns of `out` hold the profits of one unit already, its shares included
    """
    quantity_AP = templates.quantity_AP
    half = share_half_spread(config)
    fees = contract_fee(quantity_AP, config).sum(dim=-1)[:, None] + share_fee(shares, config)
    slippage = sums.slippage + shares.abs() * spot * half
    debit = sums.debit + shares * spot * (1 + half) + fees

    pnl, rest = out[..., col.UNIT_SCENARIOS :].permute(1, 2, 0), templates.undefined
    shorts = (-quantity_AP).clamp(min=0.0).sum(dim=-1)[rest]
    margin = margin_requirement(pnl[rest].transpose(1, 2), shorts[:, None], config)
    risk = torch.empty_like(debit)
    risk[rest] = torch.where(shares[rest] == 0, torch.maximum(margin, debit[rest]), margin)
    for group, legs in zip(templates.defined, strikes, strict=True):
        risk[group.template] = debit[group.template] - _least_payoff(legs, shares[group.template])
    risk = torch.maximum(risk, MIN_RISK_OF_NOTIONAL * spot * sums.multiplier)
    cost, crash = slippage + fees, out[..., col.UNIT_CRASH].T
    sides = unit_sides(spot, sums.delta, sums.gross, shares, crash, sums.vega, sums.premium, cost, config)
    assignable = (notional.clamp(min=NEXT_TO_NOTHING) for notional in (sums.call_notional, sums.put_notional))
    scalars = (cost, sums.available, risk, *assignable, *sides)
    put_columns(out, [values.T for values in scalars])


def _least_payoff(legs: Strikes, shares: torch.Tensor) -> torch.Tensor:
    """The least value at expiry [A', T] of packages: linear between strikes, so it lies at one or at zero."""
    strike = legs.call + legs.put
    nodes = torch.cat([strike, torch.zeros_like(strike[:1])])[:, None]
    call = (nodes - legs.call).clamp(min=0.0) * (legs.call > 0)
    put = (legs.put - nodes).clamp(min=0.0)
    value = (legs.weight * (call + put)).sum(dim=1) + shares * nodes[:, 0]
    return value.amin(dim=0)


def sizes_and_mask(
    offered: Offered, account: AccountState, book: Book, move_S: torch.Tensor, config: EnvConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Units of each template an account would open, and which of all actions it may take.

    Shapes: size_NA [N, templates] whole units in the money dtype; mask [N, len(ACTIONS)] bool
    Assumes: the account's own book at this snapshot's quotes; nothing after it is read
    """
    unit, holdings = offered.unit_NAC, account.holdings
    equity = book.equity
    room = room_for(book, holdings.shares, account.premium_sold_N, config)
    size = torch.floor(most_units(room, unit[..., col.UNIT_LIMITS]))
    size = torch.where(unit[..., col.AVAILABLE] > 0, size, 0.0)

    worst = _least_profit(size, unit[..., col.UNIT_SCENARIOS :], book.pnl[:, 1:])
    shorts = book.short_contracts[:, None] + size * offered.short_contracts_A
    covered = margin_requirement(worst[..., None], shorts, config) <= equity[:, None] - size * unit[..., col.UNIT_COST]
    held_legs = holdings.quantity != 0
    free_legs = held_legs.shape[1] - held_legs.sum(dim=1)
    package = (size >= 1) & covered & (offered.n_legs_A <= free_legs[:, None])

    hold = torch.ones_like(free_legs, dtype=torch.bool)
    anything = held_legs.any(dim=1) | (holdings.shares != 0)
    close = anything & closable_legs(holdings, book.facts).all(dim=1)
    delta = delta_at_fill(book, config)
    trade = -torch.round(delta)
    hedged_pnl = book.pnl + (trade * book.spot)[:, None] * move_S
    hedge_cost = trade.abs() * book.spot * share_half_spread(config) + share_fee(trade, config)
    hedged = equity - hedge_cost
    hedge = (delta.abs() >= 1) & (margin_requirement(hedged_pnl[:, 1:], book.short_contracts, config) <= hedged)
    hedge &= may_hedge(book, holdings.shares, trade, hedged_pnl[:, 0], hedged, config)
    return size, torch.cat([torch.stack([hold, close, hedge], dim=1), package], dim=1)


def _least_profit(size: torch.Tensor, unit_S: torch.Tensor, pnl_S: torch.Tensor) -> torch.Tensor:
    """The least over scenarios of the profit of each book with `size` units more, min(pnl + size x unit).

    Shapes: size [N, A]; unit_S [N, A, S]; pnl_S [N, S]; the result [N, A]
    """
    if unit_S.stride(-1) == 1:
        return (pnl_S[:, None, :] + size[..., None] * unit_S).amin(dim=-1)
    # a view that keeps scenarios apart has them taken one by one: nothing as large as the units is written
    worst = torch.full_like(size, torch.inf)
    for unit, pnl in zip(unit_S.unbind(-1), pnl_S.T.contiguous().unsqueeze(-1), strict=True):
        worst = torch.minimum(worst, torch.addcmul(pnl, size, unit))
    return worst


def orders_of(action_N: torch.Tensor, offered: Offered, size_NA: torch.Tensor, mask_NA: torch.Tensor) -> Orders:
    """The order that each account's discrete action [N] means; an illegal action orders nothing."""
    env = torch.arange(len(action_N), device=action_N.device)
    action = torch.where(mask_NA[env, action_N], action_N, HOLD)
    opens = action >= FIRST_TEMPLATE
    template = (action - FIRST_TEMPLATE).clamp(min=0)
    size = torch.where(opens, size_NA[env, template], 0.0)
    return Orders(
        leg_row_NP=torch.where(opens[:, None], offered.row_NAP[env, template], -1),
        leg_quantity_NP=offered.quantity_AP[template] * size[:, None],
        share_quantity_N=offered.shares_NA[env, template] * size,
        close_all_N=action == CLOSE_ALL,
        hedge_N=action == HEDGE_DELTA,
    )


assert (HOLD, CLOSE_ALL, HEDGE_DELTA) == (0, 1, 2)
assert len(ACTIONS) == FIRST_TEMPLATE + len(TEMPLATES)
