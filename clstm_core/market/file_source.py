"""What the sources read from vendors' files share: naming contracts, dropping copied sessions, accounting for rows.

A vendor's source parses a file into rows and says of each that cannot be used why; everything else is done here:
files of one session, quarantine, odd cells, and the check that no row vanished.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import exchange, is_trading_day, monthly_expiration, session_close, session_date
from clstm_core.market.clock import NEW_YORK
from clstm_core.market.instrument import SPX, instrument_of
from clstm_core.market.source import (
    Declared,
    SourceTables,
    empty_findings,
    finding,
    limits,
    require_folder,
    sessions_text,
)
from clstm_core.market.tables.accounting import (
    ROW_FACTS,
    check_rows,
    count_finding,
    notes_finding,
    odd_cells_finding,
    reason_findings,
)
from clstm_core.market.tables.canonical import canonical_quotes
from clstm_core.market.tables.index_file import INDEX_FILE, DailyPrices
from clstm_core.market.tables.parity import fit_parity, implied_rates, pairs, parity_spots
from clstm_core.market.tables.plausibility import sessions_in_another_unit
from clstm_core.market.tables.schema import UNDERLYINGS
from clstm_core.market.tables.session_files import SessionFiles, list_sessions
from clstm_core.plural import counted

COPY_SHARE = 0.9  # of the contracts in both sessions quoted to the cent as before: a copy, not a quiet day
COPY_MIN_CONTRACTS = 20
BROKEN_SHARE = 0.10  # of the files unreadable: more is an error, less a warning
OVERNIGHT_MINUTES = 240  # after the close; the night's session begins 255 minutes after it
OVERNIGHT_LATER = 120  # minutes later than the set's median session: its neighbours were taken at another time
TIMES_WITHIN_DAYS = 5  # a session's file is taken, and its index last traded, within so many days


def spx_quotes(rows: pl.DataFrame, *, also: Sequence[str] = ()) -> pl.DataFrame:
    """Canonical quotes of SPX options; see `canonical_quotes`."""
    return canonical_quotes(rows, SPX, also=also)


def is_monthly(expiry: pl.Series) -> pl.Series:
    """Whether each date is its month's standard expiration (third Friday, or the session before a holiday)."""
    unique = expiry.unique()
    monthly = [day for day in unique.to_list() if day is not None and monthly_expiration(day.year, day.month) == day]
    return expiry.is_in(monthly)


def same_quotes(
    now: pl.DataFrame, before: pl.DataFrame, names: Sequence[str] = ("bid", "ask", "last")
) -> tuple[float, int]:
    """Share of the contracts in both sessions that agree in all of `names`, and how many are in both."""
    keys = ["expiry", "strike", "right"] + (["root"] if "root" in now.columns else [])
    quoted = pl.col("ask") > 0
    first = before.filter(quoted).unique(subset=keys, keep="first", maintain_order=True)
    both = now.filter(quoted).unique(subset=keys, keep="first", maintain_order=True).join(first, on=keys, suffix="_was")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_was")) for name in names)
    return (float(both.select(same.mean()).item()) if both.height else 0.0), both.height


def split_copies(parsed: Mapping[date, pl.DataFrame]) -> tuple[dict[date, pl.DataFrame], dict[date, str]]:
    """Sessions to keep, and why each other one is none of its own: a copy of the one before, or no trading day."""
    kept: dict[date, pl.DataFrame] = {}
    dropped: dict[date, str] = {}
    for day in sorted(parsed):
        reasons = []
        if kept:
            last = max(kept)
            share, n = same_quotes(parsed[day], kept[last])
            if n >= COPY_MIN_CONTRACTS and share >= COPY_SHARE:
                reasons.append(f"{share:.1%} of the {n:,} contracts in both are quoted as on {last}")
        if not is_trading_day(day):
            reasons.append("the exchange was closed")
        if reasons:
            dropped[day] = " and ".join(reasons)
        else:
            kept[day] = parsed[day]
    return kept, dropped


