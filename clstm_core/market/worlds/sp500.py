"""Option quotes modelled on the S&P 500's real path and the VIX of each day. Numpy and torch; the series are handed in.

What the market charged is in the VIX and is not assumed; how it was spread over strikes and tenors is
(`worlds/surface.py`). What is fitted here is fitted on training dates: how fast expected variance returns to its
average, and what the zero-premium twin takes for fair.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.clock import DAYS_YEAR, YEAR_NS, close_ns, session_on_or_before, sessions_between, weekday
from clstm_core.market.instrument import SPX_MODELLED
from clstm_core.market.windows import used_sessions, window_stops
from clstm_core.market.worlds.listing import (
    FRIDAY,
    Expiries,
    contract_names,
    list_strikes,
    listed_expiries,
    number_contracts,
)
from clstm_core.market.worlds.surface import VIX_YEARS, PathState, Surface

BURN_IN = 42  # sessions before the first quote: the features' past, and a slow average that has begun
SLOW_DECAY = 0.998  # per session: the average that expected variance returns to halves its memory in 16 months
VIX_DAYS = 30
MIN_FIT_DATES = 250
WINGS = (7.0, 3.5)
"""Standard deviations below and above the money to which strikes are listed; the VIX needs little beyond."""
WIDE_UNTIL, WIDE_FROM, WIDEST = 2016.0, 2003.0, 6.0
"""Spreads were `WIDEST` times today's until `WIDE_FROM`, then narrowed by the same factor each year: an assumption."""

FAIR_SCALE, FAIR_DISTANCE = 0.996, 0.0113
"""Of the twin: its level over the volatility that the VIX foretold, and that level less the volatility at the money.

Set so that on training dates options hedged daily earn about nothing at mid, from 5-delta puts to 20-delta calls.
"""

ROOT = next(iter(SPX_MODELLED.roots))
TICK = SPX_MODELLED.tick
SURFACE = Surface(tick=TICK)


class History(NamedTuple):
    """The real series, one value per session [T]."""

    date: np.ndarray  # datetime64[D]
    close: np.ndarray  # index points
    vix: np.ndarray  # fraction
    rate: np.ndarray  # continuous, a year
    dividend_yield: np.ndarray  # continuous, a year


class FairVariance(NamedTuple):
    """What variance the VIX foretold on training dates: exp(intercept + slope x ln VIX^2), a year."""

    intercept: float
    slope: float
    dates: int

    def level(self, vix: np.ndarray) -> np.ndarray:
        """The volatility that would have been fair at each VIX."""
        return np.exp(0.5 * (self.intercept + self.slope * np.log(vix**2)))


class PairQuotes(NamedTuple):
    """A call and a put per row; sorted by snapshot, expiry and strike."""

    snapshot: np.ndarray  # int64, UTC nanoseconds
    expiration: np.ndarray  # int64, UTC nanoseconds
    strike: np.ndarray
    pair: np.ndarray  # index into the two lists of names
    call_names: np.ndarray  # object
    put_names: np.ndarray
    call_bid: np.ndarray
    call_ask: np.ndarray
    put_bid: np.ndarray
    put_ask: np.ndarray


