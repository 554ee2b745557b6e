"""Where a proof walks: a market, the rules of an account, and how many accounts trade for how long."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.protocol import EnvStep
from clstm_core.env.state import AccountState, Orders, StepLedger
from clstm_core.market.tensors import MarketTensors


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A market and the account's rules under audit, walked by `n_envs` accounts for `n_steps` steps.

    A proof shortens the walk and the horizon where its market or its question is shorter.
    """

    market: MarketTensors
    config: EnvConfig
    n_envs: int
    n_steps: int
    factory: EnvFactory = OptionsEnv
    device: str = "cpu"
    seed: int = 0

    def under(self, **rules: Any) -> "Scene":
        """The same scene with some fields of its EnvConfig replaced."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **rules))

    def generator(self) -> torch.Generator:
        """A fresh generator of the scene's seed."""
        return torch.Generator().manual_seed(self.seed)

    def env(self, n_envs: int | None = None, **options: Any) -> Any:
        """A float64 env over the whole market, all accounts starting new episodes unless told otherwise."""
        settings = {
            "seed": 0,
            "dtype": torch.float64,
            "window": (0, self.market.n_snapshots),
            "stagger": False,
            "device": self.device,
        }
        return self.factory(self.market, self.config, n_envs=n_envs or self.n_envs, **(settings | options))


def on_device(orders: Orders, device: torch.device | str) -> Orders:
    """The same orders on another device."""
    return Orders(*(tensor.to(device) for tensor in orders))
