"""Worlds to train in: any number of paths, each of a family drawn for it, made from a history's training days.

| family | moves |
|---|---|
| historical | days drawn one by one: index and VIX of a day together, days apart independent |
| blocks | the same days in runs of `BLOCK` consecutive ones |
| heston | a square-root process of the variance, normal shocks |
| bates | the same with jumps of the index |
| history | the days as they came, from one of them on |

Every path begins where a training day stood. How much less the index moves than its VIX says, how fast it drifts, how
wide spreads and how steep smiles are is drawn anew for each path, within what training years differed by.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch

from clstm_core.errors import ConfigError
from clstm_core.market.worlds.counter import mix, normal, shift, uniform
from clstm_core.market.worlds.days import LEAST_VIX, MOST_VIX, RECENT_DECAY, SESSION_YEARS, Days, Fit
from clstm_core.market.worlds.paths import (
    FIRST_SESSIONS,
    MAX_STEPS,
    PAST,
    PathPoint,
    Surprise,
    check_horizon,
    index_of,
    path_of,
    step_of,
    walk_to,
)
from clstm_core.market.worlds.sp500 import SLOW_DECAY
from clstm_core.market.worlds.surface import PathState
from clstm_core.market.worlds.weekly import Weekly, path_strike_step

FAMILIES = ("historical", "blocks", "heston", "bates", "history")
HISTORICAL, BLOCKS, HESTON, BATES, HISTORY = range(len(FAMILIES))
RAW = (BLOCKS, HISTORY)
"""Families in which tomorrow is mostly fixed by today: a move's surprise is not known there."""

UNLIMITED = 1 << 40
"""As many paths as are never met twice."""

BLOCK = 21
WORST_GAIN = -0.6
"""No session loses more: far below any that was seen, and above what has no logarithm."""
SPREADS, SMILES = (0.5, 2.0), (0.8, 1.25)
"""Bounds of a path's spreads as multiples of its first day's, and of its smile's strength: an assumption, log-even."""

_TRAIT = -4096
"""Counters of a path's own traits; those of its steps are 0 and more."""


class Traits(NamedTuple):
    """What is a path's own and stays the same [N]."""

    family: torch.Tensor
    day: torch.Tensor  # the training day it begins at, int64
    phase: torch.Tensor  # where in a block it begins, int64
    scale: torch.Tensor  # times the fitted scale
    drift: torch.Tensor  # per session, in excess of carry


