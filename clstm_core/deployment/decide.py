"""What a bundle's policy would do now: the env's own observation, mask and fills at the last session of a table."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clstm_core.config import EnvConfig, RunConfig
from clstm_core.deployment.account_file import read_account
from clstm_core.deployment.bundle import Bundle
from clstm_core.deployment.quotes_file import Today, market_of_file
from clstm_core.deployment.shown import after_of, budget_of, fills_of
from clstm_core.env.actions import orders_of, sizes_and_mask
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.reasons import why_not
from clstm_core.env.state import AccountState
from clstm_core.env.step import value_account
from clstm_core.env.trading import decide as fix_order
from clstm_core.env.trading import execute
from clstm_core.evaluation.habits import WORDS
from clstm_core.specs import ACTIONS
from clstm_policy.guard import Arrays

LIKELIEST = 3
"""Actions whose probability is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """A decision, as plain JSON types.

    session:  whose quotes were read; label: what they are
    action:   its name; words: what it means, after "it"; probabilities: of the likeliest actions
    orders:   what would be traded, one row per contract and for shares: name, side, quantity, bid, mid, ask, and the
              price that backtests assume (`shown.fills_of`)
    after:    equity, Greeks, margin of the book with the order, at these quotes; budget: use and cap of each limit
    refused:  actions that may not be taken, and why
    standing: how the policy was chosen; `qualified` is False where it is no champion
    walked:   sessions before this one that the policy was shown with an empty account, of those it remembers
    """

    session: str
    label: str
    currency: str
    run: str
    standing: str
    qualified: bool
    action: str
    words: str
    probabilities: dict[str, float]
    orders: list[dict[str, Any]]
    after: dict[str, float]
    budget: list[dict[str, Any]]
    refused: dict[str, str]
    walked: int
    memory_sessions: int
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def decide_now(bundle: Bundle, quotes: Path, account: Path | None = None) -> Decided:
    """Let a bundle decide at the last session of a table of quotes.

    Args:
        quotes: a table as docs/data.md describes it
        account: a file as `account_file` describes it; cash alone, as the policy's account begins, when left out

    Raises: MarketDataError for quotes that cannot be used, ConfigError for an account that cannot be read, BundleError
            for an observation that is not finite
    Assumes: before now the account was empty: what the policy remembers is the market, not what it held
    """
    trained = _config_of(bundle)
    stated = bundle.manifest.account
    config = EnvConfig(**{item.name: stated[item.name] for item in fields(EnvConfig) if item.name in stated})
    today = market_of_file(quotes, trained.market)
    memory = bundle.manifest.memory_sessions
    env = _standing_through(today, config, memory, account)
    observation, mask = env.observe()
    logits = _walked(bundle, observation.numpy(), mask.numpy())
    action = int(logits.argmax())
    return _told(bundle, env, config, today, action, _softmax(logits), env.n_envs - 1)


def _config_of(bundle: Bundle) -> RunConfig:
    return RunConfig.from_dict(json.loads((bundle.folder / "config.json").read_text()))


def _standing_through(today: Today, config: EnvConfig, memory: int, account: Path | None) -> OptionsEnv:
    """One account at each session that the policy remembers, all in cash but the last: the one that is asked for.

    Side by side in one env: an account in cash that never trades stands at every session as it began.
    """
    market, last = today.market, today.market.n_snapshots - 1
    first = max(today.first, last + 1 - memory)
    count = last + 1 - first
    # an env needs a step to take, though none is taken
    window = (min(first, last - 1), last + 1)
    env = OptionsEnv(market, config, n_envs=count, dtype=torch.float64, window=window, fixed_start=True)
    state = env.state._replace(snapshot_index_N=torch.arange(first, last + 1))
    if account is not None:
        mine = read_account(account, market, AccountState(*(part[-1:] for part in state)))
        state = AccountState(*(torch.cat([part[:-1], own]) for part, own in zip(state, mine, strict=True)))
    env.load_state_dict(state.tensors())
    return env


def _walked(bundle: Bundle, observation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits [A] at the last of these sessions, the policy's state carried from one to the next."""
    policy = bundle.policy
    state: Arrays = policy.blank(1)[2:]
    for at in range(len(observation)):
        outputs = policy((observation[at : at + 1].astype(np.float32), mask[at : at + 1], *state))
        state = policy.carry(outputs)
    return np.where(mask[-1], outputs[0][0].astype(np.float64), -np.inf)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def _told(
    bundle: Bundle,
    env: OptionsEnv,
    config: EnvConfig,
    today: Today,
    action: int,
    shares: np.ndarray,
    walked: int,
) -> Decided:
    """The decision of the last account, with what it would trade and what stands after it."""
    view, market = env.view, today.market
    account = AccountState(*(part[-1:] for part in env.state))
    book = value_account(view, config, account)
    offered = view.offered(account.snapshot_index_N)
    size, mask = sizes_and_mask(offered, account, book, view.move_S, config)
    orders = orders_of(torch.tensor([action]), offered, size, mask)
    rows = torch.where(orders.hedge_N[:, None], orders.leg_row_NP, -1)
    order = fix_order(orders, book, view.quotes(rows), config)
    filled = execute(view, config, order, account.holdings, book, account.premium_sold_N)

    def name(row: int) -> str:
        return market.contract_id(int(market.row_contract_Q[row]))

    manifest = bundle.manifest
    best = np.argsort(-shares)[:LIKELIEST]
    notes = [str(note) for note in market.info["notes"]]
    if bool(filled.rejected | filled.unfilled):
        notes.append("At these quotes the order would not fill as it stands: nothing would be traded.")
    return Decided(
        session=str(np.datetime64(int(market.snapshot_T[-1]), "ns").astype("datetime64[D]")),
        label=str(market.info["label"]),
        currency=str(market.info["currency"]),
        run=manifest.run,
        standing=manifest.standing,
        qualified=manifest.qualified,
        action=ACTIONS[action],
        words=WORDS[ACTIONS[action]],
        probabilities={ACTIONS[at]: float(shares[at]) for at in best if shares[at] > 0},
        orders=fills_of(market, account, order, filled, config),
        after=after_of(filled.book, filled.holdings),
        budget=budget_of(filled.book, filled.holdings, account.premium_sold_N + filled.premium, config),
        refused=why_not(view, account, book, config, name),
        walked=walked,
        memory_sessions=manifest.memory_sessions,
        notes=notes,
    )