def copied_finding(dropped: Mapping[date, str], total: int) -> pl.DataFrame:
    """The finding that names sessions dropped by `split_copies`; empty without any."""
    if not dropped:
        return empty_findings()
    detail = "; ".join(f"{day}: {why}" for day, why in sorted(dropped.items()))
    return finding("copied_session", "warning", len(dropped), total, dropped, f"dropped, {detail}.")


def broken_finding(broken: Mapping[Any, str], total: int) -> pl.DataFrame:
    """The finding that names files which could not be read; empty without any."""
    if not broken:
        return empty_findings()
    severity = "error" if len(broken) > BROKEN_SHARE * total else "warning"
    days = [key for key in broken if isinstance(key, date)]
    return finding(
        "unreadable_file", severity, len(broken), total, days, " ".join(broken[key] for key in sorted(broken))
    )


def after_hours_finding(quotes: pl.DataFrame) -> pl.DataFrame:
    """Says by how much the files were taken after the index's close."""
    late = quotes.select("snapshot", minutes=(pl.col("quoted_at") - pl.col("snapshot")).dt.total_minutes()).unique()
    after = late.filter(pl.col("minutes") > 15)
    if after.is_empty():
        return empty_findings()
    low, high = limits(after["minutes"])
    return finding(
        "after_hours",
        "info",
        after.height,
        late.height,
        after.select(session_date(pl.col("snapshot"))).to_series(),
        f"files taken {low:.0f} to {high:.0f} minutes after 16:00 New York; the snapshot is the session's close.",
    )


def overnight_finding(quotes: pl.DataFrame) -> pl.DataFrame:
    """Names the sessions whose quotes come from the night, in a set of closes: their sizes and spreads are others."""
    taken = (
        quotes.select("snapshot", minutes=(pl.col("quoted_at") - pl.col("snapshot")).dt.total_minutes())
        .unique()
        .drop_nulls()
        .with_columns(usual=pl.col("minutes").median())
        .sort("snapshot")
    )
    late = (pl.col("minutes") > OVERNIGHT_MINUTES) | (pl.col("minutes") > pl.col("usual") + OVERNIGHT_LATER)
    before_open = pl.col("minutes") < NEW_YORK.open_minutes - NEW_YORK.close_minutes
    odd = taken.filter(late | before_open)
    if odd.is_empty():
        return empty_findings()
    days = odd.select(session_date(pl.col("snapshot"))).to_series()
    said = ", ".join(f"{day} {minutes:+.0f}" for day, minutes in zip(days[:8], odd["minutes"][:8], strict=True))
    detail = (
        f"sessions quoted outside the day's session, in minutes from 16:00 New York: {said} (the median session "
        f"{odd['usual'][0]:+.0f}). Kept; their quotes are the night's, not the close's."
    )
    return finding("overnight_session", "warning", odd.height, taken.height, days, detail)


