"""OptionsEnv: N option accounts trading listed chains, batched; no host sync and no Python branch on data in a step."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.compiled import Compiled
from clstm_core.env.episodes import (
    check_window,
    env_seeds,
    episode_starts,
    find_legal_starts,
    initial_ages,
    last_snapshots,
)
from clstm_core.env.generated_standing import Standing as PathStanding
from clstm_core.env.generated_view import GeneratedView
from clstm_core.env.kept_standing import named, put_back
from clstm_core.env.observation import observe_accounts, scaler
from clstm_core.env.protocol import EnvStep
from clstm_core.env.record import write_ledger
from clstm_core.env.state import AccountState, Orders, StepLedger
from clstm_core.env.step import Step, value_account
from clstm_core.env.table_view import TableView
from clstm_core.env.turn import (
    Ended,
    EpisodeStarts,
    Standing,
    arrive,
    fresh_accounts,
    orders_for,
    stand,
    take,
    turn,
    turn_on_paths,
)
from clstm_core.env.view import MarketView
from clstm_core.errors import CheckpointError, ConfigError
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.options import price_kernel
from clstm_core.specs import ACTIONS, OBSERVATION


class OptionsEnv:
    """N accounts that each live episodes of `config.horizon` snapshots in a window of a market or on generated paths.

    What one step does stands in `step.advance`; here are the accounts' state, resets, observations and masks, and the
    ledger of the last step when asked for. Ended episodes are followed by new ones at once (auto-reset).

    Args:
        first_env: number of the first account among all that share a seed: each lives by the seed and its number

    Shapes:  observation [N, F] float32; action [N] int64; mask [N, A] bool
    Raises:  ConfigError for a window or horizon that does not fit; MarketDataError for unusable rows
    Assumes: an illegal action is taken as hold; shares mean an index-tracking proxy that always trades at its spread
    """

    def __init__(
        self,
        market: MarketTensors | GeneratedWorld,
        config: EnvConfig,
        *,
        n_envs: int,
        first_env: int = 0,
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
        own = market.to(self.device)
        self.market: Any = own  # whoever asks it for tables has given tables
        self.config = config
        self.n_envs, self.first_env = n_envs, first_env
        self.observation_size = len(OBSERVATION)
        self.n_actions = len(ACTIONS)
        self.dtype = dtype
        self.seed = seed
        self.observation_mean, self.observation_std = scaler(market, self.device)
        self._stagger = stagger and not fixed_start
        self._look: Callable[[], MarketView]
        self._now: PathStanding | None  # what of the view on paths moves
        self._paths: GeneratedView | None = None  # what of it does not, once compiled
        self._begin: EpisodeStarts
        if isinstance(own, GeneratedWorld):
            self._walk_paths(own, window, fixed_start=fixed_start)
        else:
            self._read_tables(own, window, fixed_start=fixed_start)
        self._standing: Standing
        self._step: Callable[[], Step] | None = None
        self._ledger: StepLedger | None = None
        self._turn: Compiled | None = None
        self.reset()

    @property
    def state(self) -> AccountState:
        """The accounts as they stand."""
        return self._standing.account

    @property
    def view(self) -> MarketView:
        """The market from where the accounts stand; after a compiled step it is looked at when first asked for."""
        return self._look()

    @view.setter
    def view(self, view: MarketView) -> None:
        self._look, self._now = lambda: view, view.now if isinstance(view, GeneratedView) else None

    def compile(self) -> None:
        """Let every further `step` be one compiled function.

        The first step takes some 20 seconds then, or 4 where it was compiled before; on generated paths a minute and a
        half, or 7 seconds. The others take about a quarter of their time. Numbers may differ from the
        uncompiled ones in their last bits. A world whose fair compensation cannot be compiled is traded as it was.
        """
        view, config, begin = self.view, self.config, self._begin
        if isinstance(view, GeneratedView):
            price_kernel.make_ready()
            self._paths = view
            self._turn = Compiled(lambda now, *rest: turn_on_paths(view, config, begin, now, *rest))
        else:
            self._turn = Compiled(lambda _, *rest: (None, *turn(view, config, begin, *rest)[1:]))

    def _read_tables(self, market: MarketTensors, window: tuple[int, int] | None, *, fixed_start: bool) -> None:
        """Trade in a window of a market's tables."""
        self.window = check_window(market, window if window is not None else market.split("train"))
        last_snapshot_T = last_snapshots(market.segment_end_T, self.window[1])
        starts = find_legal_starts(last_snapshot_T, self.window, self.config.horizon, fixed_start=fixed_start)
        self.view = TableView.build(market, self.config, self.window, self.dtype)
        self._begin = lambda seed_N, episode_N: episode_starts(seed_N, episode_N, starts)

    def _walk_paths(self, world: GeneratedWorld, window: tuple[int, int] | None, *, fixed_start: bool) -> None:
        """Trade on generated paths, without tables."""
        if window is not None:
            raise ConfigError(
                f"window={window} of a generated world: its paths have no windows. Leave it out, or write one path out "
                "as tables."
            )
        self._begin = lambda seed_N, episode_N: world.paths.begin(
            seed_N, episode_N, self.config.horizon, fixed=fixed_start
        )
        seed_N = env_seeds(self.seed, self.n_envs, self.device, self.first_env)
        self.view = GeneratedView.build(world, self.config, self._begin(seed_N, torch.zeros_like(seed_N)), self.dtype)

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Start every env at its episode 0; the observation and the action mask."""
        seed_N = env_seeds(self.seed, self.n_envs, self.device, self.first_env)
        episode_N = torch.zeros_like(seed_N)
        age_N = initial_ages(seed_N, self.config.horizon) if self._stagger else torch.zeros_like(seed_N)
        self._arrive(fresh_accounts(self.config, self._begin, seed_N, episode_N, self.dtype, age_N))
        return self.observe()

    def observe(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The current observation [N, F] and action mask [N, A]."""
        standing = self._standing
        return observe_accounts(self.view, standing.account, standing.book), standing.mask_NA

    @property
    def last(self) -> StepLedger | None:
        """The record of the last step; None before the first. Written when first asked for: training never pays it."""
        if self._ledger is None and self._step is not None:
            sizes = self.market.size_zero_Q if isinstance(self.market, MarketTensors) else None
            self._ledger = write_ledger(self._step(), self.view.contract, self.config, sizes)
        return self._ledger

    def orders_for(self, action: torch.Tensor) -> Orders:
        """The order that each env's discrete action [N] means now; an illegal action orders nothing."""
        return orders_for(self.view, self._standing, action)

    def step(self, action: torch.Tensor) -> EnvStep:
        """Advance every env by its action [N] int64; ended envs come back reset."""
        if self._turn is None or self._turn.why_not:
            return self.step_orders(self.orders_for(action))
        before, look = self._standing._replace(offered=None), self._look
        self._now, self._standing, told = self._turn(self._now, before, action)
        self._look_from_here()
        self._remember(lambda: self._take(look(), before, orders_for(look(), before, action)).step)
        return told

    def step_orders(self, orders: Orders) -> EnvStep:
        """Advance every env with explicit orders (rules, replays): the same fills, fees and margin as actions.

        An order the account cannot hold is flagged `rejected` in `last`, one without a quote `unfilled`.
        """
        ended = self._take(self.view, self._standing, orders)
        self._remember(lambda: ended.step)
        self.view = self.view.moved_to(ended.account.snapshot_index_N)
        self._standing, told = arrive(self.view, self.config, ended)
        return told

    def _take(self, view: MarketView, standing: Standing, orders: Orders) -> Ended:
        return take(view, self.config, self._begin, standing, orders)

    def _remember(self, step: Callable[[], Step] | None) -> None:
        """How the record of the last step is to be had."""
        self._step, self._ledger = step, None

    def _look_from_here(self) -> None:
        """Paths are looked at from where a compiled step left them, when first asked for."""
        if self._paths is not None and self._now is not None:
            self._look = cache(partial(self._paths.standing_on, self.state.snapshot_index_N, self._now))

    def _stood(self) -> tuple[PathStanding | None, Standing]:
        """What a compiled step takes besides the action."""
        return self._now, self._standing._replace(offered=None)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of all that a bit-identical continuation needs: the accounts, and where a compiled env stands."""
        stood = named(self._stood()) if self._turn is not None and not self._turn.why_not else {}
        return {name: tensor.clone() for name, tensor in (self.state.tensors() | stood).items()}

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
        self._arrive(AccountState(**values))
        stood = None if self._turn is None else put_back(self._stood(), state)
        if stood is not None and all(map(torch.equal, stood[1].account, self.state)):  # else moved by somebody since
            self.hold(stood)

    def held(self) -> tuple[PathStanding | None, Standing]:
        """Every tensor that a step reads and gives anew, as they lie: where the paths stand, and the accounts."""
        return self._now, self._standing

    def hold(self, held: tuple[PathStanding | None, Standing]) -> None:
        """Go on from what `held` gave, with the tensors themselves."""
        self._now, self._standing = held
        self._remember(None)
        if self._paths is not None:
            self._look_from_here()
        elif self._now is not None and isinstance(view := self.view, GeneratedView):
            self.view = view.standing_on(self.state.snapshot_index_N, self._now)

    def _arrive(self, account: AccountState) -> None:
        """Stand the accounts anywhere."""
        self._remember(None)
        self.view = self.view.standing_at(account.snapshot_index_N)
        self._standing = stand(self.view, self.config, account, value_account(self.view, self.config, account))
