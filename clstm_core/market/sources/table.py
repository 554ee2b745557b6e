"""Your own table of quotes: one CSV or Parquet file, or a folder of them, with the columns that docs/data.md lists.

Beside the quotes may lie `underlyings.csv` (date, open, high, low, close), `rates.csv` (date, rate, dividend_yield) and
`metadata.json` (what holds of every row: label, underlying, multiplier, exercise, settlement, currency, settles).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import session_close
from clstm_core.market.file_source import FileSource
from clstm_core.market.source import SourceTables, empty_findings, finding, sessions_text
from clstm_core.market.tables.accounting import reason_findings
from clstm_core.market.tables.cells import dates, numbers
from clstm_core.market.tables.index_file import PRICES, DailyPrices, daily_prices, mark_unpriced
from clstm_core.market.tables.parity import fit_parity, implied_rates, pairs, parity_spots
from clstm_core.market.tables.plausibility import sessions_in_another_unit
from clstm_core.market.tables.reading import TextTable, decode, read_bytes
from clstm_core.market.tables.schema import RATES, UNDERLYINGS
from clstm_core.market.tables.session_files import SessionFiles, without_packing
from clstm_core.market.tables.spot import carry_rates, forward_spots, listed_targets, rough_forwards
from clstm_core.market.tables.user_table import (
    ASSUMED,
    KINDS,
    TERMS,
    canonical,
    completed,
    mark_ambiguous,
    parse_table,
    read_file,
)

LABELS = ("real quotes", "modelled quotes", "simulated quotes")
FAMILY_LETTERS = 3  # that the roots of one underlying begin with
LARGEST_RATE = 0.5  # per year; above, a percentage was meant


class Table(FileSource):
    """`DATA` is the file itself, or a folder of such files; every row carries its own date."""

    name = "table"
    label = "real quotes (user's table)"
    example = "quotes.csv or quotes.parquet"
    kinds = KINDS

    def __init__(self, config: MarketConfig) -> None:
        place = Path(config.data_dir or ".").expanduser()
        if not place.exists():
            raise MarketDataError(
                f"no file or folder {place}: expected a table of quotes ({self.example}) or a folder of such files. "
                "Pass it as DATA=..."
            )
        self.place = place
        self.root = self.folder = place if place.is_dir() else place.parent
        self._files = SessionFiles(chosen={})
        self._stated = self._metadata()
        if "label" in self._stated:
            self.label = _label(self._stated["label"], "metadata.json")

    def raw_files(self) -> dict[Any, Path]:
        """The files of quotes by name; a file has any number of sessions."""
        if self.place.is_file():
            return {self.place.name: self.place}
        beside = set(self.side_files())
        found = sorted(path for path in self.place.iterdir() if path.is_file() and not path.name.startswith("."))
        return {path.name: path for path in found if path not in beside and without_packing(path.name).endswith(KINDS)}

    def side_files(self) -> list[Path]:
        """What lies beside the quotes: prices of the underlying, rates, and what holds of every row."""
        names = [f"{name}{kind}" for name in ("underlyings", "rates") for kind in KINDS]
        beside = [self.root / name for name in (*names, "metadata.json") if (self.root / name).is_file()]
        return [path for path in beside if path != self.place]

    def _beside(self, name: str) -> Path | None:
        return next((path for path in self.side_files() if path.name.startswith(f"{name}.")), None)

    def _metadata(self) -> dict[str, str]:
        path = self._beside("metadata")
        if path is None:
            return {}
        text, _ = decode(read_bytes(path), path.name)
        try:
            stated = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MarketDataError(
                f'corrupt JSON in {path.name}: {error}. Expected an object such as {{"label": "real quotes"}}.'
            ) from error
        if not isinstance(stated, dict):
            raise MarketDataError(
                f'unexpected JSON in {path.name}: expected an object such as {{"label": "real quotes"}}.'
            )
        return {name: str(value) for name, value in stated.items() if name in (*TERMS, "label") and value is not None}

    def list_snapshots(self) -> list[date]:
        """Dates of the files' rows; files that cannot be read have none."""
        days: set[date] = set()
        for path in self.raw_files().values():
            try:
                days |= set(self.parse(path)["session"].drop_nulls())
            except MarketDataError:
                continue
        return sorted(days)

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """All files; the quotes of those sessions, everything else that was found of all."""
        tables = self.parse_all(self.raw_files())
        wanted = pl.col("snapshot").dt.date().is_in(list(snapshots))
        return SourceTables(
            quotes=tables.quotes.filter(wanted),
            underlyings=tables.underlyings,
            rates=tables.rates,
            quarantine=tables.quarantine,
            findings=tables.findings,
        )

    def parse(self, path: Path) -> pl.DataFrame:
        """Rows of any number of sessions, as `parse_table` gives them."""
        return parse_table(path, self._stated)

    def quarantined(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that have a reason, with the columns of quotes, `reason`, `file` and `row`."""
        return canonical(completed(rows), also=("reason", "file", "row"))

    def build(self, usable: Mapping[Any, pl.DataFrame]) -> SourceTables:
        """Tables with the spot, the rates and the settlement prices that the files state, else what parity implies."""
        rows = pl.concat(usable.values())
        _one_time_per_session(rows)
        if labels := rows["label"].drop_nulls().unique().sort().to_list():
            _one_value("label", labels)
            self.label = _label(labels[0], "the column label")
        _one_value("underlying", rows["underlying"].drop_nulls().unique().sort().to_list())
        _one_family(rows)
        _one_value("currency", rows["currency"].drop_nulls().unique().sort().to_list())
        assumed = _assumed_finding(rows)
        rows = mark_ambiguous(completed(rows))
        good = rows.filter(pl.col("reason").is_null())
        if good.is_empty():
            first = reason_findings(rows, rows.height)[0]["detail"][0]
            raise MarketDataError(f"no contract of {self.place.name} has an id of its own: {first}")
        quotes = canonical(good)
        sessions = good["session"].unique().sort().to_list()
        forwards = rough_forwards(quotes)
        fits = fit_parity(pairs(quotes.unique(subset=["snapshot", "contract_id"], keep="none")))
        daily = self._prices(good)
        rates, rates_said = self._rates(good, sessions, fits, forwards, daily)
        if daily is None:
            daily, spot_said = _parity_prices(quotes, forwards, fits, rates), "put-call parity of each session"
        else:
            spot_said = daily.name
        marked = mark_unpriced(good, daily.prices, pl.col("at_open"))
        left = marked.filter(pl.col("reason").is_null())
        aside = pl.concat([rows.filter(pl.col("reason").is_not_null()), marked.filter(pl.col("reason").is_not_null())])
        reasons = reason_findings(aside, rows.height)
        if left.is_empty():
            why = " ".join(row["detail"][0] for row in reasons)
            raise MarketDataError(
                f"no price to mark or settle the quotes of {self.place.name} on: {why} Prices are those of "
                f"{spot_said}. Add a column spot, or a file underlyings.csv (date, open, close) beside it."
            )
        quotes = canonical(left)
        spots = parity_spots(fits, rates)
        underlyings = _underlyings(daily.prices, left, spots if spots.height else None)
        findings = [
            *daily.findings,
            *reasons,
            assumed,
            _spot_finding(spot_said, rates_said, left),
            _shared_sessions_finding(rows),
        ]
        return SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=self.quarantined(aside),
            findings=pl.concat(findings),
        )

    def _prices(self, rows: pl.DataFrame) -> DailyPrices | None:
        """Prices that the user states, in a file of their own or in a column; None where parity must imply them."""
        if path := self._beside("underlyings"):
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

    def _rates(
        self,
        rows: pl.DataFrame,
        sessions: list[date],
        fits: pl.DataFrame,
        forwards: pl.DataFrame,
        daily: DailyPrices | None,
    ) -> tuple[pl.DataFrame, str]:
        """The rates table, and where it comes from in words."""
        if path := self._beside("rates"):
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


def tenor_targets(data: str | Path, tolerance: float = 0.5) -> tuple[float, float] | None:
    """Near and far targets in days that the listed expiries of the table at `data` fill in most sessions.

    Raises: MarketDataError where no file can be read; None where no expiry with calls and puts is a day away
    """
    source = Table(MarketConfig(source="table", data_dir=str(data)))
    parsed: dict[Any, pl.DataFrame] = {}
    broken: dict[Any, str] = {}
    for key, path in source.raw_files().items():
        try:
            parsed[key] = source.parse(path)
        except MarketDataError as error:
            broken[key] = str(error)
    source.require_sessions(parsed, broken)
    rows = pl.concat(parsed.values()).filter(pl.col("reason").is_null())
    both = rows.group_by("session", "expiry").agg(pl.col("right").n_unique()).filter(pl.col("right") == 2)
    return listed_targets(both, tolerance)


def _one_value(column: str, values: Sequence[str]) -> None:
    if len(values) > 1:
        raise MarketDataError(
            f"{len(values)} values of {column} in the table ({', '.join(values[:5])}): expected one. Split the table "
            f"by {column} and read one of them."
        )


def _one_family(rows: pl.DataFrame) -> None:
    """Refuse roots of several underlyings where the table names none: SPXW and SPXPM are one, SPY and QQQ are two."""
    if rows["underlying"].is_not_null().any():
        return
    roots = rows["root"].drop_nulls().unique().sort().to_list()
    if len({root[:FAMILY_LETTERS] for root in roots}) > 1:
        raise MarketDataError(
            f"roots of several underlyings in the table ({', '.join(roots[:5])}): expected one underlying. Read the "
            "files of one, or name it in a column underlying."
        )


def _one_time_per_session(rows: pl.DataFrame) -> None:
    """Refuse a contract quoted at several times of a day: this release reads one snapshot per session."""
    key = ["session", "expiry", "at_open", "strike", "right", "contract_id", "root"]
    several = rows.filter(pl.col("moment").n_unique().over(key) > 1)
    if several.height:
        row = several.row(0, named=True)
        raise MarketDataError(
            f"several times on {row['session']} in {row['file']} (row {row['row']} and others): found a contract "
            "quoted more than once a day, expected one snapshot per session. Keep the rows of one time, e.g. the close."
        )


def _label(text: str, place: str) -> str:
    """The label with the origin's name; the first word is what reports go by."""
    for label in LABELS:
        if text.strip().lower() in (label, label.split()[0]):
            return f"{label} (user's table)"
    raise MarketDataError(f"label {text[:40]!r} in {place}: expected one of {', '.join(LABELS)}. Use one of them.")


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


def _parity_prices(
    quotes: pl.DataFrame, forwards: pl.DataFrame, fits: pl.DataFrame, rates: pl.DataFrame
) -> DailyPrices:
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


def _underlyings(prices: pl.DataFrame, quotes: pl.DataFrame, spots: pl.DataFrame | None) -> pl.DataFrame:
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


def _assumed_finding(rows: pl.DataFrame) -> pl.DataFrame:
    """Says which terms the table leaves to us; `rows` are as parsed."""
    counts = rows.select(**{term: pl.col(term).is_null().sum() for term in ASSUMED}).row(0, named=True)
    assumed = {term: n for term, n in counts.items() if n}
    if not assumed:
        return empty_findings()
    said = ", ".join(f"{term} {ASSUMED[term]}" for term in assumed)
    detail = f"assumed where the table does not say: {said}. A wrong one makes every result wrong: state them."
    return finding("assumed_terms", "info", max(assumed.values()), rows.height, (), detail)


def _spot_finding(spot: str, rates: str, rows: pl.DataFrame) -> pl.DataFrame:
    sessions = rows["session"].n_unique()
    detail = f"spot and settlement prices come from {spot}; interest and dividends from {rates}."
    return finding("spot_source", "info", sessions, sessions, (), detail)


def _shared_sessions_finding(rows: pl.DataFrame) -> pl.DataFrame:
    """Names the files that quote one contract in one session more than once."""
    twice = rows.filter(pl.col("file").n_unique().over("session", "contract_id") > 1)
    if twice.is_empty():
        return empty_findings()
    days = twice["session"].unique()
    files = twice["file"].unique().sort().to_list()
    detail = (
        f"{', '.join(files[:8])} quote the same contracts on {sessions_text(days)}: identical rows are read once, "
        "differing ones are quarantined as duplicate_key."
    )
    return finding("session_in_two_files", "warning", twice.height, rows.height, days, detail)
