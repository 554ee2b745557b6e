"""A whole turn of the env as pure functions, so that it can be compiled: order, step, reset what ended, look around."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import orders_of, sizes_and_mask
from clstm_core.env.book import Book, empty_where
from clstm_core.env.generated_standing import Standing as PathStanding
from clstm_core.env.generated_view import GeneratedView
from clstm_core.env.observation import observe_accounts
from clstm_core.env.protocol import EnvStep
from clstm_core.env.state import AccountState, Orders, choose
from clstm_core.env.step import Step, advance
from clstm_core.env.view import MarketView, Offered

EpisodeStarts = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Snapshot index [N] where an episode begins, of seeds and episode numbers [N]."""


class Standing(NamedTuple):
    """Accounts where they stand, and what they may do there.

    Shapes: size [N, templates] whole units in the money dtype; mask [N, A] bool
    """

    account: AccountState
    book: Book
    size_NA: torch.Tensor
    mask_NA: torch.Tensor
    offered: Offered | None  # None: asked for again when it is needed, which costs a compiled turn nothing


class Ended(NamedTuple):
    """A step that was taken: the accounts after any reset, and what they saw before it [N, F]."""

    account: AccountState
    final_observation: torch.Tensor
    step: Step


def stand(view: MarketView, config: EnvConfig, account: AccountState, book: Book) -> Standing:
    """What accounts with these books may do where they stand."""
    offered = view.offered(account.snapshot_index_N)
    size_NA, mask_NA = sizes_and_mask(offered, account, book, view.move_S, config)
    return Standing(account, book, size_NA, mask_NA, offered)


def orders_for(view: MarketView, standing: Standing, action: torch.Tensor) -> Orders:
    """The order that each account's discrete action [N] means; an illegal action orders nothing."""
    offered = standing.offered or view.offered(standing.account.snapshot_index_N)
    return orders_of(action, offered, standing.size_NA, standing.mask_NA)


def take(view: MarketView, config: EnvConfig, begin: EpisodeStarts, standing: Standing, orders: Orders) -> Ended:
    """Let time pass, and begin a new episode where one ended."""
    step = advance(view, config, standing.account, orders, standing.book)
    final = observe_accounts(view, step.account, step.book)
    fresh = fresh_accounts(config, begin, step.account.seed_N, step.account.episode_N + 1, step.account.cash_N.dtype)
    return Ended(choose(step.done, fresh, step.account), final, step)


def arrive(view: MarketView, config: EnvConfig, ended: Ended) -> tuple[Standing, EnvStep]:
    """Look around where the accounts stand now.

    Args:
        view: `moved_to` where they stand
    """
    account, step = ended.account, ended.step
    spot = view.snapshot(account.snapshot_index_N)[:, col.SPOT]
    standing = stand(view, config, account, empty_where(step.done, step.book, cash=account.cash_N, spot=spot))
    seen = observe_accounts(view, account, standing.book)
    told = (seen, step.reward.float(), step.terminated, step.truncated, ended.final_observation, standing.mask_NA)
    return standing, EnvStep(*told)


def turn(
    view: MarketView, config: EnvConfig, begin: EpisodeStarts, standing: Standing, action: torch.Tensor
) -> tuple[MarketView, Standing, EnvStep]:
    """All of it, and nothing of the record; the market from where the accounts stand after it is first.

    Shapes: action [N] int64
    """
    ended = take(view, config, begin, standing, orders_for(view, standing, action))
    view = view.moved_to(ended.account.snapshot_index_N)
    now, told = arrive(view, config, ended)
    return view, now._replace(offered=None), told


def turn_on_paths(
    view: GeneratedView,
    config: EnvConfig,
    begin: EpisodeStarts,
    now: PathStanding,
    standing: Standing,
    action: torch.Tensor,
) -> tuple[PathStanding, Standing, EnvStep]:
    """`turn` on generated paths, from where the accounts stand `now` to where they stand after it, which is first.

    Args:
        view: of the same world, wherever its accounts stand
    """
    here = view.standing_on(standing.account.snapshot_index_N, now)
    there, standing, told = turn(here, config, begin, standing, action)
    assert isinstance(there, GeneratedView)
    return there.now, standing, told


def fresh_accounts(
    config: EnvConfig,
    begin: EpisodeStarts,
    seed_N: torch.Tensor,
    episode_N: torch.Tensor,
    dtype: torch.dtype,
    age_N: torch.Tensor | None = None,
) -> AccountState:
    """Accounts in cash at the start of the given episodes; of age zero when that is left out."""
    return AccountState.fresh(
        config.capital_usd,
        snapshot_index_N=begin(seed_N, episode_N),
        seed_N=seed_N,
        episode_N=episode_N,
        age_N=torch.zeros_like(seed_N) if age_N is None else age_N,
        dtype=dtype,
    )
