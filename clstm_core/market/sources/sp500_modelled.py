"""The real S&P 500, 1999-2018, with option quotes modelled on it: no key, no download, and no real quote either.

The path and the VIX ship inside the `arch` package. Expected variance comes from the index's own past, a premium is
put on it so that the surface's model-free 30-day variance matches the VIX, and an SSVI smile is laid around that. All
parameters are fitted on training dates. Verdicts on this source must say that the premium is assumed.
"""

from collections.abc import Sequence
from datetime import date
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import SPECIAL_CLOSURES, holidays, is_trading_day, previous_trading_day
from clstm_core.market.source import SourceTables, empty_quarantine, finding
from clstm_core.market.tables.schema import QUOTES, RATES, UNDERLYINGS
from clstm_core.market.worlds.listing import (
    YEAR_NS,
    Expiries,
    contract_names,
    list_strikes,
    listed_expiries,
    number_contracts,
    session_close_ns,
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
TICK = 0.05
SPREAD_VOL = 0.0025  # half-spread on top of a tick, in volatility: a quarter of a vol point
UNDERLYING, ROOT = "SPX", "SPXM"


class _Index(NamedTuple):
    """The real series."""

    date: np.ndarray  # datetime64[D]
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    vix: np.ndarray  # fraction, NaN before 2014
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


class SP500Modelled:
    """Modelled European, PM- and cash-settled option quotes on the real S&P 500 path.

    Units:   prices in index points; rates continuous a year; dividend yield 1.9% (the index is price-only)
    Assumes: implied variance is expected variance times one squared ratio, fitted on training dates that have a VIX;
             `premium=False` sets the ratio to 1 (the zero-premium twin) and keeps the smile's shape. Quotes are the
             model price plus and minus a tick and a quarter of a vol point, rounded outwards to 0.05.
    """

    name = "sp500_modelled"
    label = "modelled quotes"
    spread = "modelled"

    def __init__(self, config: MarketConfig) -> None:
        self.config = config

    def list_snapshots(self) -> list[date]:
        """Sessions after the burn-in, 1999-04 .. 2018-12."""
        return self._index.date[BURN_IN:].tolist()

    @property
    def train_stop(self) -> int:
        """Sessions, from the first of 1999, that the training window may see."""
        return BURN_IN + int(self.config.train_fraction * (len(self._index.date) - BURN_IN))

    @cached_property
    def fit(self) -> SurfaceFit:
        """Fit of the surface to the VIX.

        Raises: MarketDataError when the training window holds too few dates with a VIX
        """
        index, stop = self._index, self.train_stop
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

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """Quotes of those sessions; the index and the rates up to the last of them.

        Raises: MarketDataError for a date that is no session of the series
        """
        index = self._index
        wanted = np.array(sorted(set(snapshots)), dtype="datetime64[D]")
        at = np.searchsorted(index.date, wanted)
        unknown = (at < BURN_IN) | (np.append(index.date, np.datetime64("NaT"))[at] != wanted)
        if unknown.any() or len(wanted) == 0:
            raise MarketDataError(
                f"no modelled session on {', '.join(str(d) for d in wanted[unknown][:5]) or 'no date at all'}: "
                f"expected sessions from {index.date[BURN_IN]} to {index.date[-1]}. Take them from list_snapshots()."
            )
        quotes = self._quotes(at)
        history = slice(0, int(at[-1]) + 1)
        close_ns = pl.Series("snapshot", session_close_ns(index.date[history])).cast(UNDERLYINGS["snapshot"])
        height = len(close_ns)
        underlyings = pl.DataFrame(
            {
                "snapshot": close_ns,
                "underlying": [UNDERLYING] * height,
                "open": index.open[history],
                "high": index.high[history],
                "low": index.low[history],
                "close": index.close[history],
                "volume": index.volume[history],
                "dividend": np.zeros(height),
                "split": np.ones(height),
            },
            schema=UNDERLYINGS,
        )
        rates = pl.DataFrame(
            {
                "date": index.date[history],
                "tenor_days": np.full(height, 30.0),
                "rate": index.rate[history],
                "dividend_yield": np.full(height, DIVIDEND_YIELD),
            }
        ).cast(pl.Schema(RATES))
        return SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=empty_quarantine(),
            findings=self._findings(quotes.height),
        )

    @property
    def notes(self) -> list[str]:
        """What a reader must know about these quotes, in sentences."""
        premium = (
            f"Premium assumed: {self.fit.sentence()}"
            if self.config.premium
            else "Zero-premium twin: implied variance equals expected variance under the same smile; on training dates "
            "options hedged daily earn within 6% of their price at mid."
        )
        return [
            "Modelled quotes on the real S&P 500: no option price here was ever quoted.",
            premium,
            f"Price-only index; dividend yield {DIVIDEND_YIELD:.1%} assumed. Rates: one-month bill, month by month "
            "(Fama-French; the last, 2018-11, is kept).",
            f"Modelled spread: half-spread of {TICK} plus {100 * SPREAD_VOL:g} vol points, rounded outwards to {TICK}.",
            "European, PM-settled in cash; strikes once listed stay quoted until expiry.",
        ]

    def _findings(self, total: int) -> pl.DataFrame:
        checks = ("modelled_quotes", "premium_fit", "dividend_yield", "modelled_spread", "contracts")
        return pl.concat(
            finding(check, "info", total, total, (), note) for check, note in zip(checks, self.notes, strict=True)
        )

    @cached_property
    def _index(self) -> _Index:
        return _load_index()

    @cached_property
    def _expected_TH(self) -> np.ndarray:
        """Expected total variance at each session and horizon, from that session's past."""
        close = self._index.close
        design = variance_design(close)
        return fit_variance_model(close, design, BURN_IN, self.train_stop).total_variance(design)

    def _thirty_day_vol(self, total_TH: np.ndarray) -> np.ndarray:
        """Volatility a calendar year over the coming 30 calendar days [T], as the VIX counts."""
        dates = self._index.date
        years = sessions_between(dates, dates + np.timedelta64(VIX_DAYS, "D")) / SESSIONS_YEAR
        return np.sqrt(interpolate_total_variance(total_TH, np.arange(len(dates)), years) * 365.0 / VIX_DAYS)

    def _expiries(self) -> Expiries:
        """Listed expiries, a holiday's moved to the session before; unforeseeable closures stay where they are."""
        index, config = self._index, self.config
        nominal = listed_expiries(
            index.date[BURN_IN],
            index.date[-1],
            near_days=config.near_days,
            far_days=config.far_days,
            tolerance=config.tenor_tolerance,
        )
        moved = [
            day if is_trading_day(day) or day in SPECIAL_CLOSURES else previous_trading_day(day)
            for day in nominal.date.tolist()
        ]
        dates, code = np.unique(np.array(moved, dtype="datetime64[D]"), return_inverse=True)
        listed = np.zeros(len(dates))
        np.maximum.at(listed, code, nominal.listed_days)
        return Expiries(dates, listed)

    def _quotes(self, at: np.ndarray) -> pl.DataFrame:
        index, config = self._index, self.config
        ratio = self.fit.premium_ratio if config.premium else 1.0
        implied_TH = self._expected_TH * ratio**2
        close_ns = session_close_ns(index.date)
        expiries = self._expiries()
        expiration = session_close_ns(expiries.date)
        vol = self._thirty_day_vol(implied_TH)
        quoted = slice(BURN_IN, None)
        listing = list_strikes(close_ns[quoted], index.close[quoted], vol[quoted], expiries, config.near_days)
        pair, pair_expiry, pair_strike = number_contracts(listing)
        keep = np.isin(listing.snapshot + BURN_IN, at)
        pair, t, e = pair[keep], listing.snapshot[keep] + BURN_IN, listing.expiry[keep]
        call, put, half = _price_pairs(
            index.close[t],
            listing.strike[keep],
            (expiration[e] - close_ns[t]) / YEAR_NS,
            index.rate[t],
            _theta(implied_TH, t, e, index.date, expiries.date),
        )
        names = [
            contract_names(ROOT, expiries.date[pair_expiry], pair_strike, np.full(len(pair_strike), w)) for w in (1, -1)
        ]
        sides = []
        for right, price, name in (("C", call, names[0]), ("P", put, names[1])):
            sides.append(
                pl.DataFrame(
                    {
                        "snapshot": pl.Series(close_ns[t]).cast(QUOTES["snapshot"]),
                        "contract_id": pl.Series(name.tolist(), dtype=pl.String).gather(pair),
                        "expiration": pl.Series(expiration[e]).cast(QUOTES["expiration"]),
                        "strike": listing.strike[keep],
                        "bid": _ticks(np.floor((price - half).clip(0.0) / TICK + 1e-9)),
                        "ask": _ticks(np.ceil((price + half) / TICK - 1e-9)),
                    }
                ).with_columns(right=pl.lit(right))
            )
        constants = {
            "underlying": UNDERLYING,
            "root": ROOT,
            "exercise": "european",
            "settlement": "cash",
            "currency": "USD",
        }
        return (
            pl.concat(sides)
            .with_columns(multiplier=pl.lit(100.0), **{name: pl.lit(value) for name, value in constants.items()})
            .select(list(QUOTES))
        )


