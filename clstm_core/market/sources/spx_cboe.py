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
    SPXSource,
    after_hours_finding,
    copied_finding,
    index_tables,
    overnight_finding,
    plausible_time,
    same_quotes,
    split_copies,
    spx_quotes,
    traded_near,
    unpriced_findings,
)
from clstm_core.market.source import SourceSpec, SourceTables, empty_findings, finding, limits, require_columns
from clstm_core.market.tables.accounting import first_reason, row_facts
from clstm_core.market.tables.cells import dates, instants, numbers, rights
from clstm_core.market.tables.index_file import against_quotes, index_daily, mark_unpriced
from clstm_core.market.tables.reading import read_table
from clstm_core.market.tables.session_files import session_of
from clstm_core.market.tables.symbols import parse_symbols, same_expiry
from clstm_core.plural import counted

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
TRADED = ("session_date", "expiry", "right", "option", "strike", "bid", "ask")
COLUMNS = (*TRADED, "last_trade_time", *NUMBERS)
ROOTS = ("SPX", "SPXW")
HALF_TICK = 0.0005  # symbols carry strikes in thousandths
UNDERLYING_COLUMNS = ("session_date", "payload_timestamp", "last_trade_time", "close")

SPEC = SourceSpec(
    name="spx_cboe",
    description="SPX and SPXW full chains from CBOE's delayed quotes",
    label="real quotes",
    spread="quoted",
    needs_folder=True,
)


