"""The metrics store: one DuckDB file, one writer at a time, short transactions, nothing lost when it is locked.

JSONL and Parquet files are the truth; this store answers questions about them and can be rebuilt from them. Its tables
stand in `clstm_core/store/schema/` and are explained in `docs/metrics.md`.
"""

import contextlib
import errno
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from clstm_core.artifacts.folder import lock, scratch
from clstm_core.artifacts.manifest import Manifest, Rows
from clstm_core.errors import ArtifactError, MetricsError
from clstm_core.store.journal import Journal
from clstm_core.store.rows import fitting, rows_of
from clstm_core.store.schema import SCHEMA_VERSION, TABLES, TRIALS, migrations
from clstm_core.store.values import clean_row, table_named

_log = logging.getLogger(__name__)
_CLOSED = {"enable_external_access": "false", "lock_configuration": "true"}
_CHUNK_VALUES = 5_000
_process_locks: dict[Path, threading.RLock] = {}
_process_locks_guard = threading.Lock()


class StoreLockedError(MetricsError):
    """The store is held open elsewhere; `holder` is the process id that DuckDB named, or None."""

    def __init__(self, path: Path, waited: float, cause: Exception) -> None:
        found = re.search(r"\(PID (\d+)\)", str(cause), re.IGNORECASE)
        self.holder = int(found[1]) if found else None
        who = f"process {self.holder}" if self.holder else "another connection of this process"
        super().__init__(
            f"the metrics store {path} is held open by {who}: waited {waited:.1f} s for it. Close that connection, or "
            "read the published snapshot instead of the store."
        )


