"""OptionsEnv: N option accounts trading listed chains, batched; no host sync and no Python branch on data in a step."""

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.actions import orders_of, sizes_and_mask
from clstm_core.env.book import Book
from clstm_core.env.episodes import (
    check_window,
    env_seeds,
    episode_starts,
    find_legal_starts,
    initial_ages,
    last_snapshots,
)
from clstm_core.env.observation import observe_accounts, scaler
from clstm_core.env.protocol import EnvStep
from clstm_core.env.record import write_ledger
from clstm_core.env.state import AccountState, Orders, StepLedger, choose
from clstm_core.env.step import Step, advance, value_account
from clstm_core.env.table_view import TableView
from clstm_core.env.view import MarketView, Offered
from clstm_core.errors import CheckpointError, ConfigError
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import ACTIONS, OBSERVATION


class OptionsEnv:
    """N accounts that each live episodes of `config.horizon` snapshots in one window of a market.

    What one step does stands in `step.advance`; here are the accounts' state, resets, observations and masks, and the
    ledger of the last step when asked for. Ended episodes are followed by new ones at once (auto-reset).

    Shapes:  observation [N, F] float32; action [N] int64; mask [N, A] bool
    Raises:  ConfigError for a window or horizon that does not fit; MarketDataError for unusable rows
    Assumes: an illegal action is taken as hold; shares mean an index-tracking proxy that always trades at its spread
    """

    def __init__(
        self,
        market: MarketTensors,
        config: EnvConfig,
        *,
        n_envs: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        window: tuple[int, int] | None = None,
        stagger: bool = True,
        fixed_start: bool = False,
    ) -> None:
        if n_envs < 1:
            raise ConfigError(f"n_envs={n_envs}: expected at least 1 account.")
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"dtype={dtype}: money is torch.float32 (training) or torch.float64 (backtests, proofs).")
        self.device = torch.device(device)
        self.market = market.to(self.device)
        self.config = config
        self.n_envs = n_envs
        self.observation_size = len(OBSERVATION)
        self.n_actions = len(ACTIONS)
        self.dtype = dtype
        self.seed = seed
        self.window = check_window(market, window if window is not None else market.split("train"))
        self.observation_mean, self.observation_std = scaler(market, self.device)
        self._stagger = stagger and not fixed_start
        last_snapshot_T = last_snapshots(self.market.segment_end_T, self.window[1])
        self._legal_starts = find_legal_starts(last_snapshot_T, self.window, config.horizon, fixed_start=fixed_start)
        self.view: MarketView = TableView.build(self.market, config, self.window, dtype)
        self.state: AccountState
        self._step: Step | None = None
        self._ledger: StepLedger | None = None
        self.reset()

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Start every env at its episode 0; the observation and the action mask."""
        seed_N = env_seeds(self.seed, self.n_envs, self.device)
        episode_N = torch.zeros_like(seed_N)
        age_N = initial_ages(seed_N, self.config.horizon) if self._stagger else torch.zeros_like(seed_N)
        self._step, self._ledger = None, None
        self._enter(self._fresh(seed_N, episode_N, age_N))
        return self.observe()

    def observe(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The current observation [N, F] and action mask [N, A]."""
        return observe_accounts(self.view, self.state, self._book), self._mask_NA

    @property
    def last(self) -> StepLedger | None:
        """The record of the last step; None before the first. Written when first asked for: training never pays it."""
        if self._ledger is None and self._step is not None:
            self._ledger = write_ledger(self._step, self.market.row_contract_Q, self.config, self.market.size_zero_Q)
        return self._ledger

    def orders_for(self, action: torch.Tensor) -> Orders:
        """The order that each env's discrete action [N] means now; an illegal action orders nothing."""
        return orders_of(action, self._offered, self._size_NA, self._mask_NA)

    def step(self, action: torch.Tensor) -> EnvStep:
        """Advance every env by its action [N] int64; ended envs come back reset."""
        return self.step_orders(self.orders_for(action))

    def step_orders(self, orders: Orders) -> EnvStep:
        """Advance every env with explicit orders (rules, replays): the same fills, fees and margin as actions.

        An order the account cannot hold is flagged `rejected` in `last`, one without a quote `unfilled`.
        """
        step = advance(self.view, self.config, self.state, orders, self._book)
        self._step, self._ledger = step, None
        final_observation = observe_accounts(self.view, step.account, step.book)
        age = step.account.age_N
        fresh = self._fresh(step.account.seed_N, step.account.episode_N + 1, torch.zeros_like(age))
        self._enter(choose(step.done, fresh, step.account))
        observation, mask = self.observe()
        return EnvStep(observation, step.reward.float(), step.terminated, step.truncated, final_observation, mask)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of the account tensors: all that a bit-identical continuation needs."""
        return {name: tensor.clone() for name, tensor in self.state.tensors().items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state_dict`; CheckpointError when a tensor is missing or of another shape or dtype."""
        values = {}
        for name, mine in self.state.tensors().items():
            if name not in state:
                raise CheckpointError(
                    f"env state lacks {name}: found {', '.join(sorted(state))}. Save it with state_dict()."
                )
            theirs = state[name]
            if theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                raise CheckpointError(
                    f"env state {name} is {theirs.dtype} {tuple(theirs.shape)}: expected {mine.dtype} "
                    f"{tuple(mine.shape)}. Build the env with the same n_envs and dtype as the one that saved it."
                )
            values[name] = theirs.to(self.device).clone()
        self._step, self._ledger = None, None
        self._enter(AccountState(**values))

    def _enter(self, state: AccountState) -> None:
        """Make `state` the current one, with its book, sizes and mask."""
        self.state = state
        self._book: Book = value_account(self.view, self.config, state)
        self._offered: Offered = self.view.offered(state.snapshot_index_N)
        self._size_NA, self._mask_NA = sizes_and_mask(
            self._offered, state.holdings, self._book, self.view.move_S, self.config
        )

    def _fresh(self, seed_N: torch.Tensor, episode_N: torch.Tensor, age_N: torch.Tensor) -> AccountState:
        """Accounts in cash at the start of the given episodes."""
        return AccountState.fresh(
            self.config.capital_usd,
            snapshot_index_N=episode_starts(seed_N, episode_N, self._legal_starts),
            seed_N=seed_N,
            episode_N=episode_N,
            age_N=age_N,
            dtype=self.dtype,
        )
