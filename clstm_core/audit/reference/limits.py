"""What each action may open, recomputed in plain Python: the package's contracts, its size, and whether it is legal."""

import math
from typing import NamedTuple

from clstm_core.audit.reference.budget import age_at_fill, taken, with_shares
from clstm_core.audit.reference.ledger import Account, Ledger, Order
from clstm_core.config import EnvConfig
from clstm_core.specs import (
    ACTIONS,
    CELL_INDEX,
    CELLS,
    CLOSE_ALL,
    FIRST_TEMPLATE,
    HEDGE_DELTA,
    HOLD,
    RIGHT_CALL,
    TEMPLATES,
    Template,
)

SMALLEST_RISK = 0.001
"""Share of one contract's notional that a unit risks at the least, however good its quotes look."""


class Unit(NamedTuple):
    """One unit of a template at a snapshot."""

    legs: list[tuple[int, float]]
    shares: float
    risk: float
    cost: float  # slippage and fees of opening it
    short_calls: float  # strike x multiplier
    short_puts: float


def broken_limits(
    ledger: Ledger, config: EnvConfig, account: Account, t: int, mask: list[bool], orders: dict[int, Order]
) -> list[str]:
    """Names of the actions whose mask or order differs from the stated limits; empty when all agree.

    `orders` holds what the env would order for each action that its mask allows. A size or a margin that sits on its
    limit to the last digits is not held against the env.
    """
    wrong = []
    if not mask[HOLD]:
        wrong.append("hold is forbidden")
    quotes = ledger.market.snapshots[t].quotes
    closable = bool(account.legs or account.shares) and all(quotes[c].trades(-q) for c, q in account.legs)
    if mask[CLOSE_ALL] != closable:
        wrong.append(f"close_all is {'legal' if mask[CLOSE_ALL] else 'forbidden'}")
    elif closable and orders[CLOSE_ALL] != Order(legs=[], close_all=True):
        wrong.append("close_all orders something else")
    if mask[HEDGE_DELTA] and not (orders[HEDGE_DELTA].hedge and not orders[HEDGE_DELTA].legs):
        wrong.append("hedge_delta orders something else")
    if mask[HEDGE_DELTA] and not _hedge_keeps_the_budget(ledger, account, t):
        wrong.append("hedge_delta is legal beyond the risk budget")
    if mask[HEDGE_DELTA] and abs(ledger.delta(ledger.at_fill(account, t), t)) < 1.0 - 1e-6:
        wrong.append("hedge_delta is legal without a share to hedge")
    equity = ledger.equity(account, t)
    for action, template in enumerate(TEMPLATES, start=FIRST_TEMPLATE):
        unit = price_unit(ledger, config, template, t)
        size, certain = _size(ledger, config, account, t, equity, unit)
        legal, legal_certain = _legal(ledger, account, t, equity, unit, size)
        name = ACTIONS[action]
        if mask[action] != legal and certain and legal_certain:
            wrong.append(f"{name} is {'legal' if mask[action] else 'forbidden'}")
        if mask[action] and legal and certain and unit is not None:
            expected = Order([(c, q * size) for c, q in unit.legs], unit.shares * size)
            if orders[action] != expected:
                wrong.append(f"{name} orders {orders[action]}, expected {expected}")
    return wrong


def price_unit(ledger: Ledger, config: EnvConfig, template: Template, t: int) -> Unit | None:
    """One unit on the contracts that the grid points at; None when a leg is unlisted, shared or not quoted."""
    now, terms, rules = ledger.market.snapshots[t], ledger.market.contracts, ledger.rules
    legs = [(ledger.market.grid[t][CELL_INDEX[name]], float(quantity)) for name, quantity in template.legs]
    listed = all(c >= 0 and now.quotes[c].trades(q) for c, q in legs)
    if not listed or len({c for c, _ in legs}) < len(legs):
        return None
    shares = template.shares * terms[legs[0][0]].multiplier
    half = 0.5 * rules.share_spread * rules.fraction
    slippage, value = shares * now.spot * half, shares * now.spot
    for c, q in legs:
        crossed = rules.fraction * 0.5 * (now.quotes[c].ask - now.quotes[c].bid)
        paid = now.quotes[c].mark + crossed if q > 0 else max(0.0, now.quotes[c].mark - crossed)
        slippage += q * terms[c].multiplier * (paid - now.quotes[c].mark)
        value += q * terms[c].multiplier * now.quotes[c].mark
    fees = rules.per_contract * sum(abs(q) for _, q in legs) + rules.per_share * abs(shares)
    debit = value + slippage + fees
    if _bounded(template):
        risk = debit - min(_payoff(ledger, legs, shares, s) for s in [0.0, *(terms[c].strike for c, _ in legs)])
    else:
        risk = ledger.margin(Account(0.0, shares, legs), t)
        risk = risk if shares else max(risk, debit)
    risk = max(risk, SMALLEST_RISK * now.spot * terms[legs[0][0]].multiplier)
    calls, puts = _short_notional(ledger, legs)
    return Unit(legs, shares, risk, slippage + fees, calls, puts)


