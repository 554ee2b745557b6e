"""The reference ledger: one account in lists and floats, written from the rules of the market, not from the env.

It is given quotes and orders, and works out fills, fees, interest, dividends, borrow, settlement, marks, margin, the
risk budget, rejection and liquidation itself. No tensors here: what it shares with the environment is the market, the
configuration and nothing else.
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from clstm_core.audit.reference import budget
from clstm_core.audit.reference.rules import Rules, black_scholes, vega

YEAR_NS = 365 * 86_400 * 1_000_000_000
UNDERLYING = -1


class Quote(NamedTuple):
    """One contract at one snapshot; prices per share."""

    bid: float
    ask: float
    quoted: bool
    model_mark: float  # marks it while it is not quoted
    vol: float  # the last one that a price implied
    delta: float

    @property
    def mark(self) -> float:
        """Mid while quoted, else the model price."""
        return 0.5 * (self.bid + self.ask) if self.quoted else self.model_mark

    def trades(self, quantity: float) -> bool:
        """Two-sided, neither locked nor crossed; a zero bid may be bought, not sold."""
        return self.quoted and self.ask > self.bid >= 0.0 and (quantity > 0 or self.bid > 0.0)


class Contract(NamedTuple):
    """Terms of one listed option; settle_value is cash per share, NaN beyond the data."""

    strike: float
    right: int  # +1 call, -1 put
    multiplier: float
    expiration_ns: int
    settle_value: float


class Snapshot(NamedTuple):
    """The market at one session's close; rates are per year, continuous, and hold until the next snapshot."""

    time_ns: int
    spot: float
    rate: float
    dividend_yield: float
    quotes: dict[int, Quote]


@dataclass(frozen=True)
class PlainMarket:
    """A market in plain Python: snapshots in time order, contracts by index, cells of the grid by snapshot."""

    snapshots: list[Snapshot]
    contracts: list[Contract]
    grid: list[list[int]]  # contract per cell, -1 = none
    scenario_cache: dict[tuple[int, int], list[float]] = field(default_factory=dict)

    def scenarios(self, t: int, contract: int, rules: Rules) -> list[float]:
        """Profit per share of one long contract in each margin scenario at snapshot t."""
        key = (t, contract)
        if key not in self.scenario_cache:
            now, terms = self.snapshots[t], self.contracts[contract]
            quote, years = now.quotes[contract], (terms.expiration_ns - now.time_ns) / YEAR_NS

            def value(spot: float, vol: float) -> float:
                return black_scholes(spot, terms.strike, years, vol, now.rate, now.dividend_yield, terms.right)

            base = value(now.spot, quote.vol)
            shocks = [*rules.scenarios(), (rules.crash_move, rules.crash_vol_shock)]
            profits = [value(now.spot * (1 + m), quote.vol * (1 + s)) - base for m, s in shocks]
            self.scenario_cache[key] = [0.0 if p != p else p for p in profits]
        return self.scenario_cache[key][:-1]

    def crash(self, t: int, contract: int, rules: Rules) -> float:
        """Profit per share of one long contract in the risk budget's crash at snapshot t."""
        self.scenarios(t, contract, rules)
        return self.scenario_cache[t, contract][-1]

    def vega(self, t: int, contract: int) -> float:
        """Change of one contract's value per share and 1.00 of vol at snapshot t."""
        now, terms = self.snapshots[t], self.contracts[contract]
        years = (terms.expiration_ns - now.time_ns) / YEAR_NS
        return vega(now.spot, terms.strike, years, now.quotes[contract].vol, now.rate, now.dividend_yield)


class Order(NamedTuple):
    """A decision, filled whole or not at all: signed contracts and shares, after closing everything if so."""

    legs: list[tuple[int, float]]
    shares: float = 0.0
    close_all: bool = False
    hedge: bool = False


class Fill(NamedTuple):
    """One trade; contract -1 is the underlying. Sorts by reason, contract, quantity."""

    reason: str
    contract: int
    quantity: float
    price: float
    fee: float


@dataclass
class Day:
    """What one step did, in account currency; costs are positive."""

    interest: float = 0.0
    dividends: float = 0.0
    borrow: float = 0.0
    fees: float = 0.0
    slippage: float = 0.0
    settlement: float = 0.0  # settlement value minus the last mark
    option_mark_change: float = 0.0
    share_mark_change: float = 0.0
    fills: list[Fill] = field(default_factory=list)
    unfilled: bool = False
    rejected: bool = False
    liquidated: bool = False
    breached: bool = False
    over_budget: bool = False
    budget_breached: bool = False
    equity: float = 0.0
    margin: float = 0.0
    # of the risk budget, shares of equity after the step
    net_exposure: float = 0.0
    gross_exposure: float = 0.0
    crash_loss: float = 0.0
    vega: float = 0.0
    premium_sold: float = 0.0


