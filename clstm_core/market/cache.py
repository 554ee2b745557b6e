"""Raw files -> canonical tables -> tensors, each kept under the hash of what it was made from.

    cache_dir/sessions/<source>/<hash>.parquet   one vendor file, parsed; only new or changed files are parsed again
    cache_dir/quotes/<hash>/                     canonical tables, findings, quarantine and a manifest
    cache_dir/tensors/<hash>/                    MarketTensors, memory-mapped

Everything is written beside its place and renamed into it, carries its sha256, and is verified before it is used: a
half-written or altered file is said in one warning and rebuilt, never read.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from clstm_core.artifacts.code import code_sha256
from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.file_source import FileSource
from clstm_core.market.source import Source, SourceTables
from clstm_core.market.sources import open_source
from clstm_core.market.tables.quality import inspect
from clstm_core.market.tables.schema import QUOTES
from clstm_core.market.tensors import file_sha256, load_market, save_market

Progress = Callable[[int, int], None]

QUOTES_VERSION = 1
TABLES = ("quotes", "underlyings", "rates", "quarantine", "findings")
DIGITS = 16
FALLBACK_SOURCE = "sp500_modelled"
QUALITY, BUILDER = "clstm_core.market.tables.quality", "clstm_core.market.build.assemble"


class TrainingMarkets(NamedTuple):
    """Where a policy for one source is trained and where it is judged: one folder when the source trains itself."""

    training: Path
    evaluation: Path
    reason: str


def ensure_quotes(config: MarketConfig, cache_dir: Path, progress: Progress | None = None) -> Path:
    """The folder of the source's canonical tables, made when missing or altered.

    Returns: cache_dir/quotes/<hash> with quotes, underlyings, rates, quarantine, findings (.parquet) and manifest.json
    Raises:  ConfigError and MarketDataError of the source, e.g. for a missing data folder
    Assumes: the hash covers the raw files, the code that reads them, and for model sources the whole configuration
    """
    source = open_source(config)
    parents = _raw_hashes(source)
    settings = {} if isinstance(source, FileSource) else _settings(config)
    identity = {
        "version": QUOTES_VERSION,
        "source": source.name,
        "settings": settings,
        "parents": parents,
        "code": code_sha256(type(source).__module__, QUALITY),
    }
    folder = cache_dir / "quotes" / _digest(identity)
    if _whole(folder):
        _report(progress, 1, 1)
        return folder
    tables = _read(source, cache_dir / "sessions" / source.name, progress)
    for unreadable in tables.findings.filter(pl.col("check") == "unreadable_file")["detail"]:
        warnings.warn(unreadable, stacklevel=2)
    # What the source says about itself (premium assumed, taken after hours, ...) travels with the tensors.
    notes = tables.findings.filter(pl.col("severity") == "info")["detail"].to_list()
    tables = inspect(tables, quoted=source.spread == "quoted")
    _write_folder(folder, lambda place: _write_tables(tables, place, source, config, identity, notes))
    return folder


def ensure_tensors(quotes_dir: Path, config: MarketConfig, cache_dir: Path, *, embargo: int) -> Path:
    """The folder of the MarketTensors built from `quotes_dir`, made when missing or altered.

    Units:   embargo in snapshots (episode horizon + feature lookback)
    Raises:  MarketDataError when the canonical tables are missing or altered, or cannot be traded
    """
    from clstm_core.market.build.assemble import build_market_tensors

    manifest = read_manifest(quotes_dir)
    identity = {
        "files": manifest["files"],
        "settings": _settings(config),
        "embargo": embargo,
        "code": code_sha256(BUILDER),
    }
    folder = cache_dir / "tensors" / _digest(identity)
    if folder.exists():
        try:
            load_market(folder)
            return folder
        except MarketDataError as error:
            warnings.warn(f"corrupt cache: {str(error).split('. ')[0]}; it is rebuilt now.", stacklevel=2)
            shutil.rmtree(folder)
    tables = load_tables(quotes_dir)
    info = {
        "source": manifest["source"],
        "label": manifest["label"],
        "spread": manifest["spread"],
        "notes": manifest["notes"],
        "quotes_path": str(quotes_dir / "quotes.parquet"),
        "quotes_sha256": manifest["files"]["quotes.parquet"],
    }
    market = build_market_tensors(
        to_columns(tables.quotes.select(list(QUOTES))),
        to_columns(tables.underlyings),
        to_columns(tables.rates),
        config,
        embargo=embargo,
        info=info,
    )
    save_market(market, folder)
    return folder


def training_tensors(
    config: MarketConfig, cache_dir: Path, embargo: int, progress: Progress | None = None
) -> TrainingMarkets:
    """Where to train and where to evaluate a policy for `config.source`, and why, in a sentence.

    A source with a train window trains itself. One that is too short is evaluated whole, and a modelled S&P 500 market
    with the same tenor targets is what the policy learns on.

    Raises: MarketDataError when the modelled market has no train window either
    """
    evaluation = ensure_tensors(ensure_quotes(config, cache_dir, progress), config, cache_dir, embargo=embargo)
    market = load_market(evaluation, verify=False)
    if "train" in market.info["splits"]:
        start, stop = market.split("train")
        reason = f"{config.source} trains on its own first {stop - start} of {market.n_snapshots} snapshots."
        return TrainingMarkets(evaluation, evaluation, reason)
    if config.source == FALLBACK_SOURCE:
        raise MarketDataError(
            f"no train window in {config.source}: found {market.n_snapshots} snapshots, expected at least "
            f"{config.min_training_snapshots} besides an embargo of {embargo}. Shorten the horizon."
        )
    learned = dataclasses.replace(config, source=FALLBACK_SOURCE, data_dir=None)
    training = ensure_tensors(ensure_quotes(learned, cache_dir), learned, cache_dir, embargo=embargo)
    reason = (
        f"{config.source} has {market.n_snapshots} snapshots, too few to train on ({config.min_training_snapshots} "
        f"besides an embargo of {embargo} between windows): trained on {FALLBACK_SOURCE} with tenors of "
        f"{config.near_days:g} and {config.far_days:g} days, evaluated on every snapshot of {config.source}."
    )
    return TrainingMarkets(training, evaluation, reason)


def read_manifest(quotes_dir: Path) -> dict[str, Any]:
    """manifest.json of a quotes folder; MarketDataError when it is missing or unreadable."""
    path = quotes_dir / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        if not isinstance(manifest["files"], dict):
            raise KeyError("files")
        return manifest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MarketDataError(
            f"no usable manifest at {path}: found {error!r}, expected files and their hashes. "
            "Materialize market_quotes again."
        ) from error


def load_tables(quotes_dir: Path) -> SourceTables:
    """The tables of a quotes folder, verified; MarketDataError names the file that is missing or altered."""
    manifest = read_manifest(quotes_dir)
    if problem := _problem(quotes_dir, manifest):
        raise MarketDataError(f"{problem}. Materialize market_quotes again.")
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
            columns[name] = series.to_numpy().astype(object)
        else:
            columns[name] = series.to_numpy()
    return columns


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


def _parsed(source: FileSource, path: Path, sessions_dir: Path, code: str) -> pl.DataFrame:
    """One vendor file's rows, from the sessions cache where it holds them whole."""
    key = _digest({"name": path.name, "raw": file_sha256(path), "code": code})
    kept, mark = sessions_dir / f"{key}.parquet", sessions_dir / f"{key}.sha256"
    if kept.is_file():
        if mark.is_file() and mark.read_text() == file_sha256(kept):
            return pl.read_parquet(kept)
        warnings.warn(f"corrupt cache file {kept}: its sha256 is not the one written; it is rebuilt now.", stacklevel=2)
    rows = source.parse(path)
    sessions_dir.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=sessions_dir, suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        rows.write_parquet(temporary)
        mark.write_text(file_sha256(temporary))
        os.replace(temporary, kept)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _write_tables(
    tables: SourceTables,
    place: Path,
    source: Source,
    config: MarketConfig,
    identity: Mapping[str, Any],
    notes: list[str],
) -> None:
    files = {}
    for name in TABLES:
        path = place / f"{name}.parquet"
        frame: pl.DataFrame = getattr(tables, name)
        frame.write_parquet(path)
        files[path.name] = file_sha256(path)
    severities = dict(tables.findings.group_by("severity").len().iter_rows())
    manifest = {
        "version": QUOTES_VERSION,
        "source": source.name,
        "label": source.label,
        "spread": source.spread,
        "notes": notes,
        "config": _settings(config),
        "code": identity["code"],
        "files": files,
        "parents": identity["parents"],
        "counts": {
            "rows": tables.quotes.height,
            "snapshots": tables.quotes["snapshot"].n_unique(),
            "contracts": tables.quotes["contract_id"].n_unique(),
            "quarantined": tables.quarantine.height,
            "findings": {name: severities.get(name, 0) for name in ("info", "warning", "error")},
        },
    }
    (place / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a sibling, then rename it into place: the folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        write(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _whole(folder: Path) -> bool:
    """Whether a quotes folder is there and unaltered; an altered one is said, removed and to be rebuilt."""
    if not folder.exists():
        return False
    try:
        problem = _problem(folder, read_manifest(folder))
    except MarketDataError as error:
        problem = str(error).split(". ")[0]
    if problem is None:
        return True
    warnings.warn(f"corrupt cache: {problem}; it is rebuilt now.", stacklevel=3)
    shutil.rmtree(folder)
    return False


def _problem(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    for name in (f"{table}.parquet" for table in TABLES):
        path, expected = folder / name, manifest["files"].get(name, "")
        if not path.is_file():
            return f"missing file {path}: expected it beside its manifest"
        if (found := file_sha256(path)) != expected:
            return f"altered file {path}: sha256 {found[:12]}, expected {expected[:12]}"
    return None


def _raw_hashes(source: Source) -> dict[str, str]:
    """Hash of every raw file, by path below the data folder; files that are missing are the source's to refuse."""
    if not isinstance(source, FileSource):
        return {}
    paths = [*source.raw_files().values(), *source.side_files()]
    return {path.relative_to(source.root).as_posix(): file_sha256(path) for path in paths if path.is_file()}


def _settings(config: MarketConfig) -> dict[str, Any]:
    """The configuration without the place where the files happen to lie."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "data_dir"}


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
