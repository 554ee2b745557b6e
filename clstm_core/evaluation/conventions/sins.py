"""Conventions that nobody may judge by, each switched alone around the clean one, to see what it would have bought.

A sin is made in one of three places, and nothing else differs from the clean walk: in what the policy sees, in which
contracts it is offered, or in what the account is asked for. Neither training nor the real evaluation imports this
room, and what is traded here is refused wherever backtests are entered, written or compared (`protocol.require_clean`).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.state import Orders
from clstm_core.evaluation.conventions.hindsight import centred_volatility, hindsight_grid, scaled_by_window
from clstm_core.evaluation.policies import Decided, Lanes, Policy
from clstm_core.market.tensors import MarketTensors

Sight = Callable[[MarketTensors, tuple[int, int], Policy], torch.Tensor]
"""Market features [T, F] as a policy sees them, of a market, a window and the policy."""

Listing = Callable[[MarketTensors, tuple[int, int], EnvConfig], MarketTensors]
"""The market with another grid, of a market, a window and the account's settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sin:
    """One convention.

    switched:  what exactly differs from the clean walk, for a reader
    seen:      what the policy sees in place of the market's features
    listed:    the market with other contracts in its cells
    asked:     settings of the account that are changed
    """

    name: str
    title: str
    switched: str
    seen: Sight | None = None
    listed: Listing | None = None
    asked: dict[str, Any] = dataclasses.field(default_factory=dict)

    def config(self, config: EnvConfig) -> EnvConfig:
        """The account's settings with what is switched."""
        return dataclasses.replace(config, **self.asked)


NO_MARGIN: dict[str, Any] = {
    "scan_down": 0.0,
    "scan_up": 0.0,
    "scan_vol_shock": 0.0,
    "min_margin_per_short_usd": 0.0,
}
"""Settings under which a book's margin is zero, whatever it holds."""

SINS: tuple[Sin, ...] = (
    Sin(
        name="same_quotes",
        title="Fills at the decision's own quotes",
        switched="Orders fill at the very quotes that they were decided on (fill lag 0), not at the next session's.",
        asked={"fill_lag": 0},
    ),
    Sin(
        name="mid_fills",
        title="Fills at mid",
        switched="Options and shares trade at the middle of bid and ask; fees stay.",
        asked={"fill_rule": "fraction", "fill_fraction": 0.0},
    ),
    Sin(
        name="free_margin",
        title="No margin asked for",
        switched="Neither sizes, fills nor liquidations know of margin; the risk budget and all other limits stay.",
        asked=NO_MARGIN,
    ),
    Sin(
        name="window_scaler",
        title="Scaled by the window itself",
        switched=(
            "Market features are standardised with their mean and deviation over the judged window, the day itself and "
            "all later ones included, not over training dates."
        ),
        seen=scaled_by_window,
    ),
    Sin(
        name="centred_volatility",
        title="A volatility that looks both ways",
        switched=(
            "The realised volatility of 21 sessions is that of the 10 before and the 10 after the decision, and so is "
            "the variance premium made of it."
        ),
        seen=lambda market, window, policy: centred_volatility(market),
    ),
    Sin(
        name="hindsight_grid",
        title="Contracts chosen with hindsight",
        switched=(
            "Of the contracts that are listed, each cell of the grid holds the one whose delta will be nearest its "
            "target a session after the fill, not the one whose delta is nearest now."
        ),
        listed=lambda market, window, config: hindsight_grid(market, window, ahead=config.fill_lag + 1),
    ),
)


class Sinner:
    """A policy that is shown other market features, or trades under another convention; never a checkpoint's account.

    Args:
        seen_TF: market features [T, F] float32 in place of those that the environment shows; None: as it shows them
    """

    kind = "convention"

    def __init__(self, policy: Policy, name: str, seen_TF: torch.Tensor | None = None):
        self._policy, self._seen_TF = policy, seen_TF
        self.name, self.label = name, f"{policy.label}, by a convention that nobody may use: {name}"
        self.n_episodes, self.reads = policy.n_episodes, policy.reads
        self.last: Decided = policy.last

    def reset(self, n_envs: int) -> None:
        self._policy.reset(n_envs)
        self.last = self._policy.last

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        if self._seen_TF is not None:
            seen = self._seen_TF[env.state.snapshot_index_N]
            obs = torch.cat([seen, obs[:, seen.shape[1] :]], dim=1)
        orders = self._policy.decide(env, obs, mask)
        self.last = self._policy.last
        return orders

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict[str, Any]:
        """Whose decisions they are, without a checkpoint: what is traded so is no look that counts as one."""
        mode = str(self._policy.describe().get("mode", ""))
        return {"name": self.name, "label": self.label, "kind": self.kind, "mode": mode, "checkpoint": None}
