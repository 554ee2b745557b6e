"""SPX full chains from CBOE's delayed quotes: one CSV a session, and `underlying.csv` with when each was really taken.

A file fetched after midnight UTC is named a day late. Its true session is the day of the index's last trade: a file
whose session another file already holds is dropped as a copy, any other is relabelled.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.file_source import (
    FileSource,
    after_hours_finding,
    broken_finding,
    copied_finding,
    index_daily,
    index_tables,
    read_table,
    same_quotes,
    session_of,
    split_copies,
    spx_quotes,
)
from clstm_core.market.source import SourceSpec, SourceTables, empty_findings, finding, limits, require_columns

NUMBERS = {
    "strike": "strike",
    "bid": "bid",
    "ask": "ask",
    "bid_size": "bid_size",
    "ask_size": "ask_size",
    "last_trade_price": "last",
    "volume": "volume",
    "open_interest": "open_interest",
    "iv": "implied_vol",
    "delta": "delta",
}
COLUMNS = ("session_date", "expiry", "right", "option", "last_trade_time", *NUMBERS)
UNDERLYING_COLUMNS = ("session_date", "payload_timestamp", "last_trade_time", "close")

SPEC = SourceSpec(
    name="spx_cboe",
    description="SPX and SPXW full chains from CBOE's delayed quotes",
    label="real quotes",
    spread="quoted",
    needs_folder=True,
)


class SPXCboe(FileSource):
    """`DATA/spx_cboe_eod`, with settlement prices from `DATA/spx_daily`."""

    spec = SPEC
    folder_name = "spx_cboe_eod"
    example = "chains/2026-07-22.csv.gz"

    def raw_files(self) -> dict[date, Path]:
        """`chains/YYYY-MM-DD.csv` or `.csv.gz` by date."""
        files = (path for pattern in ("*.csv", "*.csv.gz") for path in (self.folder / "chains").glob(pattern))
        return {day: path for path in sorted(files) if (day := session_of(path)) is not None}

    def side_files(self) -> list[Path]:
        """The index's OHLCV and the vendor's own table of snapshots."""
        return [*super().side_files(), self.folder / "underlying.csv"]

    def parse(self, path: Path) -> pl.DataFrame:
        """Rows with session (as named), traded_on, root, expiry, strike, right, bid, ask, last, implied_vol, ..."""
        table = read_table(path)
        require_columns(table.columns, COLUMNS, path.name)
        try:
            rows = table.select(
                pl.col("session_date").str.to_date().alias("session"),
                pl.col("last_trade_time").str.slice(0, 10).str.to_date(strict=False).max().alias("traded_on"),
                pl.col("option").str.extract(r"^([A-Z]+)\d").alias("root"),
                pl.col("expiry").str.to_date(),
                pl.col("right").str.slice(0, 1).str.to_uppercase(),
                *[pl.col(name).cast(pl.Float64).alias(ours) for name, ours in NUMBERS.items()],
            ).with_columns(implied_vol=pl.when(pl.col("implied_vol") > 0).then("implied_vol"))
        except pl.exceptions.PolarsError as error:
            raise MarketDataError(
                f"unusable values in {path.name}: {str(error).splitlines()[0]}. Expected numbers and ISO dates; "
                "download the file again."
            ) from error
        if rows.is_empty():
            raise MarketDataError(f"no option rows in {path.name}: expected a chain. Download the file again.")
        return rows.filter(pl.col("root").is_in(["SPX", "SPXW"]) & pl.col("right").is_in(["C", "P"]))

    def assemble(self, parsed: Mapping[date, pl.DataFrame], broken: Mapping[date, str]) -> SourceTables:
        """Tables by true session, AM- and PM-settled roots apart."""
        self.require_sessions(parsed, broken)
        taken = self._taken()
        true_session = {day: self._true_session(day, parsed[day], taken) for day in parsed}
        sessions, relabelled, misdated = _by_true_session(parsed, true_session)
        kept, dropped = split_copies(sessions)
        if not kept:
            raise MarketDataError(
                f"no trading session among {len(parsed)} files in {self.folder}: expected at least one. Add files."
            )
        named = {true: day for day, true in relabelled.items()}
        stamped = [_stamp(kept[day], day, taken.get(named.get(day, day))) for day in sorted(kept)]
        quotes = spx_quotes(pl.concat(stamped))
        reasons = [(parsed[day], day) for day in misdated] + [(sessions[day], day) for day in dropped]
        quarantine = [
            spx_quotes(_stamp(rows, day, taken.get(day))).with_columns(reason=pl.lit("copied_session"))
            for rows, day in reasons
        ]
        daily = index_daily(self.root)
        underlyings, rates = index_tables(quotes, daily)
        findings = [
            broken_finding(broken, len(parsed) + len(broken)),
            copied_finding(dropped | misdated, len(parsed)),
            _misdated_finding(
                {day: true for day, true in true_session.items() if true != day}, relabelled, len(parsed)
            ),
            _roots_finding(quotes),
            self._vendor_close_finding(true_session, daily),
            after_hours_finding(quotes),
        ]
        empty = quotes.clear().with_columns(reason=pl.lit("")).clear()
        return SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=pl.concat([empty, *quarantine]),
            findings=pl.concat(findings),
        )

    def _snapshots_table(self) -> pl.DataFrame:
        path = self.folder / "underlying.csv"
        if not path.is_file():
            raise MarketDataError(
                f"no file {path}: expected the vendor's table of snapshots (session_date, payload_timestamp, "
                "last_trade_time, ...). Put it beside chains/."
            )
        table = read_table(path)
        require_columns(table.columns, UNDERLYING_COLUMNS, path)
        return table.select(
            session=pl.col("session_date").str.to_date(strict=False),
            traded_on=pl.col("last_trade_time").str.slice(0, 10).str.to_date(strict=False),
            quoted_at=pl.col("payload_timestamp")
            .str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ns", strict=False)
            .dt.replace_time_zone("UTC"),
            close=pl.col("close").cast(pl.Float64, strict=False),
        ).filter(pl.col("session").is_not_null())

    def _taken(self) -> dict[date, dict[str, object]]:
        return {row["session"]: row for row in self._snapshots_table().to_dicts()}

    @staticmethod
    def _true_session(day: date, rows: pl.DataFrame, taken: Mapping[date, dict[str, object]]) -> date:
        """The day the index last traded as the vendor says; else the last trade in the chain; else the name."""
        traded = taken.get(day, {}).get("traded_on") or rows["traded_on"].max()
        return traded if isinstance(traded, date) and traded <= day else day

    def _vendor_close_finding(self, true_session: Mapping[date, date], daily: pl.DataFrame) -> pl.DataFrame:
        table = self._snapshots_table().filter(pl.col("session").is_in(list(true_session)))
        closes = (
            table.with_columns(session=pl.col("session").replace_strict(dict(true_session), default=pl.col("session")))
            .join(daily.select(session="date", official="close"), on="session")
            .with_columns(off=pl.col("close") - pl.col("official"))
        )
        low, high = limits(closes["off"])
        off = closes.filter(pl.col("off").abs() > 0.05)
        if off.is_empty():
            return empty_findings()
        return finding(
            "vendor_close",
            "warning",
            off.height,
            closes.height,
            off["session"],
            f"the vendor's close differs from the official one by {low:+.2f} to {high:+.2f} "
            "points: the official one is used.",
        )


def _by_true_session(
    parsed: Mapping[date, pl.DataFrame], true_session: Mapping[date, date]
) -> tuple[dict[date, pl.DataFrame], dict[date, date], dict[date, str]]:
    """Sessions by true date, {named: true} of the relabelled, {named: why} of files whose session another one holds."""
    sessions = {day: rows for day, rows in parsed.items() if true_session[day] == day}
    relabelled: dict[date, date] = {}
    misdated: dict[date, str] = {}
    for day in sorted(parsed):
        true = true_session[day]
        if true == day:
            continue
        if true in sessions:
            share, n = same_quotes(parsed[day], sessions[true], ("last",))
            misdated[day] = (
                f"holds the evening of {true}, which has its own file ({share:.1%} of the {n:,} contracts in both have "
                "the same last trade)"
            )
        else:
            sessions[true] = parsed[day].with_columns(session=pl.lit(true))
            relabelled[day] = true
    return sessions, relabelled, misdated


def _stamp(rows: pl.DataFrame, session: date, taken: Mapping[str, object] | None) -> pl.DataFrame:
    quoted_at = taken["quoted_at"] if taken else None
    return rows.with_columns(session=pl.lit(session), quoted_at=pl.lit(quoted_at, dtype=pl.Datetime("ns", "UTC"))).drop(
        "traded_on"
    )


def _misdated_finding(misdated: Mapping[date, date], relabelled: Mapping[date, date], total: int) -> pl.DataFrame:
    if not misdated:
        return empty_findings()
    fate = {day: "is relabelled" if day in relabelled else "is dropped as a copy" for day in misdated}
    detail = "; ".join(f"{day} holds {true} and {fate[day]}" for day, true in sorted(misdated.items()))
    return finding(
        "misdated_session", "warning", len(misdated), total, misdated, f"by the index's last trade, {detail}."
    )


def _roots_finding(quotes: pl.DataFrame) -> pl.DataFrame:
    am = quotes.filter(pl.col("root") == "SPX").height
    return finding(
        "settlement_roots",
        "info",
        am,
        quotes.height,
        (),
        f"{am:,} rows of root SPX settle at the open (proxy: the index's official open), the other "
        f"{quotes.height - am:,} of root SPXW at the close.",
    )