class SPXCboe(SPXSource):
    """`DATA/spx_cboe_eod`, with settlement prices from `DATA/spx_daily`."""

    spec = SPEC
    folder_name = "spx_cboe_eod"
    example = "chains/2026-07-22.csv.gz"
    kinds = (".csv", ".txt", ".tsv")

    @property
    def sessions_folder(self) -> Path:
        """`chains/`, one CSV per session."""
        return self.folder / "chains"

    def side_files(self) -> list[Path]:
        """The index's OHLCV and the vendor's own table of snapshots."""
        return [*super().side_files(), self.folder / "underlying.csv"]

    def parse(self, path: Path) -> pl.DataFrame:
        """Rows with session (as named), traded_on, root, expiry, strike, right, bid, ask, last, implied_vol, ..."""
        table = read_table(path, COLUMNS)
        require_columns(table.frame.columns, TRADED, path.name)
        day = session_of(path)
        frame = numbers(table.frame, NUMBERS, fractions=("iv",), decimal_comma=table.decimal_comma)
        stated, traded_on = dates(frame["session_date"]), pl.Series([None] * frame.height, dtype=pl.Date)
        if "last_trade_time" in frame.columns:
            traded_on = dates(frame["last_trade_time"])
        if stated.is_not_null().any() and not (stated == day).any():
            raise MarketDataError(
                f"misnamed file {path.name}: found the session {stated.drop_nulls()[0]} inside, expected that of its "
                "name. Rename it or download it again."
            )
        symbol = parse_symbols(frame["option"])
        rows = frame.with_columns(
            session=pl.lit(day),
            stated=stated,
            traded_on=traded_on,
            symbol=symbol.to_struct(),
            root=symbol["root"],
            expires=dates(frame["expiry"]),
            side=rights(frame["right"]),
            implied_vol=pl.when(pl.col("implied_vol") > 0).then("implied_vol"),
        )
        reason, cell = self._reason(rows)
        return rows.select(
            "session",
            pl.when(traded_near(pl.col("traded_on"), pl.col("session"))).then("traded_on").max().alias("traded_on"),
            "root",
            pl.col("expires").alias("expiry"),
            pl.col("side").alias("right"),
            *NUMBERS.values(),
            *row_facts(path, table.note, reason, cell),
        )

    @staticmethod
    def _reason(rows: pl.DataFrame) -> tuple[pl.Expr, pl.Expr]:
        """Why a row cannot be used, and the cell that says so."""
        symbol = pl.col("symbol").struct
        agrees = (
            same_expiry(symbol.field("expiry"), pl.col("expires"))
            & (symbol.field("right") == pl.col("side"))
            & ((symbol.field("strike") - pl.col("strike")).abs() < HALF_TICK)
        )
        priced = pl.all_horizontal(pl.col(name).is_not_null() for name in ("strike", "bid", "ask"))
        rules = {
            "wrong_session": (pl.col("stated") != pl.col("session")).fill_null(True),
            "unknown_symbol": pl.col("root").is_null(),
            "unknown_root": ~pl.col("root").is_in(ROOTS),
            "unknown_right": pl.col("side").is_null(),
            "no_expiry": pl.col("expires").is_null(),
            "missing_price": ~priced,
            "symbol_mismatch": ~agrees,
        }
        written = {"unknown_root": "root", "unknown_symbol": "option", "unknown_right": "right", "no_expiry": "expiry"}
        written |= {"wrong_session": "session_date", "symbol_mismatch": "option", "missing_price": "odd"}
        reason = first_reason(rules)
        cell = pl.coalesce(pl.when(reason == name).then(column) for name, column in written.items())
        return reason, cell

    def build(self, usable: Mapping[date, pl.DataFrame]) -> SourceTables:
        """Tables by true session, AM- and PM-settled roots apart."""
        daily = index_daily(self.root)
        taken = self._taken()
        true_session = {day: self._true_session(day, usable[day], taken) for day in usable}
        sessions, relabelled, misdated = _by_true_session(usable, true_session)
        kept, dropped = split_copies(sessions)
        if not kept:
            raise MarketDataError(
                f"no trading session among {counted(len(usable), 'file')} in {self.folder}: expected at least one. "
                "Add files."
            )
        named = {true: day for day, true in relabelled.items()}
        stamped = pl.concat([_stamp(kept[day], day, taken.get(named.get(day, day))) for day in sorted(kept)])
        daily = against_quotes(daily, spx_quotes(stamped))
        marked = mark_unpriced(stamped, daily.prices, pl.col("root") == "SPX")
        quotes = self.quotes_of(marked, daily)
        copies = [(usable[day], day) for day in misdated] + [(sessions[day], day) for day in dropped]
        copied = [
            _stamp(rows, day, taken.get(day)).with_columns(reason=pl.lit("copied_session")) for rows, day in copies
        ]
        aside = pl.concat([marked.filter(pl.col("reason").is_not_null()), *copied])
        underlyings, rates = index_tables(quotes, daily.prices)
        findings = [
            *daily.findings,
            *unpriced_findings(marked, daily),
            copied_finding(dropped | misdated, len(usable)),
            _misdated_finding(
                {day: true for day, true in true_session.items() if true != day}, relabelled, len(usable)
            ),
            _roots_finding(quotes),
            self._vendor_close_finding(true_session, daily.prices),
            _odd_times_finding(self._snapshots_table()),
            after_hours_finding(quotes),
            overnight_finding(quotes),
        ]
        return SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=self.quarantined(aside),
            findings=pl.concat(findings),
        )

    def _snapshots_table(self) -> pl.DataFrame:
        """session, traded_on, quoted_at and close of each row; times far from the session are null and `odd`."""
        path = self.folder / "underlying.csv"
        if not path.is_file():
            raise MarketDataError(
                f"no file {path}: expected the vendor's table of snapshots (session_date, payload_timestamp, "
                "last_trade_time, ...). Put it beside chains/."
            )
        table = read_table(path, UNDERLYING_COLUMNS)
        require_columns(table.frame.columns, UNDERLYING_COLUMNS, path.name)
        frame = numbers(table.frame, {"close": "close"}, decimal_comma=table.decimal_comma)
        read = frame.select(
            "row",
            session=dates(frame["session_date"]),
            traded=dates(frame["last_trade_time"]),
            taken=instants(frame["payload_timestamp"]),
            close=pl.col("close"),
            written=pl.concat_str("last_trade_time", "payload_timestamp", separator=", ", ignore_nulls=True),
        )
        near = read.with_columns(
            traded_on=pl.when(traded_near(pl.col("traded"), pl.col("session"))).then("traded"),
            quoted_at=plausible_time(pl.col("taken"), pl.col("session")),
        )
        return near.with_columns(odd=pl.any_horizontal(pl.col("session", "traded_on", "quoted_at").is_null()))

    def _taken(self) -> dict[date, dict[str, object]]:
        return {row["session"]: row for row in self._snapshots_table().to_dicts() if row["session"]}

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


def _odd_times_finding(table: pl.DataFrame) -> pl.DataFrame:
    odd = table.filter("odd")
    if odd.is_empty():
        return empty_findings()
    row = odd.row(0, named=True)
    detail = (
        f"rows of underlying.csv whose session or times cannot be read, or lie far apart, are not used; first row "
        f"{row['row']} ({row['session'] or 'no session'}): {row['written']!r}."
    )
    return finding("odd_times", "warning", odd.height, table.height, odd["session"].drop_nulls(), detail)


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
