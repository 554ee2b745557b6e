"""The trial registry: every policy that ever looked at a stretch of dates, in an append-only file below the data root.

A trial is a checkpoint (its weights) x mode x seed x configuration x code. It looked at *dates*: other tensors of the
same days, another fill rule, lag or world beside the market are no other window. A fresh clone does not begin at zero:
`trials_base.json` ships with the package and says how it was counted. Plain Python.

Each line names the hash of the line before it, so that a line that was taken out, put in or altered is noticed. Whoever
removes the whole file takes its count along; the backtests that are kept are entered again when they are next judged.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import read_json
from clstm_core.artifacts.places import Places
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.protocol import Backtest, require_clean

BASE = Path(__file__).with_name("trials_base.json")
FILE = "trials.jsonl"
CODE = "clstm_core.evaluation.ladder"
"""The code that a policy is judged by."""

MARKET = "market"
"""What dates of real index history are entered under; a simulated world has dates of its own."""

KEY = ("checkpoint", "mode", "seed", "config_sha256", "code")
AFTER = "after"
_WEIGHTS = "model.safetensors"

CHALLENGER = "challenger"
"""Role of a checkpoint that is held against a champion: each is a look that rules of promotion count."""


@dataclass(frozen=True, slots=True)
class Known:
    """Policies that are known to have looked at some dates: those shipped with the package, and those of the ledger."""

    base: int
    entered: int

    @property
    def total(self) -> int:
        """How many."""
        return self.base + self.entered

    @property
    def words(self) -> str:
        """Where the number comes from."""
        return (
            f"Policies that looked at these dates: {self.base} before this package was installed, {self.entered} in "
            "this data folder's registry."
        )


def place_of(places: Places) -> Path:
    """Where the ledger of a data folder lies."""
    return places.root / FILE


def enter(places: Places, results: Iterable[Backtest], recorded_at: str) -> int:
    """Enter the checkpoints among `results` that the ledger does not hold for their dates; how many lines were added.

    Raises: EvaluationError when the ledger was altered, or an account was not traded cleanly
    """
    results = list(results)
    require_clean(results)
    wanted = [trial for result in results if (trial := _trial(places, result)) is not None]
    if not wanted:
        return 0
    place = place_of(places)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # one appends at a time; falls free when the file is closed
        handle.seek(0)
        raw = handle.read()
        kept, whole, last = _parsed(place, raw)
        held = {_identity(line) for line in kept}
        if whole < len(raw):
            handle.truncate(whole)  # a line that a killed process left torn was never entered
        added = 0
        for trial in wanted:
            if _identity(trial) in held:
                continue
            line = json.dumps({AFTER: last, **trial, "recorded_at": recorded_at}, sort_keys=True)
            handle.write(f"{line}\n".encode())
            last = _sha256(line)
            held.add(_identity(trial))
            added += 1
    return added


def known(places: Places, *, first_date: str, last_date: str, market: str = MARKET) -> Known:
    """Policies that looked at any date from `first_date` to `last_date` (ISO, both included), whatever they call it.

    Raises: EvaluationError when the ledger was altered
    """
    place = place_of(places)
    lines = _parsed(place, place.read_bytes())[0] if place.is_file() else []
    met = {
        tuple(str(line[name]) for name in KEY)
        for line in lines
        if line["market"] == market and line["first_date"] <= last_date and first_date <= line["last_date"]
    }
    base = sum(
        int(entry["policies"])
        for entry in base_entries()
        if market == MARKET and entry["first_date"] <= last_date and first_date <= entry["last_date"]
    )
    return Known(base=base, entered=len(met))


def challengers(places: Places) -> dict[tuple[str, str], str]:
    """When each challenger was first held against a champion, by its weights and the last of the days (ISO).

    Raises: EvaluationError when the ledger was altered
    """
    place = place_of(places)
    lines = _parsed(place, place.read_bytes())[0] if place.is_file() else []
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        if line.get("role") == CHALLENGER:
            found.setdefault((str(line["checkpoint"]), str(line["last_date"])[:10]), str(line.get("recorded_at") or ""))
    return found


def known_to(places: Places, results: Sequence[Backtest], window: str = "test") -> Known:
    """`known` for the dates of a window as these backtests traded it."""
    spans = [result.manifest for result in results if result.manifest["window"]["name"] == window]
    if not spans:
        return Known(base=0, entered=0)
    return known(
        places,
        first_date=min(m["first_date"] for m in spans),
        last_date=max(m["last_date"] for m in spans),
        market=market_of(spans[0]),
    )


def tried(places: Places, results: Iterable[Backtest]) -> int:
    """How many trials these backtests are, whether entered or not."""
    trials = [trial for result in results if (trial := _trial(places, result)) is not None]
    return len({tuple(str(trial[name]) for name in KEY) for trial in trials})


def market_of(manifest: Mapping[str, Any]) -> str:
    """Whose dates a backtest traded: history's, or those of one simulated world."""
    simulated = "simulated" in (manifest.get("label") or "")
    return f"simulated {manifest['data_sha256']}" if simulated else MARKET


@cache
def base_entries() -> tuple[Mapping[str, Any], ...]:
    """What ships with the package: dates, how many policies looked at them, and how that was counted."""
    return tuple(json.loads(BASE.read_text())["entries"])


def _trial(places: Places, result: Backtest) -> dict[str, Any] | None:
    """What a backtest enters; None for a baseline, which nobody chose by its result."""
    m = result.manifest
    if m["policy"] != "checkpoint":
        return None
    checkpoint = m["trader"]["checkpoint"]
    return {
        "checkpoint": weights_of(places, checkpoint),
        "mode": m["mode"],
        "seed": m["seed"],
        "config_sha256": m.get("config_sha256") or "",
        "code": code_sha256(CODE),
        "first_date": m["first_date"],
        "last_date": m["last_date"],
        "market": market_of(m),
        "run": m.get("run") or "",
        "milestone": m["milestone"],
        "window": m["window"]["name"],
        "role": checkpoint.get("role") or "",
    }


def weights_of(places: Places, checkpoint: Mapping[str, Any]) -> str:
    """Hash of a checkpoint's weights, as the manifest that the backtest names says; else of that manifest."""
    folder, sha256 = checkpoint.get("folder"), str(checkpoint["sha256"])
    place = places.root / folder / "manifest.json" if folder else None
    if place is not None and place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() == sha256:
        return str((read_json(place) or {}).get("files", {}).get(_WEIGHTS) or sha256)
    return sha256


def _identity(line: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(line[name]) for name in (*KEY, "market", "first_date", "last_date"))


def _parsed(place: Path, raw: bytes) -> tuple[list[dict[str, Any]], int, str]:
    """Whole lines of the ledger, how many bytes they take, and the hash of the last one."""
    whole = raw.rfind(b"\n") + 1
    lines: list[dict[str, Any]] = []
    last = ""
    for number, text in enumerate(raw[:whole].decode(errors="replace").splitlines(), start=1):
        try:
            line = json.loads(text)
            complete = isinstance(line, dict) and {*KEY, AFTER, "market", "first_date", "last_date"} <= set(line)
        except (ValueError, RecursionError):
            complete = False
        if not complete or line[AFTER] != last:
            raise EvaluationError(
                f"altered trial registry {place}: line {number} does not follow from the line before it, expected an "
                "append-only file. Restore it from a copy; without one move it away, and what was counted is lost."
            )
        lines.append(line)
        last = _sha256(text)
    return lines, whole, last


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
