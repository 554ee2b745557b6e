"""What is kept, and for how long: nothing that a report, a bundle, a backtest or the registry of trials refers to goes.

| what | goes when |
|---|---|
| cached quotes, tensors and walks | nothing that stands was made from them, and nobody used them for `days` |
| parsed files of a vendor | nobody used them for `days` |
| runs set aside, checkpoints set aside after damage | nothing that stands was made from them, and they are `days` old |
| rolling checkpoints (`latest`) | the run finished `days` ago |
| unfinished runs | no report, bundle, backtest or other run was made from them, and nobody touched them for `days` |
| what launches said | their process is gone, and they are `days` old |

Made from it was whatever names the identity of one of its manifests as a parent: another run's inputs or checkpoints, a
backtest, a bundle and the registry's copy of one, a challenger, a report. While a launch works, `prune_all` leaves the
caches alone.
"""

import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from clstm_core.artifacts.folder import file_sha256, is_locked, read_json
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import RunStatus, TensorsManifest
from clstm_core.artifacts.places import DIGITS, Places, RunFolder

KEPT_DAYS = 30.0
DAY_S = 86_400.0
SET_ASIDE = "checkpoints."  # followed by the time, beside a run's own checkpoints
MANIFESTS = ("*.json", "gates/*.json", f"*/{FILE}", f"*/*/{FILE}")
"""Where the manifests of a run, a backtest or a bundle lie, below its folder or that of its checkpoints."""

Named = Mapping[str, set[Path]]
"""Identities that are named as parents, and the manifests that name them."""


class Removable(NamedTuple):
    """Something that may go: where it lies, what it is, and how much room it takes."""

    path: Path
    what: str
    bytes: int


def prune(places: Places, *, days: float = KEPT_DAYS) -> list[str]:
    """Remove market data that nobody used for `days`: what every chain does by itself.

    Other chains that work have used theirs since, which makes it young.

    Returns: names of what was removed, below the data folder
    """
    return [places.relative(item.path) for item in _removed(_cache(places, _named(places), _before(days)))]


def prune_all(
    places: Places, *, days: float = KEPT_DAYS, dry_run: bool = False, at_work: Collection[str] = ()
) -> list[Removable]:
    """Remove everything that the table above lets go; with `dry_run` only say what that is.

    Args:
        at_work: names of launches that are known to wait or work, whether or not they hold a lock
    """
    before, named, working = _before(days), _named(places), launches_at_work(places, at_work)
    found = [
        # a chain that works may have made, or found, what it has not named yet
        *([] if working else _cache(places, named, before)),
        *_set_aside(places, named, before),
        *_rolling(places, before),
        *_abandoned(places, named, working, before),
        *_launches(places, working, before),
    ]
    return found if dry_run else _removed(found)


def launches_at_work(places: Places, known: Collection[str] = ()) -> set[str]:
    """Names of the launches whose process holds one of their locks, and those that are known to work."""
    locks = [*(places.root / "launches").glob("*/lock"), *(places.root / "launches").glob("*/*.lock")]
    return {*known, *(place.parent.name for place in locks if is_locked(place))}


def living_runs(places: Places, removed: Collection[Removable] = ()) -> set[str]:
    """Names of the runs that have a folder or a bundle, but those whose folder is among `removed`."""
    gone = {item.path for item in removed}
    rooms = (*places.runs.glob("[!.]*"), *places.bundles.glob("[!.]*"))
    return {path.name for path in rooms if path.is_dir() and path not in gone}


def _before(days: float) -> float:
    return time.time() - days * DAY_S


def _removed(found: list[Removable]) -> list[Removable]:
    for item in found:
        shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink()
    return found


def _named(places: Places) -> Named:
    """What runs, those set aside, backtests and bundles were made from.

    The parents of a manifest of another version, or of one that was altered, count as well.
    """
    named = defaultdict(set)
    kept = (places.registry / "bundles", places.root / "challengers")
    for room in (places.runs, places.set_aside, places.backtests, places.bundles, places.walks, *kept):
        for folder in room.glob("[!.]*"):
            for place in _manifests(folder):
                content = read_json(place)
                parents = content.get("parents") if isinstance(content, dict) else None
                for identity in parents.values() if isinstance(parents, dict) else ():
                    named[str(identity)].add(place)
    return named


def _manifests(folder: Path) -> Iterator[Path]:
    for pattern in MANIFESTS:
        yield from folder.glob(pattern)


def _is_referred_to(folder: Path, named: Named) -> bool:
    """Whether something outside a folder was made from an artifact inside it."""
    holders = (named.get(file_sha256(place), set()) for place in _manifests(folder))
    return any(not child.is_relative_to(folder) for children in holders for child in children)


def _cache(places: Places, named: Named, before: float) -> list[Removable]:
    """Quotes and tensors that nothing was made from, and parsed files."""
    kept = {identity[:DIGITS] for identity in named}
    for place in (places.cache / "tensors").glob(f"*/{FILE}"):
        tensors = TensorsManifest.kept(place, files=False)
        # a backtest's books recompute from the quotes that it traded, the twin's as well
        if tensors is not None and place.parent.name in kept:
            kept.update(identity[:DIGITS] for identity in tensors.parents.values())
    return [
        _removable(path, "cached market data")
        for room in ("quotes", "tensors", "fair", "sessions/*")
        for path in sorted(places.cache.glob(f"{room}/[!.]*"))
        if path.name not in kept and path.stat().st_mtime < before
    ]


def _set_aside(places: Places, named: Named, before: float) -> Iterator[Removable]:
    """Runs that gave way to another of their name, and checkpoints that gave way after damage."""
    for path in sorted([*places.set_aside.glob("[!.]*"), *places.runs.glob(f"*/{SET_ASIDE}*")]):
        if path.stat().st_mtime < before and not _is_referred_to(path, named):
            yield _removable(path, "set aside")


def _rolling(places: Places, before: float) -> Iterator[Removable]:
    """The place to resume from, of runs that finished: their last rung holds the same."""
    for run in _runs(places):
        path = run.checkpoint("latest")
        status = RunStatus.kept(run.status, files=False)
        if path.is_dir() and status is not None and status.status == "finished" and path.stat().st_mtime < before:
            yield _removable(path, "rolling checkpoint")


def _abandoned(places: Places, named: Named, working: set[str], before: float) -> Iterator[Removable]:
    """Runs that came to nothing that anybody could refer to."""
    for run in _runs(places):
        if run.report.exists() or places.bundle(run.name).exists() or any(run.path.glob("*_backtests.json")):
            continue
        if run.name in working or is_locked(run.lock):  # the bare trainer is no launch
            continue
        if _newest(run.path) < before and not _is_referred_to(run.path, named):
            yield _removable(run.path, "abandoned run")


def _launches(places: Places, working: set[str], before: float) -> Iterator[Removable]:
    """Logs, requests and outcomes of launches whose process is gone."""
    for path in sorted((places.root / "launches").glob("[!.]*")):
        if path.is_dir() and path.name not in working and _newest(path) < before:
            yield _removable(path, "launch")


def _runs(places: Places) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(places.runs.glob("[!.]*")) if path.is_dir()]


def _newest(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _removable(path: Path, what: str) -> Removable:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return Removable(path, what, sum(item.stat().st_size for item in files))
