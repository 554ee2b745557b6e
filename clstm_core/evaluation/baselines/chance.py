"""Traders without a view: what no skill at all earns after costs."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import torch
from scipy.optimize import brentq

from clstm_core.env.state import Orders
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.policies import Decided, Lanes
from clstm_core.evaluation.protocol import Backtest
from clstm_core.specs import CLOSE_ALL, FIRST_TEMPLATE, HOLD

SESSIONS_PER_DAY = 252.0 / 365.0


class RandomPolicy:
    """Every legal action equally likely, from a seed: what no skill at all earns after costs."""

    kind = "baseline"
    reads = True

    def __init__(self, seed: int = 0, n_episodes: int = 1):
        self.name, self.label = "random", "Uniformly random legal actions"
        self.seed, self.n_episodes = seed, n_episodes
        self.reset(n_episodes)

    def reset(self, n_envs: int) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self.last = Decided.rule(n_envs)

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        action = self.draw(mask)
        self.last = self.last._replace(action_N=action)
        return env.orders_for(action)

    def draw(self, mask_NA: torch.Tensor) -> torch.Tensor:
        """An action [N] of each account's legal ones."""
        return torch.multinomial(mask_NA.double(), 1, generator=self._generator).squeeze(1)

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "kind": self.kind, "mode": "stochastic", "checkpoint": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """How busy a policy is.

    openings: orders that open options, per session and account; holding: sessions that a leg is held, on average
    """

    openings: float
    holding: float

    def __post_init__(self) -> None:
        if not (0.0 < self.openings <= 1.0 and self.holding >= 1.0):
            raise EvaluationError(
                f"activity of {self.openings} openings per session, held for {self.holding} sessions: expected a rate "
                "above 0 and at most 1, and at least 1 session. Match a policy that opens options."
            )


def activity_of(result: Backtest) -> Activity | None:
    """What a backtest's ledgers say of its policy; None where it never held an option from one session to the next."""
    fills, positions, equity = (result.table(name) for name in ("fills", "positions", "equity"))
    opened = fills.filter((pl.col("reason") == "open") & (pl.col("kind") == "option"))
    sessions = equity.height - equity["episode"].n_unique()  # the first row of each account is no session
    if not opened.height or not positions.height:
        return None
    orders = opened.unique(["episode", "step"]).height
    return Activity(openings=orders / sessions, holding=max(1.0, positions.height / opened.height))


class MatchedRandom(RandomPolicy):
    """Opens a random package and closes everything at random, as often as another policy does, and knows nothing.

    In each session it closes with one probability, or else opens a legal package, all equally likely, with another.

        E[min(Geometric(closing), sessions to expiry)] = holding, over both tenors

    Args:
        activity: what is matched; of: the policy it was measured of, and on which dates, for the label
        backtest: id of the backtest that it was measured in, for the manifest
        tenor_days: calendar days to expiry of what the market lists
    """

    def __init__(
        self,
        activity: Activity,
        *,
        of: str,
        backtest: str = "",
        tenor_days: tuple[float, ...] = (30.0, 60.0),
        seed: int = 0,
        n_episodes: int = 1,
    ):
        self.activity, self.of, self.backtest = activity, of, backtest
        self.closing = closing_rate(activity.holding, tenor_days)
        super().__init__(seed, n_episodes)
        self.name = "matched_random"
        self.label = (
            f"Random packages, opened as often and held as long as by {of}: {activity.openings:.3f} openings per "
            f"session, {activity.holding:.1f} sessions"
        )

    def draw(self, mask_NA: torch.Tensor) -> torch.Tensor:
        n = len(mask_NA)
        chance = torch.rand(n, 2, generator=self._generator, dtype=torch.float64)
        may_close = mask_NA[:, CLOSE_ALL]
        closes = may_close & (chance[:, 0] < self.closing)
        # what closes opens nothing, so that the others open a little more often
        spared = torch.where(may_close, 1.0 - self.closing, 1.0).clamp(min=self.activity.openings)
        packages = mask_NA.double()
        packages[:, :FIRST_TEMPLATE] = 0.0
        opens = ~closes & packages.any(dim=1) & (chance[:, 1] < self.activity.openings / spared)
        packages[:, HOLD] = (~opens).double()
        package = torch.multinomial(torch.where(opens[:, None], packages, 1.0), 1, generator=self._generator)[:, 0]
        return torch.where(closes, CLOSE_ALL, torch.where(opens, package, HOLD))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "matched": {"of": self.of, "backtest": self.backtest, **asdict(self.activity)}}


def closing_rate(holding: float, tenor_days: tuple[float, ...]) -> float:
    """The chance of closing in a session with which legs are held for `holding` sessions on average.

        mean over tenors of (1 - (1 - c)^m) / c = holding, m = sessions to expiry

    Assumes: legs of each tenor are opened alike often, at the start of their tenor; 0 where expiry comes sooner anyway
    """
    sessions = [max(1.0, days * SESSIONS_PER_DAY) for days in tenor_days]

    def excess(rate: float) -> float:
        return sum((1.0 - (1.0 - rate) ** m) / rate for m in sessions) / len(sessions) - holding

    least = 1e-6
    if excess(least) <= 0.0:
        return 0.0
    return 1.0 if excess(1.0) >= 0.0 else float(brentq(excess, least, 1.0))
