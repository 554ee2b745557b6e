"""A table of quotes as the market that a policy decides in: its last session is now."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.build.assemble import SEGMENT_GAP_DAYS, build_market_tensors
from clstm_core.market.cache import to_columns
from clstm_core.market.calendars import XNYS, session_ends, trading_days
from clstm_core.market.source import SourceTables
from clstm_core.market.sources.table import Table
from clstm_core.market.tables.quality import blocking, inspect
from clstm_core.market.tables.schema import QUOTES, SIZES
from clstm_core.market.tensors import MarketTensors


class Today(NamedTuple):
    """A market whose last snapshot is now.

    first: the first snapshot of the last unbroken stretch whose features look back as far as they should
    """

    market: MarketTensors
    first: int


def market_of_file(path: Path, trained: MarketConfig) -> Today:
    """The market of a table, in the format of docs/data.md, with the tenors that a policy was trained on.

    Raises: MarketDataError for a table that cannot be traded, or with too few sessions for the features
    """
    if not path.exists():
        raise MarketDataError(
            f"no quotes at {path}: found nothing, expected a table in the format of docs/data.md. Pass one as --quotes."
        )
    config = dataclasses.replace(trained, source="table", data_dir=str(path), train_until=None, validation_until=None)
    source = Table(config)
    read = source.parse_all(source.raw_files())
    tables = inspect(read, quoted=True)
    if stopped := blocking(tables.findings):
        raise MarketDataError(f"{path} cannot be traded: {stopped[0]}")
    looked_back = _looked_back(tables)
    needed = config.feature_lookback
    if looked_back[-1] < needed:
        raise MarketDataError(
            f"{path} has {looked_back[-1]} sessions before its last one, {_day(tables)}: expected the {needed} that "
            f"the features look back over; {needed - looked_back[-1]} are missing. Add them to the table, or "
            "their closes to underlyings.csv beside it."
        )
    market = build_market_tensors(
        to_columns(tables.quotes.select(*QUOTES, *(name for name in SIZES if name in tables.quotes.columns))),
        to_columns(tables.underlyings),
        to_columns(tables.rates),
        config,
        embargo=0,
        info={
            "source": source.name,
            "label": source.label,
            "spread": source.spread,
            "currency": tables.quotes["currency"][0],
            "notes": read.findings.filter(pl.col("severity") == "info")["detail"].to_list(),
        },
    )
    return Today(settled_by_calendar(market), max(_unbroken(market, path), int(np.argmax(looked_back >= needed))))


def settled_by_calendar(market: MarketTensors) -> MarketTensors:
    """The same market, in which what does not expire by the next session does not settle at the next snapshot.

    Beyond its last snapshot tensors know no other: all that is alive would count as if it settled there.
    """
    now, count = int(market.snapshot_T[-1]), market.n_snapshots
    day = np.datetime64(now, "ns").astype("datetime64[D]").item()
    following = trading_days(day + timedelta(days=1), day + timedelta(days=SEGMENT_GAP_DAYS), XNYS)
    if not following:
        return market
    end = int(session_ends(np.array(following[:1], dtype="datetime64[D]"))[0])
    later = (market.settle_index_K == count) & (market.expiration_K > end)
    return dataclasses.replace(market, settle_index_K=torch.where(later, count + 1, market.settle_index_K))


def _looked_back(tables: SourceTables) -> np.ndarray:
    """Sessions with a price before each session with quotes, in order."""
    snapshots = tables.quotes["snapshot"].unique().sort()
    priced = tables.underlyings.filter(pl.col("close").is_not_null())["snapshot"].sort()
    return np.asarray(priced.search_sorted(snapshots, side="left").to_numpy(), dtype=np.int64)


def _day(tables: SourceTables) -> str:
    return str(tables.quotes["snapshot"].max())[:10]


def _unbroken(market: MarketTensors, path: Path) -> int:
    """The first snapshot of the stretch that ends now."""
    ends = market.segment_end_T[:-1].nonzero()
    first = int(ends[-1]) + 1 if len(ends) else 0
    if first >= market.n_snapshots - 1:
        raise MarketDataError(
            f"the last session of {path} stands alone: expected one at most {SEGMENT_GAP_DAYS:g} days before it. Add "
            "the sessions between."
        )
    return first