class MetricsStore:
    """Reads and writes `path`, a DuckDB file that appears with the first write.

    Every call opens a short connection. A locked store is retried with jitter for `timeout_s`; after that a write
    warns with the holder's process id and journals its rows, which the next write (or query) drains.

    Units:  timeout_s in seconds
    Raises: MetricsError from its methods: unknown tables and columns, wrong types, an unreadable or newer file.
    """

    def __init__(self, path: Path | str, *, timeout_s: float = 3.0) -> None:
        self.path = Path(path)
        self.timeout_s = timeout_s
        self.journal = Journal(self.path.with_name(self.path.name + ".journal.jsonl"))

    def upsert(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Insert rows, or update the ones whose natural key exists; True when stored, False when journaled.

        Columns that a row leaves out become NULL in a new row and keep their value in an old one. All rows of a call
        are written in one transaction, together with what the journal holds.
        """
        return self._store({table: list(rows)})

    def _store(self, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
        """Rows of several tables, all or nothing: opening the file costs more than writing them."""
        clean = {table: [clean_row(table_named(table), row) for row in rows] for table, rows in found.items() if rows}
        if not clean:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._write([(table, row) for table, rows in clean.items() for row in rows])
        except StoreLockedError as locked:
            for table, rows in clean.items():
                self.journal.append(table, rows)
                _log.warning("%s The %d rows of %s are kept in %s.", locked, len(rows), table, self.journal.path)
            return False
        return True

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of a read-only query, one dict a row; values go in as bound parameters (`?` or `$name`)."""
        if self.journal.pending:
            self.drain()
        if not self.path.exists():
            raise MetricsError(f"no metrics store at {self.path}: expected a DuckDB file. Run the chain first.")
        with self._connection(read_only=True) as connection:
            try:
                cursor = connection.execute(sql, params if isinstance(params, Mapping) else list(params))
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except duckdb.Error as error:
                raise MetricsError(f"query failed: {str(error).splitlines()[0]} Query: {sql}") from error

    def drain(self) -> bool:
        """Write what the journal holds; False when the store is still locked."""
        try:
            self._write([])
        except StoreLockedError as locked:
            _log.warning("%s Rows wait in %s.", locked, self.journal.path)
            return False
        return True

    def record(self, *manifests: Manifest) -> None:
        """Write what each manifest says of itself: the same rows that `rebuild` reads back from its file."""
        self._store(_together(manifest.rows() for manifest in manifests))

    def forget(self, run: str) -> None:
        """Remove what is known of a run that was set aside; its backtests and its trials stay counted."""
        if not self.path.exists():
            return
        with self._connection(read_only=False) as connection, self.journal.draining() as waiting:
            self._transaction(connection, waiting)
            for table in TABLES.values():
                if "run" in table.key and table.name != TRIALS.name:
                    # identifiers come from the schema alone, values are bound
                    connection.execute(f'DELETE FROM "{table.name}" WHERE run = ?', [run])  # noqa: S608

    def rebuild(self, data_dir: Path | str) -> dict[str, int]:
        """Write the store anew from the files under `data_dir`; rows by table.

        The new store takes the place of the old one when it is whole. Files that cannot be read are left out with a
        warning that names them.

        Raises: StoreLockedError when another process has the store open
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._require_unlocked()
        with scratch(self.path.parent, self.path.name) as place:
            fresh = MetricsStore(place / self.path.name)
            fresh._store(_together(rows_of(Path(data_dir))))
            if not fresh.path.exists():
                fresh.drain()
            counts = {name: fresh.query(f'SELECT count(*) AS n FROM "{name}"')[0]["n"] for name in TABLES}  # noqa: S608
            with self._turn(shared=False):
                self.path.with_name(f"{self.path.name}.wal").unlink(missing_ok=True)
                os.replace(fresh.path, self.path)
        return counts

    def publish(self, path: Path | str) -> Path:
        """Write a snapshot of the store to `path` for reviewers and replace the one before atomically.

        The snapshot is a whole, checkpointed file without a write-ahead log, and read-only on disk. Readers of the
        store or of the old snapshot do not hinder it.
        """
        target = Path(path).resolve()
        if target == self.path.resolve():
            raise MetricsError(f"cannot publish {self.path} onto itself: expected another path. Choose e.g. a folder.")
        if self.journal.pending or not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.drain()
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch(target.parent, target.name) as place, self._turn(shared=True):
            snapshot = place / "snapshot.duckdb"
            self._until_unlocked(lambda: self._copy(snapshot)).close()
            snapshot.chmod(0o444)
            os.replace(snapshot, target)
        return target

    def _copy(self, snapshot: Path) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        try:
            # allowed_directories first: it cannot be set once external access is off and the configuration locked
            folders = ", ".join(_literal(f"{folder}/") for folder in (self.path.resolve().parent, snapshot.parent))
            connection.execute(f"SET allowed_directories = [{folders}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            connection.execute(f"ATTACH {_literal(self.path.resolve())} AS store (READ_ONLY)")
            connection.execute(f"ATTACH {_literal(snapshot)} AS snapshot")
            connection.execute("COPY FROM DATABASE store TO snapshot")
            connection.execute("DETACH snapshot")
            connection.execute("DETACH store")
        except BaseException:
            connection.close()
            snapshot.unlink(missing_ok=True)
            raise
        return connection

    def _write(self, entries: list[tuple[str, dict[str, Any]]]) -> None:
        with self._connection(read_only=False) as connection, self.journal.draining() as waiting:
            self._transaction(connection, waiting + entries)

    def _transaction(self, connection: duckdb.DuckDBPyConnection, entries: list[tuple[str, dict[str, Any]]]) -> None:
        """Bring the schema up to date and upsert the entries, all or nothing."""
        connection.execute("BEGIN")
        try:
            self._migrate(connection)
            for table, columns, rows in _batches(entries):
                _upsert(connection, table, columns, rows)
            connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(duckdb.Error):  # what failed may have ended the transaction already
                connection.execute("ROLLBACK")
            if isinstance(error, duckdb.Error):
                raise self._failure(error, f"nothing was written to {self.path}") from error
            raise

    def _require_unlocked(self) -> None:
        """Raise StoreLockedError when another process has the store open; a damaged file is nobody's."""
        try:
            with self._connection(read_only=False):
                pass
        except StoreLockedError:
            raise
        except MetricsError as error:
            _log.warning("%s It is written anew.", error)

    def _failure(self, error: duckdb.Error, what: str) -> Exception:
        """DuckDB's error as ours; one of the disk is the disk's, whatever it did to the store."""
        text = str(error).splitlines()[0]
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            if os.strerror(code).lower() in str(error).lower():
                return OSError(code, os.strerror(code), str(self.path))
        return MetricsError(f"{what}: {text}")

    def _migrate(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        found = connection.execute("SELECT max(version) FROM schema_version").fetchall()[0][0] or 0
        if found > SCHEMA_VERSION:
            raise MetricsError(
                f"the metrics store {self.path} has schema version {found}: expected at most {SCHEMA_VERSION}, this "
                "process's; a newer version of this project wrote to it meanwhile. Stop what still runs by the older "
                "one and begin it again by the newer; or move the file away and run `clstm rebuild-metrics` here."
            )
        for statement in migrations(TABLES, after=found, upto=SCHEMA_VERSION):
            connection.execute(statement)
        if found < SCHEMA_VERSION:
            connection.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])

    @contextmanager
    def _connection(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._turn(shared=read_only):
            connection = self._until_unlocked(
                lambda: duckdb.connect(str(self.path), read_only=read_only, config=dict(_CLOSED))
            )
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def _turn(self, *, shared: bool) -> Iterator[None]:
        """One writer of ours at a time, or several readers: DuckDB reads a file's head before it has locked it.

        Raises: StoreLockedError when the others do not end within `timeout_s`
        """
        with _process_lock(self.path), contextlib.ExitStack() as stack:
            began = time.monotonic()
            while True:
                try:
                    place = self.path.with_name(f"{self.path.name}.lock")
                    stack.enter_context(lock(place, f"the metrics store {self.path}", shared=shared))
                    break
                except OSError as error:
                    if error.errno not in (errno.EACCES, errno.EROFS):
                        raise
                    break  # a store that cannot be written beside is only read, by whoever looks at it
                except ArtifactError as held:
                    if (waited := time.monotonic() - began) >= self.timeout_s:
                        raise StoreLockedError(self.path, waited, held) from held
                    time.sleep(random.uniform(0.01, 0.05))
            yield

    def _until_unlocked(self, attempt: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
        started = time.monotonic()
        while True:
            try:
                return attempt()
            except duckdb.Error as error:
                waited = time.monotonic() - started
                if not _is_lock(error):
                    failure = self._failure(error, f"unreadable metrics store {self.path}")
                    if isinstance(failure, MetricsError):
                        failure = MetricsError(
                            f"{failure} Expected a DuckDB file. Run `clstm rebuild-metrics`: it is written anew from "
                            "the files of the runs."
                        )
                    raise failure from error
                if waited >= self.timeout_s:
                    raise StoreLockedError(self.path, waited, error) from error
                time.sleep(random.uniform(0.02, 0.15))


def _together(found: Iterable[Rows]) -> Rows:
    """Rows by table of several files, in their order."""
    rows_by_table: Rows = {}
    for rows_of_one in found:
        for table, rows in rows_of_one.items():
            rows_by_table.setdefault(table, []).extend(fitting(table, rows))
    return rows_by_table


def _is_lock(error: Exception) -> bool:
    text = str(error)
    return "Could not set lock" in text or "different configuration than existing" in text


def _literal(value: object) -> str:
    """A path as an SQL string; ATTACH and SET take no bound parameters."""
    return "'" + str(value).replace("'", "''") + "'"


def _process_lock(path: Path) -> threading.RLock:
    with _process_locks_guard:
        return _process_locks.setdefault(path.resolve(), threading.RLock())


def _batches(
    entries: list[tuple[str, dict[str, Any]]],
) -> Iterator[tuple[str, tuple[str, ...], list[list[Any]]]]:
    """Runs of rows with the same table and columns, in order, no key twice in one (a statement cannot update twice)."""
    table = ""
    columns: tuple[str, ...] = ()
    keys: set[tuple[Any, ...]] = set()
    rows: list[list[Any]] = []
    for name, row in entries:
        names = tuple(sorted(row))
        key = tuple(row[part] for part in TABLES[name].key)
        if (name, names) != (table, columns) or key in keys or len(rows) * max(1, len(names)) >= _CHUNK_VALUES:
            if rows:
                yield table, columns, rows
            table, columns, keys, rows = name, names, set(), []
        keys.add(key)
        rows.append([row[column] for column in names])
    if rows:
        yield table, columns, rows


def _upsert(connection: duckdb.DuckDBPyConnection, table: str, columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    key = TABLES[table].key
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join([f"({', '.join('?' * len(columns))})"] * len(rows))
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name not in key)
    action = f"UPDATE SET {changes}" if changes else "NOTHING"
    conflict = ", ".join(f'"{name}"' for name in key)
    # identifiers come from the schema alone, values are bound
    statement = f'INSERT INTO "{table}" ({names}) VALUES {marks} ON CONFLICT ({conflict}) DO {action}'  # noqa: S608
    connection.execute(statement, [value for row in rows for value in row])
