"""Spot, settlement prices, interest and dividends of a user's table: stated beside it, in it, or implied by parity."""

from datetime import date
from pathlib import Path

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import session_close
from clstm_core.market.source import finding
from clstm_core.market.tables.cells import dates, numbers
from clstm_core.market.tables.index_file import PRICES, DailyPrices, daily_prices
from clstm_core.market.tables.parity import implied_rates, parity_spots
from clstm_core.market.tables.plausibility import sessions_in_another_unit
from clstm_core.market.tables.reading import TextTable
from clstm_core.market.tables.schema import RATES, UNDERLYINGS
from clstm_core.market.tables.spot import carry_rates, forward_spots
from clstm_core.market.tables.user_table import read_file

LARGEST_RATE = 0.5  # per year; above, a percentage was meant


def stated_prices(rows: pl.DataFrame, path: Path | None) -> DailyPrices | None:
    """Prices that the user states, in the file at `path` or in the column spot; None where parity must imply them."""
    if path is not None:
        table = read_file(path, ("date", *PRICES))
        text = table.frame
        for name in ("date", "close"):
            if name not in text.columns:
                raise MarketDataError(
                    f"missing column {name} in {path.name}: found {', '.join(text.columns[:20])}, expected date, "
                    "open, high, low, close. Add it."
                )
        daily = daily_prices(text, path.name, decimal_comma=table.decimal_comma, index=False)
        notes = [finding("index_file_notes", "warning", 1, 1, (), table.note)] if table.note else []
        return DailyPrices(name=path.name, prices=daily.prices, findings=[*notes, *daily.findings])
    stated = rows.filter(pl.col("spot") > 0).group_by("session").agg(pl.col("spot").median()).sort("session")
    if stated.is_empty():
        return None
    prices = stated.select(
        date="session",
        **{name: pl.lit(None, dtype=pl.Float64) for name in PRICES[:3]},
        close="spot",
        volume=pl.lit(None, dtype=pl.Float64),
    )
    return DailyPrices(name="the column spot", prices=prices, findings=[])


def rates_table(
    path: Path | None,
    rows: pl.DataFrame,
    sessions: list[date],
    fits: pl.DataFrame,
    forwards: pl.DataFrame,
    daily: DailyPrices | None,
) -> tuple[pl.DataFrame, str]:
    """The rates table, and where it comes from in words: the file at `path`, the columns, parity, a carry, or zero."""
    if path is not None:
        table = read_file(path, ("date", "tenor_days", "rate", "dividend_yield"))
        return _stated_rates(_rates_rows(table, path.name), sessions, path.name), path.name
    stated = rows.filter(pl.col("rate").is_not_null()).group_by(date="session")
    columns = stated.agg(
        pl.lit(30.0).alias("tenor_days"), pl.col("rate").median(), pl.col("dividend_yield").fill_null(0.0).median()
    )
    if columns.height:
        return _stated_rates(columns, sessions, "the column rate"), "the column rate"
    implied = implied_rates(fits)
    spots = daily.prices if daily is not None else None
    first = implied["date"].min() if implied.height else None
    before = [day for day in sessions if first is None or day < first]  # type: ignore[operator]
    carry = carry_rates(forwards, spots, before)
    rates = pl.concat([carry, implied]).sort("date")
    if implied.height:
        return rates, "put-call parity"
    if spots is None:
        return rates, "an assumption (both zero, so that the spot is the nearest expiry's forward)"
    return rates, "the carry from the spot to parity's forwards"


def _rates_rows(table: TextTable, name: str) -> pl.DataFrame:
    frame = table.frame
    for column in ("date", "rate"):
        if column not in frame.columns:
            raise MarketDataError(
                f"missing column {column} in {name}: found {', '.join(frame.columns[:20])}, expected date, rate and "
                "dividend_yield. Add it."
            )
    columns = {column: f"{column}_number" for column in ("tenor_days", "rate", "dividend_yield")}
    read = numbers(frame, columns, fractions=("rate", "dividend_yield"), decimal_comma=table.decimal_comma)
    return read.select(
        date=dates(frame["date"]),
        tenor_days=pl.col("tenor_days_number").fill_null(30.0),
        rate=pl.col("rate_number"),
        dividend_yield=pl.col("dividend_yield_number").fill_null(0.0),
    ).filter(pl.col("date").is_not_null() & pl.col("rate").is_not_null())


def _stated_rates(rates: pl.DataFrame, sessions: list[date], name: str) -> pl.DataFrame:
    first = rates["date"].min()
    if not isinstance(first, date) or first > sessions[0]:
        raise MarketDataError(
            f"no rate on or before the first session {sessions[0]} in {name}: found "
            f"{first or 'none'!s} as the first. Begin the rates earlier."
        )
    worst = rates.filter((pl.col("rate").abs() > LARGEST_RATE) | (pl.col("dividend_yield").abs() > LARGEST_RATE))
    if worst.height:
        row = worst.row(0, named=True)
        raise MarketDataError(
            f"rate {row['rate']:g} and dividend yield {row['dividend_yield']:g} on {row['date']} in {name}: expected "
            "fractions per year such as 0.045. Divide percentages by 100."
        )
    return rates.select(*RATES).cast(pl.Schema(RATES)).sort("date", "tenor_days")


def parity_prices(quotes: pl.DataFrame, forwards: pl.DataFrame, fits: pl.DataFrame, rates: pl.DataFrame) -> DailyPrices:
    """Closes that put-call parity implies: of many strikes where there are, else of the nearest chain's.

    A session whose prices or strikes are in another unit has none: nothing may settle on it.
    """
    rough = forward_spots(forwards, rates)
    close = rough.join(parity_spots(fits, rates), on="date", how="left").select(
        "date", close=pl.coalesce("parity_spot", "close")
    )
    units = sessions_in_another_unit(quotes, close.select("close", snapshot=session_close(pl.col("date"))))
    strange = units["snapshot"].dt.date().implode()
    findings = []
    if units.height:
        sentence = f"sessions in another unit have no price that parity could imply: {' '.join(units['why'])}"
        days = units["snapshot"].dt.date()
        findings.append(finding("parity_price_missing", "warning", units.height, close.height, days, sentence))
    prices = close.filter(~pl.col("date").is_in(strange)).with_columns(
        **{name: pl.lit(None, dtype=pl.Float64) for name in PRICES if name != "close"}
    )
    return DailyPrices(name="put-call parity", prices=prices.select("date", *PRICES).sort("date"), findings=findings)


def underlyings_table(prices: pl.DataFrame, quotes: pl.DataFrame, spots: pl.DataFrame | None) -> pl.DataFrame:
    """The underlyings table up to the last session of `quotes`; with `parity_spot` where parity gives some."""
    rows = prices.filter(pl.col("date") <= quotes["session"].max())
    rows = rows.with_columns(
        snapshot=session_close(pl.col("date")),
        underlying=pl.lit(quotes["underlying"][0]),
        dividend=pl.lit(0.0),
        split=pl.lit(1.0),
    )
    extra = []
    if spots is not None:
        rows, extra = rows.join(spots, on="date", how="left"), ["parity_spot"]
    return (
        rows.select(*UNDERLYINGS, *extra)
        .cast(pl.Schema([*UNDERLYINGS.items(), *((n, pl.Float64()) for n in extra)]))
        .sort("snapshot")
    )
