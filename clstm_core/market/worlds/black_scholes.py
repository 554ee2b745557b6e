"""A Black-Scholes world: arbitrage-free option chains on a seeded path, with separate P and Q. Numpy and torch only.

Without a premium the path moves under the pricing measure itself (P = Q) and quotes are the model price with a
symmetric, unrounded and unfloored spread, so that no adapted strategy earns anything before costs.
"""

from typing import NamedTuple

import numpy as np
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.clock import YEAR_NS, close_ns, weekday
from clstm_core.market.instrument import SIMULATED
from clstm_core.market.worlds.listing import contract_names, list_strikes, listed_expiries, number_contracts
from clstm_core.options import black_scholes

Columns = dict[str, np.ndarray]

FIRST_DATE = np.datetime64("2001-01-01")
START_LEVEL = 4000.0
RATE, DIVIDEND_YIELD = 0.03, 0.015
PRICING_VOL = 0.18  # Q
REAL_VOL = 0.15  # P with a premium
EQUITY_PREMIUM = 0.04  # P drift over carry, with a premium
UNROUNDED_SPREAD = 0.02  # half-spread as a share of the price, P = Q
LEAST_PRICE = 1e-9  # keeps a quote alive where the model price underflows, P = Q; far below any proof's tolerance
TICK = SIMULATED.tick
NAME = SIMULATED.name
SOURCE, LABEL, SPREAD = "simulated", "simulated quotes", "modelled"


class _World(NamedTuple):
    """What moves the path and what prices the options."""

    drift: float  # excess over carry, a year
    vol: float  # P, a year
    pricing_vol: float  # Q, a year


def _world(config: MarketConfig) -> _World:
    if config.premium:
        return _World(EQUITY_PREMIUM, REAL_VOL, PRICING_VOL)
    return _World(0.0, PRICING_VOL, PRICING_VOL)


def simulated_columns(config: MarketConfig) -> tuple[Columns, Columns, Columns]:
    """Quotes, underlyings and rates of a simulated Black-Scholes world, as columns of schema.py.

        dS / S = (r - q + drift) dt + vol dW, on the calendar clock (ACT/365) that prices and tte share

    Shapes:  one-dimensional columns; times int64 UTC nanoseconds, `date` datetime64[D], strings as object arrays
    Units:   prices a share; config.n_snapshots weekdays of quotes, preceded by underlyings for the lookback
    Raises:  MarketDataError when n_snapshots < 2
    Assumes: every weekday is a session; options are European, PM-settled in cash
    """
    if config.n_snapshots < 2:
        raise MarketDataError(
            f"n_snapshots={config.n_snapshots}: a world needs at least 2 snapshots. Raise it, e.g. to 1500."
        )
    world = _world(config)
    history = config.feature_lookback + 1
    dates = _weekdays(FIRST_DATE, config.n_snapshots + history)
    closes = close_ns(dates)
    rng = np.random.default_rng(config.seed)
    years = np.diff(closes) / YEAR_NS
    shocks = rng.standard_normal(len(years))
    growth = (RATE - DIVIDEND_YIELD + world.drift - 0.5 * world.vol**2) * years + world.vol * np.sqrt(years) * shocks
    path = START_LEVEL * np.exp(np.concatenate([[0.0], np.cumsum(growth)]))
    quotes = _quotes(config, world, dates[history:], closes[history:], path[history:])
    open_price = np.concatenate([path[:1], path[:-1]])
    underlyings = {
        "snapshot": closes,
        "underlying": _constant(NAME, len(dates)),
        "open": open_price,
        "high": np.maximum(open_price, path),
        "low": np.minimum(open_price, path),
        "close": path,
        "volume": np.zeros(len(dates)),
        "dividend": np.zeros(len(dates)),
        "split": np.ones(len(dates)),
    }
    rates = {
        "date": dates,
        "tenor_days": np.full(len(dates), 30.0),
        "rate": np.full(len(dates), RATE),
        "dividend_yield": np.full(len(dates), DIVIDEND_YIELD),
    }
    return quotes, underlyings, rates


