"""SPX and SPXW end of day from Barchart: one JSON a session, the eight nearest expiries, no root column.

The files carry these faults, each found by rule and named in the findings: holidays that repeat the session before;
at most 500 rows an expiry, so that some have no puts; monthly expiries that mix two roots; a `spot` that is not the
index; quotes fetched hours after the close.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.file_source import (
    SPXSource,
    after_hours_finding,
    copied_finding,
    index_tables,
    is_monthly,
    overnight_finding,
    plausible_time,
    split_copies,
    spx_quotes,
    unpriced_findings,
)
from clstm_core.market.source import SourceSpec, SourceTables, empty_findings, finding, limits, require_columns
from clstm_core.market.tables.accounting import first_reason, row_facts
from clstm_core.market.tables.cells import dates, instants, numbers, rights
from clstm_core.market.tables.index_file import against_quotes, index_daily, mark_unpriced
from clstm_core.market.tables.reading import decode, read_bytes, stripped
from clstm_core.market.tables.session_files import session_of
from clstm_core.plural import counted

ROW_CAP = 500  # rows of one expiry that the vendor's page holds
TRADED = ("strikePrice", "optionType", "expirationDate", "bidPrice", "askPrice")
NUMBERS = {
    "strikePrice": "strike",
    "lastPrice": "last",
    "volatility": "implied_vol",
    "delta": "delta",
    "openInterest": "open_interest",
    "volume": "volume",
    "bidPrice": "bid",
    "askPrice": "ask",
}
ROW_COLUMNS = (*NUMBERS, "optionType", "expirationDate")
PERCENT_VOL = 2.0  # a median vol above this (200% a year) was quoted in percent

SPEC = SourceSpec(
    name="spx_barchart",
    description="SPX and SPXW end of day from Barchart, the eight nearest expiries",
    label="real quotes",
    spread="quoted",
    needs_folder=True,
    near_days=5.0,
    far_days=9.0,
)


class SPXBarchart(SPXSource):
    """`DATA/spx_barchart_eod`, with settlement prices from `DATA/spx_daily`."""

    spec = SPEC
    folder_name = "spx_barchart_eod"
    example = "2026-02-20.json.gz"
    kinds = (".json",)

    def parse(self, path: Path) -> pl.DataFrame:
        """Rows with session, quoted_at, vendor_spot, expiry, strike, right, bid, ask, last, implied_vol, ..."""
        document = _load(path)
        require_columns(document, ("date", "expiries"), path.name)
        day = session_of(path)
        if str(document["date"])[:10] != str(day):
            raise MarketDataError(
                f"misnamed file {path.name}: found the date {str(document['date'])[:40]} inside, expected that of its "
                "name. Rename it or download it again."
            )
        rows = [row for expiry in document["expiries"].values() for row in expiry]
        if not rows:
            raise MarketDataError(f"no option rows in {path.name}: expected a chain. Download the file again.")
        keys = dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row)
        require_columns(keys, TRADED, path.name)
        facts = {"file_date": document["date"], "spot": document.get("spot"), "timestamp": document.get("timestamp")}
        head = _texts([facts], list(facts))
        spot = numbers(head, {"spot": "vendor_spot"})
        taken = head.select(quoted_at=instants(head["timestamp"])).with_columns(session=pl.lit(day))
        quoted_at = taken.select(plausible_time(pl.col("quoted_at"), pl.col("session"))).item()
        frame = numbers(_texts(rows, ROW_COLUMNS), NUMBERS, fractions=("volatility",))
        # What is odd about the whole file is said on its first row.
        of_file = [text for text in spot["odd"] if text]
        if quoted_at is None:
            of_file.append(f"timestamp={head['timestamp'][0]}")
        first = pl.int_range(pl.len()) == 0
        frame = frame.with_columns(
            session=pl.lit(day),
            quoted_at=pl.lit(quoted_at, dtype=pl.Datetime("ns", "UTC")),
            vendor_spot=pl.lit(spot["vendor_spot"][0], dtype=pl.Float64),
            expiry=dates(frame["expirationDate"]),
            right=rights(frame["optionType"]),
            implied_vol=_fraction(pl.col("implied_vol")),
            odd=pl.when(first & pl.lit(bool(of_file)))
            .then(pl.concat_str(pl.lit("\n".join(of_file)), "odd", separator="\n", ignore_nulls=True))
            .otherwise("odd"),
        )
        reason = first_reason(
            {
                "unknown_right": pl.col("right").is_null(),
                "no_expiry": pl.col("expiry").is_null(),
                "missing_price": ~pl.all_horizontal(pl.col("strike", "bid", "ask").is_not_null()),
            }
        )
        written = {"unknown_right": "optionType", "no_expiry": "expirationDate", "missing_price": "odd"}
        cell = pl.coalesce(pl.when(reason == name).then(column) for name, column in written.items())
        return frame.select(
            "session",
            "quoted_at",
            "vendor_spot",
            "expiry",
            "right",
            *("strike", "bid", "ask", "last", "volume", "open_interest", "delta", "implied_vol"),
            *row_facts(path, "", reason, cell),
        )

    def quarantined(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that have a reason; without a root of their own they are named as SPXW's."""
        return super().quarantined(rows.with_columns(root=pl.lit("SPXW")))

    def build(self, usable: Mapping[date, pl.DataFrame]) -> SourceTables:
        """Tables without copied sessions and without expiries whose root cannot be known."""
        daily = index_daily(self.root)
        kept, dropped = split_copies(usable)
        if not kept:
            raise MarketDataError(
                f"no trading session among {counted(len(usable), 'file')} in {self.folder}: expected at least one. "
                "Add files."
            )
        rows = pl.concat([kept[day] for day in sorted(kept)])
        monthly = is_monthly(rows["expiry"])
        # Monthly expiries list SPX (settled at the open) and SPXW (at the close) under one key; all others are SPXW.
        weekly = rows.filter(~monthly).with_columns(root=pl.lit("SPXW"))
        if weekly.is_empty():
            raise MarketDataError(
                f"only monthly expiries in {self.folder}: expected others too, as these mix roots. Add sessions."
            )
        daily = against_quotes(daily, spx_quotes(weekly))
        marked = mark_unpriced(weekly, daily.prices, pl.lit(False))
        quotes = self.quotes_of(marked, daily)
        aside = [
            marked.filter(pl.col("reason").is_not_null()).drop("root"),
            rows.filter(monthly).with_columns(reason=pl.lit("root_unknown")),
            *[usable[day].with_columns(reason=pl.lit("copied_session")) for day in dropped],
        ]
        underlyings, rates = index_tables(quotes, daily.prices)
        findings = [
            *daily.findings,
            *unpriced_findings(marked, daily),
            copied_finding(dropped, len(usable)),
            *_cap_findings(rows),
            _root_finding(rows, monthly),
            _spot_finding(rows, daily.prices),
            after_hours_finding(quotes),
            overnight_finding(quotes),
        ]
        return SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=self.quarantined(pl.concat(aside)),
            findings=pl.concat(findings),
        )