def _bounded(template: Template) -> bool:
    """Whether one expiry's payoff falls neither towards infinity nor towards zero."""
    cells = [(CELLS[CELL_INDEX[name]], quantity) for name, quantity in template.legs]
    calls = sum(q for cell, q in cells if cell.right == RIGHT_CALL)
    puts = sum(q for cell, q in cells if cell.right != RIGHT_CALL)
    return len({cell.tenor for cell, _ in cells}) == 1 and calls + template.shares >= 0 >= template.shares - puts


def _payoff(ledger: Ledger, legs: list[tuple[int, float]], shares: float, spot: float) -> float:
    terms = ledger.market.contracts
    options = (q * terms[c].multiplier * max(0.0, terms[c].right * (spot - terms[c].strike)) for c, q in legs)
    return shares * spot + sum(options)


def _short_notional(ledger: Ledger, legs: list[tuple[int, float]]) -> tuple[float, float]:
    """Strike x multiplier x contracts of short calls and of short puts."""
    terms, total = ledger.market.contracts, {1: 0.0, -1: 0.0}
    for contract, quantity in legs:
        total[terms[contract].right] += max(0.0, -quantity) * terms[contract].multiplier * terms[contract].strike
    return total[1], total[-1]


def _size(
    ledger: Ledger, config: EnvConfig, account: Account, t: int, equity: float, unit: Unit | None
) -> tuple[float, bool]:
    """Whole units that risk, assignable notional and budget allow, and whether rounding leaves no doubt about it."""
    if unit is None:
        return 0.0, True
    limits = [config.risk_fraction * equity / unit.risk]
    held = _short_notional(ledger, account.legs)
    for notional, already in zip((unit.short_calls, unit.short_puts), held, strict=True):
        if notional > 0:
            limits.append((config.assignable_fraction * equity - already) / notional)
    exact = min(limits)
    certain = all(abs(x - round(x)) > 1e-9 * max(1.0, abs(x)) for x in limits)
    size = max(0, math.floor(exact))
    within, sure = _within_budget(ledger, account, t, equity, unit, size)
    return float(within), certain and sure


def _within_budget(ledger: Ledger, account: Account, t: int, equity: float, unit: Unit, most: int) -> tuple[int, bool]:
    """The largest size up to `most` that the risk budget leaves room for, found by trying, and whether beyond doubt.

    Each use must keep its headroom after the trade, unless the trade lowers it.
    """
    rules = ledger.rules
    premium, age = _premium(ledger, unit, t), age_at_fill(ledger, account)
    alone = Account(0.0, unit.shares, unit.legs, [(age, premium)], account.age)
    one = taken(ledger, alone, t).sides(rules)
    raised = [use + rules.budget_headroom * cap * unit.cost > 0.0 for use, cap in one]

    def room(size: int) -> float:
        legs = [*account.legs, *((c, q * size) for c, q in unit.legs)]
        sold = [*account.sold, (age, size * premium)]
        book = taken(ledger, Account(0.0, account.shares + unit.shares * size, legs, sold, account.age), t)
        left = [rules.budget_headroom * cap * (equity - size * unit.cost) - use for use, cap in book.sides(rules)]
        return min((x for x, up in zip(left, raised, strict=True) if up), default=math.inf)

    if room(most) >= 0.0:
        return most, room(most) > 1e-6
    low, high = 0, most  # no unit always fits
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if room(middle) >= 0.0 else (low, middle)
    return low, min(abs(room(low)), abs(room(high))) > 1e-6


def _premium(ledger: Ledger, unit: Unit, t: int) -> float:
    """Taken for the legs that one unit sells."""
    now, terms, crossed = ledger.market.snapshots[t], ledger.market.contracts, 0.5 * ledger.rules.fraction
    sold = ((c, -q) for c, q in unit.legs if q < 0)
    return sum(
        q * terms[c].multiplier * max(0.0, now.quotes[c].mark - crossed * (now.quotes[c].ask - now.quotes[c].bid))
        for c, q in sold
    )


def _hedge_keeps_the_budget(ledger: Ledger, account: Account, t: int) -> bool:
    """Whether gross exposure and crash loss keep their headroom after the hedge, or are no larger for it."""
    rules, before = ledger.rules, taken(ledger, account, t)
    hedged = with_shares(ledger, account, -float(round(ledger.delta(ledger.at_fill(account, t), t))), t)
    after, equity = taken(ledger, hedged, t), rules.budget_headroom * ledger.equity(hedged, t)
    return all(
        use <= already * (1.0 + 1e-9) + 1e-6 or use <= cap * equity + 1e-6
        for use, already, cap in (
            (after.gross, before.gross, rules.max_gross_exposure),
            (after.crash_loss, before.crash_loss, rules.max_crash_loss),
        )
    )


def _legal(
    ledger: Ledger, account: Account, t: int, equity: float, unit: Unit | None, size: float
) -> tuple[bool, bool]:
    """Whether the account can hold the package after its costs, and whether that is beyond doubt."""
    if unit is None or size < 1 or len(account.legs) + len(unit.legs) > ledger.rules.max_legs:
        return False, True
    legs = [*account.legs, *((c, q * size) for c, q in unit.legs)]
    margin = ledger.margin(Account(0.0, account.shares + unit.shares * size, legs), t)
    room = equity - size * unit.cost - margin
    return room >= 0.0, abs(room) > 1e-6
