"""Rows that found the store locked: a JSONL file beside it, appended under a file lock and drained by the next write.

One line a row: {"table": ..., "row": {...}}. A drain applies the lines in one transaction and empties the file only
after the commit; a crash between the two replays rows that are upserted by key, so nothing is lost or doubled.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TextIO

from clstm_core.errors import MetricsError
from clstm_core.store.values import clean_row, table_named

try:
    import fcntl
except ImportError:  # no flock outside POSIX: single-process use there
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)
Entries = list[tuple[str, dict[str, Any]]]


class Journal:
    """The journal of one store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rejected_path = path.with_suffix(".rejected.jsonl")

    @property
    def pending(self) -> bool:
        """Whether rows wait to be drained."""
        return self.path.exists() and self.path.stat().st_size > 0

    def append(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Add rows and force them to disk."""
        text = "".join(json.dumps({"table": table, "row": row}, default=_iso) + "\n" for row in rows)
        with self._locked() as handle:
            _write(handle, text if self._ends_whole() else "\n" + text)

    @contextmanager
    def draining(self) -> Iterator[Entries]:
        """The waiting rows; the file is emptied when the body ends without an exception.

        Lines that cannot be read (a torn write, a column of another release) are set aside in `rejected_path`.
        """
        if not self.pending:
            yield []
            return
        with self._locked() as handle:
            handle.seek(0)
            entries, rejected = _parse(handle)
            yield entries
            if rejected:
                _log.warning("set aside %d unreadable journal lines in %s.", len(rejected), self.rejected_path)
                with self.rejected_path.open("a") as aside:
                    _write(aside, "".join(rejected))
            handle.seek(0)
            handle.truncate()
            _write(handle, "")

    def _ends_whole(self) -> bool:
        """Whether the last line was written to its end."""
        if not self.pending:
            return True
        with self.path.open("rb") as handle:
            handle.seek(-1, os.SEEK_END)
            return handle.read(1) == b"\n"

    @contextmanager
    def _locked(self) -> Iterator[TextIO]:
        with self.path.open("a+") as handle:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle


def _parse(handle: TextIO) -> tuple[Entries, list[str]]:
    entries: Entries = []
    rejected: list[str] = []
    for line in handle:
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            entries.append((entry["table"], clean_row(table_named(entry["table"]), entry["row"])))
        except (MetricsError, ValueError, KeyError, TypeError, AttributeError):
            rejected.append(line if line.endswith("\n") else line + "\n")
    return entries, rejected


def _write(handle: TextIO, text: str) -> None:
    handle.write(text)
    handle.flush()
    os.fsync(handle.fileno())


def _iso(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(value)
