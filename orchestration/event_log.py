"""Dagster's own history, bounded: launches that ended long ago and whose results the UI no longer shows.

A launch leaves rows in the instance's tables, a file of events of its own, and a folder of what its steps wrote. All of
it goes; the tables' files keep their size, and what was freed in them is written to again.
"""

import re
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from dagster import AssetRecordsFilter, DagsterRunStatus, RunsFilter
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.schema import RunTagsTable

from assets.partitions import session_month, training_run
from assets.support import PARTITION_TAG
from orchestration.abandoned import lock_is_free
from orchestration.coordinator import UNFINISHED

DAY_S = 86_400.0
ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
CHUNK = 1000
LEFT_BEHIND = "a launch that is gone"
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # the index of all launches is a file among theirs


class Launch(NamedTuple):
    """A launch that may go: its id, its key or its job, and how much room its files take."""

    run_id: str
    name: str
    bytes: int


class Prunable(NamedTuple):
    """Launches that may go, and the keys of training runs that go with them."""

    launches: list[Launch]
    keys: list[str]


def prune_events(
    instance: dg.DagsterInstance, *, days: float, living: Collection[str] | None = None, dry_run: bool = False
) -> Prunable:
    """Delete launches that ended `days` ago, but those that hold the newest result of an asset or of one of its keys.

    Args:
        living: training runs that there are, where that is known: results of another one keep no launch, and its key
            goes with its last launch
    """
    before = time.time() - days * DAY_S
    gone = set() if living is None else _keys(instance) - set(living)
    shown = _shown(instance, gone)
    left = _left_behind(instance, before)
    records = instance.get_run_records()
    old = {
        record.dagster_run.run_id: record.dagster_run
        for record in records
        if record.dagster_run.status in ENDED
        and record.end_time is not None
        and record.end_time < before
        and record.dagster_run.run_id not in shown
    }
    named = [(run_id, _name(run)) for run_id, run in old.items()] + [(run_id, LEFT_BEHIND) for run_id in left]
    launches = [Launch(run_id, name, _bytes(instance, run_id)) for run_id, name in named]
    tags = {record.dagster_run.run_id: record.dagster_run.tags.get(PARTITION_TAG) for record in records}
    kept = {key for run_id, key in tags.items() if run_id not in old}
    keys = sorted({key for run_id, key in tags.items() if run_id in old and key in gone and key not in kept})
    if not dry_run:
        for launch in launches:
            _delete(instance, launch.run_id)
        for key in keys:
            instance.delete_dynamic_partition(str(training_run.name), key)
    return Prunable(launches, keys)


def at_work(instance: dg.DagsterInstance) -> set[str]:
    """Keys, or jobs, of the launches that wait or work; those whose process is known to be gone do not count."""
    return {_name(run) for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)) if not lock_is_free(run)}


def _name(run: dg.DagsterRun) -> str:
    return run.tags.get(PARTITION_TAG, run.job_name)


def _keys(instance: dg.DagsterInstance) -> set[str]:
    """Keys of training runs, but those that could be a month's as well: a month's files belong to no run."""
    return set(instance.get_dynamic_partitions(str(training_run.name))) - set(session_month.get_partition_keys())


def _shown(instance: dg.DagsterInstance, gone: set[str]) -> set[str]:
    """Launches whose materializations are the newest of their asset or partition, but of the keys that are gone."""
    kept: set[str] = set()
    for key in instance.all_asset_keys():
        seen: set[str | None] = set(gone)
        cursor = None
        while True:
            page = instance.fetch_materializations(AssetRecordsFilter(asset_key=key), limit=CHUNK, cursor=cursor)
            for record in page.records:  # the newest first
                partition = record.partition_key
                if partition not in seen:
                    seen.add(partition)
                    kept.add(record.run_id)
            if not page.has_more:
                break
            cursor = page.cursor
    return kept


def _left_behind(instance: dg.DagsterInstance, before: float) -> list[str]:
    """Launches of which nothing but an old file of events is there: they were deleted otherwise, or half."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    files = {name: Path(storage.path_for_shard(name)) for name in storage.get_all_run_ids() if _RUN_ID.fullmatch(name)}
    old = sorted(name for name, path in files.items() if path.stat().st_mtime < before)
    return [name for name in old if not instance.has_run(name)]


def _events(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """A launch's file of events, with the journals of a process that was killed while it wrote."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    place = Path(storage.path_for_shard(run_id))
    return sorted(place.parent.glob(f"{place.name}*"))


def _written(instance: dg.DagsterInstance, run_id: str) -> Path:
    """The folder of what a launch's steps wrote: their output, their results."""
    return Path(instance.storage_directory()) / run_id


def _bytes(instance: dg.DagsterInstance, run_id: str) -> int:
    written = [path for path in _written(instance, run_id).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in (*written, *_events(instance, run_id)))


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a launch, its file of events last: what was cut off before that, `_left_behind` finds."""
    instance.delete_run(run_id)
    _delete_rows(instance, run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    shutil.rmtree(_written(instance, run_id), ignore_errors=True)
    for path in _events(instance, run_id):
        path.unlink(missing_ok=True)


def _delete_rows(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete what Dagster leaves of a deleted launch in its tables: results of checks, and tags."""
    events, runs = instance.event_log_storage, instance.run_storage
    if isinstance(events, SqliteEventLogStorage):
        with events.index_connection() as tables:
            tables.execute(AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id == run_id))
    if isinstance(runs, SqliteRunStorage):
        with runs.connect() as tables:
            tables.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id == run_id))
