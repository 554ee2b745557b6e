"""Policies walked through many fair worlds at once: what each of them made beyond cash in every session, by luck alone.

All policies share the paths: what depends on a path is worked out once, what depends on an account in one batch.
"""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import orders_of, sizes_and_mask
from clstm_core.env.book import Book
from clstm_core.env.fair_view import FairView
from clstm_core.env.observation import observe_accounts
from clstm_core.env.state import AccountState, Orders
from clstm_core.env.step import advance, value_account
from clstm_core.env.view import MarketView, Offered
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.policies import Policy
from clstm_core.evaluation.statistics import Floats
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.paths import index_of

Progress = Callable[[int, int], None]


class _PathLanes:
    """One policy's accounts, one per path."""

    def __init__(self, view: MarketView, config: EnvConfig, offered: Offered, state: AccountState, book: Book):
        self.view, self.config, self.n_envs, self.state = view, config, len(state.cash_N), state
        self._offered, self._book = offered, book
        self._size_NA: torch.Tensor | None = None
        self._mask_NA: torch.Tensor | None = None

    @property
    def mask(self) -> torch.Tensor:
        """Legal actions [N, A]."""
        self._size_NA, self._mask_NA = sizes_and_mask(
            self._offered, self.state, self._book, self.view.move_S, self.config
        )
        return self._mask_NA

    @property
    def observation(self) -> torch.Tensor:
        """What is seen [N, F]."""
        return observe_accounts(self.view, self.state, self._book)

    def orders_for(self, action_N: torch.Tensor) -> Orders:
        """Assumes: `mask` was asked for first."""
        assert self._size_NA is not None
        assert self._mask_NA is not None
        return orders_of(action_N, self._offered, self._size_NA, self._mask_NA)


@torch.inference_mode()
def walk_fair_worlds(
    policies: Sequence[Policy],
    world: GeneratedWorld,
    env_config: EnvConfig,
    *,
    n_worlds: int = 1000,
    first_world: int = 0,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> dict[str, Floats]:
    """Returns in excess of cash [T, W] of each policy, by name, in `n_worlds` fair worlds.

    An account that is ruined keeps nothing and earns nothing from then on. A world is the same whichever are walked
    beside it.

    Args:
        world: of `market.worlds.fair.fair_world`
        env_config: costs, limits, fill rule and lag; its horizon is replaced by the whole window
    Raises: EvaluationError when two policies share a name
    """
    names = [policy.name for policy in policies]
    if len(set(names)) < len(names):
        raise EvaluationError(f"policies named {', '.join(names)}: expected one name each. Rename those that repeat.")
    steps = world.paths.last_step
    config = dataclasses.replace(env_config, horizon=steps + 1)
    path = torch.arange(first_world, first_world + n_worlds)
    view = FairView.build(world, config, index_of(path, 0), dtype)
    many = view.repeated(len(policies))
    state = AccountState.fresh(
        config.capital_usd,
        snapshot_index_N=many.index_N,
        seed_N=torch.zeros_like(many.index_N),
        episode_N=torch.zeros_like(many.index_N),
        age_N=torch.zeros_like(many.index_N),
        dtype=dtype,
    )
    book = value_account(many, config, state)
    alive = torch.ones(len(many.index_N), dtype=torch.bool)
    lanes = [slice(i * n_worlds, (i + 1) * n_worlds) for i in range(len(policies))]
    for policy in policies:
        policy.reset(n_worlds)
    excess = torch.zeros(steps, len(alive), dtype=torch.float32)
    for step in range(steps):
        offered = view.offered(view.index_N)
        orders = []
        for policy, lane in zip(policies, lanes, strict=True):
            mine = _PathLanes(view, config, offered, _lane(state, lane), _lane(book, lane))
            orders.append(_decide(policy, mine))
        given = _living(Orders(*(torch.cat(part) for part in zip(*orders, strict=True))), alive)
        done = advance(many, config, state, given, book)
        growth = many.snapshot(many.index_N)[:, col.INTEREST_GROWTH]
        earned = done.account.equity_N / state.equity_N - 1.0 - growth
        excess[step] = torch.where(alive, earned, 0.0)
        alive &= ~done.terminated
        state, book = done.account, done.book
        if bool(done.terminated.any()):
            state = _emptied(state, ~alive)
            book = value_account(many.moved_to(state.snapshot_index_N), config, state)
        if step + 1 < steps:
            view = view.moved_to(view.index_N + 1)
            many = view.repeated(len(policies))
        if progress is not None:
            progress(step + 1, steps)
    return {name: excess[:, lane].double().numpy() for name, lane in zip(names, lanes, strict=True)}


def _decide(policy: Policy, lanes: _PathLanes) -> Orders:
    """A rule asks for neither observation nor mask; whoever draws or reads needs them."""
    if policy.reads:
        mask = lanes.mask
        return policy.decide(lanes, lanes.observation, mask)
    nothing = lanes.state.cash_N[:0]
    return policy.decide(lanes, nothing, nothing)


def _lane(batch, lane: slice):
    """Some accounts of a tuple of tensors."""
    return type(batch)(*(field[lane] for field in batch))


def _living(orders: Orders, alive: torch.Tensor) -> Orders:
    """Orders of accounts that are ruined are none."""
    return Orders(
        leg_row_NP=torch.where(alive[:, None], orders.leg_row_NP, -1),
        leg_quantity_NP=torch.where(alive[:, None], orders.leg_quantity_NP, 0),
        share_quantity_N=torch.where(alive, orders.share_quantity_N, 0),
        close_all_N=orders.close_all_N & alive,
        hedge_N=orders.hedge_N & alive,
    )


def _emptied(state: AccountState, ruined: torch.Tensor) -> AccountState:
    """The state with ruined accounts at a symbolic unit of cash, so that nothing divides by what they owe."""
    one = torch.ones_like(state.cash_N)
    return state._replace(
        cash_N=torch.where(ruined, one, state.cash_N),
        shares_N=torch.where(ruined, 0.0, state.shares_N),
        leg_row_NL=torch.where(ruined[:, None], -1, state.leg_row_NL),
        leg_quantity_NL=torch.where(ruined[:, None], 0.0, state.leg_quantity_NL),
        equity_N=torch.where(ruined, one, state.equity_N),
        entry_equity_N=torch.where(ruined, one, state.entry_equity_N),
    )
