"""Raw files -> canonical tables -> tensors, each kept by content and found again by what it was made from.

    cache_dir/sessions/<source>/<key>.parquet   one vendor file, parsed; only new or changed files are parsed again
    cache_dir/quotes/<identity>/                canonical tables, findings, quarantine and a manifest
    cache_dir/tensors/<identity>/               MarketTensors, memory-mapped
    cache_dir/index/<key>.json                  which identity the same source, files, settings and code gave before

Everything is written beside its place and renamed into it, carries its sha256, and is verified before it is used: a
half-written or altered file is said in one warning and rebuilt, never read.
"""

import dataclasses
import os
import shutil
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import file_sha256, json_sha256, read_json, scratch, sweep, write_json, write_text
from clstm_core.artifacts.manifest import FILE, AnyManifest, files_of, write_named_by_content
from clstm_core.artifacts.manifests import QuotesManifest, TensorsManifest
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.config import MarketConfig, non_defaults
from clstm_core.errors import MarketDataError
from clstm_core.market.file_source import FileSource
from clstm_core.market.source import Source, SourceTables
from clstm_core.market.sources import open_source, spec
from clstm_core.market.tables.quality import inspect
from clstm_core.market.tables.schema import QUOTES, SIZES

Progress = Callable[[int, int], None]

TABLES = ("quotes", "underlyings", "rates", "quarantine", "findings")
FALLBACK_SOURCE = "sp500_modelled"
QUALITY, BUILDER = "clstm_core.market.tables.quality", "clstm_core.market.build.assemble"


class TrainingMarkets(NamedTuple):
    """Where a policy for one source is trained and where it is judged: one folder when the source trains itself."""

    training: Path
    evaluation: Path
    reason: str


def ensure_quotes(
    config: MarketConfig, cache_dir: Path, progress: Progress | None = None, *, make: bool = True
) -> Path:
    """The folder of the source's canonical tables, made when missing or altered.

    Args:
        make: False only looks: MarketDataError where the tables are not there

    Returns: cache_dir/quotes/<identity> with quotes, underlyings, rates, quarantine, findings (.parquet) and a manifest
    Raises:  ConfigError and MarketDataError of the source, e.g. for a missing data folder
    Assumes: the key covers the raw files, the code that reads them, and for model sources the whole configuration
    """
    source = open_source(config)
    raw_files = _raw_hashes(source)
    key = json_sha256(
        {
            "source": source.name,
            "settings": {} if isinstance(source, FileSource) else _settings(config),
            "raw_files": raw_files,
            "code": code_sha256(type(source).__module__, QUALITY),
        }
    )

    def fits(found: QuotesManifest) -> bool:
        return (found.source, found.spread, dict(found.raw_files)) == (source.name, source.spread, raw_files)

    if (folder := _find(cache_dir, "quotes", key, QuotesManifest, fits)) is not None:
        _report(progress, 1, 1)
        return folder
    if not make:
        raise MarketDataError(
            f"no canonical quotes of {source.name} as these settings and files give them: expected them in the cache. "
            "Materialize market_quotes with the same recipe first."
        )
    tables = _read(source, cache_dir / "sessions" / source.name, progress)
    for unreadable in tables.findings.filter(pl.col("check") == "unreadable_file")["detail"]:
        warnings.warn(unreadable, stacklevel=2)
    # What the source says about itself (premium assumed, taken after hours, ...) travels with the tensors.
    notes = tables.findings.filter(pl.col("severity") == "info")["detail"].to_list()
    tables = inspect(tables, quoted=source.spread == "quoted")

    def write(place: Path) -> QuotesManifest:
        for name in TABLES:
            getattr(tables, name).write_parquet(place / f"{name}.parquet")
        manifest = QuotesManifest(
            source=source.name,
            label=source.label,
            spread=source.spread,
            notes=notes,
            settings=non_defaults(config),
            raw_files=raw_files,
            counts=_counts(tables),
            files=files_of(place),
        )
        return manifest.write(place / FILE)

    return _keep(cache_dir, "quotes", key, write)