def index_tables(quotes: pl.DataFrame, daily: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Underlyings (index OHLCV up to the last snapshot, `parity_spot` where quoted) and the rates parity implies."""
    unique = quotes.unique(subset=["snapshot", "contract_id"], keep="none")
    fits = fit_parity(pairs(unique))
    rates = implied_rates(fits)
    if rates.is_empty():
        units = sessions_in_another_unit(quotes, daily.select("close", snapshot=session_close(pl.col("date"))))
        if units.height:
            raise MarketDataError(
                f"prices or strikes in another unit than the index in {units.height} sessions: found {units['why'][0]} "
                "Expected dollars per index point; correct the files."
            )
        finite = pl.all_horizontal(pl.col("bid", "ask", "strike").is_finite())  # to polars NaN is above every number
        priced = quotes.filter(finite & (pl.col("bid") >= 0) & (pl.col("ask") > pl.col("bid"))).height
        raise MarketDataError(
            "no session has three expiries with calls and puts near the money, to imply rates and the spot from: found "
            f"{counted(quotes.height, 'row')}, {priced:,} of them with prices that can be traded (0 <= bid < ask). Add "
            "sessions or download the files again."
        )
    last = quotes.select(session_date(pl.col("snapshot")).max()).item()
    instrument = instrument_of(quotes["underlying"][0])
    underlyings = (
        daily.filter(pl.col("date") <= last)
        .join(parity_spots(fits, rates), on="date", how="left")
        .with_columns(
            snapshot=session_close(pl.col("date"), exchange(instrument.calendar).hours),
            underlying=pl.lit(instrument.name),
            dividend=pl.lit(0.0),
            split=pl.lit(1.0),
        )
        .select(*UNDERLYINGS, "parity_spot")
        .cast(pl.Schema(UNDERLYINGS))
        .sort("snapshot")
    )
    return underlyings, rates


def plausible_time(instant: pl.Expr, session: pl.Expr) -> pl.Expr:
    """`instant` where it lies from the session's day to TIMES_WITHIN_DAYS after it, else null."""
    start = session.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return pl.when(instant.is_between(start, start + pl.duration(days=TIMES_WITHIN_DAYS))).then(instant)


def traded_near(day: pl.Expr, session: pl.Expr) -> pl.Expr:
    """Whether a last trade's day lies on the session's or up to TIMES_WITHIN_DAYS before: else it says nothing."""
    return (session - day).dt.total_days().is_between(0, TIMES_WITHIN_DAYS)


class FileSource(Declared, ABC):
    """A folder of files; subclasses say how one is parsed and how its usable rows become tables.

    `parse` gives one row per row of the file, whatever is wrong with it, with the columns of ROW_FACTS beside its own;
    a row with a reason goes to quarantine, all others are handed to `build`.
    """

    folder_name = ""
    example = ""  # a session file, below `folder`
    kinds: tuple[str, ...] = (".csv",)  # endings of session files

    def __init__(self, config: MarketConfig) -> None:
        root = Path(config.data_dir or ".").expanduser()
        self.root = root.parent if root.name == self.folder_name and not (root / self.folder_name).is_dir() else root
        self.folder = require_folder(self.root / self.folder_name, f"the session files of {self.name}")
        self._files: SessionFiles | None = None

    @property
    def sessions_folder(self) -> Path:
        """Where the session files lie."""
        return self.folder

    @property
    def files(self) -> SessionFiles:
        """The session files, chosen once by the rule of `list_sessions`."""
        if self._files is None:
            self._files = list_sessions(self.sessions_folder, self.kinds)
        return self._files

    def raw_files(self) -> dict[Any, Path]:
        """The files to parse, by a key that sorts: the session that each is of, or its name where it holds several."""
        return dict(self.files.chosen)

    def side_files(self) -> list[Path]:
        """Files that belong to no single session and change the tables too."""
        return list(self.files.doubled)

    @abstractmethod
    def parse(self, path: Path) -> pl.DataFrame:
        """One file's rows as the vendor means them, with ROW_FACTS; MarketDataError when the file cannot be used."""

    @abstractmethod
    def build(self, usable: Mapping[Any, pl.DataFrame]) -> SourceTables:
        """Canonical tables of the usable rows of each file; what it sets aside is in `quarantine`, with its reason."""

    @abstractmethod
    def quarantined(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that have a reason, with the columns of quotes, `reason`, `file` and `row`."""

    def assemble(self, parsed: Mapping[Any, pl.DataFrame], broken: Mapping[Any, str]) -> SourceTables:
        """Canonical tables of the files' rows; `broken` has the sentences about files that could not be parsed.

        Raises: MarketDataError where nothing is left, and where rows_read != quotes + quarantine
        """
        broken = {**self.files.refused, **broken}
        self.require_sessions(parsed, broken)
        unusable = pl.col("reason").is_not_null()
        usable = {key: left for key, rows in parsed.items() if (left := rows.filter(~unusable)).height}
        facts = pl.concat([rows.select("session", *ROW_FACTS) for rows in parsed.values()])
        if not usable:
            sentences = " ".join(row["detail"][0] for row in reason_findings(facts, facts.height))
            raise MarketDataError(f"no row of {counted(len(parsed), 'file')} in {self.folder} can be used: {sentences}")
        built = self.build(usable)
        aside = [self.quarantined(left) for rows in parsed.values() if (left := rows.filter(unusable)).height]
        quarantine = pl.concat([built.quarantine, *aside], how="diagonal_relaxed") if aside else built.quarantine
        findings = [
            broken_finding(broken, len(parsed) + len(broken)),
            self.files.findings,
            built.findings,
            *reason_findings(facts.filter(unusable), facts.height),
            odd_cells_finding(facts),
            notes_finding(facts),
        ]
        tables = replace(built, quarantine=quarantine, findings=pl.concat(findings))
        check_rows(tables, facts.height)
        return replace(tables, findings=pl.concat([tables.findings, count_finding(tables, facts.height, len(parsed))]))

    def list_snapshots(self) -> list[date]:
        """Sessions that the files are named after; `read` may drop or relabel some and says so in its findings."""
        return sorted(self.raw_files())

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """Parse and assemble; a file that cannot be parsed is left out and named in the findings."""
        files = self.raw_files()
        if missing := [day for day in snapshots if day not in files]:
            raise MarketDataError(
                f"no file for {sessions_text(missing)} in {self.folder}: found {counted(len(files), 'session')}. "
                "Ask for listed snapshots or add the files."
            )
        return self.parse_all({day: files[day] for day in snapshots})

    def parse_all(self, files: Mapping[Any, Path]) -> SourceTables:
        """Tables of those files."""
        parsed: dict[Any, pl.DataFrame] = {}
        broken: dict[Any, str] = {}
        for key, path in files.items():
            try:
                parsed[key] = self.parse(path)
            except MarketDataError as error:
                broken[key] = str(error)
        return self.assemble(parsed, broken)

    def require_sessions(self, parsed: Mapping[Any, pl.DataFrame], broken: Mapping[Any, str]) -> None:
        """Raise the first file's sentence when not one session is left."""
        if parsed:
            return
        if broken:
            key = min(broken)
            others = f" ({counted(len(broken) - 1, 'more file')} failed too.)" if len(broken) > 1 else ""
            raise MarketDataError(broken[key] + others)
        raise MarketDataError(
            f"no session files in {self.folder}: expected names like {self.example}. Put the vendor's files there."
        )


class SPXSource(FileSource):
    """Files of SPX and SPXW options, settled on the index file's prices."""

    def side_files(self) -> list[Path]:
        """The index's file, and files of sessions that have several."""
        return [self.root / INDEX_FILE, *super().side_files()]

    def quarantined(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that have a reason, with the columns of quotes, `reason`, `file` and `row`."""
        return spx_quotes(rows, also=("reason", "file", "row"))

    def quotes_of(self, marked: pl.DataFrame, daily: DailyPrices) -> pl.DataFrame:
        """Canonical quotes of the rows without a reason; MarketDataError where `mark_unpriced` left none."""
        quotes = spx_quotes(marked.filter(pl.col("reason").is_null()))
        if quotes.is_empty():
            raise MarketDataError(
                f"no session of {self.folder} with a close in {daily.name}: found quotes on "
                f"{sessions_text(marked['session'])} and prices up to {daily.last}. Add the missing days to that file."
            )
        return quotes


def unpriced_findings(marked: pl.DataFrame, daily: DailyPrices) -> list[pl.DataFrame]:
    """Findings of rows that `mark_unpriced` set aside, with the file that lacks the prices and where it ends."""
    where = f" Prices are those of {daily.name}, which ends on {daily.last}."
    rows = marked.filter(pl.col("reason").is_not_null())
    return [row.with_columns(detail=pl.col("detail") + where) for row in reason_findings(rows, marked.height)]
