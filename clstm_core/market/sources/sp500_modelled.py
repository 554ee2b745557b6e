"""The real S&P 500 and VIX, 1990-2022, with option quotes modelled on them: no key, no download, and no real quote.

The path ships inside the `skfolio` package; the VIX, the Treasury bill and the dividends are public-domain series in
`data/samples/open`. The model is `worlds/sp500.py`. Verdicts on this source must say that its quotes are modelled.
"""

from collections.abc import Sequence
from datetime import date
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market import public_series
from clstm_core.market.calendars import scheduled_sessions, session_ends
from clstm_core.market.instrument import SPX_MODELLED
from clstm_core.market.public_series import BILL, DIVIDENDS, VIX, read_series
from clstm_core.market.source import Declared, SourceSpec, SourceTables, empty_quarantine, finding
from clstm_core.market.tables.schema import QUOTES, RATES, UNDERLYINGS
from clstm_core.market.windows import used_sessions
from clstm_core.market.worlds.sp500 import BURN_IN, ROOT, WIDE_FROM, WIDE_UNTIL, WIDEST, History, SP500World

SPEC = SourceSpec(
    name="sp500_modelled",
    description="the real S&P 500 and VIX, 1990-2022, with option quotes modelled on them; needs no data",
    label="modelled quotes",
    spread="modelled",
    has_companions=True,
    train_until="2012-12-31",
    validation_until="2016-12-31",
)

INDEX_FILE = "datasets/data/sp500_index.csv.gz"  # inside skfolio: importing it would take seconds and scikit-learn
DIVIDEND_LAG = 6  # months: trailing sums are interpolated between quarters and published late
DIVIDEND_GROWTH = 0.5  # of the last year's growth, that brings a sum centred a year ago nearer to today
BILL_DAYS = 91


Series = tuple[np.ndarray, np.ndarray]
"""Days or months, ascending, and the values of each."""


class Loaded(NamedTuple):
    """The history, and the sessions for which nobody published a VIX: they keep the one before."""

    history: History
    without_vix: list[date]


class SP500Modelled(Declared):
    """Modelled quotes on the real path; see `worlds.sp500.SP500World`."""

    spec = SPEC

    def __init__(self, config: MarketConfig) -> None:
        self.config = config

    @cached_property
    def loaded(self) -> Loaded:
        """The whole series."""
        return load_history()

    @cached_property
    def world(self) -> SP500World:
        """The model on the whole series, fitted on the training dates of `config`."""
        return SP500World(self.loaded.history, scheduled_sessions(SPX_MODELLED.calendar), self.config, _ends)

    def series(self) -> dict[str, Path]:
        """The path inside skfolio and the public-domain series."""
        return {
            "sp500_index.csv.gz": index_file(),
            **{name: public_series.FOLDER / name for name in public_series.FILES},
        }

    def list_snapshots(self) -> list[date]:
        """Sessions after the burn-in, 1990-03 .. 2022-12, of those the ones that the configuration uses."""
        dates = self.loaded.history.date[BURN_IN:]
        return dates[used_sessions(dates, self.config)].tolist()

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """Quotes of those sessions; the index and the rates up to the last of them.

        Raises: MarketDataError for a date that is no session of the series
        """
        history = self.loaded.history
        wanted = np.array(sorted(set(snapshots)), dtype="datetime64[D]")
        at = np.searchsorted(history.date, wanted)
        unknown = (at < BURN_IN) | (np.append(history.date, np.datetime64("NaT"))[at] != wanted)
        if unknown.any() or len(wanted) == 0:
            raise MarketDataError(
                f"no modelled session on {', '.join(str(d) for d in wanted[unknown][:5]) or 'no date at all'}: "
                f"expected sessions from {history.date[BURN_IN]} to {history.date[-1]}. Take them from "
                "list_snapshots()."
            )
        quotes = self._quotes(at)
        past = slice(0, int(at[-1]) + 1)
        height = past.stop
        # the series has closes alone
        underlyings = pl.DataFrame(
            {
                "snapshot": pl.Series(_ends(history.date[past])).cast(UNDERLYINGS["snapshot"]),
                "underlying": [SPX_MODELLED.name] * height,
                "open": [None] * height,
                "high": [None] * height,
                "low": [None] * height,
                "close": history.close[past],
                "volume": [None] * height,
                "dividend": np.zeros(height),
                "split": np.ones(height),
            },
            schema=UNDERLYINGS,
        )
        rates = pl.DataFrame(
            {
                "date": history.date[past],
                "tenor_days": np.full(height, float(BILL_DAYS)),
                "rate": history.rate[past],
                "dividend_yield": history.dividend_yield[past],
            }
        ).cast(pl.Schema(RATES))
        return SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=empty_quarantine(),
            findings=self._findings(quotes.height),
        )

    @cached_property
    def _facts(self) -> dict[str, str]:
        """What a reader must know about these quotes: a sentence per subject."""
        world, surface, config = self.world, self.world.surface, self.config
        missing = ", ".join(map(str, self.loaded.without_vix))
        fair = world.fair
        kept = f"; no VIX was published for {missing}, where the one before is kept." if missing else "."
        level = (
            f"Level: the real VIX of each day is the 30-day model-free volatility, so no premium is assumed there{kept}"
            if config.premium
            else "Zero-premium twin: in place of the VIX the volatility that it foretold on "
            f"{fair.dates} training dates (log variance {fair.intercept:+.2f} {fair.slope:+.2f} x log VIX squared), "
            "with a smile that leaves options hedged daily about nothing at mid on those dates."
        )
        stress = (
            " Stressed world: spreads doubled, every volatility at the money a point lower." if config.stress else ""
        )
        return {
            "modelled_quotes": "Modelled quotes on the real S&P 500: no option price here was ever quoted." + stress,
            "level": level,
            "shape": f"Shape assumed: volatility at the money {100 * surface.atm_distance:.1f} points below that level "
            "at 30 days, the smile of SPXW chains of 2026 at the strength that makes up the difference, expected "
            f"variance returning to its slow average at {world.reversion:.1f} a year (fitted on training dates).",
            "carry": "Price-only index. Dividends: half a year old, with half of their last year's growth; rates: the "
            "3-month Treasury bill of the month before.",
            "modelled_spread": f"Spread assumed: {100 * surface.spread:.3f} volatility points at the money at VIX 15 "
            f"from {WIDE_UNTIL:.0f} on, in proportion to the VIX, {WIDEST:g} times as wide until {WIDE_FROM:.0f}, "
            f"rounded outwards to {surface.tick}.",
            "contracts": "European, PM-settled in cash; strikes once listed stay quoted until expiry.",
        }

    @property
    def notes(self) -> list[str]:
        """What a reader must know about these quotes, in sentences."""
        return list(self._facts.values())

    def _findings(self, total: int) -> pl.DataFrame:
        return pl.concat(finding(check, "info", total, total, (), note) for check, note in self._facts.items())

    def _quotes(self, at: np.ndarray) -> pl.DataFrame:
        """All calls, then all puts, of the sessions `at`."""
        pairs = self.world.quotes(at)
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


