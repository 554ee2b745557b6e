"""What a session met, counted from the records of its steps: a proof that met none of what it covers proves nothing."""

from collections import Counter
from collections.abc import Iterable

import torch

from clstm_core.audit.reference.terms import DAY_NS, MORNING_NS
from clstm_core.audit.result import Finding
from clstm_core.env.state import (
    CLOSE,
    EXPIRY,
    FIRST_SHARE_SLOT,
    HEDGE,
    LIQUIDATION,
    OPEN,
    StepLedger,
)
from clstm_core.market.tensors import MarketTensors

SETTLEMENTS = (
    "AM settlement",
    "PM settlement",
    "half-day settlement",
    "settlement in the money",
    "settlement out of the money",
)
TRADES = ("option bought", "option sold", "shares traded")
CARRY = ("interest", "dividends", "borrow")
CALENDAR = ("weekend", "holiday")
MULTIPLIERS = 3
"""Different multipliers that the listed worlds hold; contracts of each must have settled."""
ALL_MULTIPLIERS = f"{MULTIPLIERS} multipliers settled"

_EARLY_NS = 2 * 3600 * 10**9  # before the usual close: an early close is three hours before
_WEEKEND_DAYS = 2.5  # between snapshots; clocks change by an hour


def count_events(last: StepLedger, market: MarketTensors) -> Counter[str]:
    """Accounts (or fills) of one step that met each kind of event."""
    met: Counter[str] = Counter()
    reason, quantity = last.fill_reason_NX, last.fill_quantity_NX
    share = torch.arange(reason.shape[1]) >= FIRST_SHARE_SLOT
    traded = (quantity != 0) & (reason > 0) & (reason != EXPIRY)
    met["option bought"] = int((traded & ~share & (quantity > 0)).sum())
    met["option sold"] = int((traded & ~share & (quantity < 0)).sum())
    met["shares traded"] = int((traded & share).sum())
    for name, code in (("open", OPEN), ("close", CLOSE), ("hedge", HEDGE), ("liquidation", LIQUIDATION)):
        met[name] = int(((quantity != 0) & (reason == code)).sum())
    expiry = (quantity != 0) & (reason == EXPIRY)
    if bool(expiry.any()):
        contract = last.fill_contract_NX[expiry]
        snapshot = last.snapshot_N[:, None].expand_as(reason)[expiry]
        price = last.fill_price_NX[expiry]
        expiration, arrival = market.expiration_K[contract], market.snapshot_T[snapshot]
        before_close = arrival % DAY_NS - expiration % DAY_NS
        morning = before_close > MORNING_NS
        met["AM settlement"] = int(morning.sum())
        met["PM settlement"] = int((~morning).sum())
        met["half-day settlement"] = int((~morning & (before_close > _EARLY_NS)).sum())
        met["settlement on a day without a session"] = int((expiration // DAY_NS != arrival // DAY_NS).sum())
        met["settlement in the money"] = int((price > 0).sum())
        met["settlement out of the money"] = int((price == 0).sum())
        for multiplier in market.multiplier_K[contract].unique().tolist():
            met[f"settlement, multiplier {multiplier:g}"] = int((market.multiplier_K[contract] == multiplier).sum())
    held = last.leg_contract_NL >= 0
    met["short option"] = int((held & (last.leg_quantity_NL < 0)).sum())
    met["stale mark"] = int(last.leg_stale_NL.sum())
    met["negative cash"] = int((last.cash_N < 0).sum())
    met["short shares"] = int((last.shares_N < 0).sum())
    met["interest"], met["dividends"] = int((last.interest_N != 0).sum()), int((last.dividends_N != 0).sum())
    met["borrow"] = int((last.borrow_N != 0).sum())
    met["unfilled"], met["rejected"] = int(last.unfilled_N.sum()), int(last.rejected_N.sum())
    met["breach that remains"] = int(last.breached_N.sum())
    met["closed by the budget"] = int((last.over_budget_N & last.liquidated_N).sum())
    met["shares trimmed"] = int((last.over_budget_N & ~last.liquidated_N).sum())
    met["budget breach that remains"] = int(last.budget_breached_N.sum())
    met["ruin"], met["horizon"] = int(last.terminated_N.sum()), int(last.truncated_N.sum())
    days = (market.snapshot_T[last.snapshot_N] - market.snapshot_T[last.snapshot_from_N]).double() / DAY_NS
    carried = held.any(dim=1) | (last.shares_N != 0)
    weekday = (market.snapshot_T[last.snapshot_from_N] // DAY_NS + 3) % 7  # 0 Monday
    ordinary = torch.where(weekday == 4, 3.0, 1.0)
    met["weekend"] = int((carried & (days > _WEEKEND_DAYS)).sum())
    met["holiday"] = int((carried & (days > ordinary + 0.5)).sum())
    return +met


def every_event(met: Counter[str], expected: Iterable[str], check: str = "events missing") -> Finding:
    """Fails with a sentence when a proof met none of something that it claims to cover."""
    expected = tuple(expected)
    kinds = sum(1 for name in met if name.startswith("settlement, multiplier"))
    met = met + Counter({ALL_MULTIPLIERS: int(kinds >= MULTIPLIERS)})
    missing = [event for event in expected if not met[event]]
    seen = ", ".join(f"{met[event]} {event}" for event in expected)
    detail = (
        f"never met: {', '.join(missing)}; expected each at least once, or nothing is proven of it. Walk longer, or in "
        "a world that holds it"
        if missing
        else seen
    )
    return Finding(check=check, statistic=len(missing), threshold=0.0, detail=detail)