def ensure_tensors(quotes_dir: Path, config: MarketConfig, cache_dir: Path, *, embargo: int, make: bool = True) -> Path:
    """The folder of the MarketTensors built from `quotes_dir`, made when missing or altered.

    Args:
        make: False only looks: MarketDataError where the tensors are not there

    Units:   embargo in snapshots (episode horizon + feature lookback)
    Raises:  MarketDataError when the canonical tables are missing or altered, or cannot be traded
    """
    quotes = QuotesManifest.read(quotes_dir / FILE, files=make)
    key = json_sha256(
        {
            "quotes": quotes.identity,
            "settings": _settings(config),
            "embargo": embargo,
            "code": code_sha256(BUILDER),
        }
    )

    def fits(found: TensorsManifest) -> bool:
        said = (found.parents.get("quotes"), found.info["label"], found.info["embargo"])
        return said == (quotes.identity, quotes.label, embargo)

    if (folder := _find(cache_dir, "tensors", key, TensorsManifest, fits)) is not None:
        return folder
    if not make:
        raise MarketDataError(
            f"no market tensors of {quotes.source} as these settings give them: expected them in the cache. "
            "Materialize market_tensors with the same recipe first."
        )
    from clstm_core.market.build.assemble import build_market_tensors
    from clstm_core.market.tensors import write_market

    tables = _within(load_tables(quotes_dir), config)
    info = {
        "source": quotes.source,
        "label": quotes.label,
        "spread": quotes.spread,
        "notes": list(quotes.notes),
        "quotes_path": Places(cache_dir.parent).relative(quotes_dir / "quotes.parquet"),
        "quotes_sha256": quotes.files["quotes.parquet"],
        "settings": non_defaults(config),
    }
    market = build_market_tensors(
        to_columns(tables.quotes.select(*QUOTES, *(name for name in SIZES if name in tables.quotes.columns))),
        to_columns(tables.underlyings),
        to_columns(tables.rates),
        config,
        embargo=embargo,
        info=info,
    )
    parents = {"quotes": quotes.identity}
    return _keep(cache_dir, "tensors", key, lambda place: write_market(market, place, parents=parents))


def training_tensors(
    config: MarketConfig, cache_dir: Path, embargo: int, progress: Progress | None = None, *, make: bool = True
) -> TrainingMarkets:
    """Where to train and where to evaluate a policy for `config.source`, and why, in a sentence.

    A source with a train window trains itself. One that is too short is evaluated whole, and a modelled S&P 500 market
    with the same tenor targets is what the policy learns on.

    Args:
        make: False only looks: MarketDataError where quotes or tensors are not there

    Raises: MarketDataError when the modelled market has no train window either
    """

    def of(settings: MarketConfig, tell: Progress | None = None) -> Path:
        quotes = ensure_quotes(settings, cache_dir, tell, make=make)
        return ensure_tensors(quotes, settings, cache_dir, embargo=embargo, make=make)

    evaluation = of(config, progress)
    splits, n_snapshots = _splits(evaluation)
    if "train" in splits:
        start, stop = splits["train"]
        reason = f"{config.source} trains on its own first {stop - start} of {n_snapshots} snapshots."
        return TrainingMarkets(evaluation, evaluation, reason)
    if config.source == FALLBACK_SOURCE:
        raise MarketDataError(
            f"no train window in {config.source}: found {n_snapshots} snapshots, expected at least "
            f"{config.min_training_snapshots} besides an embargo of {embargo}. Shorten the horizon."
        )
    other = spec(FALLBACK_SOURCE)
    training = of(
        dataclasses.replace(
            config,
            source=FALLBACK_SOURCE,
            data_dir=None,
            train_until=other.train_until,
            validation_until=other.validation_until,
        )
    )
    reason = (
        f"{config.source} has {n_snapshots} snapshots, too few to train on ({config.min_training_snapshots} "
        f"besides an embargo of {embargo} between windows): trained on {FALLBACK_SOURCE} with tenors of "
        f"{config.near_days:g} and {config.far_days:g} days, evaluated on every snapshot of {config.source}."
    )
    return TrainingMarkets(training, evaluation, reason)