@dataclass
class Account:
    """Cash, shares and option legs (contract, quantity); a contract traded twice is two legs."""

    cash: float
    shares: float = 0.0
    legs: list[tuple[int, float]] = field(default_factory=list)
    sold: list[tuple[int, float]] = field(default_factory=list)  # options to open: age at the fill, premium taken
    age: int = 0  # snapshots since the episode began


@dataclass(frozen=True)
class Ledger:
    """The rules applied to accounts in one market."""

    market: PlainMarket
    rules: Rules

    def equity(self, account: Account, t: int) -> float:
        """Cash plus everything held at marks."""
        now, terms = self.market.snapshots[t], self.market.contracts
        options = sum(q * terms[c].multiplier * now.quotes[c].mark for c, q in account.legs)
        return account.cash + account.shares * now.spot + options

    def margin(self, account: Account, t: int) -> float:
        """The worst loss of the whole book over the scan, and never less than the floor of its short contracts."""
        spot, terms, rules = self.market.snapshots[t].spot, self.market.contracts, self.rules
        profit = [account.shares * spot * move for move, _ in rules.scenarios()]
        for contract, quantity in account.legs:
            weight = quantity * terms[contract].multiplier
            for s, value in enumerate(self.market.scenarios(t, contract, rules)):
                profit[s] += weight * value
        floor = rules.min_margin_per_short * sum(-q for _, q in account.legs if q < 0)
        return max(0.0, -min(profit), floor)

    def delta(self, account: Account, t: int) -> float:
        """Delta of the whole book, in shares, at the Greeks of snapshot t."""
        quotes, terms = self.market.snapshots[t].quotes, self.market.contracts
        return account.shares + sum(q * terms[c].multiplier * quotes[c].delta for c, q in account.legs)

    def step(self, account: Account, order: Order, t: int) -> Day:
        """Take one account from snapshot t to t + 1, changing it in place.

        Order of events: a fill without lag at t; interest, dividends, borrow and settlement overnight; a lagged fill at
        t + 1; then the margin call and the budget's.
        """
        day = Day()
        hedge = self._hedge_shares(account, order, t) if order.hedge else 0.0
        if self.rules.fill_lag == 0:
            self._execute(account, order, hedge, t, day)
        self._overnight(account, t, day)
        if self.rules.fill_lag == 1:
            self._execute(account, order, hedge, t + 1, day)
        self._margin_call(account, t + 1, day)
        day.breached = day.margin > day.equity
        self._state_budget(account, t + 1, day)
        account.age += 1
        return day

    def liquidation_equity(self, account: Account, t: int) -> float:
        """Equity if everything that trades were closed now, costs paid; what does not trade stays at its mark."""
        copy, day = replace(account, legs=list(account.legs)), Day()
        self._close(copy, t, "close", day)
        return self.equity(copy, t)

    def at_fill(self, account: Account, t: int) -> Account:
        """What an account that stands at snapshot t still holds where an order decided there is filled."""
        if self.rules.fill_lag == 0:
            return account
        return replace(account, legs=[leg for leg in account.legs if not self._settles(leg[0], t)])

    def _hedge_shares(self, account: Account, order: Order, t: int) -> float:
        held = Account(0.0) if order.close_all else self.at_fill(account, t)
        after = Account(0.0, held.shares + order.shares, [*held.legs, *order.legs])
        return -float(round(self.delta(after, t)))

    def _settles(self, contract: int, t: int) -> bool:
        """Whether a contract held at snapshot t is settled in cash by the next."""
        today, tomorrow = self.market.snapshots[t], self.market.snapshots[t + 1]
        return today.time_ns < self.market.contracts[contract].expiration_ns <= tomorrow.time_ns

    def _execute(self, account: Account, order: Order, hedge: float, t: int, day: Day) -> None:
        now, rules = self.market.snapshots[t], self.rules
        opens = bool(order.legs or order.shares or hedge)
        closes = order.close_all and bool(account.legs or account.shares)
        if not (opens or closes):
            return
        if any(c not in now.quotes or not now.quotes[c].trades(q) for c, q in order.legs):
            day.unfilled = True
            return
        if closes and any(not now.quotes[c].trades(-q) for c, q in account.legs):
            day.unfilled = True
            return
        after, trades = replace(account, legs=list(account.legs)), Day()
        if closes:
            self._close(after, t, "close", trades)
        for contract, quantity in order.legs:
            self._trade_option(after, contract, quantity, t, "open", trades)
            after.legs.append((contract, quantity))
            if quantity < 0:
                premium = -quantity * self.market.contracts[contract].multiplier * trades.fills[-1].price
                after.sold = [*after.sold, (budget.age_at_fill(self, account), premium)]
        self._trade_shares(after, order.shares, t, "open", trades)
        self._trade_shares(after, hedge, t, "hedge", trades)
        fits = len(after.legs) <= rules.max_legs and self.margin(after, t) <= self.equity(after, t)
        if opens and not (fits and budget.may_fill(self, account, after, t)):
            day.rejected = True
            return
        account.cash, account.shares, account.legs = after.cash, after.shares, after.legs
        account.sold = after.sold
        day.fees += trades.fees
        day.slippage += trades.slippage
        day.fills += trades.fills

    def _overnight(self, account: Account, t: int, day: Day) -> None:
        today, tomorrow = self.market.snapshots[t], self.market.snapshots[t + 1]
        years = (tomorrow.time_ns - today.time_ns) / YEAR_NS
        day.interest = account.cash * math.expm1(today.rate * years)
        day.dividends = account.shares * tomorrow.spot * math.expm1(today.dividend_yield * years)
        day.borrow = max(-account.shares, 0.0) * today.spot * self.rules.borrow_rate * years
        day.share_mark_change = account.shares * (tomorrow.spot - today.spot)
        account.cash += day.interest + day.dividends - day.borrow
        kept = []
        for contract, quantity in account.legs:
            terms, before = self.market.contracts[contract], today.quotes[contract].mark
            value = quantity * terms.multiplier
            if self._settles(contract, t):
                account.cash += value * terms.settle_value
                day.settlement += value * (terms.settle_value - before)
                day.fills.append(Fill("expiry", contract, -quantity, terms.settle_value, 0.0))
            else:
                day.option_mark_change += value * (tomorrow.quotes[contract].mark - before)
                kept.append((contract, quantity))
        account.legs = kept

    def _margin_call(self, account: Account, t: int, day: Day) -> None:
        day.equity, day.margin = self.equity(account, t), self.margin(account, t)
        if not (account.legs or account.shares):
            return
        traded = budget.shares_to_trade(self, account, t)
        left = budget.above(self, budget.with_shares(self, account, traded, t), t)
        day.over_budget = bool(traded or left)
        if left or day.margin > day.equity:
            day.liquidated = True
            self._close(account, t, "liquidation", day)
        else:
            self._trade_shares(account, traded, t, "liquidation", day)
        day.equity, day.margin = self.equity(account, t), self.margin(account, t)

    def _state_budget(self, account: Account, t: int, day: Day) -> None:
        """What the book takes of its budget when the step is over, and whether that is more than it may."""
        taken = budget.taken(self, account, t)
        names = ("net_exposure", "gross_exposure", "crash_loss", "vega", "premium_sold")
        for name, (_, use, _) in zip(names, taken.against(self.rules), strict=True):
            setattr(day, name, budget.share_of(use, day.equity))
        day.budget_breached = bool(account.legs or account.shares) and bool(budget.above(self, account, t))

    def _close(self, account: Account, t: int, reason: str, day: Day) -> None:
        """Close each leg that trades, and all shares."""
        kept = []
        for contract, quantity in account.legs:
            if self.market.snapshots[t].quotes[contract].trades(-quantity):
                self._trade_option(account, contract, -quantity, t, reason, day)
            else:
                kept.append((contract, quantity))
        account.legs = kept
        self._trade_shares(account, -account.shares, t, reason, day)

    def _trade_option(self, account: Account, contract: int, quantity: float, t: int, reason: str, day: Day) -> None:
        """Pay (or receive) the price and the commission; the leg itself is booked by the caller."""
        quote, rules = self.market.snapshots[t].quotes[contract], self.rules
        crossed = rules.fraction * 0.5 * (quote.ask - quote.bid)
        price = quote.mark + crossed if quantity > 0 else max(0.0, quote.mark - crossed)
        value, fee = quantity * self.market.contracts[contract].multiplier, rules.per_contract * abs(quantity)
        account.cash -= value * price + fee
        day.fees += fee
        day.slippage += value * (price - quote.mark)
        day.fills.append(Fill(reason, contract, quantity, price, fee))

    def _trade_shares(self, account: Account, quantity: float, t: int, reason: str, day: Day) -> None:
        if not quantity:
            return
        spot, rules = self.market.snapshots[t].spot, self.rules
        price = spot * (1.0 + math.copysign(rules.fraction * 0.5 * rules.share_spread, quantity))
        fee = rules.per_share * abs(quantity)
        account.cash -= quantity * price + fee
        account.shares += quantity
        day.fees += fee
        day.slippage += quantity * (price - spot)
        day.fills.append(Fill(reason, UNDERLYING, quantity, price, fee))
