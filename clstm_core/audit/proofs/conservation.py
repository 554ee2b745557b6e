"""Proof 1: every change of equity is a named flow from quotes, and an independent ledger agrees to a cent."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import torch

from clstm_core.audit.reference.ledger import Account, Ledger, PlainMarket
from clstm_core.audit.reference.limits import broken_limits
from clstm_core.audit.reference.plain import listed_market, plain_market
from clstm_core.audit.reference.rules import Rules
from clstm_core.audit.reference.terms import Tables
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.agreement import Agreement
from clstm_core.audit.sessions.built import built_as_listed, settled_as_listed, settled_on_its_spots, settlements_of
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, CALENDAR, CARRY, SETTLEMENTS, count_events, every_event
from clstm_core.audit.sessions.orders import random_actions, wild_orders
from clstm_core.audit.sessions.records import Before, before, done_step, plain_orders, plain_steps
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.audit.worlds.listed import SETTLES, build_listed
from clstm_core.audit.worlds.markets import with_holes
from clstm_core.config import WITHOUT_BUDGET
from clstm_core.market.instrument import INSTRUMENTS, SPX_MODELLED
from clstm_core.market.tensors import MarketTensors

LIMITS_ENVS = 4  # accounts whose every action is sized again
LISTED_HORIZON = 15  # snapshots: every contract opened in a listed world settles within, or soon after
LEAST_BORROW = 0.003  # a year: shares sold short cost something in the listed world, whatever the account's rules
EARLY_RUIN = 0.95
"""Share of the entry equity below which one of the walks ends: a few days' losses, so that ruin is met."""

EVENTS = (
    "open",
    "close",
    "hedge",
    "liquidation",
    *SETTLEMENTS,
    "settlement on a day without a session",
    ALL_MULTIPLIERS,
    "short option",
    "stale mark",
    "negative cash",
    "short shares",
    *CARRY,
    *CALENDAR,
    "unfilled",
    "rejected",
    "breach that remains",
    "shares trimmed",
    "closed by the budget",
    "budget breach that remains",
    "horizon",
    "ruin",
)
"""What random sessions must have met before their agreement means anything."""

LISTED_SETTLEMENTS = ("AM settlement", "PM settlement", "settlement on a day without a session")
"""What the tables of the listed world must hold, so that comparing its contracts means anything."""

MARKET_ROOTS: dict[str, str] = {
    root: settles for one in (*INSTRUMENTS.values(), SPX_MODELLED) for root, settles in one.roots.items()
}
"""AM or PM of every declared root."""


class _Place(NamedTuple):
    """Where accounts walk, what the ledger reads of it, and how they trade."""

    label: str
    scene: Scene
    plain: PlainMarket
    styles: tuple[str, ...]
    counts: bool  # whether what happens there counts as met


def conservation(
    scene: Scene,
    world: MarketTensors | None = None,
    *,
    tables: Tables | None = None,
    entire: MarketTensors | None = None,
    listed: Tables | None = None,
    roots: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Replay random sessions, of legal actions and of wild orders, through the reference ledger.

    Args:
        scene: its market is the one to be traded
        world: another market to walk, with holes in its quotes
        tables: of the scene's market; with them the ledger reads no settlement, quote or term of the tensors
        entire: the market of which the scene's is a part; with `tables`, terms and settlements of all of its contracts
            are compared
        listed: of a rough listed world, built here and long enough that everything in EVENTS must happen; the ledger
            reads the tables and never what was built of them
        roots: AM or PM by root of `tables`; None takes the declared ones where the source goes by them
    """
    generator = scene.generator()
    findings, met, places = [], Counter[str](), []
    if tables is None:
        if scene.market.info.get("label") != "real quotes":
            findings += settled_on_its_spots(scene.market if entire is None else entire)
        places.append(_Place("market", scene, plain_market(scene.market), ("actions", "orders"), False))
    else:
        roots = _roots(scene.market) if roots is None else roots
        own = listed_market(scene.market, tables, roots)
        findings += built_as_listed("market", scene.market, own)
        if entire is not None:
            findings += settled_as_listed("whole market", entire, tables, roots)
        places.append(_Place("market", scene, own.market, ("actions", "orders"), False))
    if world is not None:
        holed = dataclasses.replace(scene, market=with_holes(world, scene.seed + 1))
        places += _thrice("world", holed, plain_market(holed.market))
    if listed is not None:
        built = build_listed(listed)
        true = listed_market(built, listed, SETTLES)
        findings += built_as_listed("listed world", built, true)
        held = every_event(settlements_of(true), LISTED_SETTLEMENTS, "settlements missing in the tables")
        borrow = max(scene.config.borrow_rate, LEAST_BORROW)
        walked = dataclasses.replace(scene, market=built).under(horizon=LISTED_HORIZON, borrow_rate=borrow)
        places += _thrice("listed world", walked, true.market)
    if any(finding.ratio > 1.0 for finding in findings):
        return findings  # where tensors are not their tables, the ledger would keep books of another market
    for place in places:
        agreement = Agreement(Ledger(place.plain, Rules.of(place.scene.config)), place.scene.config)
        for style in place.styles:
            events = _walk(place.scene, style, generator, agreement)
            met += events if place.counts else Counter()
            if agreement.wrong:
                break
        findings += agreement.findings(place.label)
        if any(finding.ratio > 1.0 for finding in findings):
            return findings  # proven wrong: other places would say no more than that again
    findings += [] if listed is None else [held]
    return [*findings, every_event(met, EVENTS)]


def _roots(market: MarketTensors) -> Mapping[str, str]:
    """The declared roots; none for a user's own table, which says itself at what hour each contract settles."""
    return {} if market.info.get("source") == "table" else MARKET_ROOTS


def _thrice(label: str, scene: Scene, plain: PlainMarket) -> list[_Place]:
    """With the fill lag as it is, with the other one, where little is ruin already, and with margin alone as limit."""
    config = scene.config
    lagged = scene.under(fill_lag=1 - config.fill_lag, ruin_fraction=max(EARLY_RUIN, config.ruin_fraction))
    return [
        _Place(label, scene, plain, ("actions", "orders"), True),
        _Place(f"{label}, lag {lagged.config.fill_lag}", lagged, plain, ("orders",), True),
        _Place(f"{label}, margin alone", scene.under(**WITHOUT_BUDGET), plain, ("actions", "orders"), True),
    ]


def _walk(scene: Scene, style: str, generator: torch.Generator, agreement: Agreement) -> Counter[str]:
    """One session of every account, replayed step by step; counts what it met.

    It ends with the first step of which the ledger says otherwise: what comes after follows from that.
    """
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
        last = done_step(env)
        events += count_events(last, market)
        records = plain_steps(last)
        for n, order in enumerate(plain_orders(on_device(orders, "cpu"), market)):
            where = f"{style} step {step} env {n}"
            t = int(start.snapshot[n])
            opening = agreement.account(start, n, accounts[n], market, where)
            day = agreement.ledger.step(accounts[n], order, t)
            agreement.day(records[n], day, accounts[n], opening, where)
            agreement.outcome(records[n], result, n, day, config.capital_usd, opening, t, where)
            agreement.observed(result, n, day, accounts[n], config.capital_usd, t + 1, market, where)
            if records[n]["terminated"] or records[n]["truncated"]:
                accounts[n] = Account(config.capital_usd)
        if agreement.wrong:
            break
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
