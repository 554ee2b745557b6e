"""SPX and SPXW end of day from Barchart: one JSON a session, the eight nearest expiries, no root column.

The files carry these faults, each found by rule and named in the findings: holidays that repeat the session before;
at most 500 rows an expiry, so that some have no puts; monthly expiries that mix two roots; a `spot` that is not the
index; quotes fetched hours after the close.
"""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.file_source import (
    FileSource,
    after_hours_finding,
    broken_finding,
    copied_finding,
    index_daily,
    index_tables,
    is_monthly,
    read_bytes,
    session_of,
    split_copies,
    spx_quotes,
)
from clstm_core.market.source import SourceSpec, SourceTables, empty_findings, finding, limits, require_columns

ROW_CAP = 500  # rows of one expiry that the vendor's page holds
ROW_COLUMNS: dict[str, pl.DataType] = {
    "strikePrice": pl.Float64(),
    "lastPrice": pl.Float64(),
    "volatility": pl.Float64(),
    "delta": pl.Float64(),
    "openInterest": pl.Float64(),
    "volume": pl.Float64(),
    "optionType": pl.String(),
    "expirationDate": pl.String(),
    "bidPrice": pl.Float64(),
    "askPrice": pl.Float64(),
}
NAMES = {
    "strikePrice": "strike",
    "lastPrice": "last",
    "volatility": "implied_vol",
    "openInterest": "open_interest",
    "bidPrice": "bid",
    "askPrice": "ask",
}
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


class SPXBarchart(FileSource):
    """`DATA/spx_barchart_eod`, with settlement prices from `DATA/spx_daily`."""

    spec = SPEC
    folder_name = "spx_barchart_eod"
    example = "2026-02-20.json.gz"

    def raw_files(self) -> dict[date, Path]:
        """`YYYY-MM-DD.json` or `.json.gz` by date."""
        files = (path for pattern in ("*.json", "*.json.gz") for path in self.folder.glob(pattern))
        return {day: path for path in sorted(files) if (day := session_of(path)) is not None}

    def parse(self, path: Path) -> pl.DataFrame:
        """Rows with session, quoted_at, vendor_spot, expiry, strike, right, bid, ask, last, implied_vol, ..."""
        document = _load(path)
        require_columns(document, ("date", "spot", "timestamp", "expiries"), path.name)
        if str(document["date"]) != str(session_of(path)):
            raise MarketDataError(
                f"misnamed file {path.name}: found the date {document['date']} inside, expected that of its name. "
                "Rename it or download it again."
            )
        rows = [row for expiry in document["expiries"].values() for row in expiry]
        if not rows:
            raise MarketDataError(f"no option rows in {path.name}: expected a chain. Download the file again.")
        require_columns(rows[0], ROW_COLUMNS, path.name)
        try:
            return (
                pl.DataFrame(rows, schema=ROW_COLUMNS)
                .rename(NAMES)
                .select(
                    pl.lit(str(document["date"])).str.to_date().alias("session"),
                    pl.lit(str(document["timestamp"])[:19])
                    .str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="ns")
                    .dt.replace_time_zone("UTC")
                    .alias("quoted_at"),
                    pl.lit(float(document["spot"])).alias("vendor_spot"),
                    pl.col("expirationDate").str.to_date().alias("expiry"),
                    pl.col("optionType").str.slice(0, 1).str.to_uppercase().alias("right"),
                    *[pl.col(name) for name in ("strike", "bid", "ask", "last", "volume", "open_interest", "delta")],
                    _fraction(pl.col("implied_vol")).alias("implied_vol"),
                )
                .filter(pl.col("right").is_in(["C", "P"]))
            )
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise MarketDataError(
                f"unusable values in {path.name}: {str(error).splitlines()[0]}. Expected numbers and ISO dates; "
                "download the file again."
            ) from error

    def assemble(self, parsed: Mapping[date, pl.DataFrame], broken: Mapping[date, str]) -> SourceTables:
        """Tables without copied sessions and without expiries whose root cannot be known."""
        self.require_sessions(parsed, broken)
        kept, dropped = split_copies(parsed)
        if not kept:
            raise MarketDataError(
                f"no trading session among {len(parsed)} files in {self.folder}: expected at least one. Add files."
            )
        rows = pl.concat([kept[day] for day in sorted(kept)])
        monthly = is_monthly(rows["expiry"])
        # Monthly expiries list SPX (settled at the open) and SPXW (at the close) under one key; all others are SPXW.
        roots = rows.with_columns(root=pl.lit("SPXW"))
        quotes = spx_quotes(roots.filter(~monthly))
        if quotes.is_empty():
            raise MarketDataError(
                f"only monthly expiries in {self.folder}: expected others too, as these mix roots. Add sessions."
            )
        quarantine = [_quarantine(roots.filter(monthly), "root_unknown")]
        quarantine += [_quarantine(parsed[day].with_columns(root=pl.lit("SPXW")), "copied_session") for day in dropped]
        daily = index_daily(self.root)
        underlyings, rates = index_tables(quotes, daily)
        findings = [
            broken_finding(broken, len(parsed) + len(broken)),
            copied_finding(dropped, len(parsed)),
            *_cap_findings(rows),
            _root_finding(rows, monthly),
            _spot_finding(rows, daily),
            after_hours_finding(quotes),
        ]
        return SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=pl.concat(quarantine),
            findings=pl.concat(findings),
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_bytes(path))
    except ValueError as error:
        if isinstance(error, MarketDataError):
            raise
        raise MarketDataError(
            f"corrupt JSON in {path.name}: found {error}, expected one whole document. Download it again; the session "
            "is left out until then."
        ) from error
    chains = document.get("expiries", {}) if isinstance(document, dict) else None
    if not isinstance(chains, dict) or not all(
        isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in chains.values()
    ):
        raise MarketDataError(
            f"unexpected JSON in {path.name}: expected an object whose `expiries` hold rows. Download it again."
        )
    return document


def _fraction(vol: pl.Expr) -> pl.Expr:
    """Vendor vols as fractions, whichever unit the file uses; 0 means not computed."""
    known = pl.when(vol > 0).then(vol)
    return pl.when(known.median() > PERCENT_VOL).then(known / 100).otherwise(known)


def _quarantine(rows: pl.DataFrame, reason: str) -> pl.DataFrame:
    return spx_quotes(rows).with_columns(reason=pl.lit(reason))


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
