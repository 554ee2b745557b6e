"""A folder in which a vendor's files appear: each new session is built with all that came before it, and nothing after.

The market is built by the code that a backtest's is built by, from the files that are there. A session that the reading
found unusable (unreadable, a copy of the one before, all rows quarantined) arrives with that as its problem.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import QuotesManifest
from clstm_core.config import MarketConfig
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.cache import ensure_quotes, ensure_tensors, load_tables
from clstm_core.market.calendars import session_ends
from clstm_core.market.file_source import FileSource
from clstm_core.market.sources import open_source
from clstm_core.market.tables.session_files import session_of
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.shadow.arrival import Arrival, day_of, end_of
from clstm_core.shadow.changes import Held, Holding, contents_of
from clstm_core.shadow.pair import pair_of

WHOLE_SHARE, LOOKED_BACK = 0.5, 5
"""Rows of a session over the most of so many before it: fewer is a file that is not whole, also after one that was not.
The smallest share in 115 real sessions of two vendors was 0.77."""

SPOILT_SHARE = 0.1
"""Rows whose prices are none (crossed, negative, not finite, a strike of 0) over all of a session: more is no market,
though the reading set them aside. In those sessions no such row was set aside."""

DATED = re.compile(r"(?<!\d)(20\d\d)-?(\d\d)-?(\d\d)(?!\d)")
"""A date in the name of a file, where a source does not go by dates."""


class _File(NamedTuple):
    """What arrived of a session: its files' names and hash as they were read; whether the source goes by its date."""

    names: tuple[str, ...]
    sha256: str
    dated: bool

    @property
    def shown(self) -> str:
        """The names as they can be written down: a file's may hold any character."""
        return ", ".join("".join(each if each.isprintable() else "?" for each in name) for name in self.names)


class _Look(NamedTuple):
    """The folder as it was found: the market that came of it, and the files that are of one session each, by date."""

    now: int
    source_sha256: str
    market: MarketTensors
    files: Mapping[str, _File]


class Directory:
    """Sessions of the files in `config.data_dir`; looked at anew at each call of `arrivals`.

    Raises: ConfigError for a source that reads no files by session
    """

    def __init__(
        self,
        config: MarketConfig,
        cache: Path,
        *,
        embargo: int,
        since: date | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        name: str = "",
    ):
        self._config, self._cache, self._embargo, self._since, self._now = config, cache, embargo, since, now
        source = open_source(config)
        if not isinstance(source, FileSource):
            raise ConfigError(
                f"source {config.source} reads no files by session: expected one that does. `clstm sources` lists them."
            )
        self.name, self.label = name or f"directory:{source.name}", source.label
        self.currency, self._calendar = source.instrument.currency, source.instrument.calendar
        self._looked: _Look | None = None

    def arrivals(self, after: int | None) -> Iterator[Arrival]:
        """As `QuoteSource` states; an account that has seen none begins at `since`, or at the newest session there is.

        Raises: MarketDataError where no market can be built from the files that are there
        """
        quotes = ensure_quotes(self._config, self._cache)
        market = load_market(ensure_tensors(quotes, self._config, self._cache, embargo=self._embargo))
        index = {int(at): place for place, at in enumerate(market.snapshot_T.tolist())}
        sessions = {day_of(at): at for at in index}
        read, now = QuotesManifest.read(quotes / FILE, files=False), int(self._now().timestamp()) * 10**9
        one = Path(self._config.data_dir or ".").expanduser().is_file()  # a table of many sessions is of none alone
        files = {} if one else _files(open_source(self._config), read.raw_files)
        self._looked = _Look(now, read.identity, market, files)
        for day in _lost(quotes, files, now) - set(sessions):
            sessions[day] = int(session_ends(np.array([day], dtype="datetime64[D]"))[0])
        newest = max(index)
        wrong = _torn(quotes) | _spoilt(quotes)
        taken = _taken(quotes)
        for day, snapshot in sorted(sessions.items(), key=lambda item: item[1]):
            if after is not None:
                wanted = snapshot > after
            elif self._since is not None:
                wanted = day >= self._since.isoformat()
            else:
                wanted = snapshot >= newest
            if wanted:
                yield Arrival(
                    snapshot=snapshot,
                    seen_at=now,
                    quoted_at=taken.get(snapshot, end_of(snapshot, self._calendar)),
                    source=self.name,
                    source_sha256=read.identity,
                    session_sha256=files[day].sha256 if day in files else read.identity,
                    label=self.label,
                    files=files[day].shown if day in files else "",
                    pair=partial(self._pair, market, index, snapshot),
                    problem=wrong.get(snapshot, "") if snapshot in index else _why_not(quotes, day, files.get(day)),
                )

    def holding(self, snapshots: Collection[int]) -> Holding:
        """As `Keeps` states, of the folder as the newest call of `arrivals` found it."""
        assert self._looked is not None, "arrivals looks first"
        now, source_sha256, market, files = self._looked
        found = contents_of(market, snapshots)
        for at in found:
            if (file := files.get(day_of(at))) is not None:
                found[at] = Held(file.shown, file.sha256, found[at].content_sha256)
        return Holding(now, source_sha256, found)

    def _pair(self, market: MarketTensors, index: dict[int, int], snapshot: int, before: int | None) -> MarketTensors:
        if before is not None and before not in index:
            raise MarketDataError(
                f"session {day_of(before)}, at which the account stands, is no longer in {self._config.data_dir}: "
                "expected its file. Put it back."
            )
        return pair_of(market, None if before is None else index[before], index[snapshot])