def load_history() -> Loaded:
    """The path inside skfolio with the VIX, the bill and the dividends of `data/samples/open`, as known each day.

    Raises: MarketDataError when a series is missing
    """
    path = pl.read_csv(index_file(), try_parse_dates=True)
    dates, close = path.to_series(0).to_numpy().astype("datetime64[D]"), path.to_series(1).to_numpy()
    return known_history(
        dates,
        close,
        read_series(VIX, "date", "close"),
        read_series(BILL, "month", "discount_yield_pct"),
        read_series(DIVIDENDS, "month", "dividend_per_year"),
    )


def known_history(dates: np.ndarray, close: np.ndarray, vix: Series, bill: Series, dividends: Series) -> Loaded:
    """Each session with what was published of the three series by then.

    Shapes:  dates (datetime64[D], ascending) and close [T]; each series its days or months and its values
    Units:   close in index points; vix in percent; bill a discount yield in percent; dividends index points a year
    """
    vix_dates, vix_closes = vix
    place = np.searchsorted(vix_dates, dates, side="right") - 1
    months = dates.astype("datetime64[M]")
    bill_months, discount = bill
    yielded = -np.log(1.0 - discount / 100.0 * BILL_DAYS / 360.0) * 365.0 / BILL_DAYS  # a discount on 360 days
    paid_months, paid = dividends
    # in the first years nothing is old enough: the first value stays
    last, before = (_known(paid_months, paid, months - DIVIDEND_LAG - months_ago) for months_ago in (0, 12))
    expected = last * (last / before) ** DIVIDEND_GROWTH
    history = History(
        date=dates,
        close=close,
        vix=vix_closes[place] / 100.0,
        rate=_known(bill_months, yielded, months - 1),
        dividend_yield=np.log1p(expected / close),
    )
    return Loaded(history, dates[vix_dates[place] != dates].tolist())


def index_file() -> Path:
    """The S&P 500's closes that ship inside skfolio.

    Raises: MarketDataError when the package is not there, or without its data
    """
    package = find_spec("skfolio")
    file = None if package is None or package.origin is None else Path(package.origin).parent / INDEX_FILE
    if file is None or not file.is_file():
        raise MarketDataError(
            "no S&P 500 series: expected skfolio with its data sets. Install the project again: pip install -e ."
        )
    return file


def _ends(dates: np.ndarray) -> np.ndarray:
    """When sessions end: the snapshot of each, and when what expires on it settles."""
    return session_ends(dates, SPX_MODELLED.calendar)


def _known(months: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted month, of the last one before it where there is none, or of the first of all."""
    at = np.searchsorted(months.astype("datetime64[M]"), wanted, side="right") - 1
    return values[np.maximum(at, 0)]