class SP500World:
    """Modelled quotes of European options, PM-settled in cash, on a real index path.

    Shapes:  history [T] sessions; scheduled: sessions as expected (datetime64[D], ascending), past the last expiry;
             ends: dates -> UTC nanoseconds at which those sessions end, half days included
    Units:   prices in index points
    Raises:  MarketDataError when the training window is too short to fit on
    Assumes: `premium=False` prices by the variance that the VIX foretold on training dates (the zero-premium twin);
             `stress=True` doubles spreads and takes a point off every volatility at the money
    """

    def __init__(
        self,
        history: History,
        scheduled: np.ndarray,
        config: MarketConfig,
        ends: Callable[[np.ndarray], np.ndarray] = close_ns,
    ) -> None:
        self.history, self.scheduled, self.config, self.ends = history, scheduled, config, ends

    @property
    def train_stop(self) -> int:
        """Sessions, from the first, that the training window may see."""
        return BURN_IN + window_stops(self.history.date[BURN_IN:], self.config)[0]

    @property
    def train_start(self) -> int:
        """The first session that is fitted on: where the training window begins."""
        return BURN_IN + used_sessions(self.history.date[BURN_IN:], self.config).start

    @cached_property
    def coming(self) -> np.ndarray:
        """Sessions that the VIX counts on [T]: 30 days ahead, linear between the Fridays around, as its rule says."""
        dates = self.history.date
        target = dates + np.timedelta64(VIX_DAYS, "D")
        past = (weekday(target) - FRIDAY) % 7
        near, far = (
            sessions_between(dates, target - past + np.timedelta64(days, "D"), self.scheduled) for days in (0, 7)
        )
        return near + (far - near) * past / 7.0

    @cached_property
    def reversion(self) -> float:
        """Speed a year at which VIX^2 returned to its slow average within 30 days, on training dates."""
        variance, slow = self.history.vix**2, slow_average(self.history.vix**2)
        at = np.arange(self.train_start, self.train_stop - 21)
        self._enough(len(at))
        gap, later = variance[at] - slow[at], variance[at + 21] - slow[at]
        kept = float(gap @ later / (gap @ gap))
        return float(-np.log(np.clip(kept, 0.05, 0.99)) / VIX_YEARS)

    @cached_property
    def fair(self) -> FairVariance:
        """Regression of the log variance of the coming 30 days on the VIX, then scaled so that the means agree."""
        returns = np.diff(np.log(self.history.close[: self.train_stop]), prepend=np.log(self.history.close[0]))
        total = np.cumsum(returns**2)
        count = np.rint(self.coming).astype(np.int64)
        at = np.arange(self.train_start, self.train_stop)
        at = at[at + count[at] < self.train_stop]
        self._enough(len(at))
        realised = (total[at + count[at]] - total[at]) * DAYS_YEAR / VIX_DAYS
        design = np.stack([np.ones(len(at)), np.log(self.history.vix[at] ** 2)], axis=1)
        intercept, slope = np.linalg.lstsq(design, np.log(np.maximum(realised, 1e-6)), rcond=None)[0]
        expected = np.exp(intercept + slope * design[:, 1])
        return FairVariance(float(intercept + np.log(realised.mean() / expected.mean())), float(slope), len(at))

    def _enough(self, dates: int) -> None:
        if dates < MIN_FIT_DATES:
            raise MarketDataError(
                f"the training window holds {max(dates, 0)} dates to fit the surface on: expected at least "
                f"{MIN_FIT_DATES}. Let it end later: train_until (or train_fraction)."
            )

    @cached_property
    def surface(self) -> Surface:
        """The shape of prices in the world that the configuration names."""
        surface = dataclasses.replace(SURFACE, reversion=self.reversion)
        if not self.config.premium:
            surface = dataclasses.replace(surface, atm_distance=FAIR_DISTANCE)
        return surface.stressed() if self.config.stress else surface

    @cached_property
    def state(self) -> PathState:
        """The path's state at every session [T], each known at its close."""
        history = self.history
        level = history.vix if self.config.premium else FAIR_SCALE * self.fair.level(history.vix)
        fields = (
            history.close,
            level,
            slow_average(level**2),
            history.rate,
            history.dividend_yield,
            spread_scale(history.date),
            np.ones(len(history.date)),
        )
        return PathState(*(torch.from_numpy(np.ascontiguousarray(field)) for field in fields))

    def quotes(self, at: np.ndarray) -> PairQuotes:
        """Quotes of the sessions `at` (indices from BURN_IN on): every strike listed by then, none known ahead."""
        history, config = self.history, self.config
        expiries = self._expiries()
        closes, expiration = self.ends(history.date), self.ends(expiries.date)
        quoted = slice(BURN_IN, None)
        # listed by the VIX in every world: the twin and the stressed one list the same contracts; and by whole days,
        # so that a half day lists what any other does
        usual = close_ns(history.date[quoted])
        listing = list_strikes(
            usual, history.close[quoted], history.vix[quoted], expiries, config.near_days, wings=WINGS
        )
        pair, pair_expiry, pair_strike = number_contracts(listing)
        keep = np.isin(listing.snapshot + BURN_IN, at)
        t, e, strike = listing.snapshot[keep] + BURN_IN, listing.expiry[keep], listing.strike[keep]
        theta, strength = self._atm(t, e, expiries.date)
        quotes = self.surface.quotes(
            self.state.at(torch.from_numpy(t)),
            torch.from_numpy(strike),
            torch.from_numpy((expiration[e] - closes[t]) / YEAR_NS),
            theta,
            strength,
        )
        call_names, put_names = (
            contract_names(ROOT, expiries.date[pair_expiry], pair_strike, np.full(len(pair_strike), right))
            for right in (1, -1)
        )
        sides = (quotes.call_bid, quotes.call_ask, quotes.put_bid, quotes.put_ask)
        return PairQuotes(
            closes[t],
            expiration[e],
            strike,
            pair[keep],
            call_names,
            put_names,
            *(side.numpy() for side in sides),
        )

    def _expiries(self) -> Expiries:
        """Listed expiries, a holiday's moved to the session before; unforeseeable closures stay where they are."""
        history, config = self.history, self.config
        nominal = listed_expiries(
            history.date[BURN_IN],
            history.date[-1],
            near_days=config.near_days,
            far_days=config.far_days,
            tolerance=config.tenor_tolerance,
        )
        dates, code = np.unique(session_on_or_before(nominal.date, self.scheduled), return_inverse=True)
        listed = np.zeros(len(dates))
        np.maximum.at(listed, code, nominal.listed_days)
        return Expiries(dates, listed)

    def _atm(self, t: np.ndarray, e: np.ndarray, expiry: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Total variance at the money and the smile's strength of each row; computed once per (snapshot, expiry)."""
        _, first, row = np.unique(t * len(expiry) + e, return_index=True, return_inverse=True)
        sessions = sessions_between(self.history.date[t[first]], expiry[e[first]], self.scheduled)
        clock = torch.from_numpy(sessions / self.coming[t[first]] * VIX_YEARS)
        theta, strength = self.surface.atm_variance(self.state.at(torch.from_numpy(t[first])), clock)
        of_row = torch.from_numpy(row.reshape(-1))
        return theta[of_row], strength[of_row]


def spread_scale(dates: np.ndarray) -> np.ndarray:
    """How many times as wide as today's spreads were on each date (datetime64[D])."""
    year = dates.astype("datetime64[D]").astype(np.float64) / 365.25 + 1970.0
    return WIDEST ** np.clip((WIDE_UNTIL - year) / (WIDE_UNTIL - WIDE_FROM), 0.0, 1.0)


def slow_average(values: np.ndarray) -> np.ndarray:
    """Average [T] of all values so far, older ones counting less."""
    out = np.empty_like(values)
    level = weight = 0.0
    for index, value in enumerate(values.tolist()):
        level, weight = SLOW_DECAY * level + value, SLOW_DECAY * weight + 1.0
        out[index] = level / weight
    return out
