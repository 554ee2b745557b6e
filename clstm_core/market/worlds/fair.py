"""Fair worlds of a window of dates: its calendar and first state, many paths, and what every step is expected to bring.

Index and VIX move by `FittedDynamics`, whose shocks are drawn from the nodes of a quadrature: few enough that the
expectation of anything over one step is a sum, taken exactly. `env.fair_view` subtracts it from whatever is held.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch

from clstm_core.errors import EvaluationError
from clstm_core.market.calendars import scheduled_sessions
from clstm_core.market.clock import DAY_NS, YEAR_NS, weekday
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.counter import mix, uniform
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.paths import (
    PAST,
    SESSIONS_YEAR,
    FittedDynamics,
    PathPoint,
    Shocks,
    check_horizon,
    index_of,
    moved,
    path_of,
    step_of,
    walk_to,
)
from clstm_core.market.worlds.sp500 import SLOW_DECAY, spread_scale
from clstm_core.market.worlds.surface import PathState, Surface
from clstm_core.market.worlds.weekly import Weekly, path_strike_step, weekly_listing
from clstm_core.specs import MARKET_FEATURES

CALM_NODES, JUMP_NODES = (5, 2), (2, 3)
"""Nodes of the two shocks of a session without a jump, and of the first shock and the jump of one with it.

Expectations are exact however few they are; five keep the first nine moments of a session's own shock.
"""

DAYS_AHEAD = 150  # of the calendar beyond the window: the far tenor's last expiry, and more
LEAST_START, MOST_START = 0.08, 1.2


class Atoms(NamedTuple):
    """The K shocks that a session may bring, and how likely each is.

    Shapes: weight [K] float64, its sum 1; every field of shocks [K]
    """

    weight: torch.Tensor
    shocks: Shocks

    def drawn(self, chance: torch.Tensor) -> Shocks:
        """The shocks that numbers in (0, 1) fall on."""
        edges = self.weight.cumsum(0)[:-1].contiguous()
        at = torch.searchsorted(edges, chance)
        return Shocks(*(field[at] for field in self.shocks))


def atoms_of(dynamics: FittedDynamics) -> Atoms:
    """The shocks of `dynamics` as nodes of Gauss-Hermite quadratures: their moments, with a jump and without, agree."""
    parts = []
    for likely, jumps, (n, m) in (
        (1.0 - dynamics.jump_chance, False, CALM_NODES),
        (dynamics.jump_chance, True, JUMP_NODES),
    ):
        (x, wx), (y, wy) = (_normal_nodes(count) for count in (n, m))
        first, other = (grid.ravel() for grid in np.meshgrid(x, y, indexing="ij"))
        none = np.zeros_like(first)
        shocks = (
            (first, none, other, none) if jumps else (first, other, none, none + 1.0)
        )  # uniform 0 jumps, 1 does not
        parts.append((likely * np.outer(wx, wy).ravel(), *shocks))
    weight, *kinds = (torch.from_numpy(np.concatenate(columns)) for columns in zip(*parts, strict=True))
    return Atoms(weight / weight.sum(), Shocks(*kinds))


def _normal_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the expectation over a standard normal number."""
    node, weight = np.polynomial.hermite_e.hermegauss(count)
    return node, weight / weight.sum()


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowPaths:
    """Any number of paths over the sessions of one window, all from its first state.

    Shapes:  first: a PathPoint of one path; rate_C, dividend_yield_C, spread_scale_C [C] of the listing's sessions
    Assumes: the listing's session PAST - 1 is the window's first; rates and dividends are those of the window itself
    """

    dynamics: FittedDynamics
    atoms: Atoms
    listing: Weekly
    first: PathPoint
    rate_C: torch.Tensor
    dividend_yield_C: torch.Tensor
    spread_scale_C: torch.Tensor
    n_steps: int
    seed: int = 0

    @property
    def last_step(self) -> int:
        """The last snapshot of a path."""
        return self.n_steps - 1

    def to(self, device: torch.device | str) -> Self:
        """As `paths.Paths`."""

        def there(*tensors: torch.Tensor) -> list[torch.Tensor]:
            return [tensor.to(device) for tensor in tensors]

        first, atoms = self.first, self.atoms
        return dataclasses.replace(
            self,
            atoms=Atoms(atoms.weight.to(device), Shocks(*there(*atoms.shocks))),
            listing=self.listing.to(device),
            first=PathPoint(PathState(*there(*first.state)), *there(*first[1:])),
            rate_C=self.rate_C.to(device),
            dividend_yield_C=self.dividend_yield_C.to(device),
            spread_scale_C=self.spread_scale_C.to(device),
        )

    def begin(self, seed_N: torch.Tensor, episode_N: torch.Tensor, horizon: int, *, fixed: bool) -> torch.Tensor:
        """The first step of the path that has the episode's place as its number."""
        check_horizon(horizon, self.last_step, fixed=fixed)
        return index_of(torch.arange(len(seed_N), device=seed_N.device) + len(seed_N) * episode_N, 0)

    def start(self, index: torch.Tensor) -> PathPoint:
        """The window's first state."""
        n, first = len(index), self.first
        state = PathState(*(field.expand(n).clone() for field in first.state))
        return PathPoint(
            state,
            first.session.expand(n).clone(),
            first.strike_step.expand(n).clone(),
            first.log_close.expand(-1, n),
            first.memory.expand(n),
        )

    def at(self, index: torch.Tensor) -> PathPoint:
        """Every path from its beginning."""
        return walk_to(self, index)

    def after(self, point: PathPoint, index: torch.Tensor) -> PathPoint:
        """One step by shocks that follow from the path's number and the step's alone."""
        path = path_of(index)
        chance = uniform(mix(torch.full_like(path, self.seed), path), step_of(index))
        return self.following(point, self.atoms.drawn(chance))

    def following(self, point: PathPoint, shocks: Shocks) -> PathPoint:
        """The point after `point` when these shocks come; the shocks [..., N] may have more dimensions in front."""
        state, log_close, clock = point.state, point.log_close, self.listing.session_ns_C
        session = point.session + 1
        dt = (clock[session] - clock[point.session]).double() / YEAR_NS
        newest, vix, slow = moved(self.dynamics, state, log_close[-1], dt, shocks, SLOW_DECAY)
        known = (self.rate_C[session], self.dividend_yield_C[session], self.spread_scale_C[session])
        after = PathState(torch.exp(newest), vix, slow, *known, state.smile_scale)
        closes = torch.cat([log_close[1:], newest[None]]) if newest.dim() == 1 else log_close
        return PathPoint(after, session, point.strike_step, closes, point.memory)

    def surprise(self, point: PathPoint, index: torch.Tensor) -> None:
        """Nothing is expected of anything here."""
        return

    def outcomes(self, point: PathPoint) -> PathState:
        """The states [K, N] that may follow, one per atom; what all share is [N]."""
        return self.following(point, Shocks(*(field[:, None] for field in self.atoms.shocks))).state


