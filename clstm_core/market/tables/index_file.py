"""The index's daily prices from `spx_daily`: what SPX options settle on, each fault named by file, row and date."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import is_trading_day, previous_trading_day
from clstm_core.market.instrument import SPX
from clstm_core.market.source import finding, require_columns, require_folder
from clstm_core.market.tables.cells import dates, numbers
from clstm_core.market.tables.plausibility import CLOSE_OFF, doubtful_closes
from clstm_core.market.tables.reading import read_table

INDEX_FILE = "spx_daily/spx_vix_vix9d_daily.csv"
INDEX_SYMBOL = SPX.index_symbol
PRICES = ("open", "high", "low", "close", "volume")
JUMP = 0.15  # a close this far (log) from the closes on both sides of it: no index closes there for a day
END_JUMP = 0.30  # at an end of the file, where one side is all there is
RANGE_SLACK = 0.005  # of the price: an open or close farther outside low .. high is none
ROWS_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DailyPrices:
    """Daily prices by date, ascending; columns date, open, high, low, close, volume, and what was wrong with the file.

    Every date has a positive close; `open`, `high` and `low` may be null.
    """

    name: str
    prices: pl.DataFrame
    findings: list[pl.DataFrame]

    @property
    def last(self) -> object:
        """The last date with a price."""
        return self.prices["date"].max()


def index_daily(root: Path) -> DailyPrices:
    """The S&P 500's days. Rows without date or close are as if missing, identical repeats dropped, both by a finding.

    Raises: MarketDataError for a file that is missing or has no row of the index, and for two different rows of a date
    """
    path = root / INDEX_FILE
    require_folder(path.parent, "the index's official opens and closes, which SPX options settle on")
    if not path.is_file():
        raise MarketDataError(f"no file {path}: expected the index's daily OHLCV. Put it there.")
    wanted = ("symbol", "date", *PRICES)
    table = read_table(path, wanted)
    require_columns(table.frame.columns, ("symbol", "date", "open", "close"), path.name)
    mine = table.frame.filter((pl.col("symbol").str.to_uppercase() == INDEX_SYMBOL) | pl.col("reason").is_not_null())
    if mine.filter(pl.col("reason").is_null()).is_empty():
        raise MarketDataError(
            f"no {INDEX_SYMBOL} rows in {path.name}: found symbols "
            f"{', '.join(table.frame['symbol'].drop_nulls().unique().sort().to_list()[:5])}, expected daily OHLCV of "
            f"{INDEX_SYMBOL}. Download the file again."
        )
    notes = [finding("index_file_notes", "warning", 1, 1, (), table.note)] if table.note else []
    daily = daily_prices(mine, path.name, decimal_comma=table.decimal_comma)
    return DailyPrices(name=daily.name, prices=daily.prices, findings=[*notes, *daily.findings])


def daily_prices(rows: pl.DataFrame, name: str, *, decimal_comma: bool = False, index: bool = True) -> DailyPrices:
    """Daily prices of text rows (date, open, ..., volume, row), as `index_daily` says; `name` is the file's.

    `index=False` takes prices as they are: a share may lose a third in a day, or split.
    """
    parsed = numbers(rows, {column: column for column in PRICES}, decimal_comma=decimal_comma).with_columns(
        written=pl.col("date"), date=dates(rows["date"])
    )
    positive = [pl.when(pl.col(column) > 0).then(column).alias(column) for column in PRICES[:-1]]
    parsed = parsed.with_columns(*positive)
    usable = pl.col("date").is_not_null() & pl.col("close").is_not_null()
    findings = []
    if (left := parsed.filter(~usable)).height:
        detail = f"{name}: rows without a date or a positive close are as if missing: {_rows(left)}."
        days = left["date"].drop_nulls()
        findings.append(finding("index_rows_unusable", "warning", left.height, parsed.height, days, detail))
    kept = parsed.filter(usable).sort("date", "row")
    first = kept.unique(subset=["date", "open", "close"], keep="first", maintain_order=True)
    if (repeats := kept.height - first.height) > 0:
        again = kept.join(first.select("row"), on="row", how="anti")
        detail = f"{name}: rows that repeat a date with the same open and close are read once: {_rows(again)}."
        findings.append(finding("index_rows_repeated", "warning", repeats, kept.height, again["date"], detail))
    clash = first.filter(pl.col("date").is_duplicated())
    if clash.height:
        day = clash["date"][0]
        both = clash.filter(pl.col("date") == day)
        raise MarketDataError(
            f"two prices for {day} in {name}: found closes {_list(both['close'])} in rows {_list(both['row'])}, "
            "expected one row per date. Keep the right one."
        )
    prices, jumps = _plausible(first) if index else (first, first.clear())
    if jumps.height:
        detail = (
            f"{name}: prices {JUMP:.0%} or more away from those beside them, or outside their day's low .. high, are "
            f"as if missing: {_rows(jumps)}."
        )
        findings.append(finding("index_implausible", "warning", jumps.height, first.height, jumps["date"], detail))
    if prices.is_empty():
        raise MarketDataError(f"no usable prices in {name}: found {rows.height} rows, expected dates with closes.")
    return DailyPrices(name=name, prices=prices.select("date", *PRICES), findings=findings)


def _plausible(daily: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The days without prices that cannot be, and the days that had some.

    A close cannot be that leaves the closes on both sides and comes back, an open that is as far from its own close and
    the one before, and either that lies outside the day's low .. high.

    Assumes: the index's worst day was -20% (1987) and stayed: a day of another unit or with a digit lost comes back.
             Its sharpest turn was +9% and -13% in March 2020
    """
    close, opening = pl.col("close").log(), pl.col("open").log()
    before, after = close - close.shift(1), close - close.shift(-1)
    inner = before.is_not_null() & after.is_not_null()
    size = pl.min_horizontal(before.abs(), after.abs())  # an end has one neighbour
    alike = pl.when(inner).then(before.sign() == after.sign()).otherwise(pl.lit(True))
    spike = alike & (size > pl.when(inner).then(JUMP).otherwise(END_JUMP))
    far = pl.min_horizontal((opening - close).abs(), (opening - close.shift(1)).abs()) > JUMP

    def outside(price: pl.Expr) -> pl.Expr:
        low, high = (1 - RANGE_SLACK) * pl.col("low"), (1 + RANGE_SLACK) * pl.col("high")
        return ((price < low) | (price > high)).fill_null(False)

    wild = spike.fill_null(False) if daily.height > 2 else pl.lit(False)
    marked = daily.with_columns(
        spike=wild | outside(pl.col("close")), far=far.fill_null(False) | outside(pl.col("open"))
    )
    kept = marked.filter(~pl.col("spike")).with_columns(open=pl.when(~pl.col("far")).then("open"))
    return kept, marked.filter(pl.col("spike") | pl.col("far"))


