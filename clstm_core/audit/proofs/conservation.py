"""Proof 1: every change of equity is a named flow from quotes, and an independent ledger agrees to a cent."""

import dataclasses
from collections import Counter

import torch

from clstm_core.audit.reference.ledger import Account, Day, Ledger
from clstm_core.audit.reference.limits import broken_limits
from clstm_core.audit.reference.plain import plain_market
from clstm_core.audit.reference.rules import Rules
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.agreement import Agreement
from clstm_core.audit.sessions.orders import random_actions, wild_orders
from clstm_core.audit.sessions.records import Before, before, done_step, plain_orders, plain_steps
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.audit.worlds.markets import with_holes
from clstm_core.market.tensors import MarketTensors

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
        agreement = Agreement(Ledger(quotes, Rules.of(place.config)), place.config)
        for style in styles:
            met = _walk(place, style, generator, agreement)
            events += met if place is not scene else Counter()
        findings += agreement.findings(label)
    missing = [event for event in EVENTS if not events[event]]
    seen = ", ".join(f"{events[event]} {event}" for event in EVENTS)
    detail = f"never met: {', '.join(missing)}" if missing else seen
    return [*findings, Finding(check="events missing", statistic=len(missing), threshold=0.0, detail=detail)]


def _walk(scene: Scene, style: str, generator: torch.Generator, agreement: Agreement) -> Counter[str]:
    """One session of every account, replayed step by step; counts what it met."""
    market, config, events = scene.market, scene.config, Counter[str]()
    env = scene.under(horizon=min(config.horizon, market.n_snapshots - 1)).env()
    _, mask = env.reset()
    accounts = [Account(config.capital_usd) for _ in range(scene.n_envs)]
    for step in range(min(scene.n_steps, 4 * market.n_snapshots)):
        start = before(env)
        if style == "actions":
            action = random_actions(mask, generator)
            orders = env.orders_for(action.to(env.device))
            if step % 8 == 0:
                _compare_limits(env, start, mask, accounts, market, agreement, f"step {step}")
            result = env.step(action.to(env.device))
        else:
            orders = wild_orders(env, market, generator)
            result = env.step_orders(on_device(orders, env.device))
        records = plain_steps(done_step(env))
        for n, order in enumerate(plain_orders(on_device(orders, "cpu"), market)):
            where = f"{style} step {step} env {n}"
            t = int(start.snapshot[n])
            opening = agreement.account(start, n, accounts[n], market, where)
            day = agreement.ledger.step(accounts[n], order, t)
            agreement.day(records[n], day, accounts[n], opening, where)
            agreement.outcome(records[n], result, n, day, config.capital_usd, opening, t, where)
            _count_events(accounts[n], day, events)
            if records[n]["terminated"] or records[n]["truncated"]:
                accounts[n] = Account(config.capital_usd)
        mask = result.action_mask
    return events


def _compare_limits(env, start: Before, mask, accounts, market, agreement: Agreement, where: str) -> None:
    """Mask and order of every action, for a few accounts."""
    some = min(env.n_envs, LIMITS_ENVS)
    every = torch.arange(mask.shape[1])
    ordered = [
        plain_orders(on_device(env.orders_for(torch.full((env.n_envs,), int(a), device=env.device)), "cpu"), market)
        for a in every
    ]
    for n in range(some):
        orders = {int(a): ordered[int(a)][n] for a in every}
        t, legal = int(start.snapshot[n]), mask[n].tolist()
        broken = broken_limits(agreement.ledger, agreement.config, accounts[n], t, legal, orders)
        agreement.differ("limits", broken, [], f"{where} env {n}")


def _count_events(account: Account, day: Day, events: Counter[str]) -> None:
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
