"""Which file of a folder is which session's, where files are named YYYY-MM-DD and something."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.source import empty_findings, finding
from clstm_core.market.tables.cells import DAY_BOUNDS
from clstm_core.market.tables.reading import read_bytes

PACKED = (".gz", ".zip")
_NAME = re.compile(r"^(\d{4}-\d{2}-\d{2})(.*)$", re.S)


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionFiles:
    """The files of a folder, each either one session's, or set aside by name.

    chosen: the file read for each session; refused: the sentence for a session whose files disagree; doubled: every
    file of a session that has several (they decide the findings); findings: what was chosen and what is no session.
    """

    chosen: dict[date, Path]
    refused: dict[date, str] = field(default_factory=dict)
    doubled: list[Path] = field(default_factory=list)
    findings: pl.DataFrame = field(default_factory=empty_findings)


def list_sessions(folder: Path, kinds: Sequence[str]) -> SessionFiles:
    """The session files of a folder by the date that their names begin with.

    Rule where a session has several: files of the same content are one; else the one named exactly YYYY-MM-DD wins,
    with a warning that names them all; else the session is refused.

    Args: kinds, the endings that may be read (`.csv`), alone or followed by one of PACKED
    """
    candidates: dict[date, list[Path]] = {}
    strange = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(".") or not _kind(path.name, kinds) or not path.is_file():
            continue
        day = session_of(path)
        if day is None:
            strange.append(path.name)
        else:
            candidates.setdefault(day, []).append(path)
    chosen: dict[date, Path] = {}
    refused: dict[date, str] = {}
    findings = []
    for day, paths in sorted(candidates.items()):
        paths.sort(key=lambda path: (not _exact(path.name, kinds), path.name))
        chosen[day] = paths[0]
        if len(paths) == 1:
            continue
        names = ", ".join(path.name for path in paths)
        if len({_content(path) for path in paths}) == 1:
            detail = f"{names} hold the same: {paths[0].name} is read."
            findings.append(finding("session_twice", "warning", len(paths), len(paths), [day], detail))
        elif sum(_exact(path.name, kinds) for path in paths) == 1:
            detail = (
                f"{names} differ: {paths[0].name} is read, the one named by its date alone. Remove the others if that "
                "is right."
            )
            findings.append(finding("session_conflict", "warning", len(paths), len(paths), [day], detail))
        else:
            del chosen[day]
            refused[day] = f"several files of {day}: {names} differ, expected one. Keep the right one; none is read."
    if strange:
        shown = ", ".join(strange[:8]) + (f" and {len(strange) - 8} more" if len(strange) > 8 else "")
        total = len(strange) + sum(map(len, candidates.values()))
        detail = f"files whose names begin with no session's date (YYYY-MM-DD): {shown}. Not read."
        findings.append(finding("file_without_session", "warning", len(strange), total, (), detail))
    return SessionFiles(
        chosen=chosen,
        refused=refused,
        doubled=[path for paths in candidates.values() if len(paths) > 1 for path in paths],
        findings=pl.concat([_joined(findings, check) for check in dict.fromkeys(row["check"][0] for row in findings)])
        if findings
        else empty_findings(),
    )


def session_of(path: Path) -> date | None:
    """The session a file is named after (YYYY-MM-DD...), or None for anything else."""
    match = _NAME.match(path.name)
    try:
        day = date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None
    return day if day and DAY_BOUNDS[0] <= day <= DAY_BOUNDS[1] else None


def without_packing(name: str) -> str:
    """A file's name in lower case without .gz or .zip."""
    name = name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name


def _kind(name: str, kinds: Sequence[str]) -> bool:
    bare = without_packing(name)
    packed_alone = bare != name.lower() and bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", bare))  # 2024-03-08.zip
    return bare.endswith(tuple(kinds)) or packed_alone


def _exact(name: str, kinds: Sequence[str]) -> bool:
    return without_packing(name)[10:] in ("", *kinds)


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except MarketDataError:
        return f"unreadable {path.name}"


def _joined(findings: Sequence[pl.DataFrame], check: str) -> pl.DataFrame:
    """Findings of one check as one: the counts added, the sentences joined."""
    mine = pl.concat([row for row in findings if row["check"][0] == check])
    days = [date.fromisoformat(text) for text in mine["snapshots"] if text]
    count = int(mine["count"].sum())
    total = count if days else round(count / mine["share"][0])
    return finding(check, mine["severity"][0], count, total, days, " ".join(mine["detail"]))
