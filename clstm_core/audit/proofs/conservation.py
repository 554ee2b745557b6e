"""Proof 1: every change of equity is a named flow from quotes, and an independent ledger agrees to a cent."""

import dataclasses
import math
from collections import Counter
from typing import Any

import torch

from clstm_core.audit.reference.ledger import Account, Day, Fill, Ledger
from clstm_core.audit.reference.limits import broken_limits
from clstm_core.audit.reference.plain import plain_market
from clstm_core.audit.reference.rules import Rules
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.orders import random_actions, wild_orders
from clstm_core.audit.sessions.records import Before, before, done_step, plain_orders, plain_steps
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.audit.worlds.markets import with_holes
from clstm_core.market.tensors import MarketTensors

CENT = 0.01
LIMITS_ENVS = 4  # accounts whose every action is sized again

EVENTS = (
    "open",
    "close",
    "hedge",
    "liquidation",
    "expiry in the money",
    "expiry out of the money",
    "short option",
    "negative cash",
    "short shares",
    "unfilled",
    "rejected",
)
"""What random sessions must have met before their agreement means anything."""


class Tally:
    """The worst disagreement of each quantity, and what has happened so far."""

    def __init__(self) -> None:
        self.worst: dict[str, tuple[float, str]] = {}
        self.events: Counter[str] = Counter()

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


def conservation(scene: Scene, world: MarketTensors) -> list[Finding]:
    """Replay random sessions, of legal actions and of wild orders, through the reference ledger.

    The scene's market is the one to be traded; `world` is a simulated one, long enough that everything in EVENTS must
    happen. It is walked with holes in its quotes, and with the other fill lag too.
    """
    findings = []
    events: Counter[str] = Counter()
    generator = scene.generator()
    holed = dataclasses.replace(scene, market=with_holes(world, scene.seed + 1))
    lagged = holed.under(fill_lag=1 - scene.config.fill_lag)
    plain, plain_holed = plain_market(scene.market), plain_market(holed.market)
    for label, place, quotes, styles in (
        ("market", scene, plain, ("actions", "orders")),
        ("world", holed, plain_holed, ("actions", "orders")),
        (f"world, lag {lagged.config.fill_lag}", lagged, plain_holed, ("orders",)),
    ):
        tally = Tally()
        ledger = Ledger(quotes, Rules.of(place.config))
        for style in styles:
            _walk(place, ledger, style, generator, tally)
        findings += tally.findings(label)
        events += tally.events if place is not scene else Counter()
    missing = [event for event in EVENTS if not events[event]]
    seen = ", ".join(f"{events[event]} {event}" for event in EVENTS)
    detail = f"never met: {', '.join(missing)}" if missing else seen
    return [*findings, Finding(check="events missing", statistic=len(missing), threshold=0.0, detail=detail)]


def _walk(scene: Scene, ledger: Ledger, style: str, generator: torch.Generator, tally: Tally) -> None:
    """One session of every account, replayed step by step."""
    market, config = scene.market, scene.config
    env = scene.under(horizon=min(config.horizon, market.n_snapshots - 1)).env()
    _, mask = env.reset()
    accounts = [Account(config.capital_usd) for _ in range(scene.n_envs)]
    entry = [config.capital_usd] * scene.n_envs
    for step in range(min(scene.n_steps, 4 * market.n_snapshots)):
        start = before(env)
        if style == "actions":
            action = random_actions(mask, generator)
            orders = env.orders_for(action.to(env.device))
            if step % 8 == 0:
                _compare_limits(env, start, mask, accounts, ledger, config, market, tally, f"step {step}")
            result = env.step(action.to(env.device))
        else:
            orders = wild_orders(env, market, generator)
            result = env.step_orders(on_device(orders, env.device))
        records = plain_steps(done_step(env))
        for n, order in enumerate(plain_orders(on_device(orders, "cpu"), market)):
            where = f"{style} step {step} env {n}"
            t = int(start.snapshot[n])
            opening = _compare_account(start, n, accounts[n], market, tally, where)
            day = ledger.step(accounts[n], order, t)
            _compare_day(records[n], day, accounts[n], ledger, opening, tally, where)
            _count_events(records[n], accounts[n], day, tally.events)
            _compare_outcome(records[n], result, n, day, ledger, config, entry[n], opening, t, tally, where)
            if records[n]["terminated"] or records[n]["truncated"]:
                accounts[n] = Account(config.capital_usd)
        mask = result.action_mask


def _compare_limits(env, start, mask, accounts, ledger, config, market, tally, where) -> None:
    """Mask and order of every action, for a few accounts."""
    some = min(env.n_envs, LIMITS_ENVS)
    every = torch.arange(mask.shape[1])
    ordered = [
        plain_orders(on_device(env.orders_for(torch.full((env.n_envs,), int(a), device=env.device)), "cpu"), market)
        for a in every
    ]
    for n in range(some):
        orders = {int(a): ordered[int(a)][n] for a in every}
        broken = broken_limits(ledger, config, accounts[n], int(start.snapshot[n]), mask[n].tolist(), orders)
        tally.differ("limits", broken, [], f"{where} env {n}")


