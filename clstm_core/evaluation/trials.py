"""How many policies ever looked at a window: what a good result has to be discounted by.

A trial is a checkpoint x mode x seed x configuration. Fill rules and lags of one of them are one trial; baselines,
which nobody chose by their result, are none.
"""

from collections.abc import Iterable, Mapping
from typing import Any

COUNT_TRIALS = """
    SELECT count(DISTINCT (run, milestone, mode, seed, config_sha256)) AS n
    FROM trials
    WHERE policy = 'checkpoint' AND data_sha256 = $data_sha256 AND "window" = $window
"""
"""The same count over the store's registry, of every run that ever traded the window: bind `data_sha256`, `window`."""


def count_trials(manifests: Iterable[Mapping[str, Any]], window: str = "test") -> int:
    """Trials among the manifests of backtests; a checkpoint that names no run is told apart by its weights."""
    seen = set()
    for m in manifests:
        if m["policy"] == "checkpoint" and m["window"]["name"] == window:
            run = m.get("run") or m["trader"]["checkpoint"]["sha256"]
            seen.add((run, m["milestone"], m["mode"], m["seed"], m.get("config_sha256")))
    return len(seen)
