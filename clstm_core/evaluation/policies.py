"""Who may trade in a backtest: checkpoints of the network, and rules that any trader knows. All give `Orders`.

A rule decides on what the account holds and what is listed at the decision's snapshot, exactly as the network does, and
pays the same fills, fees and margin. Contracts are whole; a size of zero means that it cannot trade, and is counted.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from clstm_core.checkpoint import MANIFEST, load_policy
from clstm_core.config import EnvConfig
from clstm_core.env import derived as col
from clstm_core.env.fills import share_half_spread
from clstm_core.env.margin import margin_requirement
from clstm_core.env.state import AccountState, Orders
from clstm_core.errors import EvaluationError
from clstm_core.market.tensors import MarketTensors, file_sha256
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, CELL_INDEX, OBSERVATION

MONTH_DAYS = (20.0, 45.0)
"""A near tenor in this range of calendar days counts as a month in a rule's label."""

STRADDLE_MARGIN_SHARE = 0.10
"""Share of equity that the short straddle's margin may take when it is opened (about 1.2 x equity in notional)."""


class Lanes(Protocol):
    """The accounts that one policy trades: an OptionsEnv, or some consecutive envs of one."""

    n_envs: int
    market: MarketTensors
    config: EnvConfig
    derived: Any

    @property
    def state(self) -> AccountState:
        """The accounts as they stand at the decision."""
        ...

    def orders_for(self, action_N: torch.Tensor) -> Orders:
        """The orders that discrete actions stand for."""
        ...


class Decided(NamedTuple):
    """What a policy last chose: action_N int64 (-1: a rule wrote the orders), value_N float64 (NaN: no critic)."""

    action_N: torch.Tensor
    value_N: torch.Tensor

    @classmethod
    def rule(cls, n_envs: int) -> "Decided":
        """What is recorded of a rule."""
        return cls(torch.full((n_envs,), -1), torch.full((n_envs,), torch.nan, dtype=torch.float64))


class Policy(Protocol):
    """Anything that can trade an account.

    `name` is unique in a comparison; `n_episodes` is how many accounts it trades side by side (more than one only
    where it draws at random); `last` is what the latest `decide` chose.
    """

    name: str
    label: str
    kind: str  # "checkpoint" or "baseline"
    n_episodes: int
    last: Decided

    def reset(self, n_envs: int) -> None:
        """Forget everything: `n_envs` accounts begin."""
        ...

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        """Orders of every account from its observation [N, F] and its legal actions [N, A]."""
        ...

    def notes(self) -> list[str]:
        """What a reader of the results must know, e.g. that it was too small to trade."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for the manifest, as plain JSON types."""
        ...


class Rule:
    """A baseline that writes its own orders; counts how often nothing was listed for it or a contract was too large."""

    kind = "baseline"
    n_episodes = 1

    def __init__(self, name: str, label: str):
        self.name, self.label = name, label
        self.reset(1)

    def reset(self, n_envs: int) -> None:
        self.last = Decided.rule(n_envs)
        self._unlisted = torch.zeros(n_envs, dtype=torch.int64)
        self._too_small = torch.zeros(n_envs, dtype=torch.int64)

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        orders = Orders.none(env.n_envs, obs.device)
        self.write(env, env.state, orders)
        return orders

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        """Fill in `orders` in place; does nothing here: the rule of holding cash."""

    def notes(self) -> list[str]:
        notes = []
        if unlisted := int(self._unlisted.max()):
            notes.append(f"{self.name}: no contract listed for the rule on {unlisted} snapshots; it waited.")
        if too_small := int(self._too_small.max()):
            notes.append(f"{self.name}: equity below one whole contract on {too_small} snapshots; it could not trade.")
        return notes

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "kind": self.kind, "mode": "rule", "checkpoint": None}

    def _may_open(self, flat_N: torch.Tensor, rows_NP: torch.Tensor, size_N: torch.Tensor) -> torch.Tensor:
        """Which accounts open now, the others counted by what kept them."""
        listed = (rows_NP >= 0).all(dim=1)
        self._unlisted += flat_N & ~listed
        self._too_small += flat_N & listed & (size_N < 1)
        return flat_N & listed & (size_N >= 1)


