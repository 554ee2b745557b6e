"""Paths of an index and its VIX, by number: a path's state follows from its number and its step alone.

Two kinds answer the same three questions (where a path begins, what follows, what came before it): `SimulatedPaths`
draws as many as are asked for and stores none, `GivenPath` walks an array of states such as the real history.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch

from clstm_core.errors import ConfigError
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.worlds.counter import mix, normal, shift, uniform
from clstm_core.market.worlds.surface import PathState
from clstm_core.market.worlds.weekly import Weekly, path_strike_step

PAST = 22
"""Closes that a point remembers, its own included: the features look 21 sessions back."""

STEP_BITS = 16
MAX_STEPS = 1 << STEP_BITS
SESSIONS_YEAR = 252.0
START_LEVEL = 4000.0


def index_of(path: torch.Tensor, step: torch.Tensor | int) -> torch.Tensor:
    """Snapshot index of a step of a path, int64: index + 1 is the step after it."""
    return (path << STEP_BITS) + step


def path_of(index: torch.Tensor) -> torch.Tensor:
    """The path of a snapshot index."""
    return index >> STEP_BITS


def step_of(index: torch.Tensor) -> torch.Tensor:
    """The step of a snapshot index on its path, 0 where it begins."""
    return index & (MAX_STEPS - 1)


class PathPoint(NamedTuple):
    """All that a path is at one snapshot, from which the next follows.

    Shapes: [N] of N paths, but log_close [PAST, N], the newest last
    """

    state: PathState
    session: torch.Tensor  # int64, of the calendar
    strike_step: torch.Tensor  # fixed when the path starts
    log_close: torch.Tensor
    memory: torch.Tensor  # what else its dynamics remember of their own past; nothing depends on it where they do not

    def where(self, flag: torch.Tensor, other: "PathPoint") -> "PathPoint":
        """This point where the flag [N] holds, else the other."""
        return PathPoint(
            PathState(*(torch.where(flag, a, b) for a, b in zip(self.state, other.state, strict=True))),
            torch.where(flag, self.session, other.session),
            torch.where(flag, self.strike_step, other.strike_step),
            torch.where(flag, self.log_close, other.log_close),
            torch.where(flag, self.memory, other.memory),
        )


class Shocks(NamedTuple):
    """What chance brings in one step, from the path's number and the step's alone: three normals and a uniform."""

    first: torch.Tensor
    second: torch.Tensor
    third: torch.Tensor
    uniform: torch.Tensor


def draw(seed: int, path: torch.Tensor, step: torch.Tensor) -> Shocks:
    """The shocks that lead from `step` to the next one."""
    key = mix(torch.full_like(path, seed), path)
    place = 4 * step
    first, second, third = (normal(key, place + i) for i in range(3))
    return Shocks(first, second, third, uniform(key, place + 3))


class Surprise(NamedTuple):
    """What nobody could expect of a session's move [N]: each of expectation zero, given the point that it leads from.

    Units: `gain` the index's simple return R less its expectation, `square` R^2 less its own, `vix` the next VIX less
           its expectation, to the first order
    """

    gain: torch.Tensor
    square: torch.Tensor
    vix: torch.Tensor


class Dynamics(Protocol):
    """How index and VIX move together from one session to the next."""

    def first_vix(self, normal: torch.Tensor) -> torch.Tensor:
        """The VIX at which a path begins."""
        ...

    def first_slow_variance(self, vix: torch.Tensor) -> torch.Tensor:
        """The slow average of squared VIX at which a path begins."""
        ...

    def move(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> tuple[torch.Tensor, torch.Tensor]:
        """Log return of the index, and the next VIX."""
        ...

    def surprise(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> Surprise | None:
        """What of that move could not be expected; None where nobody knows."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedDynamics:
    """The S&P 500 and the VIX as they moved together in 1990-2012, in six moments and a jump.

        ln S' = ln S + drift + s z,                      s = scale x VIX / sqrt(252)
        y'    = y + pull (mean - y) + vol (rho z + sqrt(1 - rho^2) z2),   y = ln VIX
        jumps, with probability jump_chance: z gains J = jump_mean + jump_deviation z3, y gains jump_response x J

    Units:  per session; the VIX as a fraction
    Source: `fit_dynamics` on sessions until 2012-12-31; the figures below are what it gives
    """

    drift: float = 0.000364
    scale: float = 0.7391
    mean: float = -1.6513
    pull: float = 0.01524
    vol: float = 0.05796
    rho: float = -0.7177
    jump_chance: float = 0.00656
    jump_mean: float = -1.532
    jump_deviation: float = 2.524
    jump_response: float = -0.0698
    least: float = 0.08
    most: float = 1.2

    def first_vix(self, normal: torch.Tensor) -> torch.Tensor:
        """From the distribution that the VIX without jumps comes to."""
        spread = self.vol / math.sqrt(self.pull * (2.0 - self.pull))
        return torch.exp(self.mean + spread * normal).clamp(self.least, self.most)

    def first_slow_variance(self, vix: torch.Tensor) -> torch.Tensor:
        """Between today's and the long run's, as an average of the past lies."""
        return 0.5 * (vix**2 + math.exp(2.0 * self.mean))

    def move(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Dynamics`; sessions are alike, whatever the days between."""
        jump = torch.where(shocks.uniform < self.jump_chance, self.jump_mean + self.jump_deviation * shocks.third, 0.0)
        deviation = state.vix / math.sqrt(SESSIONS_YEAR)
        gain = self.drift + deviation * (self.scale * shocks.first + jump)
        own = math.sqrt(1.0 - self.rho**2)
        y = torch.log(state.vix)
        moved = self.vol * (self.rho * shocks.first + own * shocks.second) + self.jump_response * jump
        return gain, torch.exp(y + self.pull * (self.mean - y) + moved).clamp(self.least, self.most)

    def surprise(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> None:
        """Nobody knows."""
        return


def fit_dynamics(close: np.ndarray, vix: np.ndarray, *, jump_at: float = 3.0) -> FittedDynamics:
    """Fit `FittedDynamics` to closes and VIX of consecutive sessions, by moments.

    Shapes: both [T]
    Units:  close in index points; vix a fraction; a jump is a return beyond `jump_at` deviations of the others
    """
    returns, y = np.diff(np.log(close)), np.log(vix)
    z = returns / (vix[:-1] / math.sqrt(SESSIONS_YEAR))
    calm = np.abs(z) <= jump_at * z.std()
    scale = float(z[calm].std())
    design = np.stack([np.ones(len(z)), y[:-1]], axis=1)
    intercept, slope = np.linalg.lstsq(design, np.diff(y), rcond=None)[0]
    moved = np.diff(y) - design @ np.array([intercept, slope])
    jump = z[~calm]
    drift = float(returns.mean() - np.where(calm, 0.0, returns).sum() / len(returns))
    return FittedDynamics(
        drift=drift,
        scale=scale,
        mean=float(-intercept / slope),
        pull=float(-slope),
        vol=float(moved[calm].std()),
        rho=float(np.corrcoef(moved[calm], z[calm])[0, 1]),
        jump_chance=float((~calm).mean()),
        jump_mean=float(jump.mean()),
        jump_deviation=float(jump.std()),
        jump_response=float(moved[~calm] @ jump / (jump @ jump)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FairDynamics:
    """P = Q: a geometric Brownian motion with the carry as its drift, on the calendar clock that prices options."""

    vol: float = 0.18

    def first_vix(self, normal: torch.Tensor) -> torch.Tensor:
        """The one volatility there is."""
        return torch.full_like(normal, self.vol)

    def first_slow_variance(self, vix: torch.Tensor) -> torch.Tensor:
        """The one variance there is."""
        return vix**2

    def move(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Dynamics`."""
        return diffused(state, state.vix, dt_years, shocks), state.vix

    def surprise(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> Surprise:
        """As `Dynamics`."""
        return diffused_surprise(state, state.vix, dt_years, shocks)


def diffused(state: PathState, vol: torch.Tensor, dt_years: torch.Tensor, shocks: Shocks) -> torch.Tensor:
    """Log return of a geometric Brownian motion that carries what it costs to hold."""
    drift = state.rate - state.dividend_yield - 0.5 * vol**2
    return drift * dt_years + vol * torch.sqrt(dt_years) * shocks.first


def diffused_surprise(state: PathState, vol: torch.Tensor, dt_years: torch.Tensor, shocks: Shocks) -> Surprise:
    """What of that return, and of its square, could not be expected."""
    gain, carried = torch.expm1(diffused(state, vol, dt_years, shocks)), (state.rate - state.dividend_yield) * dt_years
    square = torch.exp(2.0 * carried + vol**2 * dt_years) - 2.0 * torch.exp(carried) + 1.0
    return Surprise(gain - torch.expm1(carried), gain**2 - square, torch.zeros_like(gain))


def moved(
    dynamics: Dynamics,
    state: PathState,
    log_close: torch.Tensor,
    dt_years: torch.Tensor,
    shocks: Shocks,
    slow_decay: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log close, VIX and slow variance one step on; the shocks may have more dimensions in front."""
    gain, vix = dynamics.move(state, dt_years, shocks)
    return log_close + gain, vix, slow_decay * state.slow_variance + (1.0 - slow_decay) * vix**2


class Paths(Protocol):
    """Where paths are, by snapshot index; steps run from 0 to `last_step`."""

    @property
    def listing(self) -> Weekly: ...

    @property
    def last_step(self) -> int: ...

    def to(self, device: torch.device | str) -> Self:
        """The same paths with their calendar and states on another device."""
        ...

    def begin(self, seed_N: torch.Tensor, episode_N: torch.Tensor, horizon: int, *, fixed: bool) -> torch.Tensor:
        """Indices [N] at which episodes begin; ConfigError when the horizon does not fit a path."""
        ...

    def at(self, index: torch.Tensor) -> PathPoint:
        """The points of any indices [N]; may take a path from its beginning."""
        ...

    def start(self, index: torch.Tensor) -> PathPoint:
        """The points of indices [N] at which episodes begin, without a look at data."""
        ...

    def after(self, point: PathPoint, index: torch.Tensor) -> PathPoint:
        """The points of index + 1 from those of index [N]; at its last step a path may stay where it is."""
        ...

    def surprise(self, point: PathPoint, index: torch.Tensor) -> Surprise | None:
        """What of the move from index [N], whose points these are, could not be expected; None where nobody knows."""
        ...


def walk_to(paths: Paths, index: torch.Tensor) -> PathPoint:
    """The points of any indices [N], each path taken from its beginning as far as the farthest needs."""
    point, step = paths.start(index), step_of(index)
    for k in range(int(step.max()) if len(step) else 0):
        here = index_of(path_of(index), k)
        point = paths.after(point, here).where(step > k, point)
    return point


FIRST_RETURNS = 0.9
"""Volatility of the returns before a path's first snapshot, as a share of its first VIX."""

FIRST_SESSIONS = 260
"""Paths begin on one of so many sessions of the calendar, so that not all see the same Fridays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedPaths:
    """Any number of paths, none of them stored.

    Assumes: the listing holds at least PAST + FIRST_SESSIONS + n_steps + 1 sessions
    """

    dynamics: Dynamics
    listing: Weekly
    n_steps: int
    n_paths: int = 1 << 40
    seed: int = 0
    rate: float = 0.03
    dividend_yield: float = 0.015
    slow_decay: float = 0.998  # per session, as the history's slow average

    def __post_init__(self) -> None:
        if not 2 <= self.n_steps < MAX_STEPS - PAST:
            raise ConfigError(
                f"n_steps={self.n_steps}: expected 2 to {MAX_STEPS - PAST - 1} snapshots per path. Choose e.g. 512."
            )
        if self.n_paths < 1:
            raise ConfigError(f"n_paths={self.n_paths}: expected at least 1 path. Raise it.")

    @property
    def last_step(self) -> int:
        """The last snapshot of a path."""
        return self.n_steps - 1

    def to(self, device: torch.device | str) -> Self:
        """As `Paths`."""
        return dataclasses.replace(self, listing=self.listing.to(device))

    def begin(self, seed_N: torch.Tensor, episode_N: torch.Tensor, horizon: int, *, fixed: bool) -> torch.Tensor:
        """The first step of a path drawn for each episode."""
        check_horizon(horizon, self.last_step, fixed=fixed)
        return index_of(shift(mix(seed_N, episode_N), 1) % self.n_paths, 0)

    def at(self, index: torch.Tensor) -> PathPoint:
        """Every path from its beginning."""
        return walk_to(self, index)

    def start(self, index: torch.Tensor) -> PathPoint:
        """A VIX from its distribution, and returns before the first snapshot at that volatility."""
        path = path_of(index)
        key = mix(torch.full_like(path, self.seed), path)
        back = torch.arange(PAST, device=index.device)[:, None]
        past = normal(key, -1 - back)
        vix = self.dynamics.first_vix(past[0])
        returns = FIRST_RETURNS * vix / math.sqrt(SESSIONS_YEAR) * past[1:]
        log_close = math.log(START_LEVEL) + torch.cat([torch.zeros_like(vix)[None], returns.cumsum(dim=0)])
        spot = torch.exp(log_close[-1])
        state = PathState(
            spot=spot,
            vix=vix,
            slow_variance=self.dynamics.first_slow_variance(vix),
            rate=torch.full_like(vix, self.rate),
            dividend_yield=torch.full_like(vix, self.dividend_yield),
            spread_scale=torch.ones_like(vix),
            smile_scale=torch.ones_like(vix),
        )
        session = PAST - 1 + shift(mix(key, torch.full_like(path, -1 - PAST)), 1) % FIRST_SESSIONS
        step = path_strike_step(spot, vix, self.listing.near_days)
        return PathPoint(state, session, step, log_close, torch.zeros_like(spot))

    def after(self, point: PathPoint, index: torch.Tensor) -> PathPoint:
        """One step of the dynamics."""
        state, clock = point.state, self.listing.session_ns_C
        dt = (clock[point.session + 1] - clock[point.session]).double() / YEAR_NS
        shocks = draw(self.seed, path_of(index), step_of(index))
        log_close, vix, slow = moved(self.dynamics, state, point.log_close[-1], dt, shocks, self.slow_decay)
        return PathPoint(
            state._replace(spot=torch.exp(log_close), vix=vix, slow_variance=slow),
            point.session + 1,
            point.strike_step,
            torch.cat([point.log_close[1:], log_close[None]]),
            point.memory,
        )

    def surprise(self, point: PathPoint, index: torch.Tensor) -> Surprise | None:
        """As `Paths`."""
        clock = self.listing.session_ns_C
        dt = (clock[point.session + 1] - clock[point.session]).double() / YEAR_NS
        return self.dynamics.surprise(point.state, dt, draw(self.seed, path_of(index), step_of(index)))


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenPath:
    """One path of given states, such as the real history; step 0 stands at state PAST - 1.

    Shapes: states [T], one per session of the listing
    """

    states: PathState
    listing: Weekly

    def __post_init__(self) -> None:
        if len(self.states.spot) < PAST + 1:
            raise ConfigError(
                f"{len(self.states.spot)} states: expected at least {PAST + 1}, {PAST - 1} of them before the first "
                "snapshot. Give a longer history."
            )

    @property
    def last_step(self) -> int:
        """The last snapshot of the path."""
        return len(self.states.spot) - PAST

    def to(self, device: torch.device | str) -> Self:
        """As `Paths`."""
        states = PathState(*(field.to(device) for field in self.states))
        return dataclasses.replace(self, states=states, listing=self.listing.to(device))

    def begin(self, seed_N: torch.Tensor, episode_N: torch.Tensor, horizon: int, *, fixed: bool) -> torch.Tensor:
        """A step from which the whole horizon fits, or the first."""
        check_horizon(horizon, self.last_step, fixed=fixed)
        if fixed:
            return torch.zeros_like(seed_N)
        return shift(mix(seed_N, episode_N), 1) % (self.last_step - horizon + 1)

    def at(self, index: torch.Tensor) -> PathPoint:
        """The state of the step and the closes before it."""
        session = (step_of(index) + PAST - 1).clamp(max=len(self.states.spot) - 1)
        back = session - torch.arange(PAST - 1, -1, -1, device=index.device)[:, None]
        first = self.states.at(torch.full_like(session, PAST - 1))
        step = path_strike_step(first.spot, first.vix, self.listing.near_days)
        state = self.states.at(session)
        return PathPoint(state, session, step, torch.log(self.states.spot[back]), torch.zeros_like(state.spot))

    def start(self, index: torch.Tensor) -> PathPoint:
        """As `at`."""
        return self.at(index)

    def after(self, point: PathPoint, index: torch.Tensor) -> PathPoint:
        """The next state; the last one again where there is none."""
        return self.at(index + 1)

    def surprise(self, point: PathPoint, index: torch.Tensor) -> None:
        """Nobody knows."""
        return


def check_horizon(horizon: int, last_step: int, *, fixed: bool) -> None:
    """Raise ConfigError when an episode does not fit a path; a fixed start lives as long as its path does."""
    if horizon > last_step and not fixed:
        raise ConfigError(
            f"horizon={horizon} does not fit: a path takes {last_step} steps. Use horizon <= {last_step} or "
            "longer paths."
        )
