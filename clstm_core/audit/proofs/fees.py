"""Proof 4: with contracts and quantities fixed, a higher cost never makes anyone richer, and always someone poorer."""

import dataclasses

import torch

from clstm_core.audit.result import Finding
from clstm_core.audit.worlds.sessions import EnvFactory, before, done_step, make_env
from clstm_core.config import EnvConfig
from clstm_core.env.state import Orders
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import MAX_LEGS, PACKAGE_LEGS

DEEP_POCKETS_USD = 1e8
"""Capital of this proof: no order of it comes near a margin limit, so that costs change costs and nothing else."""

ROUNDING_USD = 1e-5

COSTS: dict[str, float] = {
    "commission_per_contract_usd": 0.65,
    "commission_per_share_usd": 0.005,
    "share_spread_bps": 1.0,
    "borrow_rate": 0.003,
    "fill_fraction": 0.5,
}
"""Every cost and the step by which it is raised."""


def modest_orders(env, market: MarketTensors, generator: torch.Generator) -> Orders:
    """A few contracts and shares each way, never more legs than fit: orders that always may be held."""
    n = env.n_envs
    state = before(env)
    orders = Orders.none(n)

    def chance(share: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) < share

    first, last = market.row_offset_T1[state.snapshot], market.row_offset_T1[state.snapshot + 1]
    row = first[:, None] + (torch.rand(n, PACKAGE_LEGS, generator=generator) * (last - first)[:, None]).long()
    free = MAX_LEGS - (state.leg_quantity != 0).sum(dim=1)
    wanted = (torch.arange(PACKAGE_LEGS) < free[:, None].clamp(max=2)) & chance(0.5, n, 1) & (last > first)[:, None]
    quantity = torch.randint(1, 6, (n, PACKAGE_LEGS), generator=generator)
    quantity = quantity * torch.where(chance(0.5, n, PACKAGE_LEGS), -1, 1) * wanted
    orders.leg_row_NP.copy_(torch.where(quantity != 0, row, -1))
    orders.leg_quantity_NP.copy_(quantity)
    orders.share_quantity_N.copy_(torch.randint(-400, 401, (n,), generator=generator) * chance(0.4, n))
    return orders


def fees_never_help(
    market: MarketTensors,
    config: EnvConfig,
    factory: EnvFactory,
    *,
    n_envs: int,
    n_steps: int,
    device: str,
    seed: int = 0,
) -> list[Finding]:
    """Give the same orders to accounts under rising costs, one cost at a time, and compare equity step by step."""
    n_steps = min(n_steps, market.n_snapshots - 1)
    rich = dataclasses.replace(config, capital_usd=DEEP_POCKETS_USD, horizon=n_steps, fill_rule="fraction")
    script: list[Orders] = []
    base = _equity_path(market, rich, factory, n_envs, n_steps, device, seed, script)
    findings = []
    for name, step in COSTS.items():
        dearer = dataclasses.replace(rich, **{name: getattr(rich, name) + step})
        path = _equity_path(market, dearer, factory, n_envs, n_steps, device, seed, script)
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


def _equity_path(market, config, factory, n_envs, n_steps, device, seed, script: list[Orders]) -> _Path:
    """Walk the script, writing it on the way where it is still empty."""
    generator = torch.Generator().manual_seed(seed)
    env = make_env(factory, market, config, n_envs, device, seed=seed, fixed_start=True)
    env.reset()
    writing = not script
    equity, quantity = [], []
    for step in range(n_steps):
        if writing:
            script.append(modest_orders(env, market, generator))
        env.step_orders(Orders(*(tensor.to(device) for tensor in script[step])))
        last = done_step(env)
        equity.append(last.equity_N.double())
        quantity.append(last.fill_quantity_NX.double())
    return _Path(torch.stack(equity), torch.stack(quantity))