class BuyAndHold(Rule):
    """Put the whole equity into the index proxy at the start and keep it; dividends stay in cash."""

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        cost = env.market.spot_T[state.snapshot_index_N] * (1.0 + share_half_spread(env.config))
        wanted = torch.floor(state.equity_N / (cost + env.config.commission_per_share_usd))
        orders.share_quantity_N[:] = torch.where(state.shares_N == 0, wanted, 0.0).long()


class PutWrite(Rule):
    """Sell at-the-money puts that the account's equity secures in full, hold them to expiry, sell the next ones.

    Source: the CBOE S&P 500 PutWrite index (PUT): strike x multiplier x contracts <= equity; here in whole contracts,
            at this account's fills and costs, on the contract nearest the near tenor instead of the third Friday's
    """

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        rows = cell_rows(env, state, "near_put_atm")
        contract = env.market.row_contract_Q[rows[:, 0].clamp(min=0)]
        size = torch.floor(state.equity_N / (env.market.strike_K[contract] * env.market.multiplier_K[contract]))
        trade = self._may_open(flat(state), rows, size)
        _sell(orders, rows, torch.where(trade, size, 0.0))


class BuyWrite(Rule):
    """Hold the index proxy and sell an at-the-money call on all of it, to expiry, then the next one.

    Source: the CBOE S&P 500 BuyWrite index (BXM); here in whole contracts, so that shares are the largest multiple of
            the multiplier that equity pays for, the rest in cash, evened out whenever calls are sold
    """

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        rows = cell_rows(env, state, "near_call_atm")
        contract = env.market.row_contract_Q[rows[:, 0].clamp(min=0)]
        multiplier = env.market.multiplier_K[contract]
        spot = env.market.spot_T[state.snapshot_index_N] * (1.0 + share_half_spread(env.config))
        size = torch.floor(state.equity_N / (spot * multiplier))
        trade = self._may_open(flat(state), rows, size)
        _sell(orders, rows, torch.where(trade, size, 0.0))
        orders.share_quantity_N[:] = torch.where(trade, size * multiplier - state.shares_N, 0.0).long()


class ShortStraddle(Rule):
    """Sell the at-the-money call and put, unhedged, to expiry; sized so that its margin is a set share of equity."""

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        rows = cell_rows(env, state, "near_call_atm", "near_put_atm")
        facts = env.derived.row_QC[rows.clamp(min=0)]
        unit_pnl = -(facts[..., col.MULTIPLIER, None] * facts[..., col.SCENARIOS :]).sum(dim=1)
        margin = margin_requirement(unit_pnl, torch.full_like(unit_pnl[:, 0], 2.0), env.config)
        size = torch.floor(STRADDLE_MARGIN_SHARE * state.equity_N / margin)
        trade = self._may_open(flat(state), rows, size)
        _sell(orders, rows, torch.where(trade, size, 0.0))


class RandomPolicy:
    """Every legal action equally likely, from a seed: what no skill at all earns after costs."""

    kind = "baseline"

    def __init__(self, seed: int = 0, n_episodes: int = 1):
        self.name, self.label = "random", "Uniformly random legal actions"
        self.seed, self.n_episodes = seed, n_episodes
        self.reset(n_episodes)

    def reset(self, n_envs: int) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self.last = Decided.rule(n_envs)

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        action = torch.multinomial(mask.double(), 1, generator=self._generator).squeeze(1)
        self.last = self.last._replace(action_N=action)
        return env.orders_for(action)

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "kind": self.kind, "mode": "stochastic", "checkpoint": None}


