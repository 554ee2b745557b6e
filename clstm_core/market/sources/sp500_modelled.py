"""The real S&P 500, 1999-2018, with option quotes modelled on it: no key, no download, and no real quote either.

The path and the VIX ship inside the `arch` package; the model is `worlds/sp500.py`. Verdicts on this source must say
that the premium is assumed.
"""

from collections.abc import Sequence
from datetime import date
from functools import cached_property

import numpy as np
import polars as pl

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import scheduled_sessions
from clstm_core.market.clock import close_ns
from clstm_core.market.instrument import SPX_MODELLED
from clstm_core.market.source import Declared, SourceSpec, SourceTables, empty_quarantine, finding
from clstm_core.market.tables.schema import QUOTES, RATES, UNDERLYINGS
from clstm_core.market.worlds.sp500 import (
    BURN_IN,
    DIVIDEND_YIELD,
    ROOT,
    SPREAD_VOL,
    TICK,
    Index,
    SP500Surface,
    SurfaceFit,
)

SPEC = SourceSpec(
    name="sp500_modelled",
    description="the real S&P 500, 1999-2018, with option quotes modelled on it; needs no data",
    label="modelled quotes",
    spread="modelled",
    has_twin=True,
)


class SP500Modelled(Declared):
    """Modelled quotes on the real path; see `worlds.sp500.SP500Surface`."""

    spec = SPEC

    def __init__(self, config: MarketConfig) -> None:
        self.config = config

    @cached_property
    def surface(self) -> SP500Surface:
        """The model on the whole series, fitted on the training dates of `config`."""
        return SP500Surface(load_index(), scheduled_sessions(SPX_MODELLED.calendar), self.config)

    @property
    def fit(self) -> SurfaceFit:
        """Fit of the surface to the VIX; raises MarketDataError as `SP500Surface.fit`."""
        return self.surface.fit

    def list_snapshots(self) -> list[date]:
        """Sessions after the burn-in, 1999-04 .. 2018-12."""
        return self.surface.index.date[BURN_IN:].tolist()

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """Quotes of those sessions; the index and the rates up to the last of them.

        Raises: MarketDataError for a date that is no session of the series
        """
        index = self.surface.index
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
        close = pl.Series("snapshot", close_ns(index.date[history])).cast(UNDERLYINGS["snapshot"])
        height = len(close)
        underlyings = pl.DataFrame(
            {
                "snapshot": close,
                "underlying": [SPX_MODELLED.name] * height,
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

    def _quotes(self, at: np.ndarray) -> pl.DataFrame:
        """All calls, then all puts, of the sessions `at`."""
        pairs = self.surface.quotes(at)
        sides = (
            ("C", pairs.call_names, pairs.call_bid, pairs.call_ask),
            ("P", pairs.put_names, pairs.put_bid, pairs.put_ask),
        )
        frames = [
            pl.DataFrame(
                {
                    "snapshot": pl.Series(pairs.snapshot).cast(QUOTES["snapshot"]),
                    "contract_id": pl.Series(names.tolist(), dtype=pl.String).gather(pairs.pair),
                    "expiration": pl.Series(pairs.expiration).cast(QUOTES["expiration"]),
                    "strike": pairs.strike,
                    "bid": bid,
                    "ask": ask,
                }
            ).with_columns(right=pl.lit(right))
            for right, names, bid, ask in sides
        ]
        constants = {"root": ROOT, **SPX_MODELLED.terms}
        return (
            pl.concat(frames)
            .with_columns(**{name: pl.lit(value) for name, value in constants.items()})
            .select(list(QUOTES))
        )


def load_index() -> Index:
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
    return Index(date=dates, **columns, vix=level, rate=12.0 * np.log1p(monthly))