def _rows(rows: pl.DataFrame) -> str:
    shown = [
        f"row {row['row']} ({row['date'] or row.get('written') or 'no date'})"
        for row in rows.head(ROWS_SHOWN).to_dicts()
    ]
    return _list(shown) + (f" and {rows.height - ROWS_SHOWN} more" if rows.height > ROWS_SHOWN else "")


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def against_quotes(daily: DailyPrices, quotes: pl.DataFrame) -> DailyPrices:
    """The prices without the days whose close the quotes contradict (see `doubtful_closes`), which a finding names.

    Where more than half of the sessions do, nobody knows which of the two is wrong, and nothing is taken out.
    """
    odd = doubtful_closes(quotes, daily.prices)
    sessions = quotes["snapshot"].n_unique()
    if odd.is_empty() or 2 * odd.height > sessions:
        return daily
    said = _list(
        f"{row['date']} {row['close']:g} (the quotes say {row['parity']:.2f})" for row in odd.to_dicts()[:ROWS_SHOWN]
    )
    more = f" and {odd.height - ROWS_SHOWN} more" if odd.height > ROWS_SHOWN else ""
    detail = (
        f"{daily.name}: closes more than {CLOSE_OFF:.0%} from what put-call parity implies that session, and farther "
        f"from the close beside them than that, are as if missing: {said}{more}. Correct the file."
    )
    mine = finding("close_contradicted", "warning", odd.height, sessions, odd["date"], detail)
    prices = daily.prices.filter(~pl.col("date").is_in(odd["date"].implode()))
    return DailyPrices(name=daily.name, prices=prices, findings=[*daily.findings, mine])


def mark_unpriced(rows: pl.DataFrame, prices: pl.DataFrame, opening: pl.Expr) -> pl.DataFrame:
    """`rows` with a reason where the session has no price, or the contract expires in the set where none is known.

    Args:    rows with session, expiry (dates) and reason; prices by date with open and close; `opening` is true where a
             contract settles at the open, of its expiration date or the session before where that is closed
    """
    session = pl.col("session")
    closes = set(prices.filter(pl.col("close").is_not_null())["date"])
    opens = set(prices.filter(pl.col("open").is_not_null())["date"])
    unpriced = [day for day in rows["session"].unique().to_list() if day not in closes]
    free = pl.col("reason").is_null()
    out = rows.with_columns(
        reason=pl.when(free & session.is_in(unpriced)).then(pl.lit("no_index_price")).otherwise("reason"),
    )
    last = out.filter(free)["session"].max()
    if not isinstance(last, date):
        return out
    expiries = [day for day in out["expiry"].unique().to_list() if day is not None and day <= last]
    no_close = [day for day in expiries if _settles_on(day, closes) not in closes]
    no_open = [day for day in expiries if _settles_on(day, opens) not in opens]
    unsettled = pl.when(opening).then(pl.col("expiry").is_in(no_open)).otherwise(pl.col("expiry").is_in(no_close))
    # On its expiration date nothing is left to trade of a contract: that is said of it, not that no price is known.
    unsettled &= pl.col("expiry") > session
    return out.with_columns(
        reason=pl.when(pl.col("reason").is_null() & unsettled).then(pl.lit("no_settlement_price")).otherwise("reason")
    )


def _settles_on(day: date, priced: set[date]) -> date:
    return day if day in priced or is_trading_day(day) else previous_trading_day(day)