def _load(path: Path) -> dict[str, Any]:
    text, _ = decode(read_bytes(path), path.name)
    try:
        document = json.loads(text.removeprefix("\ufeff").removesuffix("\x1a"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        found = "lists nested too deep" if isinstance(error, RecursionError) else str(error)
        raise MarketDataError(
            f"corrupt JSON in {path.name}: found {found}, expected one whole document. Download it again; the session "
            "is left out until then."
        ) from error
    chains = document.get("expiries", {}) if isinstance(document, dict) else None
    if not isinstance(chains, dict) or not all(isinstance(rows, list) for rows in chains.values()):
        raise MarketDataError(
            f"unexpected JSON in {path.name}: expected an object whose `expiries` hold rows. Download it again."
        )
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which Python would silently keep the last value of a name that stands twice."""
    out = dict(pairs)
    if len(out) < len(pairs):
        twice = next(name for n, (name, _) in enumerate(pairs) if name in dict(pairs[:n]))
        raise ValueError(f"the name {twice[:40]!r} twice in one object")
    return out


def _texts(rows: Sequence[Any], columns: Sequence[str]) -> pl.DataFrame:
    """Cells of JSON rows as text, stripped, with `row` from 1; a row that is no object has a reason."""
    objects = [row if isinstance(row, dict) else {} for row in rows]
    whole = pl.Series("reason", [None if isinstance(row, dict) else "unreadable_row" for row in rows], dtype=pl.String)
    seen = [None if isinstance(row, dict) else _text(row) for row in rows]
    frame = pl.DataFrame(
        [
            *(pl.Series(name, [_text(row.get(name)) for row in objects], dtype=pl.String) for name in columns),
            pl.Series("row", range(1, len(rows) + 1), dtype=pl.Int64),
            whole,
            pl.Series("cell", seen, dtype=pl.String),
        ]
    )
    return stripped(frame, columns)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, (dict, list)):
        return f"a nested {type(value).__name__}"
    return str(value).encode("utf-8", "replace").decode()  # JSON may hold half a surrogate pair


def _fraction(vol: pl.Expr) -> pl.Expr:
    """Vendor vols as fractions, whichever unit the file uses; 0 means not computed."""
    known = pl.when(vol > 0).then(vol)
    return pl.when(known.median() > PERCENT_VOL).then(known / 100).otherwise(known)


def _cap_findings(rows: pl.DataFrame) -> list[pl.DataFrame]:
    chains = rows.group_by("session", "expiry").agg(n=pl.len(), puts=(pl.col("right") == "P").sum())
    capped = chains.filter(pl.col("n") == ROW_CAP)
    no_puts = chains.filter(pl.col("puts") == 0)
    out = []
    if capped.height:
        out.append(
            finding(
                "row_cap",
                "warning",
                capped.height,
                chains.height,
                capped["session"],
                f"chains cut at the vendor's {ROW_CAP} rows an expiry; what was given is kept.",
            )
        )
    if no_puts.height:
        out.append(
            finding(
                "expiry_without_puts",
                "warning",
                no_puts.height,
                chains.height,
                no_puts["session"],
                "chains with calls only: no parity, and no cell that needs a put.",
            )
        )
    return out


def _root_finding(rows: pl.DataFrame, monthly: pl.Series) -> pl.DataFrame:
    mixed = rows.filter(monthly)
    if mixed.is_empty():
        return empty_findings()
    expiries = ", ".join(str(day) for day in mixed["expiry"].unique().sort())
    keys = ["session", "expiry", "strike", "right"]
    doubled = mixed.height - mixed.unique(subset=keys).height
    return finding(
        "root_unknown",
        "warning",
        mixed.height,
        rows.height,
        mixed["session"],
        f"rows of the monthly expiries {expiries} mix SPX and SPXW without a root ({doubled} keys appear twice): "
        "quarantined.",
    )


def _spot_finding(rows: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
    spots = (
        rows.group_by("session")
        .agg(pl.col("vendor_spot").first())
        .join(daily.select(session="date", close="close"), on="session")
    )
    apart = spots.with_columns(off=pl.col("vendor_spot") - pl.col("close"))
    low, high = limits(apart["off"])
    off = apart.filter(pl.col("off").abs() > 0.01)
    if off.is_empty():
        return empty_findings()
    return finding(
        "spot_not_index",
        "warning",
        off.height,
        spots.height,
        off["session"],
        f"the file's spot differs from the index's close by {low:+.1f} to {high:+.1f} "
        "points: not used; marks take the put-call-parity spot, settlement the official open and close.",
    )
