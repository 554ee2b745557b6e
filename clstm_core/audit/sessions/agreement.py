"""How far apart the environment and the reference ledger are: account, flows, fills, quotes and reward of each step."""

import math
from typing import Any

from clstm_core.audit.reference.ledger import YEAR_NS, Account, Day, Fill, Ledger
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.records import Before
from clstm_core.config import EnvConfig
from clstm_core.market.tensors import MarketTensors

CENT = 0.01

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
        for name in ("unfilled", "rejected", "liquidated", "breached"):
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
        excess = day.equity - opening * math.exp(now.rate * years) - self.config.risk_penalty * day.margin
        reward = self.config.reward_scale * 1e4 * excess / entry
        self.compare("reward", float(result.reward[n]), reward, where, scale=100.0 * (1e-4 + 1e-6 * abs(reward)))
        self.differ("terminated", bool(record["terminated"]), day.equity <= self.config.ruin_fraction * entry, where)
        self.differ("step's end", bool(result.terminated[n]), bool(record["terminated"]), where)

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
                self.compare("fill bid", bid, now.quotes[contract].bid, where)
                self.compare("fill ask", ask, now.quotes[contract].ask, where)
        quotes = self.ledger.market.snapshots[int(record["snapshot"])].quotes
        for contract, mark, stale in record["leg_marks"]:
            self.compare("leg mark", mark, quotes[contract].mark, where)
            self.differ("stale flag", stale, not quotes[contract].quoted, where)