def load_tables(quotes_dir: Path) -> SourceTables:
    """The tables of a quotes folder, verified; MarketDataError names the file that is missing or altered."""
    QuotesManifest.read(quotes_dir / FILE)
    return SourceTables(**{name: pl.read_parquet(quotes_dir / f"{name}.parquet") for name in TABLES})


def to_columns(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    """Columns as numpy: instants as int64 UTC nanoseconds, dates as datetime64[D], nulls of numbers as NaN."""
    columns: dict[str, np.ndarray] = {}
    for name, kind in frame.schema.items():
        series = frame[name]
        if isinstance(kind, pl.Datetime):
            columns[name] = series.dt.cast_time_unit("ns").to_physical().to_numpy()
        elif kind == pl.String and series.len() and series.n_unique() == 1:
            # One object for all rows: millions of equal strings cost nothing.
            columns[name] = np.broadcast_to(np.array([series[0]], dtype=object), series.len())
        elif kind == pl.String:
            # One object a distinct string, for the same reason.
            distinct = series.drop_nulls().unique(maintain_order=True)
            place = series.cast(pl.Enum(distinct)).to_physical().fill_null(distinct.len())
            columns[name] = np.append(distinct.to_numpy().astype(object), [None])[place.to_numpy()]
        else:
            columns[name] = series.to_numpy()
    return columns


def _within(tables: SourceTables, config: MarketConfig) -> SourceTables:
    """The tables of the sessions that the configuration uses; of the index, what came before the first as well.

    What settles after the last one is open then, as at the end of any history: nothing that came later is known.
    """
    quotes, underlyings = tables.quotes, tables.underlyings
    day = pl.col("snapshot").dt.date()
    if config.first_date is not None:
        quotes = quotes.filter(day >= date.fromisoformat(config.first_date))
    if config.last_date is not None:
        last = date.fromisoformat(config.last_date)
        quotes, underlyings = quotes.filter(day <= last), underlyings.filter(day <= last)
    return dataclasses.replace(tables, quotes=quotes, underlyings=underlyings)


def _read(source: Source, sessions_dir: Path, progress: Progress | None) -> SourceTables:
    if not isinstance(source, FileSource):
        tables = source.read(source.list_snapshots())
        _report(progress, 1, 1)
        return tables
    code = code_sha256(type(source).__module__)
    files = source.raw_files()
    parsed: dict[date, pl.DataFrame] = {}
    broken: dict[date, str] = {}
    for done, (day, path) in enumerate(sorted(files.items()), start=1):
        try:
            parsed[day] = _parsed(source, path, sessions_dir, code)
        except MarketDataError as error:
            broken[day] = str(error)
        _report(progress, done, len(files))
    return source.assemble(parsed, broken)


class Session(NamedTuple):
    """One session file as it was read; `fault` says why it could not be."""

    day: date
    file: str
    rows: int
    fault: str = ""


def load_sessions(
    config: MarketConfig, cache_dir: Path, first: date, last: date, progress: Progress | None = None
) -> list[Session] | None:
    """Read the session files of `first` to `last` into the sessions cache; None for a source without files.

    Raises: ConfigError and MarketDataError of the source, e.g. for a missing data folder
    """
    source = open_source(config)
    if not isinstance(source, FileSource):
        return None
    code = code_sha256(type(source).__module__)
    # a file that holds several sessions is named by no day of its own: it is read with every month
    wanted = [
        (day, path)
        for day, path in sorted(source.raw_files().items(), key=lambda item: str(item[0]))
        if not isinstance(day, date) or first <= day <= last
    ]
    found = []
    for done, (day, path) in enumerate(wanted, start=1):
        known = day if isinstance(day, date) else first
        try:
            found.append(
                Session(known, path.name, _parsed(source, path, cache_dir / "sessions" / source.name, code).height)
            )
        except MarketDataError as error:
            found.append(Session(known, path.name, 0, str(error)))
        _report(progress, done, len(wanted))
    return found


def _parsed(source: FileSource, path: Path, sessions_dir: Path, code: str) -> pl.DataFrame:
    """One vendor file's rows, from the sessions cache where it holds them whole."""
    key = json_sha256({"name": path.name, "raw": file_sha256(path), "code": code})[:DIGITS]
    kept, mark = sessions_dir / f"{key}.parquet", sessions_dir / f"{key}.sha256"
    if kept.is_file():
        if mark.is_file() and mark.read_text() == file_sha256(kept):
            for path_used in (kept, mark):
                os.utime(path_used)
            return pl.read_parquet(kept)
        warnings.warn(f"corrupt cache file {kept}: its sha256 is not the one written; it is rebuilt now.", stacklevel=2)
    rows = source.parse(path)
    with scratch(sessions_dir, key) as place:
        rows.write_parquet(place / kept.name)
        write_text(mark, file_sha256(place / kept.name))
        os.replace(place / kept.name, kept)
    return rows


def _find(
    cache_dir: Path, room: str, key: str, kind: type[AnyManifest], fits: Callable[[AnyManifest], bool]
) -> Path | None:
    """The folder that an earlier call kept under `key`, verified; an altered one is said, removed and to be rebuilt."""
    known = read_json(_index(cache_dir, key))
    identity = known.get(room) if isinstance(known, dict) else None
    folder = cache_dir / room / str(identity)[:DIGITS]
    if not isinstance(identity, str) or not folder.exists():
        return None
    try:
        found = kind.read(folder / FILE, identity=identity)
        if not fits(found):
            raise MarketDataError(f"{folder / FILE} says other things than its parents do")
    except MarketDataError as error:
        warnings.warn(f"corrupt cache: {str(error).split('. ')[0]}; it is rebuilt now.", stacklevel=3)
        shutil.rmtree(folder)
        return None
    os.utime(folder)  # `prune` counts days since a folder was last used
    return folder


def _keep(cache_dir: Path, room: str, key: str, write: Callable[[Path], AnyManifest]) -> Path:
    """Write a folder, named by its content, and remember that `key` gave it."""
    sweep(cache_dir / room)
    manifest = write_named_by_content(cache_dir / room, write)
    write_json(_index(cache_dir, key), {room: manifest.identity})
    return manifest.folder


def _index(cache_dir: Path, key: str) -> Path:
    return cache_dir / "index" / f"{key[:DIGITS]}.json"


def _splits(tensors_dir: Path) -> tuple[dict[str, list[int]], int]:
    """Windows and number of snapshots of market tensors."""
    from clstm_core.market.tensors import load_market

    market = load_market(tensors_dir, verify=False)
    return market.info["splits"], market.n_snapshots


def _counts(tables: SourceTables) -> dict[str, Any]:
    severities = dict(tables.findings.group_by("severity").len().iter_rows())
    read = tables.findings.filter(pl.col("check") == "rows_read")["count"].sum()
    return {
        "rows_read": read or tables.quotes.height + tables.quarantine.height,
        "rows": tables.quotes.height,
        "snapshots": tables.quotes["snapshot"].n_unique(),
        "contracts": tables.quotes["contract_id"].n_unique(),
        "quarantined": tables.quarantine.height,
        "findings": {name: severities.get(name, 0) for name in ("info", "warning", "error")},
    }


def _raw_hashes(source: Source) -> dict[str, str]:
    """Hash of every raw file, by path below the data folder; files that are missing are the source's to refuse."""
    if not isinstance(source, FileSource):
        return {name: file_sha256(path) for name, path in source.series().items() if path.is_file()}
    paths = [*source.raw_files().values(), *source.side_files()]
    return {path.relative_to(source.root).as_posix(): file_sha256(path) for path in paths if path.is_file()}


def _settings(config: MarketConfig) -> dict[str, Any]:
    """The configuration without the place where the files happen to lie."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "data_dir"}


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
