"""An option surface modelled on the S&P 500's real path. Numpy and torch only; the series is handed in.

Expected variance comes from the index's own past, a premium is put on it so that the surface's model-free 30-day
variance matches the VIX, and an SSVI smile is laid around that. All parameters are fitted on training dates.
"""

from datetime import date
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.clock import DAYS_YEAR, YEAR_NS, close_ns, session_on_or_before, sessions_between
from clstm_core.market.instrument import SPX_MODELLED
from clstm_core.market.worlds.listing import (
    Expiries,
    contract_names,
    list_strikes,
    listed_expiries,
    number_contracts,
)
from clstm_core.market.worlds.variance import (
    SESSIONS_YEAR,
    fit_variance_model,
    interpolate_total_variance,
    ssvi_total_variance,
    theta_for_model_free,
    variance_design,
)
from clstm_core.options import black_scholes

BURN_IN = 63  # sessions before the first quote, so that the slow variance has forgotten its start
DIVIDEND_YIELD = 0.019
VIX_DAYS = 30
MIN_VIX_DATES = 60
TICK = SPX_MODELLED.tick
ROOT = next(iter(SPX_MODELLED.roots))
SPREAD_VOL = 0.0025  # half-spread on top of a tick, in volatility: a quarter of a vol point


class Index(NamedTuple):
    """The real series, one value per session."""

    date: np.ndarray  # datetime64[D]
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    vix: np.ndarray  # fraction, NaN where there is none
    rate: np.ndarray  # continuous, a year


class SurfaceFit(NamedTuple):
    """How well the modelled 30-day model-free volatility matches the VIX; errors in vol points (1.00 = 0.01)."""

    premium_ratio: float  # of volatility: implied over expected
    dates: int
    first: date
    last: date
    rmse: float
    bias: float
    later_rmse: float  # on VIX dates after the training window: never fitted, only told
    later_bias: float

    def sentence(self) -> str:
        """The fit in words."""
        return (
            f"30-day model-free volatility fitted to the VIX on {self.dates} training dates {self.first} .. "
            f"{self.last}: implied / expected volatility {self.premium_ratio:.3f}, error {self.rmse:.2f} vol points "
            f"RMS, bias {self.bias:+.2f}; on the later dates, not fitted: {self.later_rmse:.2f} RMS, "
            f"bias {self.later_bias:+.2f}."
        )


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


