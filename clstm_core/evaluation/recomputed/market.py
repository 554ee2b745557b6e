"""What the canonical tables say of an account's way, for `recompute`: spots, rates, contract terms, settlement values.

Polars and the standard library alone; nothing here is shared with what builds markets or trades in them.
"""

from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

QUOTE_COLUMNS = (
    *("snapshot", "contract_id", "root", "expiration", "strike", "right"),
    *("bid", "ask", "multiplier"),
)
TABLES = ("quotes", "underlyings", "rates")
AT_OPEN = {"SPX": True, "SPXW": False, "SPXM": False, "SIM": False}
"""Whether a root's contracts settle at the open (AM) or at the close (PM), as their exchange lists them."""

OWN_TABLE = "table"
"""The source whose file says itself when its contracts settle, whatever their root."""

OPEN_BEFORE_CLOSE = timedelta(hours=4, minutes=30)
"""What settles this long before the time of the close takes the open: a half day's close is three hours before it."""

LATEST_SESSION = timedelta(days=5)
"""A settlement by an older session than this has no price."""


class Market(NamedTuple):
    """The canonical tables behind some books.

    quotes:      QUOTE_COLUMNS of at least the contracts that were traded or held
    snapshots:   of all quotes, ascending
    underlyings: snapshot, open, close and, where the index itself is unknown, parity_spot
    rates:       date, tenor_days, rate, dividend_yield
    """

    quotes: pl.DataFrame
    snapshots: pl.Series
    underlyings: pl.DataFrame
    rates: pl.DataFrame

    def of(self, fills: pl.DataFrame, positions: pl.DataFrame) -> "Market":
        """The same market with the quotes of an account's contracts alone."""
        return self._replace(quotes=self.quotes.filter(pl.col("contract_id").is_in(_contracts(fills, positions))))


def read_market(folder: Path, fills: pl.DataFrame, positions: pl.DataFrame, quotes: Path | None = None) -> Market:
    """The tables of a folder of canonical quotes, with the quotes of the contracts in these ledgers.

    Args:
        quotes: the quotes file, where it is not the folder's `quotes.parquet`
    """
    scanned = pl.scan_parquet(quotes or folder / "quotes.parquet")
    return Market(
        quotes=scanned.select(QUOTE_COLUMNS)
        .filter(pl.col("contract_id").is_in(_contracts(fills, positions)))
        .collect(),
        snapshots=scanned.select(pl.col("snapshot").unique()).collect().to_series().sort(),
        underlyings=pl.read_parquet(folder / "underlyings.parquet"),
        rates=pl.read_parquet(folder / "rates.parquet"),
    )


def spots(underlyings: pl.DataFrame) -> pl.DataFrame:
    """What a share costs at each session: columns snapshot, market_spot."""
    spot = pl.col("close")
    if "parity_spot" in underlyings.columns:
        spot = pl.coalesce(pl.when(pl.col("parity_spot").is_finite()).then("parity_spot"), spot)
    return underlyings.select("snapshot", market_spot=spot)


def with_rates(frame: pl.DataFrame, rates: pl.DataFrame, near_days: float) -> pl.DataFrame:
    """`frame` with the rate and dividend yield of the latest date on or before each snapshot.

    Of several tenors it is the one nearest `near_days`.
    """
    daily = (
        rates.with_columns(distance=(pl.col("tenor_days") - near_days).abs())
        .sort("date", "distance", maintain_order=True)
        .unique("date", keep="first", maintain_order=True)
        .select("date", "rate", "dividend_yield")
        .sort("date")
    )
    dated = frame.with_row_index("place").with_columns(date=pl.col("snapshot").dt.date()).sort("date")
    return dated.join_asof(daily, on="date", strategy="backward").sort("place").drop("place", "date")


def terms(market: Market, source: str) -> pl.DataFrame:
    """One row per contract: expiration, multiplier, what a share of it settles for, and what is odd about it.

    The value is max(S - K, 0) of a call and max(K - S, 0) of a put, at the open or the close of the last session on or
    before the date of expiration.

    Returns: contract_id, expiration, own_multiplier, settlement (null where unknown), ambiguous (two terms under one
             id) and odd_hour (settles at another time of day than its root does)
    """
    kept = ("root", "expiration", "strike", "right", "multiplier")
    contracts = market.quotes.group_by("contract_id").agg(
        pl.col(*kept).first(), ambiguous=pl.any_horizontal(pl.col(*kept).n_unique() > 1)
    )
    sessions = market.underlyings.select("open", "close", session="snapshot", day=pl.col("snapshot").dt.date())
    settled = (
        contracts.with_columns(day=pl.col("expiration").dt.date())
        .sort("day")
        .join_asof(sessions.sort("day"), on="day", strategy="backward", tolerance=LATEST_SESSION)
    )
    at_open = _time_of_day("expiration") < _time_of_day("session") - OPEN_BEFORE_CLOSE
    by_root = pl.col("root").replace_strict(AT_OPEN, default=None, return_dtype=pl.Boolean)
    side = pl.when(pl.col("right") == "C").then(1.0).otherwise(-1.0)
    level = pl.when(at_open).then("open").otherwise("close")
    return settled.select(
        "contract_id",
        "expiration",
        "ambiguous",
        own_multiplier="multiplier",
        settlement=pl.when(level > 0).then(pl.max_horizontal(side * (level - pl.col("strike")), 0.0)),
        odd_hour=(at_open != by_root).fill_null(False) & pl.lit(source != OWN_TABLE),
    )


def _time_of_day(instant: str) -> pl.Expr:
    return pl.col(instant) - pl.col(instant).dt.truncate("1d")


def _contracts(fills: pl.DataFrame, positions: pl.DataFrame) -> pl.Series:
    return pl.concat([fills["contract_id"], positions["contract_id"]]).drop_nulls().unique().implode()
