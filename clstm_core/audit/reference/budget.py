"""The risk budget in plain Python, written from its definitions: what a book takes, what may fill, what is sold back.

A book is asked for by its legs and shares each time; nothing here is linear in anything, so that sizes are found by
trying them.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from clstm_core.audit.reference.rules import Rules

if TYPE_CHECKING:
    from clstm_core.audit.reference.ledger import Account, Ledger

PREMIUM_SESSIONS = 21
"""Ages of an account at which fills count together: 0 .. 20, 21 .. 41, and so on."""

ROUNDING = 1e-6
"""Of a cap: how much above it still counts as at it."""

MOST = 100.0
"""Uses are written down as shares of equity up to this one."""


class Taken(NamedTuple):
    """What a book takes of its budget, in currency; net, shares and vega with their sign."""

    net: float
    options_gross: float
    shares: float
    crash_loss: float
    vega: float
    premium: float

    @property
    def gross(self) -> float:
        """Of shares and options."""
        return self.options_gross + abs(self.shares)

    def against(self, rules: Rules) -> list[tuple[str, float, float]]:
        """Name, use and cap (a share of equity) of everything that is capped."""
        return [
            ("net exposure", abs(self.net), rules.max_net_exposure),
            ("gross exposure", self.gross, rules.max_gross_exposure),
            ("crash loss", self.crash_loss, rules.max_crash_loss),
            ("vega", abs(self.vega), rules.max_vega),
            ("premium sold", self.premium, rules.max_premium_sold),
        ]

    def sides(self, rules: Rules) -> list[tuple[float, float]]:
        """The same from either side, so that each use can be too large one way alone: use and cap."""
        net, gross, vega = rules.max_net_exposure, rules.max_gross_exposure, rules.max_vega
        return [
            (self.net, net),
            (-self.net, net),
            (self.options_gross + self.shares, gross),
            (self.options_gross - self.shares, gross),
            (self.crash_loss, rules.max_crash_loss),
            (self.vega, vega),
            (-self.vega, vega),
            (self.premium, rules.max_premium_sold),
        ]


def taken(ledger: "Ledger", account: "Account", t: int) -> Taken:
    """What an account's book takes at the marks and Greeks of snapshot t."""
    now, terms, rules = ledger.market.snapshots[t], ledger.market.contracts, ledger.rules
    net, gross, vega = account.shares, 0.0, 0.0
    crash = account.shares * now.spot * rules.crash_move
    for contract, quantity in account.legs:
        weight = quantity * terms[contract].multiplier
        delta = weight * now.quotes[contract].delta
        net, gross = net + delta, gross + abs(delta)
        vega += weight * ledger.market.vega(t, contract)
        crash += weight * ledger.market.crash(t, contract, rules)
    premium = premium_sold(ledger, account)
    return Taken(net * now.spot, gross * now.spot, account.shares * now.spot, -crash, 0.01 * vega, premium)


def age_at_fill(ledger: "Ledger", account: "Account") -> int:
    """The age that an account will have where an order decided now is filled."""
    return account.age + ledger.rules.fill_lag


def premium_sold(ledger: "Ledger", account: "Account") -> float:
    """What was taken for options sold to open in the same stretch of ages as an order decided now will fill in."""
    stretch = age_at_fill(ledger, account) // PREMIUM_SESSIONS
    return sum((premium for age, premium in account.sold if age // PREMIUM_SESSIONS == stretch), 0.0)


def share_of(use: float, equity: float) -> float:
    """A use as a share of equity, from 0 to MOST; MOST where there is a use and no equity."""
    if equity <= 0.0:
        return MOST if use > 0.0 else 0.0
    return min(MOST, max(0.0, use / equity))


def may_fill(ledger: "Ledger", before: "Account", after: "Account", t: int) -> bool:
    """Whether no cap is exceeded by a use that the order raised.

    With a lag, exposures may have grown by the headroom since the decision, if trimming shares is enough to cure them.
    """
    rules = ledger.rules
    was, would = taken(ledger, before, t).against(rules), taken(ledger, after, t).against(rules)
    raised = {name for (name, already, _), (_, use, _) in zip(was, would, strict=True) if use > already}
    grown, equity = 1.0 / rules.budget_headroom if rules.fill_lag else 1.0, ledger.equity(after, t)
    for name, use, cap in would:
        most = cap * grown if name.endswith("exposure") else cap
        if name in raised and use > most * equity * (1.0 + ROUNDING):
            return False
    if not rules.fill_lag:
        return True
    trimmed = with_shares(ledger, after, shares_to_trade(ledger, after, t), t)
    return not raised.intersection(above(ledger, trimmed, t))


def above(ledger: "Ledger", account: "Account", t: int) -> list[str]:
    """Names of the caps that a book may not stand above and does: net, gross exposure, crash loss."""
    equity = ledger.equity(account, t)
    uses = taken(ledger, account, t).against(ledger.rules)[:3]
    return [name for name, use, cap in uses if use > cap * equity * (1.0 + ROUNDING)]


def shares_to_trade(ledger: "Ledger", account: "Account", t: int) -> float:
    """The fewest whole shares, towards none, that bring net and gross exposure back to their caps."""
    if not account.shares:
        return 0.0
    rules, use, spot = ledger.rules, taken(ledger, account, t), ledger.market.snapshots[t].spot
    equity, sign = ledger.equity(account, t), math.copysign(1.0, account.shares)
    needed = 0
    for exposure, cap in ((use.net * sign, rules.max_net_exposure), (use.gross, rules.max_gross_exposure)):
        if exposure > cap * equity:
            worth = max(spot - cap * _cost(rules, spot), 0.25 * spot)  # a share sold costs some of the cap as well
            needed = max(needed, math.ceil((exposure - cap * equity) / worth))
    return -sign * min(float(needed), abs(account.shares))


def with_shares(ledger: "Ledger", account: "Account", traded: float, t: int) -> "Account":
    """The account after a share trade and its costs."""
    spot = ledger.market.snapshots[t].spot
    paid = traded * spot + abs(traded) * _cost(ledger.rules, spot)
    return replace(account, cash=account.cash - paid, shares=account.shares + traded)


def _cost(rules: Rules, spot: float) -> float:
    return 0.5 * rules.share_spread * rules.fraction * spot + rules.per_share