class CheckpointPolicy:
    """A trained network, playing its likeliest action (`argmax`) or drawing from its distribution (`stochastic`).

    Raises:  EvaluationError for an unknown mode, or a network of another observation or action list
    Assumes: the scaler it was trained with is in its buffers, whatever market it trades now
    """

    kind = "checkpoint"

    def __init__(
        self,
        model: CLSTM,
        *,
        name: str,
        mode: str = "argmax",
        seed: int = 0,
        n_episodes: int = 1,
        checkpoint: dict[str, Any] | None = None,
    ):
        if mode not in ("argmax", "stochastic"):
            raise EvaluationError(f"unknown policy mode {mode!r}: expected argmax or stochastic. Use one of these.")
        if (model.observation_size, model.n_actions) != (len(OBSERVATION), len(ACTIONS)):
            raise EvaluationError(
                f"policy {name} reads {model.observation_size} features and has {model.n_actions} actions: expected "
                f"{len(OBSERVATION)} and {len(ACTIONS)}. Train it again with this version."
            )
        self.model = model.eval()
        self.name, self.mode, self.seed = f"{name}_{mode}", mode, seed
        self.label = f"Checkpoint {name}, {'likeliest action' if mode == 'argmax' else 'drawn actions'}"
        self.n_episodes = n_episodes if mode == "stochastic" else 1
        self.checkpoint = checkpoint
        self.reset(self.n_episodes)

    def reset(self, n_envs: int) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._memory = self.model.initial_state(n_envs)
        self.last = Decided.rule(n_envs)

    @torch.inference_mode()
    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        logits, value, self._memory = self.model.step(obs.float(), mask, self._memory)
        if self.mode == "argmax":
            action = logits.argmax(dim=1)
        else:
            probabilities = torch.softmax(logits.double(), dim=1) * mask
            action = torch.multinomial(probabilities, 1, generator=self._generator).squeeze(1)
        self.last = Decided(action, value.double())
        return env.orders_for(action)

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.label,
            "kind": self.kind,
            "mode": self.mode,
            "checkpoint": self.checkpoint,
        }


def baselines(market: MarketTensors, *, seed: int = 0, random_episodes: int = 4) -> list[Policy]:
    """Cash, buy and hold, PUT, BXM, short straddle, random: labelled with the tenor that this market lists."""
    near = float(market.info.get("near_days", 30.0))
    month = MONTH_DAYS[0] <= near <= MONTH_DAYS[1]
    tenor = "1-month" if month else f"{near:g}-day (the nearest listed tenor, not a month)"
    return [
        Rule("cash", "Cash at the risk-free rate"),
        BuyAndHold("buy_and_hold", "Buy and hold the index proxy"),
        PutWrite("put_write", f"Cash-secured {tenor} at-the-money put, rolled at expiry (PUT rule)"),
        BuyWrite("buy_write", f"Index proxy with a short {tenor} at-the-money call (BXM rule)"),
        ShortStraddle("short_straddle", f"Short {tenor} at-the-money straddle, unhedged"),
        RandomPolicy(seed, random_episodes),
    ]


def load_checkpoint(
    folder: Path, *, modes: tuple[str, ...] = ("argmax", "stochastic"), seed: int = 0, stochastic_episodes: int = 4
) -> list[CheckpointPolicy]:
    """One checkpoint folder as policies, one per mode; its hashes are verified.

    Raises: what `checkpoint.load_policy` raises for a missing or altered folder
    """
    model, meta = load_policy(folder)
    facts = {
        "folder": str(folder),
        "sha256": file_sha256(folder / MANIFEST),
        "run": folder.parent.parent.name,
        "milestone": str(meta["milestone"]),
        "env_steps": int(meta["env_steps"]),
        "seed": meta["config"]["seed"],
        "config_sha256": hashlib.sha256(json.dumps(meta["config"], sort_keys=True).encode()).hexdigest(),
        "git_commit": meta.get("git_commit"),
        "trained_on": meta.get("data_source"),
        "trained_label": meta.get("data_label"),
        "training_data_sha256": meta.get("data_sha256"),
    }
    return [
        CheckpointPolicy(
            model,
            name=f"clstm_{facts['milestone']}",
            mode=mode,
            seed=seed,
            n_episodes=stochastic_episodes,
            checkpoint=facts,
        )
        for mode in modes
    ]


def flat(state: AccountState) -> torch.Tensor:
    """Accounts [N] that hold no option."""
    return (state.leg_quantity_NL == 0).all(dim=1)


def cell_rows(env: Lanes, state: AccountState, *cells: str) -> torch.Tensor:
    """Rows [N, cells] of the contracts that the grid points at now; -1 where none is listed."""
    index = torch.tensor([CELL_INDEX[name] for name in cells])
    return env.market.grid_row_TG[state.snapshot_index_N][:, index]


def _sell(orders: Orders, rows_NP: torch.Tensor, size_N: torch.Tensor) -> None:
    """Write a sale of `size` contracts of each row; nothing where the size is zero."""
    legs = slice(0, rows_NP.shape[1])
    trade = (size_N > 0)[:, None]
    orders.leg_row_NP[:, legs] = torch.where(trade, rows_NP, -1)
    orders.leg_quantity_NP[:, legs] = torch.where(trade, -size_N[:, None].long(), 0)