class SP500Surface:
    """Modelled quotes of European options, PM-settled in cash, on a real index path.

    Shapes:  index [T] sessions; scheduled: sessions as expected (datetime64[D], ascending), beyond the last expiry too
    Units:   prices in index points; rates continuous a year; dividend yield 1.9% (the index is price-only)
    Assumes: implied variance is expected variance times one squared ratio, fitted on training dates that have a VIX;
             `premium=False` sets the ratio to 1 (the zero-premium twin) and keeps the smile's shape. Quotes are the
             model price plus and minus a tick and a quarter of a vol point, rounded outwards to whole ticks.
    """

    def __init__(self, index: Index, scheduled: np.ndarray, config: MarketConfig) -> None:
        self.index, self.scheduled, self.config = index, scheduled, config

    @property
    def train_stop(self) -> int:
        """Sessions, from the first, that the training window may see."""
        return BURN_IN + int(self.config.train_fraction * (len(self.index.date) - BURN_IN))

    @cached_property
    def fit(self) -> SurfaceFit:
        """Fit of the surface to the VIX.

        Raises: MarketDataError when the training window holds too few dates with a VIX
        """
        index, stop = self.index, self.train_stop
        expected = self._thirty_day_vol(self._expected_TH)
        known = np.isfinite(index.vix)
        train = known & (np.arange(len(known)) < stop)
        later = known & ~train
        if train.sum() < MIN_VIX_DATES:
            raise MarketDataError(
                f"train_fraction={self.config.train_fraction} ends the training window on {index.date[stop - 1]} with "
                f"{int(train.sum())} VIX dates: expected at least {MIN_VIX_DATES} to fit the premium (the VIX series "
                "begins 2014-01). Use train_fraction=0.80."
            )
        ratio = float(np.exp(np.mean(np.log(index.vix[train] / expected[train]))))
        error = 100.0 * (ratio * expected - index.vix)
        return SurfaceFit(
            premium_ratio=ratio,
            dates=int(train.sum()),
            first=index.date[train][0].item(),
            last=index.date[train][-1].item(),
            rmse=float(np.sqrt(np.mean(error[train] ** 2))),
            bias=float(error[train].mean()),
            later_rmse=float(np.sqrt(np.mean(error[later] ** 2))) if later.any() else float("nan"),
            later_bias=float(error[later].mean()) if later.any() else float("nan"),
        )

    def quotes(self, at: np.ndarray) -> PairQuotes:
        """Quotes of the sessions `at` (indices from BURN_IN on): every strike listed by then, none known ahead."""
        index, config = self.index, self.config
        ratio = self.fit.premium_ratio if config.premium else 1.0
        implied_TH = self._expected_TH * ratio**2
        closes = close_ns(index.date)
        expiries = self._expiries()
        expiration = close_ns(expiries.date)
        vol = self._thirty_day_vol(implied_TH)
        quoted = slice(BURN_IN, None)
        listing = list_strikes(closes[quoted], index.close[quoted], vol[quoted], expiries, config.near_days)
        pair, pair_expiry, pair_strike = number_contracts(listing)
        keep = np.isin(listing.snapshot + BURN_IN, at)
        t, e, strike = listing.snapshot[keep] + BURN_IN, listing.expiry[keep], listing.strike[keep]
        call, put, half = _price_pairs(
            index.close[t],
            strike,
            (expiration[e] - closes[t]) / YEAR_NS,
            index.rate[t],
            self._theta(implied_TH, t, e, expiries.date),
        )
        call_names, put_names = (
            contract_names(ROOT, expiries.date[pair_expiry], pair_strike, np.full(len(pair_strike), right))
            for right in (1, -1)
        )
        return PairQuotes(
            closes[t],
            expiration[e],
            strike,
            pair[keep],
            call_names,
            put_names,
            *(quote for price in (call, put) for quote in (_bid(price - half), _ask(price + half))),
        )

    @cached_property
    def _expected_TH(self) -> np.ndarray:
        """Expected total variance at each session and horizon, from that session's past."""
        close = self.index.close
        design = variance_design(close)
        return fit_variance_model(close, design, BURN_IN, self.train_stop).total_variance(design)

    def _thirty_day_vol(self, total_TH: np.ndarray) -> np.ndarray:
        """Volatility a calendar year over the coming 30 calendar days [T], as the VIX counts."""
        dates = self.index.date
        coming = sessions_between(dates, dates + np.timedelta64(VIX_DAYS, "D"), self.scheduled) / SESSIONS_YEAR
        return np.sqrt(interpolate_total_variance(total_TH, np.arange(len(dates)), coming) * DAYS_YEAR / VIX_DAYS)

    def _expiries(self) -> Expiries:
        """Listed expiries, a holiday's moved to the session before; unforeseeable closures stay where they are."""
        index, config = self.index, self.config
        nominal = listed_expiries(
            index.date[BURN_IN],
            index.date[-1],
            near_days=config.near_days,
            far_days=config.far_days,
            tolerance=config.tenor_tolerance,
        )
        dates, code = np.unique(session_on_or_before(nominal.date, self.scheduled), return_inverse=True)
        listed = np.zeros(len(dates))
        np.maximum.at(listed, code, nominal.listed_days)
        return Expiries(dates, listed)

    def _theta(self, implied_TH: np.ndarray, t: np.ndarray, e: np.ndarray, expiry: np.ndarray) -> np.ndarray:
        """At-the-money total variance of each row; solved once per (snapshot, expiry)."""
        _, first, row = np.unique(t * len(expiry) + e, return_index=True, return_inverse=True)
        years = sessions_between(self.index.date[t[first]], expiry[e[first]], self.scheduled) / SESSIONS_YEAR
        total = interpolate_total_variance(implied_TH, t[first], years)
        return theta_for_model_free(total)[row.reshape(-1)]


def _bid(price: np.ndarray) -> np.ndarray:
    """Rounded down to a whole number of ticks, at least 0."""
    return _ticks(np.floor(price.clip(0.0) / TICK + 1e-9))


def _ask(price: np.ndarray) -> np.ndarray:
    """Rounded up to a whole number of ticks."""
    return _ticks(np.ceil(price / TICK - 1e-9))


def _ticks(count: np.ndarray) -> np.ndarray:
    """Price of a whole number of ticks, as its shortest decimal."""
    return np.round(count * TICK, 2)


def _price_pairs(
    spot: np.ndarray, strike: np.ndarray, tte: np.ndarray, rate: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Call, put and half-spread of each strike; the put by parity from the side that is out of the money."""
    moneyness = np.log(strike / spot) - (rate - DIVIDEND_YIELD) * tte
    vol = np.sqrt(ssvi_total_variance(moneyness, theta) / tte)
    side = np.where(moneyness >= 0, 1.0, -1.0)
    s, k, years, sigma, r, w = (torch.from_numpy(x) for x in (spot, strike, tte, vol, rate, side))
    greeks = black_scholes.greeks(s, k, years, sigma, r, torch.tensor(DIVIDEND_YIELD, dtype=torch.float64), w)
    out = greeks.price.numpy().clip(0.0)
    swap = spot * np.exp(-DIVIDEND_YIELD * tte) - strike * np.exp(-rate * tte)
    call, put = np.where(side > 0, out, out + swap), np.where(side > 0, out - swap, out)
    return call, put, TICK + SPREAD_VOL * greeks.vega.numpy()
