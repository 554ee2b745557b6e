"""How many policies ever looked at a window of dates: what a good result has to be discounted by.

A trial is a checkpoint x mode x seed x configuration x code. Fill rules, lags and companion worlds of one of them are
one trial; baselines, which nobody chose by their result, are none. What counts as the same window is its dates,
whatever tensors stand for them. The ledger `trials.jsonl` in the data folder is only ever appended to; what looked at
the default's test window before anybody's ledger began ships with the package, in `base_trials.json`.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

BASE = Path(__file__).with_name("base_trials.json")


class Trial(NamedTuple):
    """One policy's look at a window.

    Units: dates as ISO text
    """

    source: str
    first_date: str
    last_date: str
    checkpoint: str  # sha256 of its manifest
    mode: str
    seed: int
    config_sha256: str
    code: str  # sha256 of what walked it

    @property
    def identity(self) -> tuple[str, str, int, str, str]:
        """What makes it another trial than others on the same dates."""
        return self.checkpoint, self.mode, self.seed, self.config_sha256, self.code


def trials_of(manifests: Iterable[Mapping[str, Any]], code: str = "") -> list[Trial]:
    """The trials among the manifests of backtests, each once, in order."""
    found = {
        Trial(
            source=str(m.get("source")),
            first_date=m["first_date"],
            last_date=m["last_date"],
            checkpoint=str((m["trader"]["checkpoint"] or {}).get("sha256")),
            mode=m["mode"],
            seed=int(m["seed"]),
            config_sha256=str(m.get("config_sha256") or ""),
            code=code,
        ): None
        for m in manifests
        if m["policy"] == "checkpoint"
    }
    return list(found)


def append_trials(ledger: Path, trials: Sequence[Trial]) -> int:
    """Append what the ledger does not hold yet, in one write; how many lines were added.

    Two launches at once may write a trial twice: it is counted once.
    """
    known = {trial for trial in read_trials(ledger) if trial is not None}
    lines = [json.dumps(trial._asdict(), sort_keys=True) + "\n" for trial in trials if trial not in known]
    if lines:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with ledger.open("ab") as handle:
            handle.write("".join(lines).encode())
            handle.flush()
            os.fsync(handle.fileno())
    return len(lines)


def read_trials(ledger: Path) -> list[Trial | None]:
    """Every line of a ledger; None for one that is no trial any more, which still counts as one."""
    if not ledger.is_file():
        return []
    return [_trial(line) for line in ledger.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def count_trials(trials: Iterable[Trial | None], source: str, first_date: str, last_date: str) -> int:
    """Policies that looked at any of the dates from `first_date` to `last_date` of a source.

    A damaged line may have been one of them, and is counted.
    """
    seen, damaged = set(), 0
    for trial in trials:
        if trial is None:
            damaged += 1
        elif trial.source == source and trial.first_date <= last_date and first_date <= trial.last_date:
            seen.add(trial.identity)
    return len(seen) + damaged


def count_before(source: str, first_date: str, last_date: str) -> int:
    """Policies that looked at such dates before any ledger began, by `base_trials.json`."""
    return sum(
        int(row["policies"])
        for row in base_trials()
        if row["source"] == source and row["first_date"] <= last_date and first_date <= row["last_date"]
    )


@cache
def base_trials() -> tuple[dict[str, Any], ...]:
    """The looks that are known of from before, each with how it was counted."""
    rows = json.loads(BASE.read_text(encoding="utf-8"))
    for row in rows:
        assert date.fromisoformat(row["first_date"]) <= date.fromisoformat(row["last_date"])
    return tuple(rows)


def _trial(line: str) -> Trial | None:
    try:
        return Trial(**json.loads(line))
    except (ValueError, TypeError):
        return None
