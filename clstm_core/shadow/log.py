"""The append-only log of one shadow account: one Parquet file per entry, each chained to the one before by its hash.

    log/00000001.parquet ...    `previous` holds the sha256 of the file before
    head.json                   how many entries there are, and the sha256 of the last

A file appears whole or not at all, so that a process killed at any moment leaves an entry or none. The head follows an
entry; one entry beyond it is a kill between the two, which the next writer mends; a file less than it says, two more,
or no head at all is a loss or an alteration. One process writes at a time.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import polars as pl

from clstm_core.artifacts.folder import SUFFIX, file_sha256, flush, lock, read_json, write_json
from clstm_core.errors import ShadowError
from clstm_core.shadow.columns import DECIDED, ENTRY, OPENED

HEAD, ROOM, DIGITS = "head.json", "log", 8
_REMEDY = "Restore the folder from a copy, or begin a new shadow account."


def opened_with(folder: Path) -> dict[str, Any]:
    """What the account in a folder was opened with, unverified; nothing where none was, or it cannot be read."""
    try:
        return json.loads(pl.read_parquet(folder / ROOM / f"{1:0{DIGITS}}.parquet", columns=["facts"])["facts"][0])
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError):
        return {}


class ShadowLog:
    """Entries of one shadow account, verified when opened.

    Raises: ShadowError for a file that is missing, altered or out of its place
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._entries: list[dict[str, Any]] = []
        self._last = ""
        self._behind = False  # the head says one entry less than there are
        self._read()

    @classmethod
    @contextlib.contextmanager
    def writing(cls, folder: Path) -> Iterator[Self]:
        """The log, held by this process alone until the end of the body; ArtifactError when another holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / "log.lock", f"shadow account {folder.name}"):
            for left in (folder / ROOM).glob(f".*{SUFFIX}"):  # a killed writer's: this process alone writes now
                left.unlink()
            log = cls(folder)
            if log._behind:
                log._write_head()
            yield log

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All of them, in order, as plain Python values."""
        return self._entries

    @property
    def last_sha256(self) -> str:
        """Of the last file: it names the whole log."""
        return self._last

    @property
    def facts(self) -> dict[str, Any]:
        """What the account was opened with."""
        self.require_opened()
        return json.loads(self._entries[0]["facts"])

    def require_opened(self) -> None:
        """Raise ShadowError where no account was opened here."""
        if not self._entries:
            raise ShadowError(f"no shadow account in {self.folder}: expected a log. Run `clstm shadow run` first.")

    @property
    def decided(self) -> list[dict[str, Any]]:
        """Sessions that were decided on."""
        return [entry for entry in self._entries if entry["kind"] == DECIDED]

    def table(self) -> pl.DataFrame:
        """All entries as one table."""
        return pl.DataFrame(self._entries, schema=ENTRY, orient="row")

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry whole, and then the head.

        Raises: ShadowError for columns that a log does not have, or where the first entry opens no account
        """
        if strange := sorted(set(entry) - set(ENTRY)):
            raise ShadowError(f"unknown columns {', '.join(strange)} of a shadow log: expected those of ENTRY.")
        if (entry["kind"] == OPENED) != (not self._entries):
            raise ShadowError("a shadow log begins with the opening of its account, and no other entry opens one.")
        own = {"sequence": len(self._entries) + 1, "previous": self._last, "simulated": True}
        frame = pl.DataFrame([{name: None for name in ENTRY} | dict(entry) | own], schema=ENTRY, orient="row")
        place = self._place(len(self._entries) + 1)
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=SUFFIX)
        os.close(handle)
        frame.write_parquet(name, compression="zstd")
        flush(Path(name))
        Path(name).chmod(0o644)
        os.replace(name, place)
        flush(place.parent)
        self._entries.extend(frame.to_dicts())
        self._last = file_sha256(place)
        self._write_head()

    def _place(self, sequence: int) -> Path:
        return self.folder / ROOM / f"{sequence:0{DIGITS}}.parquet"

    def _write_head(self) -> None:
        write_json(self.folder / HEAD, {"entries": len(self._entries), "sha256": self._last})

    def _read(self) -> None:
        files, said = self._moment()
        head = self._head(len(files), said)
        for at, path in enumerate(files, start=1):
            if path != self._place(at):
                raise ShadowError(
                    f"missing entry {self._place(at).name} of {self.folder}: found {path.name}. {_REMEDY}"
                )
            try:
                frame = pl.read_parquet(path).match_to_schema(ENTRY, missing_columns="insert")
                rows = frame.to_dicts()
            except (pl.exceptions.PolarsError, OSError) as error:
                raise ShadowError(f"unreadable entry {path}: {error}. {_REMEDY}") from error
            if len(rows) != 1 or (rows[0]["sequence"], rows[0]["previous"]) != (at, self._last):
                raise ShadowError(
                    f"altered log {self.folder}: {path.name} does not follow {self._last[:12] or 'nothing'}, the "
                    f"sha256 of the entry before it. {_REMEDY}"
                )
            self._entries.extend(rows)
            self._last = file_sha256(path)
            if at == head["entries"] and self._last != head["sha256"]:
                raise ShadowError(
                    f"altered entry {path}: sha256 {self._last[:12]}, expected {head['sha256'][:12]} as {HEAD} says. "
                    f"{_REMEDY}"
                )
        self._behind = len(files) > head["entries"]
        if len(files) < head["entries"]:
            raise ShadowError(
                f"entries are missing at the end of {self.folder}: found {len(files)}, expected {head['entries']} as "
                f"{HEAD} says. {_REMEDY}"
            )

    def _moment(self) -> tuple[list[Path], Any]:
        """Entries and head while the head stood still: one that a writer adds meanwhile is no loss."""
        room = self.folder / ROOM
        while True:
            said = read_json(self.folder / HEAD)
            files = sorted(room.glob("[0-9]*.parquet")) if room.is_dir() else []
            if read_json(self.folder / HEAD) == said:
                return files, said

    def _head(self, files: int, head: Any) -> dict[str, Any]:
        """What the head says of a log of so many files; without one, only what a first kill leaves is a log."""
        if head is None and not (self.folder / HEAD).exists() and files <= 1:
            return {"entries": 0, "sha256": ""}
        if not isinstance(head, dict) or not isinstance(head.get("entries"), int) or "sha256" not in head:
            raise ShadowError(
                f"no readable {HEAD} in {self.folder}: found {files} entries, expected it to count them. {_REMEDY}"
            )
        if files > head["entries"] + 1:
            raise ShadowError(
                f"entries beyond the end of {self.folder}: found {files}, expected {head['entries']} as {HEAD} says, "
                f"or one more. {_REMEDY}"
            )
        return head
