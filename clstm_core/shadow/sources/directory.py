"""A folder in which a vendor's files appear: each new session is built with all that came before it, and nothing after.

The market is built by the code that a backtest's is built by, from the files that are there. A session that the reading
found unusable (unreadable, a copy of the one before, all rows quarantined) arrives with that as its problem.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import QuotesManifest
from clstm_core.config import MarketConfig
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.cache import ensure_quotes, ensure_tensors, load_tables
from clstm_core.market.calendars import session_ends
from clstm_core.market.file_source import FileSource
from clstm_core.market.sources import open_source
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.shadow.arrival import Arrival, day_of, end_of
from clstm_core.shadow.pair import pair_of

WHOLE_SHARE = 0.5
"""Rows of a session over those of the one before: fewer is a file that is not whole. The smallest share in 115 real
sessions of two vendors was 0.80."""


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

    def arrivals(self, after: int | None) -> Iterator[Arrival]:
        """As `QuoteSource` states; an account that has seen none begins at `since`, or at the newest session there is.

        Raises: MarketDataError where no market can be built from the files that are there
        """
        quotes = ensure_quotes(self._config, self._cache)
        market = load_market(ensure_tensors(quotes, self._config, self._cache, embargo=self._embargo))
        index = {int(at): place for place, at in enumerate(market.snapshot_T.tolist())}
        sessions = {day_of(at): at for at in index}
        files = self._files()
        for day in set(files) - set(sessions):  # a file that no market came of
            sessions[day] = int(session_ends(np.array([day], dtype="datetime64[D]"))[0])
        newest = max(index)
        torn = _torn(quotes)
        taken, identity = _taken(quotes), QuotesManifest.read(quotes / FILE, files=False).identity
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
                    seen_at=int(self._now().timestamp()) * 10**9,
                    quoted_at=taken.get(snapshot, end_of(snapshot, self._calendar)),
                    source=self.name,
                    source_sha256=identity,
                    session_sha256=file_sha256(files[day]) if day in files else identity,
                    label=self.label,
                    pair=partial(self._pair, market, index, snapshot),
                    problem=torn.get(snapshot, "") if snapshot in index else _why_not(quotes, day),
                )

    def _pair(self, market: MarketTensors, index: dict[int, int], snapshot: int, before: int | None) -> MarketTensors:
        if before is not None and before not in index:
            raise MarketDataError(
                f"session {day_of(before)}, at which the account stands, is no longer in {self._config.data_dir}: "
                "expected its file. Put it back."
            )
        return pair_of(market, None if before is None else index[before], index[snapshot])

    def _files(self) -> dict[str, Path]:
        """The files that are of one session each, by its date."""
        source = open_source(self._config)
        assert isinstance(source, FileSource)
        return {day.isoformat(): path for day, path in source.raw_files().items() if isinstance(day, date)}


def _taken(quotes: Path) -> dict[int, int]:
    """When each session's quotes were taken, where the files say so: UTC ns by snapshot."""
    table = pl.scan_parquet(quotes / "quotes.parquet")
    if "quoted_at" not in table.collect_schema():
        return {}
    found = table.group_by("snapshot").agg(pl.col("quoted_at").max()).drop_nulls().select(pl.all().cast(pl.Int64))
    return {snapshot: at for snapshot, at in found.collect().rows()}


def _torn(quotes: Path) -> dict[int, str]:
    """Sessions with far fewer rows than the one before, and how many in words."""
    rows = pl.scan_parquet(quotes / "quotes.parquet").group_by("snapshot").len().sort("snapshot").collect()
    few = rows.with_columns(before=pl.col("len").shift(1)).filter(pl.col("len") < WHOLE_SHARE * pl.col("before"))
    return {
        snapshot: f"torn: {now:,} rows, {before:,} at the session before: expected {WHOLE_SHARE:.0%} of these at least"
        for snapshot, now, before in few.with_columns(pl.col("snapshot").cast(pl.Int64)).rows()
    }


def _why_not(quotes: Path, day: str) -> str:
    """What the reading said of a session that no market came of."""
    for row in load_tables(quotes).findings.to_dicts():
        if row["severity"] != "info" and day in f"{row['snapshots']} {row['detail']}":
            return f"unusable: {row['check']}: {row['detail'][:300]}"
    return f"unusable: no row of {day} can be used"
