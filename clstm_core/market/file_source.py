"""What the sources read from vendors' files share: opening, naming contracts, dropping copied sessions, the index."""

import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import exchange, is_trading_day, monthly_expiration, session_close, session_date
from clstm_core.market.instrument import SPX, instrument_of
from clstm_core.market.source import (
    Declared,
    SourceTables,
    empty_findings,
    finding,
    limits,
    require_columns,
    require_folder,
    sessions_text,
)
from clstm_core.market.tables.canonical import canonical_quotes
from clstm_core.market.tables.parity import fit_parity, implied_rates, pairs, parity_spots
from clstm_core.market.tables.schema import UNDERLYINGS

COPY_SHARE = 0.9  # of the contracts in both sessions quoted to the cent as before: a copy, not a quiet day
COPY_MIN_CONTRACTS = 20
BROKEN_SHARE = 0.10  # of the files unreadable: more is an error, less a warning
INDEX_FILE = "spx_daily/spx_vix_vix9d_daily.csv"
INDEX_SYMBOL = SPX.index_symbol
INDEX_COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume")


def read_bytes(path: Path) -> bytes:
    """The content of a plain or gzipped file; a cut or damaged one raises MarketDataError."""
    try:
        with path.open("rb") as handle:
            raw = handle.read()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise MarketDataError(
            f"unreadable file {path.name}: found {path.stat().st_size if path.exists() else 0} bytes ({error}), "
            "expected a whole file. Download it again; the session is left out until then."
        ) from error


def read_table(path: Path) -> pl.DataFrame:
    """A CSV as text columns; one that is empty, torn or cut short raises MarketDataError.

    Assumes: a whole file ends with a line break, as the vendors' do; polars would fill a cut last row with nulls
    """
    raw = read_bytes(path)
    try:
        table = pl.read_csv(raw, infer_schema_length=0)
    except pl.exceptions.PolarsError as error:
        raise MarketDataError(
            f"corrupt CSV in {path.name}: found {str(error).splitlines()[0]}, expected a header and rows. Download it "
            "again."
        ) from error
    if not raw.endswith(b"\n"):
        raise MarketDataError(
            f"truncated file {path.name}: found {table.height:,} rows and no line break at its end, expected whole "
            "lines. Download it again."
        )
    return table


def session_of(path: Path) -> date | None:
    """The session a file is named after (YYYY-MM-DD...), or None for anything else."""
    if not path.is_file():
        return None
    try:
        return date.fromisoformat(path.name[:10])
    except ValueError:
        return None


def spx_quotes(rows: pl.DataFrame) -> pl.DataFrame:
    """Canonical quotes of SPX options; see `canonical_quotes`."""
    return canonical_quotes(rows, SPX)


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
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_was") for name in names)
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


def broken_finding(broken: Mapping[date, str], total: int) -> pl.DataFrame:
    """The finding that names files which could not be read; empty without any."""
    if not broken:
        return empty_findings()
    severity = "error" if len(broken) > BROKEN_SHARE * total else "warning"
    return finding("unreadable_file", severity, len(broken), total, broken, " ".join(broken[d] for d in sorted(broken)))


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


def index_daily(root: Path) -> pl.DataFrame:
    """The S&P 500's daily open, high, low, close and volume by date; MarketDataError when the file is missing."""
    path = root / INDEX_FILE
    require_folder(path.parent, "the index's official opens and closes, which SPX options settle on")
    if not path.is_file():
        raise MarketDataError(f"no file {path}: expected the index's daily OHLCV. Put it there.")
    table = read_table(path)
    require_columns(table.columns, INDEX_COLUMNS, path)
    daily = (
        table.filter(pl.col("symbol") == INDEX_SYMBOL)
        .select(
            pl.col("date").str.to_date(strict=False),
            *[pl.col(name).cast(pl.Float64, strict=False) for name in INDEX_COLUMNS[2:]],
        )
        .filter(pl.col("date").is_not_null() & (pl.col("close") > 0))
        .sort("date")
    )
    if daily.is_empty():
        raise MarketDataError(f"no {INDEX_SYMBOL} rows in {path}: expected daily OHLCV. Download the file again.")
    return daily


def index_tables(quotes: pl.DataFrame, daily: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Underlyings (index OHLCV up to the last snapshot, `parity_spot` where quoted) and the rates parity implies."""
    unique = quotes.unique(subset=["snapshot", "contract_id"], keep="none")
    fits = fit_parity(pairs(unique))
    rates = implied_rates(fits)
    if rates.is_empty():
        finite = pl.all_horizontal(pl.col("bid", "ask", "strike").is_finite())  # to polars NaN is above every number
        priced = quotes.filter(finite & (pl.col("bid") >= 0) & (pl.col("ask") > pl.col("bid"))).height
        raise MarketDataError(
            "no session has three expiries with calls and puts near the money, to imply rates and the spot from: found "
            f"{quotes.height:,} rows, {priced:,} of them with prices that can be traded (0 <= bid < ask). Add sessions "
            "or download the files again."
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


class FileSource(Declared, ABC):
    """A folder of one file a session; subclasses say how one is parsed and how sessions become tables."""

    folder_name = ""
    example = ""  # a session file, below `folder`

    def __init__(self, config: MarketConfig) -> None:
        root = Path(config.data_dir or ".").expanduser()
        self.root = root.parent if root.name == self.folder_name and not (root / self.folder_name).is_dir() else root
        self.folder = require_folder(self.root / self.folder_name, f"the session files of {self.name}")

    @abstractmethod
    def raw_files(self) -> dict[date, Path]:
        """File of each session, by the date in its name."""

    def side_files(self) -> list[Path]:
        """Files that belong to no single session and change the tables too."""
        return [self.root / INDEX_FILE]

    @abstractmethod
    def parse(self, path: Path) -> pl.DataFrame:
        """One session's rows as the vendor means them; MarketDataError when the file cannot be used."""

    @abstractmethod
    def assemble(self, parsed: Mapping[date, pl.DataFrame], broken: Mapping[date, str]) -> SourceTables:
        """Canonical tables of the sessions; `broken` has the sentences about files that could not be parsed."""

    def list_snapshots(self) -> list[date]:
        """Sessions that the files are named after; `read` may drop or relabel some and says so in its findings."""
        return sorted(self.raw_files())

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """Parse and assemble; a file that cannot be parsed is left out and named in the findings."""
        files = self.raw_files()
        if missing := [day for day in snapshots if day not in files]:
            raise MarketDataError(
                f"no file for {sessions_text(missing)} in {self.folder}: found {len(files)} sessions. "
                "Ask for listed snapshots or add the files."
            )
        parsed: dict[date, pl.DataFrame] = {}
        broken: dict[date, str] = {}
        for day in snapshots:
            try:
                parsed[day] = self.parse(files[day])
            except MarketDataError as error:
                broken[day] = str(error)
        return self.assemble(parsed, broken)

    def require_sessions(self, parsed: Mapping[date, pl.DataFrame], broken: Mapping[date, str]) -> None:
        """Raise the first file's sentence when not one session is left."""
        if parsed:
            return
        if broken:
            day = min(broken)
            others = f" ({len(broken) - 1} more files failed too.)" if len(broken) > 1 else ""
            raise MarketDataError(broken[day] + others)
        raise MarketDataError(
            f"no session files in {self.folder}: expected names like {self.example}. Put the vendor's files there."
        )
