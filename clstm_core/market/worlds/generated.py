"""A generated world: paths, a surface and a listing rule, from which every quote follows in closed form.

`env.generated_view` asks it contract by contract; `generated_columns` writes one path out as canonical tables. Both ask
the same surface, so that what is traded without tables can be checked against what is traded from them.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from clstm_core.market.clock import DAY_NS
from clstm_core.market.instrument import SIMULATED, Instrument
from clstm_core.market.worlds.listing import contract_names
from clstm_core.market.worlds.paths import (
    FIRST_SESSIONS,
    PAST,
    Dynamics,
    FairDynamics,
    FittedDynamics,
    GivenPath,
    Paths,
    SimulatedPaths,
    index_of,
)
from clstm_core.market.worlds.surface import PathState, Surface
from clstm_core.market.worlds.weekly import Weekly, open_expiries, weekdays, weekly_listing

Columns = dict[str, np.ndarray]

LEAST_PRICE = 1e-9
"""Keeps a quote alive where the model price underflows; far below any proof's tolerance."""

REACH = 0.5
"""Strikes are written out this far below a path's lowest close and above its highest, as a share of them."""

DAYS_AHEAD = 150  # of the calendar beyond the last session: the far tenor's last expiry, and more


@dataclass(frozen=True, kw_only=True)
class FlatSurface(Surface):
    """One volatility for every strike and tenor, and a spread in proportion to the price: the world of P = Q."""

    half_spread: float = 0.02  # of the price, per side

    def atm_variance(self, state: PathState, clock: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Variance in proportion to the clock, and no smile."""
        theta = state.vix**2 * clock
        return theta, torch.zeros_like(theta)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedWorld:
    """Paths whose options are priced by a surface.

    Assumes: options are European, settle in cash at the close, and are quoted unrounded on both sides, symmetrically
             about the model price, from listing to expiry
    """

    paths: Paths
    surface: Surface
    instrument: Instrument = SIMULATED
    info: dict[str, Any] = field(default_factory=dict)  # as MarketTensors.info: label, scaler, notes
    identity: str = ""  # of the market that it is made of; empty for one that is made of none, or was never written

    def to(self, device: torch.device | str) -> "GeneratedWorld":
        """The same world with its calendar and states on another device."""
        return dataclasses.replace(self, paths=self.paths.to(device))

    def half_spread(self, price: torch.Tensor, model_half: torch.Tensor) -> torch.Tensor:
        """Half of the spread around a price: the surface's, at least half a tick, at most half the price."""
        if isinstance(self.surface, FlatSurface):
            return self.surface.half_spread * price
        return torch.minimum(model_half.clamp(min=0.5 * self.surface.tick), 0.5 * price)


def simulated_world(
    *,
    n_steps: int = 512,
    n_paths: int = 1 << 40,
    seed: int = 0,
    near_days: float = 30.0,
    far_days: float = 60.0,
    tolerance: float = 0.5,
    fair: bool = False,
    surface: Surface | None = None,
    planted: Dynamics | None = None,
) -> GeneratedWorld:
    """Seeded paths of an index and its VIX that move as the S&P 500 did in 1990-2012; `fair` gives P = Q.

    Args:
        planted: other dynamics, priced as in a fair world: what they move differently can be earned

    Units:  n_steps snapshots per path, all weekdays; near_days and far_days in calendar days
    Raises: ConfigError for paths too short or none at all
    """
    listing = weekday_listing(
        n_steps, near_days=near_days, far_days=far_days, tolerance=tolerance, by_sessions=not (fair or planted)
    )
    dynamics: Dynamics = planted or (FairDynamics() if fair else FittedDynamics())
    kind = "P = Q, one volatility" if fair else "S&P-like index and VIX, fitted to 1990-2012"
    if planted:
        kind = "a planted edge"
    return GeneratedWorld(
        paths=SimulatedPaths(dynamics=dynamics, listing=listing, n_steps=n_steps, n_paths=n_paths, seed=seed),
        surface=surface or (FlatSurface() if fair or planted else Surface()),
        info={
            "source": "generated",
            "label": "simulated quotes",
            "spread": "modelled",
            "near_days": near_days,
            "far_days": far_days,
            "notes": [f"Generated paths ({kind}), options priced by a modelled surface in closed form, unrounded."],
        },
    )


def weekday_listing(
    n_steps: int,
    *,
    near_days: float,
    far_days: float,
    tolerance: float,
    by_sessions: bool = True,
    closed_every: int | None = None,
) -> Weekly:
    """The listing over as many sessions as simulated paths of so many snapshots need: weekdays.

    Args:
        closed_every: one weekday of so many is no session; None: no holidays
    """
    needed = PAST + FIRST_SESSIONS + n_steps + DAYS_AHEAD
    if closed_every is None:
        dates = weekdays(needed)
    else:
        all_days = weekdays(needed + needed // (closed_every - 1) + 1)
        dates = np.delete(all_days, slice(closed_every - 1, None, closed_every))[:needed]
    return weekly_listing(
        dates[:-DAYS_AHEAD],
        dates,
        near_days=near_days,
        far_days=far_days,
        tolerance=tolerance,
        by_sessions=by_sessions,
    )


def given_world(
    states: PathState,
    dates: np.ndarray,
    scheduled: np.ndarray,
    *,
    surface: Surface,
    near_days: float = 30.0,
    far_days: float = 60.0,
    tolerance: float = 0.5,
) -> GeneratedWorld:
    """One path of given states, one per date (datetime64[D]); the first PAST - 1 come before the first snapshot.

    Raises: ConfigError for too few states, or a schedule that ends before the last expiry
    """
    listing = weekly_listing(dates, scheduled, near_days=near_days, far_days=far_days, tolerance=tolerance)
    return GeneratedWorld(
        paths=GivenPath(states=states, listing=listing),
        surface=surface,
        info={
            "source": "given path",
            "label": "modelled quotes",
            "spread": "modelled",
            "near_days": near_days,
            "far_days": far_days,
            "notes": ["A given path, options priced by a modelled surface in closed form, unrounded."],
        },
    )


def walk(world: GeneratedWorld, path: int) -> tuple[PathState, np.ndarray, np.ndarray, float]:
    """One path written out: states and sessions [T], closes from PAST - 1 sessions before on, the strike step."""
    paths = world.paths
    index = torch.tensor([index_of(torch.tensor(path), 0)])
    point = paths.start(index)
    states, sessions, closes = [point.state], [int(point.session)], point.log_close[:, 0].exp().tolist()
    for _ in range(paths.last_step):
        point, index = paths.after(point, index), index + 1
        states.append(point.state)
        sessions.append(int(point.session))
        closes.append(float(point.state.spot))
    together = PathState(*(torch.cat([getattr(s, name) for s in states]) for name in PathState._fields))
    return together, np.array(sessions), np.array(closes), float(point.strike_step)


def generated_columns(world: GeneratedWorld, path: int = 0) -> tuple[Columns, Columns, Columns]:
    """Quotes, underlyings and rates of one path, as columns of schema.py; quotes state the model's volatility too.

    Shapes:  one-dimensional columns; times int64 UTC nanoseconds, `date` datetime64[D], strings as object arrays
    Assumes: of the strikes that are listed, those near enough to the path for any cell are written
    """
    listing, instrument = world.paths.listing, world.instrument
    states, sessions, closes, strike_step = walk(world, path)
    ns = listing.session_ns_C.numpy()
    t, e, tte = open_expiries(ns[sessions], listing.expiration_E.numpy(), listing.reach_days)
    low, high = closes.min() * REACH, closes.max() / REACH
    strikes = strike_step * np.arange(max(1, int(low / strike_step)), int(high / strike_step) + 2)
    pair, k = (x.reshape(-1) for x in np.meshgrid(np.arange(len(t)), np.arange(len(strikes)), indexing="ij"))
    session = torch.from_numpy(sessions)
    clock = listing.clock(session[torch.from_numpy(t)], torch.from_numpy(e))
    theta, strength = world.surface.atm_variance(states.at(torch.from_numpy(t)), clock)
    row = torch.from_numpy(pair)
    state = states.at(torch.from_numpy(t[pair]))
    years, strike = torch.from_numpy(tte[pair]), torch.from_numpy(strikes[k])
    quotes = world.surface.quotes(state, strike, years, theta[row], strength[row], rounded=False)
    moneyness = torch.log(strike / state.spot) - (state.rate - state.dividend_yield) * years
    total, _ = world.surface.implied_variance(theta[row], strength[row], moneyness)
    columns = []
    for side, price, ask in ((1, quotes.call, quotes.call_ask), (-1, quotes.put, quotes.put_ask)):
        price, model_half = price.clamp(min=LEAST_PRICE), ask - price
        half = world.half_spread(price, model_half)
        columns.append((side, (price - half).numpy(), (price + half).numpy()))
    count = len(pair)
    expiry_date = (listing.expiration_E.numpy() // DAY_NS).astype("datetime64[D]")
    right = np.repeat([1, -1], count)
    both = np.tile(np.arange(count), 2)
    # a name per (expiry, strike, right), then a name per row
    used_e, code_e = np.unique(e, return_inverse=True)
    code = code_e.reshape(-1)[pair] * len(strikes) + k
    named_e, named_k = (x.reshape(-1) for x in np.meshgrid(used_e, np.arange(len(strikes)), indexing="ij"))
    names = [
        contract_names(instrument.name, expiry_date[named_e], strikes[named_k], np.full(len(named_e), side))
        for side in (1, -1)
    ]
    constant = {name: np.broadcast_to(_value(value), 2 * count) for name, value in instrument.terms.items()}
    quote_columns = {
        "snapshot": ns[sessions][t[pair]][both],
        "contract_id": np.concatenate([names[0][code], names[1][code]]),
        "root": np.broadcast_to(_value(instrument.name), 2 * count),
        "expiration": listing.expiration_E.numpy()[e[pair]][both],
        "strike": strikes[k][both],
        "right": np.where(right > 0, "C", "P").astype(object),
        "bid": np.concatenate([bid for _, bid, _ in columns]),
        "ask": np.concatenate([ask for _, _, ask in columns]),
        "model_vol": torch.sqrt(total / years).numpy()[both],
        **constant,
    }
    all_sessions = np.arange(sessions[0] - PAST + 1, sessions[-1] + 1)
    height = len(all_sessions)
    underlyings = {
        "snapshot": ns[all_sessions],
        "underlying": np.broadcast_to(_value(instrument.name), height),
        **{name: closes for name in ("open", "high", "low", "close")},
        "volume": np.zeros(height),
        "dividend": np.zeros(height),
        "split": np.ones(height),
    }
    rates = {
        "date": (ns[sessions] // DAY_NS).astype("datetime64[D]"),
        "tenor_days": np.full(len(sessions), 30.0),
        "rate": states.rate.numpy(),
        "dividend_yield": states.dividend_yield.numpy(),
    }
    return quote_columns, underlyings, rates


def _value(value: str | float) -> np.ndarray:
    return np.array(value, dtype=object if isinstance(value, str) else np.float64)
