"""Measurements as JSON rows: docs/performance/<hardware>-<date>-<commit>.json."""

import json
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tools.bench.measure import Result
from tools.bench.task import gflops

Row = dict[str, Any]
FOLDER = Path("docs/performance")
MEASURED = ("clstm_core", "tools/bench")
"""What a figure depends on: changed and not committed, the commit is marked."""


def row(
    system: str,
    command: str,
    *,
    hidden: int | None = None,
    threads: int | None = None,
    steps_per_second: float | None = None,
    gflops: float | None = None,
    ratio: float | None = None,
) -> Row:
    """One row; None where a figure has no meaning. `ratio` is ours over the system's."""
    return {
        "system": system,
        "hidden": hidden,
        "threads": threads,
        "steps_per_second": steps_per_second,
        "gflops": gflops,
        "ratio": ratio,
        "command": command,
    }


def rows_of(results: Sequence[Result], roofs: Mapping[int, Mapping[str, float]], command: str) -> list[Row]:
    """Rows of a comparison, and of the rooflines that it was measured beside."""
    found = [
        row(
            result.name,
            command,
            hidden=result.hidden,
            threads=result.threads,
            steps_per_second=round(result.steps_per_second, 1),
            gflops=round(gflops(result.steps_per_second, result.hidden, result.system.trunks), 3),
            ratio=round(statistics.median(result.ratios), 3),
        )
        for result in results
    ]
    return found + [
        row(f"matrix product {dtype}", command, threads=threads, gflops=round(most, 3))
        for threads, roof in roofs.items()
        for dtype, most in roof.items()
    ]


def write_rows(folder: Path, hardware: str, rows: Sequence[Row]) -> Path:
    """Add rows to the file of this hardware, day and commit; what the same command measures again is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(hardware)}-{date.today().isoformat()}-{commit()}.json"
    kept = json.loads(path.read_text()) if path.is_file() else []
    merged = {(old["system"], old["hidden"], old["threads"], old["command"]): old for old in (*kept, *rows)}
    path.write_text(json.dumps(list(merged.values()), indent=1) + "\n")
    return path


def slug(name: str) -> str:
    """A name as part of a file's: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.is_file() else None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def commit() -> str:
    """The short commit, `-changed` behind it where what is measured differs from it; `no-commit` outside of git."""
    head = _git("rev-parse", "--short", "HEAD")
    if not head:
        return "no-commit"
    return head + ("-changed" if _git("status", "--porcelain", "--", *MEASURED) else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(("git", *arguments), capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