class Move(NamedTuple):
    """One session's move [N]: the index's simple return, the next VIX, and what nobody could expect of both."""

    gain: torch.Tensor
    vix: torch.Tensor
    surprise: Surprise


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyPaths:
    """Any number of paths of `FAMILIES`, none of them stored.

    Args:
        edges: shares of the families, accumulated [len(FAMILIES)]; the last is 1
        varied: 1: traits vary as fitted and assumed; 0: every path has the fitted ones
        level_shift: added to the logarithm of every close

    Assumes: the listing holds at least PAST + FIRST_SESSIONS + n_steps + 1 sessions
    """

    days: Days
    fit: Fit
    edges: torch.Tensor
    listing: Weekly
    n_steps: int
    n_paths: int = UNLIMITED
    seed: int = 0
    varied: float = 1.0
    level_shift: float = 0.0

    def __post_init__(self) -> None:
        longest = len(self.days.gain) - PAST
        if not 2 <= self.n_steps < min(longest, MAX_STEPS - PAST):
            raise ConfigError(
                f"paths of {self.n_steps} snapshots from {len(self.days.vix)} training sessions: expected 2 to "
                f"{longest - 1}. Use a shorter horizon or a longer history."
            )
        if self.n_paths < 1:
            raise ConfigError(f"n_paths={self.n_paths}: expected at least 1 path. Raise it.")

    @property
    def last_step(self) -> int:
        """The last snapshot of a path."""
        return self.n_steps - 1

    def to(self, device: torch.device | str) -> Self:
        """As `Paths`."""
        return dataclasses.replace(
            self, days=self.days.to(device), edges=self.edges.to(device), listing=self.listing.to(device)
        )

    def begin(self, seed_N: torch.Tensor, episode_N: torch.Tensor, horizon: int, *, fixed: bool) -> torch.Tensor:
        """The first step of a path drawn for each episode."""
        check_horizon(horizon, self.last_step, fixed=fixed)
        return index_of(shift(mix(seed_N, episode_N), 1) % self.n_paths, 0)

    def at(self, index: torch.Tensor) -> PathPoint:
        """Every path from its beginning."""
        return walk_to(self, index)

    def traits(self, path: torch.Tensor) -> Traits:
        """Those of paths [N], of their numbers alone."""
        key, fit = self._key(path), self.fit

        def normally(place: int) -> torch.Tensor:
            return self.varied * normal(key, torch.full_like(path, _TRAIT - place))

        family = torch.searchsorted(self.edges, uniform(key, torch.full_like(path, _TRAIT)), right=True)
        family = family.clamp(max=len(FAMILIES) - 1)
        starts = len(self.days.gain) - PAST - self.n_steps + 1
        day = PAST - 1 + shift(mix(key, torch.full_like(path, _TRAIT - 1)), 1) % starts
        phase = shift(mix(key, torch.full_like(path, _TRAIT - 2)), 1) % BLOCK
        made = family != HISTORY
        spread = self.varied * fit.scale_spread  # the fitted scale is that of the mean square
        scale = torch.exp(torch.where(made, fit.scale_spread * normally(3) - spread**2, 0.0))
        drift = fit.drift + torch.where(made, fit.drift_error * normally(4), 0.0)
        return Traits(family, day, phase, scale, drift)

    def start(self, index: torch.Tensor) -> PathPoint:
        """Where a training day stood, with the closes before it: ticks weigh what they weighed then."""
        path, days = path_of(index), self.days
        key, traits = self._key(path), self.traits(path)
        back = traits.day - torch.arange(PAST - 1, -1, -1, device=index.device)[:, None]
        log_close = days.log_close[back] + self.level_shift
        made = traits.family != HISTORY

        def between(place: int, bounds: tuple[float, float]) -> torch.Tensor:
            low, high = math.log(bounds[0]), math.log(bounds[1])
            drawn = low + (high - low) * uniform(key, torch.full_like(path, _TRAIT - place))
            return torch.exp(torch.where(made, self.varied * drawn, 0.0))

        vix = days.vix[traits.day]
        state = PathState(
            spot=torch.exp(log_close[-1]),
            vix=vix,
            slow_variance=days.slow_variance[traits.day],
            rate=days.rate[traits.day],
            dividend_yield=days.dividend_yield[traits.day],
            spread_scale=days.spread_scale[traits.day] * between(5, SPREADS),
            smile_scale=between(6, SMILES),
        )
        session = PAST - 1 + shift(mix(key, torch.full_like(path, _TRAIT - 7)), 1) % FIRST_SESSIONS
        step = path_strike_step(state.spot, vix, self.listing.near_days)
        return PathPoint(state, session, step, log_close, days.recent[traits.day])

    def after(self, point: PathPoint, index: torch.Tensor) -> PathPoint:
        """One session's move."""
        move, state = self._move(point, index), point.state
        log_close = point.log_close[-1] + torch.log1p(move.gain.clamp(min=WORST_GAIN))
        slow = SLOW_DECAY * state.slow_variance + (1.0 - SLOW_DECAY) * move.vix**2
        return PathPoint(
            state._replace(spot=torch.exp(log_close), vix=move.vix, slow_variance=slow),
            point.session + 1,
            point.strike_step,
            torch.cat([point.log_close[1:], log_close[None]]),
            RECENT_DECAY * point.memory + (1.0 - RECENT_DECAY) * torch.log(move.vix),
        )

    def surprise(self, point: PathPoint, index: torch.Tensor) -> Surprise:
        """As `Paths`."""
        return self._move(point, index).surprise

    def _key(self, path: torch.Tensor) -> torch.Tensor:
        return mix(torch.full_like(path, self.seed), path)

    def resampled_surprise(self, point: PathPoint, index: torch.Tensor, day: torch.Tensor) -> Surprise:
        """What a training day's move would surprise paths with that draw their days one by one.

        Shapes: day int64, [N] or with dimensions before it, which the result has then
        """
        state, traits = point.state, self.traits(path_of(index))
        return self._beyond_carry(state, traits, self._resampled(point, day, traits)).surprise

    def _move(self, point: PathPoint, index: torch.Tensor) -> Move:
        path, step, state = path_of(index), step_of(index), point.state
        key, traits = self._key(path), self.traits(path)
        day = self._day(key, step, traits)
        drawn = self._resampled(point, day, traits)
        made = self._square_root(state, key, step, traits)
        squared = (traits.family == HESTON) | (traits.family == BATES)
        move = Move(
            torch.where(squared, made.gain, drawn.gain),
            torch.where(squared, made.vix, drawn.vix),
            Surprise(*(torch.where(squared, a, b) for a, b in zip(made.surprise, drawn.surprise, strict=True))),
        )
        move = self._beyond_carry(state, traits, move)
        as_it_came = traits.family == HISTORY
        # a path that comes again can be recognised, and its days are no surprise then: the reward stays raw there too
        known = (traits.family != BLOCKS) & ~as_it_came & (self.n_paths >= UNLIMITED)
        vix = torch.where(as_it_came, self.days.vix[day + 1], move.vix.clamp(LEAST_VIX, MOST_VIX))
        surprise = Surprise(*(torch.where(known, value, 0.0) for value in move.surprise))
        return Move(move.gain, vix, surprise)

    def _beyond_carry(self, state: PathState, traits: Traits, move: Move) -> Move:
        """A move of expectation zero with what the index is expected to gain."""
        expected = (state.rate - state.dividend_yield) * SESSION_YEARS + traits.drift
        news = move.surprise
        # (m + x)^2 - E(m + x)^2 = 2 m x + (x^2 - E x^2)
        return move._replace(
            gain=expected + move.gain, surprise=news._replace(square=news.square + 2.0 * expected * news.gain)
        )

    def _day(self, key: torch.Tensor, step: torch.Tensor, traits: Traits) -> torch.Tensor:
        """The training day whose move comes next [N]."""
        count, place = len(self.days.gain), step + traits.phase
        alone = shift(mix(key, 4 * step), 1) % count
        block = shift(mix(key, 4 * torch.div(place, BLOCK, rounding_mode="floor") + 1), 1)
        in_block = (block % count + place % BLOCK) % count
        day = torch.where(traits.family == BLOCKS, in_block, alone)
        return torch.where(traits.family == HISTORY, (traits.day + step).clamp(max=count - 1), day)

    def _resampled(self, point: PathPoint, day: torch.Tensor, traits: Traits) -> Move:
        """What a training day brought, scaled to today's VIX."""
        days, fit, state = self.days, self.fit, point.state
        deviation = fit.scale * traits.scale * fit.unit(state.vix)
        z, u = days.gain[day], days.vix_gain[day]
        level = torch.log(state.vix)
        expected = fit.bias * torch.exp(level + fit.back * (point.memory - level) + fit.pull * (fit.mean - level))
        news = Surprise(deviation * z, deviation**2 * (z**2 - 1.0), expected * (u - 1.0))
        return Move(deviation * z, expected * u, news)

    def _square_root(self, state: PathState, key: torch.Tensor, step: torch.Tensor, traits: Traits) -> Move:
        """Heston's variance, and Bates' jumps where the family has them."""
        fit, place = self.fit, 4 * step
        first, second, size = (normal(key, place + i) for i in range(3))
        w = fit.rho * first + math.sqrt(1.0 - fit.rho**2) * second
        variance = state.vix**2
        noise = fit.xi * torch.sqrt(variance * SESSION_YEARS) * w
        after = variance + fit.kappa * (fit.theta - variance) * SESSION_YEARS + noise
        jumps = (traits.family == BATES) & (uniform(key, place + 3) < fit.jump_chance)
        chance = torch.where(traits.family == BATES, torch.full_like(variance, fit.jump_chance), 0.0)
        jump = torch.where(jumps, fit.jump_mean + fit.jump_deviation * size, 0.0) - chance * fit.jump_mean
        calm = torch.where(traits.family == BATES, torch.full_like(variance, fit.calm_scale), fit.scale)
        unit = traits.scale * fit.unit(state.vix)
        gain = unit * (calm * first + jump)
        second_moment = fit.jump_mean**2 + fit.jump_deviation**2
        expected_square = unit**2 * (calm**2 + chance * second_moment - (chance * fit.jump_mean) ** 2)
        # the VIX is the variance's root: half of its noise over the VIX, to the first order
        news = Surprise(gain, gain**2 - expected_square, 0.5 * noise / state.vix)
        return Move(gain, torch.sqrt(after.clamp(min=LEAST_VIX**2)), news)
