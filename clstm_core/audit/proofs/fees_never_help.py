"""Proof 4: with contracts and quantities fixed, a higher cost never makes anyone richer, and always someone poorer."""

import dataclasses
from collections import Counter

import torch

from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, TRADES, count_events, every_event
from clstm_core.audit.sessions.orders import modest_orders
from clstm_core.audit.sessions.records import done_step
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.env.state import Orders, StepLedger
from clstm_core.market.tensors import MarketTensors

DEEP_POCKETS_USD = 1e8
"""Capital of this proof: no order of it comes near a margin limit, so that costs change costs and nothing else."""

ROUNDING_USD = 1e-5
LEAST_BORROW = 0.003  # a year: shares sold short cost something here, whatever the account's rules

COSTS: dict[str, float] = {
    "commission_per_contract_usd": 0.65,
    "commission_per_share_usd": 0.005,
    "share_spread_bps": 1.0,
    "borrow_rate": 0.003,
    "fill_fraction": 0.5,
}
"""Every cost and the step by which it is raised."""


EVENTS = (*TRADES, "short option", "short shares", "settlement in the money", ALL_MULTIPLIERS, "borrow")
"""What the accounts in the listed world must have met."""


def fees_never_help(scene: Scene, listed: MarketTensors | None = None) -> list[Finding]:
    """Give the same orders to accounts under rising costs, one cost at a time, and compare equity step by step.

    Args:
        listed: a rough listed world, walked beside the scene's market
    """
    findings = _in_market(scene, Counter())
    if listed is not None:
        met: Counter[str] = Counter()
        for finding in _in_market(dataclasses.replace(scene, market=listed), met):
            findings.append(dataclasses.replace(finding, check=f"listed world, {finding.check}"))
        findings.append(every_event(met, EVENTS))
    return findings


def _in_market(scene: Scene, met: Counter[str]) -> list[Finding]:
    n_steps = min(scene.n_steps, scene.market.n_snapshots - 1)
    rich = dataclasses.replace(scene, n_steps=n_steps).under(
        capital_usd=DEEP_POCKETS_USD,
        horizon=n_steps,
        fill_rule="fraction",
        borrow_rate=max(scene.config.borrow_rate, LEAST_BORROW),
    )
    script: list[Orders] = []
    base = _equity_path(rich, script)
    findings = []
    for done in base.steps:
        met += count_events(done, scene.market)
    for name, step in COSTS.items():
        path = _equity_path(rich.under(**{name: getattr(rich.config, name) + step}), script)
        gained = float((path.equity - base.equity).max())
        findings.append(Finding(check=f"{name} raised", statistic=max(0.0, gained), threshold=ROUNDING_USD))
        unpaid = 0.0 if float((base.equity - path.equity).max()) > ROUNDING_USD else 1.0
        findings.append(Finding(check=f"{name} raised and nobody paid", statistic=unpaid, threshold=0.0))
        other = float((path.quantity != base.quantity).sum())
        findings.append(Finding(check=f"{name} raised and other trades filled", statistic=other, threshold=0.0))
    return findings


@dataclasses.dataclass(frozen=True)
class _Path:
    equity: torch.Tensor  # [steps, N]
    quantity: torch.Tensor  # [steps, N, X]
    steps: list[StepLedger]


def _equity_path(scene: Scene, script: list[Orders]) -> _Path:
    """Walk the script, writing it on the way where it is still empty."""
    generator = scene.generator()
    env = scene.env(seed=scene.seed, fixed_start=True)
    env.reset()
    writing = not script
    equity, quantity, steps = [], [], []
    for step in range(scene.n_steps):
        if writing:
            script.append(modest_orders(env, scene.market, generator))
        env.step_orders(on_device(script[step], scene.device))
        last = done_step(env)
        steps.append(last)
        equity.append(last.equity_N.double())
        quantity.append(last.fill_quantity_NX.double())
    return _Path(torch.stack(equity), torch.stack(quantity), steps)
