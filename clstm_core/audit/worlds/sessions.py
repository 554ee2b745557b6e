"""Random trading: legal actions and wild orders, with what every step did, for the proofs to check."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.protocol import EnvStep
from clstm_core.env.state import AccountState, Orders, StepLedger
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import CLOSE_ALL, FIRST_TEMPLATE, HEDGE_DELTA, MAX_LEGS, PACKAGE_LEGS


class AuditedEnv(Protocol):
    """What the proofs ask of an environment beyond BatchedEnv."""

    n_envs: int
    state: AccountState
    last: StepLedger | None

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]: ...
    def observe(self) -> tuple[torch.Tensor, torch.Tensor]: ...
    def step(self, action: torch.Tensor) -> EnvStep: ...
    def step_orders(self, orders: Orders) -> EnvStep: ...
    def orders_for(self, action_N: torch.Tensor) -> Orders: ...
    def state_dict(self) -> dict[str, torch.Tensor]: ...
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None: ...


EnvFactory = Callable[..., Any]
"""Called as OptionsEnv is: (market, config, n_envs=..., seed=..., dtype=..., window=..., stagger=..., ...)."""


class Before(NamedTuple):
    """An account as it stood when a step began; copies, so that a step in place changes nothing here."""

    snapshot: torch.Tensor
    cash: torch.Tensor
    shares: torch.Tensor
    leg_row: torch.Tensor
    leg_quantity: torch.Tensor
    entry_equity: torch.Tensor
    equity: torch.Tensor


def before(env: AuditedEnv) -> Before:
    """Copy what the env holds now."""
    s = env.state
    fields = (s.snapshot_index_N, s.cash_N, s.shares_N, s.leg_row_NL, s.leg_quantity_NL, s.entry_equity_N, s.equity_N)
    return Before(*(tensor.detach().cpu().clone() for tensor in fields))


def done_step(env: AuditedEnv) -> StepLedger:
    """The record of the last step, on the CPU and safe from the next one."""
    if env.last is None:
        raise RuntimeError("the environment kept no record of its step: expected `last` to be a StepLedger")
    return StepLedger(*(tensor.detach().cpu().clone() for tensor in env.last))


def make_env(
    factory: EnvFactory, market: MarketTensors, config: EnvConfig, n_envs: int, device: str, **options: Any
) -> Any:
    """A float64 env over the whole of `market`, all accounts starting new episodes unless told otherwise."""
    settings = {
        "seed": 0,
        "dtype": torch.float64,
        "window": (0, market.n_snapshots),
        "stagger": False,
        "device": device,
    }
    return factory(market, config, n_envs=n_envs, **(settings | options))


def random_actions(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Legal actions [N]: holding more often than trading, opening more often than closing or hedging."""
    weight = torch.full(mask.shape[1:], 1.0, dtype=torch.float64)
    weight[0], weight[CLOSE_ALL], weight[HEDGE_DELTA] = 6.0, 1.5, 2.0
    weight[FIRST_TEMPLATE:] = 0.5
    return torch.multinomial(weight * mask.cpu(), 1, generator=generator).squeeze(1)


def wild_orders(env: AuditedEnv, market: MarketTensors, generator: torch.Generator) -> Orders:
    """Orders that no policy would place: naked shorts near the margin limit, shares on credit, shares sold short,
    contracts about to expire, one-sided and stale rows, several things at once."""
    n = env.n_envs
    orders = Orders.none(n)
    state = before(env)
    spot = market.spot_T[state.snapshot]
    lots = (state.equity.double() / (100.0 * spot)).clamp(min=0.1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    first, last = market.row_offset_T1[state.snapshot], market.row_offset_T1[state.snapshot + 1]
    count = (last - first).clamp(min=1)
    # contracts are numbered by first appearance: old ones, near expiry, come first and are drawn more often
    row = first[:, None] + (draw(n, PACKAGE_LEGS) ** 2 * count[:, None]).long()
    kind = draw(n)
    trades = ((kind < 0.45) & (last > first))[:, None]
    wanted = torch.arange(PACKAGE_LEGS) < torch.randint(1, PACKAGE_LEGS + 1, (n, 1), generator=generator)
    size = torch.exp(draw(n, PACKAGE_LEGS) * 6.0 - 4.0) * lots[:, None]
    sign = torch.where(draw(n, PACKAGE_LEGS) < 0.6, -1.0, 1.0)
    quantity = (sign * size.ceil()).long() * wanted * trades
    held = (state.leg_quantity != 0).sum(dim=1)
    slots = torch.where(draw(n) < 0.1, PACKAGE_LEGS, MAX_LEGS - held)  # mostly what fits, now and then too much
    quantity = quantity * (torch.arange(PACKAGE_LEGS) < slots[:, None])
    with_shares = ((kind >= 0.45) & (kind < 0.57)) | (draw(n) < 0.05)
    shares = (with_shares * 100.0 * lots * (draw(n) * 6.0 - 2.5)).round().long()
    # to the brim, from an empty book: the margin scan allows about 12 times the equity long and 16 times short
    brim = (kind >= 0.71) & (kind < 0.76)
    leverage = torch.where(draw(n) < 0.6, 10.0 + 2.2 * draw(n), -13.0 - 3.0 * draw(n))
    shares = torch.where(brim, (100.0 * lots * leverage).round().long(), shares)
    orders.leg_row_NP.copy_(torch.where(quantity != 0, row, -1))
    orders.leg_quantity_NP.copy_(quantity)
    orders.share_quantity_N.copy_(shares)
    orders.hedge_N.copy_(((kind >= 0.57) & (kind < 0.65)) | (draw(n) < 0.05))
    orders.close_all_N.copy_(((kind >= 0.65) & (kind < 0.71)) | brim | (draw(n) < 0.03))
    return orders
