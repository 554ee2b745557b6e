"""What is kept, and for how long: nothing that a report, a bundle, a backtest or the registry of trials refers to goes.

| what | goes when |
|---|---|
| cached quotes, tensors and walks | no run or backtest was made from them, and nobody used them for `days` |
| parsed files of a vendor | nobody used them for `days` |
| runs set aside, checkpoints set aside after damage | they are `days` old |
| rolling checkpoints (`latest`) | the run finished `days` ago |
| unfinished runs | they have no report, no bundle and no backtests, and nobody touched them for `days` |
| what launches said | their process is gone, and they are `days` old |
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clstm_core.artifacts.folder import is_locked
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BacktestManifest, RunInputs, RunStatus, TensorsManifest
from clstm_core.artifacts.places import DIGITS, Places, RunFolder

KEPT_DAYS = 30.0
DAY_S = 86_400.0
SET_ASIDE = "checkpoints."  # followed by the time, beside a run's own checkpoints


class Removable(NamedTuple):
    """Something that may go: where it lies, what it is, and how much room it takes."""

    path: Path
    what: str
    bytes: int


def prune(places: Places, *, days: float = KEPT_DAYS) -> list[str]:
    """Remove market data that nobody used for `days`: what every chain does by itself.

    Returns: names of what was removed, below the data folder
    """
    return [places.relative(item.path) for item in _removed(_cache(places, _before(days)))]


def prune_all(places: Places, *, days: float = KEPT_DAYS, dry_run: bool = False) -> list[Removable]:
    """Remove everything that the table above lets go; with `dry_run` only say what that is."""
    before = _before(days)
    found = [
        *_cache(places, before),
        *_set_aside(places, before),
        *_rolling(places, before),
        *_abandoned(places, before),
        *_launches(places, before),
    ]
    return found if dry_run else _removed(found)


def _before(days: float) -> float:
    return time.time() - days * DAY_S


def _removed(found: list[Removable]) -> list[Removable]:
    for item in found:
        shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink()
    return found


def _cache(places: Places, before: float) -> list[Removable]:
    """Quotes and tensors that nothing was made from, and parsed files."""
    kept: set[str] = set()
    made: list[RunInputs | BacktestManifest | None]
    made = [RunInputs.kept(place) for place in places.runs.glob("*/inputs.json")]
    # a backtest's books recompute from the quotes that it traded, the twin's as well
    made += [BacktestManifest.kept(place, files=False) for place in places.backtests.glob(f"*/{FILE}")]
    for child in made:
        kept.update(identity[:DIGITS] for identity in (child.parents.values() if child else ()))
    for place in (places.cache / "tensors").glob(f"*/{FILE}"):
        tensors = TensorsManifest.kept(place, files=False)
        if tensors is not None and place.parent.name in kept:
            kept.update(identity[:DIGITS] for identity in tensors.parents.values())
    return [
        _removable(path, "cached market data")
        for room in ("quotes", "tensors", "fair", "sessions/*")
        for path in sorted(places.cache.glob(f"{room}/[!.]*"))
        if path.name not in kept and path.stat().st_mtime < before
    ]


def _set_aside(places: Places, before: float) -> Iterator[Removable]:
    """Runs that gave way to another of their name, and checkpoints that gave way after damage."""
    found = [*places.set_aside.glob("[!.]*"), *places.runs.glob(f"*/{SET_ASIDE}*")]
    yield from (_removable(path, "set aside") for path in sorted(found) if path.stat().st_mtime < before)


def _rolling(places: Places, before: float) -> Iterator[Removable]:
    """The place to resume from, of runs that finished: their last rung holds the same."""
    for run in _runs(places):
        path = run.checkpoint("latest")
        status = RunStatus.kept(run.status, files=False)
        if path.is_dir() and status is not None and status.status == "finished" and path.stat().st_mtime < before:
            yield _removable(path, "rolling checkpoint")


def _abandoned(places: Places, before: float) -> Iterator[Removable]:
    """Runs that came to nothing that anybody could refer to."""
    for run in _runs(places):
        if run.report.exists() or places.bundle(run.name).exists() or any(run.path.glob("*_backtests.json")):
            continue
        if _at_work(places, run.name) or _newest(run.path) >= before:
            continue
        yield _removable(run.path, "abandoned run")


def _launches(places: Places, before: float) -> Iterator[Removable]:
    """Logs, requests and outcomes of launches whose process is gone."""
    for path in sorted((places.root / "launches").glob("[!.]*")):
        if path.is_dir() and not _at_work(places, path.name) and _newest(path) < before:
            yield _removable(path, "launch")


def _runs(places: Places) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(places.runs.glob("[!.]*")) if path.is_dir()]


def _at_work(places: Places, name: str) -> bool:
    """Whether a process holds one of the locks of a launch."""
    folder = places.root / "launches" / name
    return any(is_locked(place) for place in (*folder.glob("lock"), *folder.glob("*.lock")))


def _newest(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _removable(path: Path, what: str) -> Removable:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return Removable(path, what, sum(item.stat().st_size for item in files))