def fair_world(
    market: MarketTensors, window: tuple[int, int], *, surface: Surface | None = None, seed: int = 0
) -> GeneratedWorld:
    """Fair worlds over the snapshots [start, stop) of a market: its sessions, rates and first state, and a surface.

    The level at the start is the market's own volatility at the money, plus the surface's distance from it.

    Args:
        surface: the default market's when left out, whatever made the market's own quotes

    Raises: EvaluationError for a market of several snapshots per date, or a window of less than two
    """
    start, stop = window
    dates = (market.snapshot_T // DAY_NS).numpy().astype("datetime64[D]")
    if stop - start < 2 or (np.diff(dates) <= np.timedelta64(0, "D")).any():
        raise EvaluationError(
            f"snapshots {start} to {stop} of a market with {len(np.unique(dates))} dates: expected two snapshots at "
            "least, one per date. Judge a window of daily snapshots."
        )
    surface = surface or Surface()
    inside = dates[start:stop]
    calendar = scheduled_sessions("XNYS")
    if not np.isin(inside, calendar).all():  # a made-up market: all weekdays
        calendar = np.arange(dates[0] - np.timedelta64(90, "D"), dates[-1] + np.timedelta64(DAYS_AHEAD, "D"))
        calendar = calendar[weekday(calendar) < 5]
    before = calendar[calendar < inside[0]][-(PAST - 1) :]
    sessions = np.concatenate([before, inside])
    near, far = (float(market.info.get(key, days)) for key, days in (("near_days", 30.0), ("far_days", 60.0)))
    listing = weekly_listing(
        sessions, calendar, near_days=near, far_days=far, tolerance=float(market.info.get("tenor_tolerance", 0.5))
    )

    def by_session(values_T: torch.Tensor) -> torch.Tensor:
        values = values_T[start:stop].double()
        return torch.cat([values[:1].expand(PAST - 1), values])

    first = _first_point(market, start, surface, near)
    rate, dividend_yield = by_session(market.rate_T), by_session(market.dividend_yield_T)
    scale = torch.from_numpy(spread_scale(sessions))
    at = PAST - 1
    first = first._replace(
        state=first.state._replace(
            rate=rate[at : at + 1], dividend_yield=dividend_yield[at : at + 1], spread_scale=scale[at : at + 1]
        )
    )
    dynamics = FittedDynamics()
    return GeneratedWorld(
        paths=WindowPaths(
            dynamics=dynamics,
            atoms=atoms_of(dynamics),
            listing=listing,
            first=first,
            rate_C=rate,
            dividend_yield_C=dividend_yield,
            spread_scale_C=scale,
            n_steps=stop - start,
            seed=seed,
        ),
        surface=surface,
        info={
            **{key: market.info[key] for key in ("scaler", "near_days", "far_days") if key in market.info},
            "source": "fair worlds",
            "label": "simulated quotes",
            "spread": "modelled",
            "notes": ["Fair worlds: no position earns anything before costs, whatever it is."],
        },
    )


def _first_point(market: MarketTensors, start: int, surface: Surface, near_days: float) -> PathPoint:
    """The market's state at a snapshot; closes before its first are taken to have moved by that volatility."""
    money = market.features_TF[: start + 1, MARKET_FEATURES.index("near_atm_vol")].double()
    level = (money + surface.atm_distance).clamp(LEAST_START, MOST_START)
    age = torch.arange(start, -1, -1, dtype=torch.float64)
    weight = SLOW_DECAY**age
    slow = (weight * level**2).sum() / weight.sum()
    spot, vix = market.spot_T[start : start + 1].double(), level[-1:]
    known = torch.log(market.spot_T[max(0, start - PAST + 1) : start + 1].double())
    step = vix / np.sqrt(SESSIONS_YEAR)
    swing = torch.tensor([(-1.0) ** k for k in range(PAST - len(known))], dtype=torch.float64)
    log_close = torch.cat([known[0] + 0.5 * step * swing, known])[:, None]
    nothing = torch.zeros_like(spot)
    state = PathState(spot, vix, slow.expand(1).clone(), nothing, nothing, nothing, torch.ones_like(spot))
    step = path_strike_step(spot, vix, near_days)
    return PathPoint(state, torch.tensor([PAST - 1]), step, log_close, nothing)
