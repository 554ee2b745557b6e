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
from clstm_core.market.file_source import FileSource
from clstm_core.market.source import SourceSpec, SourceTables, empty_findings, finding, sessions_text
from clstm_core.market.tables.accounting import reason_findings
from clstm_core.market.tables.index_file import against_quotes, mark_unpriced
from clstm_core.market.tables.parity import fit_parity, pairs, parity_spots
from clstm_core.market.tables.reading import decode, read_bytes
from clstm_core.market.tables.session_files import SessionFiles, without_packing
from clstm_core.market.tables.spot import listed_targets, rough_forwards
from clstm_core.market.tables.user_prices import parity_prices, rates_table, stated_prices, underlyings_table
from clstm_core.market.tables.user_table import (
    ASSUMED,
    KINDS,
    TERMS,
    canonical,
    completed,
    mark_ambiguous,
    parse_table,
)

LABELS = ("real quotes", "modelled quotes", "simulated quotes")
FAMILY_LETTERS = 3  # that the roots of one underlying begin with


SPEC = SourceSpec(
    name="table",
    description="your own table of quotes, CSV or Parquet",
    label="real quotes (user's table)",
    spread="quoted",
    needs_folder=True,
)


class Table(FileSource):
    """`DATA` is the file itself, or a folder of such files; every row carries its own date."""

    spec = SPEC
    label = SPEC.label  # or what the files say they are
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
        daily = stated_prices(good, self._beside("underlyings"))
        rates, rates_said = rates_table(self._beside("rates"), good, sessions, fits, forwards, daily)
        if daily is None:
            daily, spot_said = parity_prices(quotes, forwards, fits, rates), "put-call parity of each session"
        else:
            spot_said = daily.name
        daily = against_quotes(daily, quotes)
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
        underlyings = underlyings_table(daily.prices, left, spots if spots.height else None)
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
