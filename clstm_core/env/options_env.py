"""OptionsEnv: N option accounts trading listed chains, batched; no host sync and no Python branch on data in a step."""

import dataclasses

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import derived as col
from clstm_core.env.actions import Packages, build_packages, sizes_and_mask
from clstm_core.env.book import Book, Holdings, gather_facts, value_book
from clstm_core.env.derived import Derived, derive
from clstm_core.env.episodes import (
    check_window,
    env_seeds,
    episode_starts,
    find_legal_starts,
    initial_ages,
    last_snapshots,
)
from clstm_core.env.observation import book_features, scaler
from clstm_core.env.protocol import EnvStep
from clstm_core.env.record import StepFacts, write_ledger
from clstm_core.env.rewards import excess_reward
from clstm_core.env.settlement import carry, settlement_cash
from clstm_core.env.state import AccountState, Orders, StepLedger
from clstm_core.env.trading import decide, execute, liquidate
from clstm_core.errors import ConfigError
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import ACTIONS, CLOSE_ALL, FIRST_TEMPLATE, HEDGE_DELTA, MAX_LEGS, OBSERVATION


class OptionsEnv:
    """N accounts that each live episodes of `config.horizon` snapshots in one window of a market.

    One step at snapshot t: [fill_lag 0: orders fill at t]; on to t + 1: interest, dividends, borrow, settlement, new
    marks; [fill_lag 1: the orders decided at t fill at t + 1's quotes]; margin breach -> liquidation; reward; ruin ->
    terminated, horizon or end of the history -> truncated (the book is left as it is); auto-reset.

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
        self._last_snapshot_T = last_snapshots(self.market.segment_end_T, self.window[1])
        self._legal_starts = find_legal_starts(
            self._last_snapshot_T, self.window, config.horizon, fixed_start=fixed_start
        )
        self.derived: Derived = derive(self.market, config, self.window, dtype)
        self.packages: Packages = build_packages(self.market, self.derived, config, self.window)
        self.state: AccountState
        self._facts: StepFacts | None = None
        self._ledger: StepLedger | None = None
        self.reset()

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Start every env at its episode 0; the observation and the action mask."""
        seed_N = env_seeds(self.seed, self.n_envs, self.device)
        episode_N = torch.zeros_like(seed_N)
        age_N = initial_ages(seed_N, self.config.horizon) if self._stagger else torch.zeros_like(seed_N)
        self._facts, self._ledger = None, None
        self._enter(self._fresh_state(seed_N, episode_N, age_N))
        return self.observe()

    def observe(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The current observation [N, F] and action mask [N, A]."""
        return self._observation(self.state, self._book), self._mask_NA

    @property
    def last(self) -> StepLedger | None:
        """The record of the last step; None before the first. Written when first asked for: training never pays it."""
        if self._ledger is None and self._facts is not None:
            self._ledger = write_ledger(self._facts, self.market.row_contract_Q, self.config)
        return self._ledger

    @last.setter
    def last(self, ledger: StepLedger | None) -> None:
        self._ledger = ledger

    def orders_for(self, action: torch.Tensor) -> Orders:
        """The order that each env's discrete action [N] means now; an illegal action orders nothing."""
        action = torch.where(self._mask_NA.gather(1, action[:, None])[:, 0], action, 0)
        opens = action >= FIRST_TEMPLATE
        template = (action - FIRST_TEMPLATE).clamp(min=0)
        index = self.state.snapshot_index_N
        size = torch.where(opens, self._size_NA.gather(1, template[:, None])[:, 0], 0.0)
        row_NP = torch.where(opens[:, None], self.packages.row_TAP[index, template], -1)
        return Orders(
            leg_row_NP=row_NP,
            leg_quantity_NP=self.packages.quantity_AP[template] * size[:, None],
            share_quantity_N=self.packages.shares_TA[index, template] * size,
            close_all_N=action == CLOSE_ALL,
            hedge_N=action == HEDGE_DELTA,
        )

    def step(self, action: torch.Tensor) -> EnvStep:
        """Advance every env by its action [N] int64; ended envs come back reset."""
        return self.step_orders(self.orders_for(action))

    def step_orders(self, orders: Orders) -> EnvStep:
        """Advance every env with explicit orders (rules, replays): the same fills, fees and margin as actions.

        An order the account cannot hold is flagged `rejected` in `last`, one without a quote `unfilled`.
        """
        state, config, derived = self.state, self.config, self.derived
        index = state.snapshot_index_N
        index_next = index + 1
        now, then = derived.snapshot_TC[index], derived.snapshot_TC[index_next]
        spot, spot_next = now[:, col.SPOT], then[:, col.SPOT]

        book, held = self._book, _holdings(state)
        decision = decide(orders, book, state.shares_N, derived.row_QC)
        if config.fill_lag == 0:
            execution = execute(decision, held, book, derived.row_QC, derived.move_S, config)
            met_row, execution_book, held = held.row, book, execution.holdings
            book = value_book(held, gather_facts(derived.row_QC, held.row), spot, derived.move_S, config)

        flows = carry(
            held.cash,
            held.shares,
            spot,
            spot_next,
            now[:, col.INTEREST_GROWTH],
            now[:, col.DIVIDEND_GROWTH],
            now[:, col.DT],
            config,
        )
        facts = book.facts
        settles = (facts[..., col.SETTLES] > 0) & (held.quantity != 0)
        paid = settlement_cash(held.quantity, facts[..., col.MULTIPLIER], settles, facts[..., col.SETTLE_VALUE])
        carried = held
        held = Holdings(
            cash=held.cash + flows.interest + flows.dividends - flows.borrow + paid,
            shares=held.shares,
            row=self._next_rows(held.row),
            quantity=torch.where(settles, 0.0, held.quantity),
            entry_price=torch.where(settles, 0.0, held.entry_price),
        )
        carried_book, carried_facts = book, gather_facts(derived.row_QC, held.row)
        book = value_book(held, carried_facts, spot_next, derived.move_S, config)

        if config.fill_lag == 1:
            decision = decision._replace(row=self._next_rows(decision.row))
            execution = execute(decision, held, book, derived.row_QC, derived.move_S, config)
            met_row, execution_book, held = held.row, book, execution.holdings
            book = value_book(held, gather_facts(derived.row_QC, held.row), spot_next, derived.move_S, config)

        breach_book, breach_row = book, held.row
        liquidation = liquidate(held, book, config)
        held = liquidation.holdings
        book = value_book(held, book.facts, spot_next, derived.move_S, config)

        reward = excess_reward(
            state.equity_N, book.equity, now[:, col.INTEREST_GROWTH], state.entry_equity_N, book.margin, config
        )
        age = state.age_N + 1
        terminated = book.equity <= config.ruin_fraction * state.entry_equity_N
        truncated = ~terminated & ((age >= config.horizon) | (index_next >= self._last_snapshot_T[index]))
        arrived = AccountState(
            cash_N=held.cash,
            shares_N=held.shares,
            leg_row_NL=held.row,
            leg_quantity_NL=held.quantity,
            leg_entry_price_NL=held.entry_price,
            entry_equity_N=state.entry_equity_N,
            equity_N=book.equity,
            snapshot_index_N=index_next,
            age_N=age,
            episode_N=state.episode_N,
            seed_N=state.seed_N,
        )
        self._ledger = None
        self._facts = StepFacts(
            before=state,
            after=arrived,
            decision=decision,
            execution=execution,
            execution_book=execution_book,
            met_row=met_row,
            carried=carried,
            carried_book=carried_book,
            carried_facts=carried_facts,
            flows=flows,
            settles=settles,
            liquidation=liquidation,
            breach_book=breach_book,
            breach_row=breach_row,
            book=book,
            snapshot_now=now,
            snapshot_then=then,
            terminated=terminated,
            truncated=truncated,
        )

        done = terminated | truncated
        final_observation = self._observation(arrived, book)
        fresh = self._fresh_state(state.seed_N, state.episode_N + 1, torch.zeros_like(age))
        self._enter(_choose(done, fresh, arrived))
        observation, mask = self.observe()
        return EnvStep(observation, reward.float(), terminated, truncated, final_observation, mask)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of the account tensors: all that a bit-identical continuation needs."""
        return {name: tensor.clone() for name, tensor in self.state.tensors().items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state_dict`; ValueError when a tensor is missing or of another shape or dtype."""
        values = {}
        for name, mine in self.state.tensors().items():
            if name not in state:
                raise ValueError(
                    f"env state lacks {name}: found {', '.join(sorted(state))}. Save it with state_dict()."
                )
            theirs = state[name]
            if theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                raise ValueError(
                    f"env state {name} is {theirs.dtype} {tuple(theirs.shape)}: expected {mine.dtype} "
                    f"{tuple(mine.shape)}. Build the env with the same n_envs and dtype as the one that saved it."
                )
            values[name] = theirs.to(self.device).clone()
        self._facts, self._ledger = None, None
        self._enter(AccountState(**values))

    def _enter(self, state: AccountState) -> None:
        """Make `state` the current one, with its book, sizes and mask."""
        derived, held = self.derived, _holdings(state)
        spot = derived.snapshot_TC[state.snapshot_index_N, col.SPOT]
        self.state = state
        self._book: Book = value_book(held, gather_facts(derived.row_QC, held.row), spot, derived.move_S, self.config)
        self._size_NA, self._mask_NA = sizes_and_mask(
            self.packages, state.snapshot_index_N, held, self._book, derived.move_S, self.config
        )

    def _fresh_state(self, seed_N: torch.Tensor, episode_N: torch.Tensor, age_N: torch.Tensor) -> AccountState:
        """Accounts in cash at the start of the given episodes."""
        cash = torch.full((self.n_envs,), self.config.capital_usd, dtype=self.dtype, device=self.device)
        slots = torch.zeros(self.n_envs, MAX_LEGS, dtype=self.dtype, device=self.device)
        return AccountState(
            cash_N=cash,
            shares_N=torch.zeros_like(cash),
            leg_row_NL=torch.full_like(slots, -1, dtype=torch.int64),
            leg_quantity_NL=slots,
            leg_entry_price_NL=slots.clone(),
            entry_equity_N=cash.clone(),
            equity_N=cash.clone(),
            snapshot_index_N=episode_starts(seed_N, episode_N, self._legal_starts),
            age_N=age_N,
            episode_N=episode_N,
            seed_N=seed_N,
        )

    def _next_rows(self, row: torch.Tensor) -> torch.Tensor:
        """The same contracts' rows at the next snapshot; -1 stays -1."""
        return torch.where(row >= 0, self.market.next_row_Q[row.clamp(min=0)], -1)

    def _observation(self, state: AccountState, book: Book) -> torch.Tensor:
        market = self.market.features_TF[state.snapshot_index_N]
        own = book_features(_holdings(state), book, state.entry_equity_N)
        return torch.cat([market, own.float()], dim=1)


def _holdings(state: AccountState) -> Holdings:
    return Holdings(state.cash_N, state.shares_N, state.leg_row_NL, state.leg_quantity_NL, state.leg_entry_price_NL)


def _choose(flag_N: torch.Tensor, yes: AccountState, no: AccountState) -> AccountState:
    """`yes` where the flag holds, field by field."""
    chosen = {}
    for field in dataclasses.fields(AccountState):
        a, b = getattr(yes, field.name), getattr(no, field.name)
        chosen[field.name] = torch.where(flag_N.view(-1, *([1] * (a.dim() - 1))), a, b)
    return AccountState(**chosen)
