"""The reference ledger alone on the frozen market: accounts that trade wildly from a script of random numbers."""

import hashlib
import random

import pytest

from clstm_core.audit.reference.ledger import Account, Ledger, Order, PlainMarket
from clstm_core.audit.reference.plain import plain_market
from clstm_core.audit.reference.rules import Rules
from clstm_core.config import WITHOUT_BUDGET, EnvConfig

N_ACCOUNTS = 12
FLOWS = ("interest", "dividends", "borrow", "fees", "slippage", "settlement", "option_mark_change", "share_mark_change")
EVENTS = ("unfilled", "rejected", "liquidated", "breached", "over_budget", "budget_breached")


@pytest.fixture(scope="module")
def plain(market) -> PlainMarket:
    return plain_market(market)


def orders(market: PlainMarket, t: int, draw) -> Order:
    """Mostly nothing; else options that the grid points at, shares on credit, a hedge, or everything sold."""
    kind, cells = draw(), [contract for contract in market.grid[t] if contract >= 0]
    if kind < 0.4 or not cells:
        return Order([])
    if kind < 0.7:
        legs = [
            (cells[int(draw() * len(cells))], float(int(draw() * 60) - 40) or 1.0) for _ in range(1 + int(draw() * 2))
        ]
        return Order(legs)
    if kind < 0.85:
        return Order([], shares=float(int(draw() * 24_000) - 8_000))
    return Order([], hedge=True) if kind < 0.95 else Order([], close_all=True)


def replay(market: PlainMarket, config: EnvConfig) -> dict:
    """Hash of every fill, and the sums of every flow and event, over all accounts and snapshots."""
    ledger, draw = Ledger(market, Rules.of(config)), random.Random(7).random
    accounts = [Account(config.capital_usd) for _ in range(N_ACCOUNTS)]
    lines, total = [], dict.fromkeys((*FLOWS, *EVENTS), 0.0)
    equity = [config.capital_usd] * N_ACCOUNTS
    for t in range(len(market.snapshots) - 1):
        for n, account in enumerate(accounts):
            day = ledger.step(account, orders(market, t, draw), t)
            lines += [
                f"{t} {n} {f.reason} {f.contract} {f.quantity:.0f} {round(f.price * 1e4)} {round(f.fee * 1e4)}"
                for f in sorted(day.fills)
            ]
            total = {name: value + getattr(day, name) for name, value in total.items()}
            equity[n] = day.equity
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return {"fills_sha256": digest, "fills": len(lines), "equity": sum(equity)} | total


CASES = {
    "lag 1, touch": EnvConfig(),
    "lag 0, touch": EnvConfig(fill_lag=0),
    "lag 1, fraction 0.5": EnvConfig(fill_rule="fraction", fill_fraction=0.5),
    "lag 0, fraction 0.5": EnvConfig(fill_lag=0, fill_rule="fraction", fill_fraction=0.5),
    "lag 1, touch, margin alone": EnvConfig(**WITHOUT_BUDGET),
}


def test_the_reference_ledger_keeps_its_books(plain, golden):
    found = {case: replay(plain, config) for case, config in CASES.items()}
    for line in found.values():
        assert all(line[name] for name in (*FLOWS, "unfilled", "rejected", "liquidated")), line
    golden("ledger", found)


def test_what_the_books_say_adds_up(plain):
    line = replay(plain, CASES["lag 1, touch"])
    earned = sum(line[name] for name in FLOWS) - 2 * sum(line[name] for name in ("borrow", "fees", "slippage"))
    assert line["equity"] - N_ACCOUNTS * EnvConfig().capital_usd == pytest.approx(earned, abs=0.01)


def test_another_margin_shows_in_the_books(plain):
    honest, other = (replay(plain, EnvConfig(scan_down=scan, **WITHOUT_BUDGET)) for scan in (0.08, 0.09))
    assert honest["fills_sha256"] != other["fills_sha256"]


@pytest.mark.parametrize(
    "change",
    [{"max_net_exposure": 0.9}, {"max_gross_exposure": 1.2}, {"max_crash_loss": 0.15}, {"budget_headroom": 0.99}],
)
def test_another_budget_shows_in_the_books(plain, change):
    honest, other = (replay(plain, EnvConfig(**config)) for config in ({}, change))
    assert honest["fills_sha256"] != other["fills_sha256"]