def _compare_account(start: Before, n: int, account: Account, market, tally: Tally, where: str) -> float:
    """The env's account before the step must be the ledger's; the equity both begin with."""
    rows = start.leg_row[n].tolist()
    quantities = start.leg_quantity[n].tolist()
    legs = sorted((int(market.row_contract_Q[r]), q) for r, q in zip(rows, quantities, strict=True) if r >= 0)
    tally.differ("positions", legs, sorted(account.legs), where)
    tally.compare("cash", float(start.cash[n]), account.cash, where)
    tally.compare("shares", float(start.shares[n]), account.shares, where)
    return float(start.equity[n])


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


def _compare_day(record: dict, day: Day, account: Account, ledger: Ledger, opening: float, tally: Tally, where) -> None:
    for name in FLOWS:
        tally.compare(name, record[name], getattr(day, name), where)
    for name in ("unfilled", "rejected", "liquidated", "breached"):
        tally.differ(name, bool(record[name]), getattr(day, name), where)
    earned = sum(record[f] for f in ("interest", "dividends", "settlement", "option_mark_change", "share_mark_change"))
    paid = record["borrow"] + record["fees"] + record["slippage"]
    tally.compare("flow identity", record["equity"] - opening, earned - paid, where)
    tally.compare("cash after", record["cash"], account.cash, where)
    tally.compare("shares after", record["shares"], account.shares, where)
    tally.differ("positions after", record["legs"], sorted(account.legs), where)
    explained = sum(record[f"attribution_{name}"] for name in ("delta", "gamma", "vega", "theta", "carry", "residual"))
    explained += record["settlement"] - record["slippage"] - record["fees"]
    tally.compare("attribution identity", record["equity"] - opening, explained, where)
    tally.compare("equity before", record["equity_before"], opening, where)
    _compare_fills(record["fills"], sorted(day.fills), tally, where)
    _compare_quotes(record, ledger, tally, where)
    snapshot = int(record["snapshot"])
    tally.compare(
        "liquidation equity", record["equity_liquidation"], ledger.liquidation_equity(account, snapshot), where
    )


def _compare_fills(found: list[Fill], expected: list[Fill], tally: Tally, where: str) -> None:
    def what(fills: list[Fill]) -> list[tuple[str, int, float]]:
        return [(f.reason, f.contract, f.quantity) for f in fills]

    tally.differ("fills", what(found), what(expected), where)
    for one, other in zip(found, expected, strict=False):
        tally.compare("fill price", one.price, other.price, where)
        tally.compare("fill fee", one.fee, other.fee, where)


def _compare_quotes(record: dict, ledger: Ledger, tally: Tally, where: str) -> None:
    """What the record says of the quotes that filled and of the marks held is what the market says."""
    for reason, contract, at, bid, ask, multiplier in record["fill_quotes"]:
        now = ledger.market.snapshots[at]
        lagged = reason in ("expiry", "liquidation") or ledger.rules.fill_lag == 1
        tally.differ("fill snapshot", at, int(record["snapshot" if lagged else "snapshot_from"]), where)
        tally.differ(
            "multiplier", multiplier, ledger.market.contracts[contract].multiplier if contract >= 0 else 1, where
        )
        if reason != "expiry" and contract >= 0:
            tally.compare("fill bid", bid, now.quotes[contract].bid, where)
            tally.compare("fill ask", ask, now.quotes[contract].ask, where)
    quotes = ledger.market.snapshots[int(record["snapshot"])].quotes
    for contract, mark, stale in record["leg_marks"]:
        tally.compare("leg mark", mark, quotes[contract].mark, where)
        tally.differ("stale flag", stale, not quotes[contract].quoted, where)


def _compare_outcome(record, result, n, day, ledger, config, entry, opening, t, tally, where) -> None:
    """The reward is the excess over cash in scaled basis points, and ruin alone terminates."""
    now, then = ledger.market.snapshots[t], ledger.market.snapshots[t + 1]
    years = (then.time_ns - now.time_ns) / (365 * 86_400 * 1e9)
    excess = day.equity - opening * math.exp(now.rate * years) - config.risk_penalty * day.margin
    reward = config.reward_scale * 1e4 * excess / entry
    tally.compare("reward", float(result.reward[n]), reward, where, scale=100.0 * (1e-4 + 1e-6 * abs(reward)))
    tally.differ("terminated", bool(record["terminated"]), day.equity <= config.ruin_fraction * entry, where)
    tally.differ("step's end", bool(result.terminated[n]), bool(record["terminated"]), where)


def _count_events(record: dict, account: Account, day: Day, events: Counter[str]) -> None:
    for fill in day.fills:
        if fill.reason == "expiry":
            events[f"expiry {'in' if fill.price > 0 else 'out of'} the money"] += 1
        else:
            events[fill.reason] += 1
    events["short option"] += any(q < 0 for _, q in account.legs)
    events["negative cash"] += account.cash < 0
    events["short shares"] += account.shares < 0
    events["unfilled"] += day.unfilled
    events["rejected"] += day.rejected
