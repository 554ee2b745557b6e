"""Folders and files that appear whole or not at all, their hashes, and locks that die with the process that works.

    with whole_folder(target) as place: ...     # fills a sibling; renamed into `target` at the end

A process that is killed leaves only `.name.<random>.tmp` beside the target; `sweep` removes what no living one writes.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from clstm_core.errors import ArtifactError

SUFFIX = ".tmp"
LOOKS, LOOK_S = 5, 0.02
"""A lock is refused when it was held each time: whoever asks whether a lock is held holds it for that moment."""


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(content: Any) -> str:
    """The one text of plain JSON content: sorted keys, one space of indent. Times and paths become their text."""
    return json.dumps(content, indent=1, sort_keys=True, default=str) + "\n"


def json_sha256(content: Any) -> str:
    """Hex digest of plain JSON content, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and force it to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=SUFFIX)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, canonical_json(content))


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where there is none, or where it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


class NewRows:
    """Rows that are appended to a JSONL file, as they come; a line that is still being written is not read."""

    def __init__(self, place: Path):
        self._place, self._read = place, 0

    def __call__(self) -> list[dict[str, Any]]:
        """Rows since the last call, in order; none while there is no file."""
        try:
            with self._place.open("rb") as handle:
                handle.seek(self._read)
                content = handle.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSONL file in order; a torn or foreign line is left out."""
    rows = []
    if path.is_file():
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                if isinstance(row := json.loads(line), dict):
                    rows.append(row)
    return rows


@contextlib.contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A folder to write to below `parent`, of this process alone; what is left in it at the end is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        while True:
            place = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.", suffix=SUFFIX))
            mark = held.enter_context(_hold(place))
            if place.is_dir():  # else a sweep found it in the moment before its mark was held
                break
            mark.unlink(missing_ok=True)
        place.chmod(0o755)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            mark.unlink(missing_ok=True)


def settle(place: Path, target: Path) -> None:
    """Force a scratch folder to disk and rename it to `target`, replacing one that is there.

    A folder cannot be renamed onto another: the old one stays readable as `<name>.previous` until the new one stands,
    so that a kill between the two loses nothing.
    """
    for path in (*sorted(place.rglob("*")), place):
        flush(path)
    previous = target.with_name(f"{target.name}.previous")
    if target.is_dir() and not target.is_symlink():
        _remove(previous)
        os.replace(target, previous)
    else:  # where there is no folder, a kill left the previous one alone: it stays until the new one stands
        _remove(target)
    os.replace(place, target)
    flush(target.parent)
    _remove(previous)


def _remove(path: Path) -> None:
    """Remove whatever is there, if anything: of a link the link alone, and of a folder what can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A place to write to, which becomes `target` when the body ends well: whole or not at all."""
    with scratch(target.parent, target.name) as place:
        yield place
        settle(place, target)


def sweep(folder: Path) -> list[str]:
    """Remove what killed writers left in `folder` (not below it); names of what was removed.

    A writer holds a lock beside its place for as long as it lives: what a living one writes stays.
    """
    removed = []
    for place in sorted(folder.glob(f".*{SUFFIX}")) if folder.is_dir() else []:
        with _abandoned(place) as abandoned:
            if not abandoned:
                continue
            _remove(place)
            _mark(place).unlink(missing_ok=True)
            removed.append(place.name)
    for mark in sorted(folder.glob(f".*{SUFFIX}.lock")) if folder.is_dir() else []:
        with _abandoned(mark.with_suffix("")) as abandoned:
            if abandoned and not mark.with_suffix("").exists():
                mark.unlink(missing_ok=True)
    return removed


def _mark(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


@contextlib.contextmanager
def _hold(place: Path) -> Iterator[Path]:
    with _mark(place).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield _mark(place)


@contextlib.contextmanager
def _abandoned(place: Path) -> Iterator[bool]:
    """Whether no living process holds the mark of `place`, which nobody takes until the end of the body.

    A file without a mark is its writer's for a minute.
    """
    mark = _mark(place)
    if not mark.exists():
        try:
            young = place.is_file() and time.time() - place.stat().st_mtime < 60.0
        except FileNotFoundError:
            young = False
        yield not young
        return
    with mark.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def lock(path: Path, what: str, *, shared: bool = False) -> Iterator[Callable[[], bool]]:
    """Hold `path` for this process; it falls free when the process ends, however it ends.

    Gives a question: whether what is held still lies at `path`. Where it was moved or deleted, another may hold the
    place.

    Args:
        what: the thing that is held, in words, e.g. `run demo`
        shared: others may hold it too, none alone

    Raises: ArtifactError when another process holds it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        try:
            hold(handle, shared=shared)
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read(64).strip()
            raise ArtifactError(
                f"{what} is in use by another process{f' (pid {holder})' if holder else ''}: expected one at a time. "
                "Wait for it, stop it, or pass another name."
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield lambda: _is_at(handle, path)


def hold(handle: IO[str], *, shared: bool = False) -> None:
    """Hold an open file, at once or not at all, but for the moment in which another only looks whether it is held.

    Raises: BlockingIOError when another process holds it
    """
    for patience in reversed(range(LOOKS)):
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if not patience:
                raise
            time.sleep(LOOK_S)
        else:
            return


def _is_at(handle: IO[str], path: Path) -> bool:
    """Whether an open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Whether some process holds `path` (this one included)."""
    try:
        with path.open() as handle:
            hold(handle)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def flush(path: Path) -> None:
    """Force a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