def _ticks(count: np.ndarray) -> np.ndarray:
    """Price of a whole number of ticks, as its shortest decimal."""
    return np.round(count * TICK, 2)


def sessions_between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Scheduled sessions after `first`, up to and with `last` (datetime64[D]); closures nobody could foresee count.

    Variance comes session by session: an option over a weekend is not worth three sessions of it.
    """
    years = range(int(str(first.min())[:4]), int(str(last.max())[:4]) + 1)
    closed = np.array(sorted(day for year in years for day in holidays(year)), dtype="datetime64[D]")
    return np.busday_count(first + 1, last + 1, holidays=closed).astype(np.float64)


def _theta(implied_TH: np.ndarray, t: np.ndarray, e: np.ndarray, date: np.ndarray, expiry: np.ndarray) -> np.ndarray:
    """At-the-money total variance of each row; solved once a (snapshot, expiry)."""
    _, first, index = np.unique(t * len(expiry) + e, return_index=True, return_inverse=True)
    years = sessions_between(date[t[first]], expiry[e[first]]) / SESSIONS_YEAR
    total = interpolate_total_variance(implied_TH, t[first], years)
    return theta_for_model_free(total)[index.reshape(-1)]


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


def _load_index() -> _Index:
    """The series inside the arch package, on the sessions of the index."""
    import arch.data.frenchdata
    import arch.data.sp500
    import arch.data.vix

    prices = arch.data.sp500.load()
    dates = prices.index.to_numpy().astype("datetime64[D]")
    vix = arch.data.vix.load()["vix"].dropna()
    level = np.full(len(dates), np.nan)
    vix_dates = vix.index.to_numpy().astype("datetime64[D]")
    _, i, j = np.intersect1d(dates, vix_dates, return_indices=True)
    level[i] = vix.to_numpy()[j] / 100.0
    # Monthly percent; the months come as nanoseconds YYYYMM after 1970.
    factors = arch.data.frenchdata.load()
    month = factors.index.to_numpy().astype("datetime64[ns]").astype(np.int64)
    month = month // 100 * 12 + month % 100 - 1
    months = dates.astype("datetime64[M]").astype(np.int64) + 1970 * 12
    # The bill's return over a month is its yield at the month's start: known then. After the last month it stays.
    monthly = factors["RF"].to_numpy()[np.searchsorted(month, months, side="right") - 1] / 100.0
    columns = {
        name.lower(): prices[name].to_numpy().astype(np.float64) for name in ("Open", "High", "Low", "Close", "Volume")
    }
    return _Index(date=dates, **columns, vix=level, rate=12.0 * np.log1p(monthly))