def simulated_info(config: MarketConfig) -> dict[str, object]:
    """Labels of the simulated world, for `MarketTensors.info`."""
    world = _world(config)
    return {
        "source": SOURCE,
        "label": LABEL,
        "spread": SPREAD,
        "world": {**world._asdict(), "rate": RATE, "dividend_yield": DIVIDEND_YIELD},
        "notes": simulated_notes(config),
    }


def simulated_notes(config: MarketConfig) -> list[str]:
    """What a reader must know about the simulated quotes, in sentences."""
    world = _world(config)
    return [
        f"Black-Scholes world: pricing vol {world.pricing_vol:.3f}, real vol {world.vol:.3f}, drift over carry "
        f"{world.drift:.3f}, rate {RATE:.3f}, dividend yield {DIVIDEND_YIELD:.3f}, seed {config.seed}.",
        f"Premium assumed; spread: {TICK} plus 1% of the price a side, rounded outwards to {TICK}."
        if config.premium
        else f"P = Q; spread: {UNROUNDED_SPREAD:.0%} of the model price a side, unrounded.",
    ]


def _weekdays(first: np.datetime64, count: int) -> np.ndarray:
    dates = np.arange(first, first + np.timedelta64(count * 2 + 7, "D"), dtype="datetime64[D]")
    return dates[weekday(dates) < 5][:count]


def _constant(value: str | float, count: int) -> np.ndarray:
    """A column of one value that takes no memory: a view of it."""
    return np.broadcast_to(np.array(value, dtype=object if isinstance(value, str) else np.float64), count)


def _quotes(config, world: _World, dates, closes, path) -> Columns:
    expiries = listed_expiries(
        dates[0], dates[-1], near_days=config.near_days, far_days=config.far_days, tolerance=config.tenor_tolerance
    )
    expiration = close_ns(expiries.date)
    flat = np.full(len(path), world.pricing_vol)
    listing = list_strikes(closes, path, flat, expiries, config.near_days)
    pair, pair_expiry, pair_strike = number_contracts(listing)
    row_of = np.repeat(np.arange(len(pair)), 2)
    side = np.tile(np.array([1, -1]), len(pair))
    t, strike = listing.snapshot[row_of], listing.strike[row_of]
    row_expiration = expiration[listing.expiry[row_of]]
    tte = (row_expiration - closes[t]) / YEAR_NS
    vol, rate, carry = (torch.tensor(x, dtype=torch.float64) for x in (world.pricing_vol, RATE, DIVIDEND_YIELD))
    spot, k, years = (torch.from_numpy(x) for x in (path[t], strike, tte))
    price = black_scholes.price(spot, k, years, vol, rate, carry, torch.from_numpy(side.astype(np.float64))).numpy()
    if config.premium:
        half = TICK + 0.01 * price
        bid = np.floor((price - half).clip(0.0) / TICK + 1e-9) * TICK
        ask = np.ceil((price + half) / TICK - 1e-9) * TICK
    else:
        price = np.maximum(price, LEAST_PRICE)
        bid, ask = price * (1.0 - UNROUNDED_SPREAD), price * (1.0 + UNROUNDED_SPREAD)
    sides = np.tile(np.array([1, -1]), len(pair_strike))
    names = contract_names(NAME, np.repeat(expiries.date[pair_expiry], 2), np.repeat(pair_strike, 2), sides)
    count = len(t)
    return {
        "snapshot": closes[t],
        "contract_id": names[2 * pair[row_of] + (side < 0)],
        "root": _constant(NAME, count),
        "expiration": row_expiration,
        "strike": strike,
        "right": np.array(["C", "P"], dtype=object)[(side < 0).astype(np.int64)],
        "bid": bid,
        "ask": ask,
        **{name: _constant(value, count) for name, value in SIMULATED.terms.items()},
    }
