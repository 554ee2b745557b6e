"""The proof that fair worlds are fair: over all that may follow, no account expects anything beyond interest at mid."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import orders_of, sizes_and_mask
from clstm_core.env.book import Book
from clstm_core.env.fair_view import FairView
from clstm_core.env.state import AccountState, Orders
from clstm_core.env.step import Step, advance, value_account
from clstm_core.errors import EvaluationError
from clstm_core.market.worlds.fair import WindowPaths
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.paths import Shocks, index_of
from clstm_core.specs import ACTIONS, HOLD

FREE: dict[str, Any] = {
    "commission_per_contract_usd": 0.0,
    "commission_per_share_usd": 0.0,
    "share_spread_bps": 0.0,
    "borrow_rate": 0.0,
    "fill_rule": "fraction",
    "fill_fraction": 0.0,
}
"""An account that trades at mid and pays nothing."""

TOLERANCE = 1e-9
"""Of the capital: what rounding leaves of an expectation in float64."""

PATIENCE, BUYING = 25, 3
"""Half of the accounts trade in so many steps of so many, and hold what they have until it settles in the others."""

BRIM_EVERY = 7
"""Some accounts buy shares to the brim of their risk budget every so many steps: the market moves them beyond it."""


@dataclass(kw_only=True, slots=True)
class Accounts:
    """N accounts in float64, one per path of a fair world, that can be stepped and branched."""

    view: FairView
    config: EnvConfig
    state: AccountState
    book: Book

    @classmethod
    def begin(cls, world: GeneratedWorld, config: EnvConfig, n: int) -> "Accounts":
        """All in cash at the window's first snapshot."""
        config = dataclasses.replace(config, horizon=world.paths.last_step + 1)
        view = FairView.build(world, config, index_of(torch.arange(n), 0), torch.float64)
        none = torch.zeros(n, dtype=torch.int64)
        state = AccountState.fresh(
            config.capital_usd,
            snapshot_index_N=view.index_N,
            seed_N=none,
            episode_N=none,
            age_N=none,
            dtype=torch.float64,
        )
        return cls(view=view, config=config, state=state, book=value_account(view, config, state))

    @property
    def growth_N(self) -> torch.Tensor:
        """Interest over the coming step, as a fraction."""
        return self.view.snapshot(self.view.index_N)[:, col.INTEREST_GROWTH]

    def orders(self, generator: torch.Generator, insist: torch.Tensor | None = None) -> tuple[torch.Tensor, Orders]:
        """A legal action [N] at random, or the one insisted on where it is legal; and its orders.

        Args:
            insist: actions [N], -1 for one at random
        """
        offered = self.view.offered(self.view.index_N)
        size, mask = sizes_and_mask(offered, self.state, self.book, self.view.move_S, self.config)
        action = torch.where(mask, torch.rand(mask.shape, generator=generator), -1.0).argmax(dim=1)
        if insist is not None:
            legal = mask.gather(1, insist.clamp(min=0)[:, None])[:, 0]
            action = torch.where(legal & (insist >= 0), insist, action)
        return action, orders_of(action, offered, size, mask)

    def expected_excess(self, orders: Orders) -> tuple[torch.Tensor, Step]:
        """What each account [N] expects to make beyond interest by its orders over one step; the branches [N x K]."""
        paths = self.view.world.paths
        assert isinstance(paths, WindowPaths)
        weight, n = paths.atoms.weight, len(self.state.cash_N)
        many = torch.arange(n).repeat_interleave(len(weight))
        now, then = self.view.now.at(many), self.view.then.at(many)
        point = paths.following(now.point, Shocks(*(field.repeat(n) for field in paths.atoms.shocks)))
        branched = dataclasses.replace(
            self.view, index_N=self.view.index_N[many], now=now, then=then._replace(point=point)
        )
        state, each = AccountState(*(f[many] for f in self.state)), Orders(*(f[many] for f in orders))
        step = advance(branched, self.config, state, each)
        expected = step.account.equity_N.view(n, len(weight)) @ weight
        return expected - self.state.equity_N * (1.0 + self.growth_N), step

    def step(self, orders: Orders) -> Step:
        """Go on by what chance brings."""
        step = advance(self.view, self.config, self.state, orders, self.book)
        self.state, self.book = step.account, step.book
        self.view = self.view.moved_to(self.view.index_N + 1)
        return step


@dataclass(frozen=True, kw_only=True, slots=True)
class FairProof:
    """What was met, and the largest expectation found.

    Units: worst as a fraction of capital; the others counts of branches, or of accounts and steps
    """

    worst: float
    steps: int
    actions: int
    settled: int
    liquidated: int

    @property
    def missing(self) -> list[str]:
        """Events that the proof claims to cover and did not meet."""
        met = {
            "every action": self.actions == len(ACTIONS),
            "settlements": self.settled,
            "liquidations": self.liquidated,
        }
        return [name for name, found in met.items() if not found]

    @property
    def holds(self) -> bool:
        """Whether nothing is expected, of everything that was to be met."""
        return self.worst <= TOLERANCE and not self.missing


def prove_fair(world: GeneratedWorld, env_config: EnvConfig, *, steps: int = 50, seed: int = 0) -> FairProof:
    """Walk accounts that insist on each action, settle, and breach their budget; sum over all that each step may bring.

    Raises: EvaluationError for worlds of fewer than two steps
    """
    steps = min(steps, world.paths.last_step - 1)
    if steps < 1:
        raise EvaluationError(f"worlds of {world.paths.last_step} steps: expected two at least. Judge a longer window.")
    accounts = Accounts.begin(world, dataclasses.replace(env_config, **FREE), len(ACTIONS))
    generator, insist = torch.Generator().manual_seed(seed), torch.arange(len(ACTIONS))
    seen, worst, settled, liquidated = torch.zeros(len(ACTIONS), dtype=torch.bool), 0.0, 0, 0
    for turn in range(steps):
        asked = insist if turn % 3 else torch.full_like(insist, -1)
        if turn % PATIENCE >= BUYING:
            asked = torch.where(insist % 2 == 1, HOLD, asked)
        action, orders = accounts.orders(generator, asked)
        if turn % BRIM_EVERY == BRIM_EVERY - 1:
            book, most = accounts.book, env_config.max_net_exposure
            shares = torch.floor(most * book.equity / book.spot - book.delta)
            orders = orders._replace(share_quantity_N=orders.share_quantity_N + shares * (insist % 5 == 0))
        excess, branches = accounts.expected_excess(orders)
        worst = max(worst, float(excess.abs().max()) / env_config.capital_usd)
        settled += int(branches.facts.interval.settles.any(dim=1).sum())
        liquidated += int(branches.facts.liquidation.over_budget.sum())
        seen[action] = True
        accounts.step(orders)
    return FairProof(worst=worst, steps=steps, actions=int(seen.sum()), settled=settled, liquidated=liquidated)