def _files(source: object, hashes: Mapping[str, str]) -> dict[str, _File]:
    """The files that are of one session each, by its date: those that were read, and those set aside beside them.

    Args:
        hashes: of all that was read, by path: a file that came afterwards is of the next look
    """
    assert isinstance(source, FileSource)
    days = {path: of.isoformat() for path in source.side_files() if (of := session_of(path))}
    dated = set(days)
    for key, path in source.raw_files().items():
        named = DATED.search(path.name)
        days[path] = key.isoformat() if isinstance(key, date) else "-".join(named.groups()) if named else ""
        dated |= {path} if isinstance(key, date) else set()
    found: dict[str, _File] = {}
    for path, day in sorted(days.items()):
        sha256 = hashes.get(path.relative_to(source.root).as_posix())
        if not day or sha256 is None:
            continue
        names: tuple[str, ...] = (path.name,)
        if day in found:
            names, sha256 = (*found[day].names, path.name), json_sha256([found[day].sha256, sha256])
        found[day] = _File(names, sha256, path in dated)
    return found


def _lost(quotes: Path, files: Mapping[str, _File], now: int) -> set[str]:
    """Dates that files or rows are of, whether or not a market came of them; of rows only those that have ended."""
    findings = pl.read_parquet(quotes / "findings.parquet")
    broken = " ".join(findings.filter(pl.col("check") == "unreadable_file")["detail"])
    aside = pl.scan_parquet(quotes / "quarantine.parquet").select(
        pl.col("snapshot").drop_nulls().unique().cast(pl.Int64)
    )
    return {day for day, file in files.items() if file.dated or any(name in broken for name in file.names)} | {
        day_of(at) for at in aside.collect()["snapshot"].to_list() if at <= now
    }


def _taken(quotes: Path) -> dict[int, int]:
    """When each session's quotes were taken, where the files say so: UTC ns by snapshot."""
    table = pl.scan_parquet(quotes / "quotes.parquet")
    if "quoted_at" not in table.collect_schema():
        return {}
    found = table.group_by("snapshot").agg(pl.col("quoted_at").max()).drop_nulls().select(pl.all().cast(pl.Int64))
    return {snapshot: at for snapshot, at in found.collect().rows()}


def _torn(quotes: Path) -> dict[int, str]:
    """Sessions with far fewer rows than those before, and how many in words."""
    rows = pl.scan_parquet(quotes / "quotes.parquet").group_by("snapshot").len().sort("snapshot").collect()
    most = pl.col("len").shift(1).rolling_max(LOOKED_BACK, min_samples=1)
    few = rows.with_columns(before=most).filter(pl.col("len") < WHOLE_SHARE * pl.col("before"))
    return {
        snapshot: f"torn: {now:,} rows, {before:,} at a session before: expected {WHOLE_SHARE:.0%} of these at least"
        for snapshot, now, before in few.with_columns(pl.col("snapshot").cast(pl.Int64)).rows()
    }


def _spoilt(quotes: Path) -> dict[int, str]:
    """Sessions of which many rows state prices that are none, and how many in words."""
    prices = pl.col("bid", "ask", "strike")
    none = (
        pl.any_horizontal(~prices.is_finite())
        | (pl.col("bid") < 0)
        | (pl.col("strike") <= 0)
        | ((pl.col("ask") > 0) & (pl.col("bid") > pl.col("ask")))
    ).fill_null(False)
    aside = pl.scan_parquet(quotes / "quarantine.parquet").filter(none).group_by("snapshot").len("spoilt")
    rows = pl.scan_parquet(quotes / "quotes.parquet").group_by("snapshot").len("sound")
    many = rows.join(aside, on="snapshot").filter(
        pl.col("spoilt") > SPOILT_SHARE * (pl.col("spoilt") + pl.col("sound"))
    )
    return {
        snapshot: f"spoilt: the prices of {bad:,} of {bad + sound:,} rows are none (crossed, negative, not finite or a "
        f"strike of 0): expected {SPOILT_SHARE:.0%} of these at most"
        for snapshot, sound, bad in many.with_columns(pl.col("snapshot").cast(pl.Int64))
        .select("snapshot", "sound", "spoilt")
        .collect()
        .rows()
    }


def _why_not(quotes: Path, day: str, file: _File | None) -> str:
    """What the reading said of a session that no market came of."""
    names = (day, *file.names) if file else (day,)
    for row in load_tables(quotes).findings.to_dicts():
        if row["severity"] != "info" and any(name in f"{row['snapshots']} {row['detail']}" for name in names):
            return f"unusable: {row['check']}: {_of_it(row['detail'], names)[:300]}"
    return f"unusable: no row of {day} can be used"


def _of_it(detail: str, names: tuple[str, ...]) -> str:
    """What a finding says of this session: it may tell of others before, parted by semicolons."""
    return "; ".join(part for part in detail.split("; ") if any(name in part for name in names)) or detail
