"""What is kept of cached market data, and for how long."""

import shutil
import time

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BacktestManifest, RunInputs, TensorsManifest
from clstm_core.artifacts.places import DIGITS, Places

KEPT_DAYS = 30.0


def prune(places: Places, *, days: float = KEPT_DAYS) -> list[str]:
    """Remove what nobody used for `days`: quotes and tensors that no run or backtest was made from, and parsed files.

    Returns: names of what was removed, below the data folder
    """
    kept: set[str] = set()
    found: list[RunInputs | BacktestManifest | None]
    found = [RunInputs.kept(place) for place in places.runs.glob("*/inputs.json")]
    # a backtest's books recompute from the quotes that it traded, the twin's as well
    found += [BacktestManifest.kept(place, files=False) for place in places.backtests.glob(f"*/{FILE}")]
    for child in found:
        kept.update(identity[:DIGITS] for identity in (child.parents.values() if child else ()))
    for place in (places.cache / "tensors").glob(f"*/{FILE}"):
        tensors = TensorsManifest.kept(place, files=False)
        if tensors is not None and place.parent.name in kept:
            kept.update(identity[:DIGITS] for identity in tensors.parents.values())
    oldest = time.time() - days * 86_400
    removed = []
    for room in ("quotes", "tensors", "sessions/*"):
        for path in sorted((places.cache).glob(f"{room}/[!.]*")):
            if path.name not in kept and path.stat().st_mtime < oldest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(places.relative(path))
    return removed
