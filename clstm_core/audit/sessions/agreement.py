"""How far apart the environment and the reference ledger are: account, flows, fills, quotes and reward of each step."""

import math
from typing import Any

from clstm_core.audit.reference.budget import premium_sold, share_of
from clstm_core.audit.reference.ledger import YEAR_NS, Account, Day, Fill, Ledger, Quote
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.records import Before
from clstm_core.config import EnvConfig
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import MARKET_FEATURES, MAX_LEGS, OBSERVATION

CENT = 0.01

UNKNOWN = Quote(bid=math.nan, ask=math.nan, quoted=False, model_mark=math.nan, vol=math.nan, delta=math.nan)
"""Of a contract that the market does not hold at a snapshot, whatever the environment believes."""

FLOWS = (
    "interest",
    "dividends",
    "borrow",
    "fees",
    "slippage",
    "settlement",
    "option_mark_change",
    "share_mark_change",
    "equity",
    "margin",
)

BUDGET = ("net_exposure", "gross_exposure", "crash_loss", "vega", "premium_sold")
"""What the book takes of its risk budget, in shares of equity."""


class Agreement:
    """The worst gap of each quantity between what the env says of its accounts and what `ledger` makes of them."""

    def __init__(self, ledger: Ledger, config: EnvConfig):
        self.ledger, self.config = ledger, config
        self.worst: dict[str, tuple[float, str]] = {}

    def compare(self, name: str, found: float, expected: float, where: str, scale: float = 1.0) -> None:
        """Record |found - expected| / scale; anything that is no number counts as infinite."""
        gap = abs(found - expected) / scale
        gap = gap if math.isfinite(gap) else math.inf
        if gap >= self.worst.get(name, (-1.0, ""))[0]:
            self.worst[name] = (gap, f"{where}: env {found:.6g}, ledger {expected:.6g}")

    def differ(self, name: str, found: Any, expected: Any, where: str) -> None:
        """Record two things that must be equal: 0 when they are, infinite when not."""
        gap = 0.0 if found == expected else math.inf
        if gap >= self.worst.get(name, (-1.0, ""))[0]:
            self.worst[name] = (gap, f"{where}: env {found}, ledger {expected}" if gap else "")

    @property
    def wrong(self) -> bool:
        """Whether any quantity was further apart than it may be."""
        return any(gap > CENT for gap, _ in self.worst.values())

    def findings(self, label: str) -> list[Finding]:
        """One finding per quantity, in dollars against a cent."""
        return [
            Finding(check=f"{label} {name}", statistic=gap, threshold=CENT, detail=detail)
            for name, (gap, detail) in self.worst.items()
        ]

    def account(self, start: Before, n: int, account: Account, market: MarketTensors, where: str) -> float:
        """The env's account before the step must be the ledger's; the equity both begin with."""
        rows = start.leg_row[n].tolist()
        quantities = start.leg_quantity[n].tolist()
        legs = sorted((int(market.row_contract_Q[r]), q) for r, q in zip(rows, quantities, strict=True) if r >= 0)
        self.differ("positions", legs, sorted(account.legs), where)
        self.compare("cash", float(start.cash[n]), account.cash, where)
        self.compare("shares", float(start.shares[n]), account.shares, where)
        return float(start.equity[n])

    def day(self, record: dict[str, Any], day: Day, account: Account, opening: float, where: str) -> None:
        """Flows, flags, fills and the account after the step; equity changes by the flows and by nothing else."""
        for name in FLOWS:
            self.compare(name, record[name], getattr(day, name), where)
        for name in BUDGET:
            expected = getattr(day, name)
            self.compare(name, record[name], expected, where, scale=1e-5 * (1.0 + abs(expected)))
        for name in ("unfilled", "rejected", "liquidated", "breached", "over_budget", "budget_breached"):
            self.differ(name, bool(record[name]), getattr(day, name), where)
        earned = sum(
            record[f] for f in ("interest", "dividends", "settlement", "option_mark_change", "share_mark_change")
        )
        paid = record["borrow"] + record["fees"] + record["slippage"]
        self.compare("flow identity", record["equity"] - opening, earned - paid, where)
        self.compare("cash after", record["cash"], account.cash, where)
        self.compare("shares after", record["shares"], account.shares, where)
        self.differ("positions after", record["legs"], sorted(account.legs), where)
        explained = sum(
            record[f"attribution_{name}"] for name in ("delta", "gamma", "vega", "theta", "carry", "residual")
        )
        explained += record["settlement"] - record["slippage"] - record["fees"]
        self.compare("attribution identity", record["equity"] - opening, explained, where)
        self.compare("equity before", record["equity_before"], opening, where)
        self._fills(record["fills"], sorted(day.fills), where)
        self._quotes(record, where)
        snapshot = int(record["snapshot"])
        self.compare(
            "liquidation equity", record["equity_liquidation"], self.ledger.liquidation_equity(account, snapshot), where
        )

    def outcome(self, record, result, n: int, day: Day, entry: float, opening: float, t: int, where: str) -> None:
        """The reward is the excess over cash in scaled basis points, and ruin alone terminates."""
        now, then = self.ledger.market.snapshots[t], self.ledger.market.snapshots[t + 1]
        years = (then.time_ns - now.time_ns) / YEAR_NS
        reward = reward_due(self.config, opening * math.exp(now.rate * years), day.equity, day.margin, entry)
        self.compare("reward", float(result.reward[n]), reward, where, scale=100.0 * (1e-4 + 1e-6 * abs(reward)))
        self.differ("terminated", bool(record["terminated"]), day.equity <= self.config.ruin_fraction * entry, where)
        self.differ("step's end", bool(result.terminated[n]), bool(record["terminated"]), where)

    def observed(self, result, n: int, day: Day, account: Account, entry: float, t: int, market, where: str) -> None:
        """What the policy is told at a step's end is the ledger's account there, whether or not it ends an episode."""
        now, terms = self.ledger.market.snapshots[t], self.ledger.market.contracts
        quotes = [now.quotes.get(contract) for contract, _ in account.legs]
        expected = {
            "equity_change": day.equity / entry - 1.0,
            "cash_fraction": account.cash / entry,
            "share_fraction": account.shares * now.spot / entry,
            "margin_used": day.margin / entry,
            "legs_held": len(account.legs) / MAX_LEGS,
            "nearest_expiry_years": min(
                ((terms[c].expiration_ns - now.time_ns) / YEAR_NS for c, _ in account.legs), default=0.0
            ),
            "gross_exposure": day.gross_exposure,
            "crash_loss": day.crash_loss,
            "premium_sold": share_of(premium_sold(self.ledger, account), day.equity),
            "stale_legs": sum(quote is not None and not quote.quoted for quote in quotes) / MAX_LEGS,
            **dict(zip(MARKET_FEATURES, market.features_TF[t].tolist(), strict=True)),
        }
        last, ended = result.final_observation[n].tolist(), bool(result.terminated[n] | result.truncated[n])
        for name, value in expected.items():
            found = last[OBSERVATION.index(name)]
            self.compare("final observation", found, value, f"{where} {name}", scale=1e-3 * (1.0 + abs(value)))
        fresh = result.observation[n].tolist()
        if ended:
            for name, value in (
                ("equity_change", 0.0),
                ("cash_fraction", 1.0),
                ("legs_held", 0.0),
                ("premium_sold", 0.0),
            ):
                self.compare("first observation", fresh[OBSERVATION.index(name)], value, f"{where} {name}", scale=1e-3)
        else:
            self.differ("observation after a step", fresh, last, where)

    def _fills(self, found: list[Fill], expected: list[Fill], where: str) -> None:
        def what(fills: list[Fill]) -> list[tuple[str, int, float]]:
            return [(f.reason, f.contract, f.quantity) for f in fills]

        self.differ("fills", what(found), what(expected), where)
        for one, other in zip(found, expected, strict=False):
            self.compare("fill price", one.price, other.price, where)
            self.compare("fill fee", one.fee, other.fee, where)

    def _quotes(self, record: dict[str, Any], where: str) -> None:
        """What the record says of the quotes that filled and of the marks held is what the market says."""
        for reason, contract, at, bid, ask, multiplier in record["fill_quotes"]:
            now = self.ledger.market.snapshots[at]
            lagged = reason in ("expiry", "liquidation") or self.ledger.rules.fill_lag == 1
            self.differ("fill snapshot", at, int(record["snapshot" if lagged else "snapshot_from"]), where)
            self.differ(
                "multiplier",
                multiplier,
                self.ledger.market.contracts[contract].multiplier if contract >= 0 else 1,
                where,
            )
            if reason != "expiry" and contract >= 0:
                quote = now.quotes.get(contract, UNKNOWN)
                self.compare("fill bid", bid, quote.bid, where)
                self.compare("fill ask", ask, quote.ask, where)
        quotes = self.ledger.market.snapshots[int(record["snapshot"])].quotes
        for contract, mark, stale in record["leg_marks"]:
            quote = quotes.get(contract, UNKNOWN)
            self.compare("leg mark", mark, quote.mark, where)
            self.differ("stale flag", stale, not quote.quoted, where)


MOST_FELT = 1000.0
"""Slope of a reward of growth from which on a loss is felt in proportion."""


def reward_due(config: EnvConfig, in_cash: float, equity: float, margin: float, entry: float) -> float:
    """The reward of a step that ended at `equity`, where cash alone would have ended at `in_cash`.

    Units: scaled basis points, of entry equity or of what cash would have come to
    """
    scale = config.reward_scale * 1e4
    if config.reward == "profit":
        return scale * (equity - in_cash - config.risk_penalty * margin) / entry
    aversion = config.risk_aversion
    if config.reward == "mean_variance":
        gain = equity / in_cash - 1.0
        return scale * (gain - aversion * gain * gain / 2.0)
    growth, steepest_at = equity / in_cash, MOST_FELT ** (-1.0 / aversion)
    if growth < steepest_at:  # a straight line of that slope, from where the curve reaches it
        return scale * (_felt(steepest_at, aversion) - MOST_FELT * (steepest_at - growth))
    return scale * _felt(growth, aversion)


def _felt(growth: float, aversion: float) -> float:
    """Constant relative risk aversion."""
    return math.log(growth) if aversion == 1.0 else (growth ** (1.0 - aversion) - 1.0) / (1.0 - aversion)
