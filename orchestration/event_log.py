"""Dagster's own history, bounded: launches that ended long ago and whose results the UI no longer shows."""

import time

import dagster as dg
from dagster import AssetRecordsFilter, DagsterRunStatus, RunsFilter

DAY_S = 86_400.0
ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
CHUNK = 1000


def prune_events(instance: dg.DagsterInstance, *, days: float, dry_run: bool = False) -> list[str]:
    """Delete launches that ended `days` ago, but those that hold the newest result of an asset or of one of its keys.

    Returns: ids of the launches
    """
    before = time.time() - days * DAY_S
    shown = _shown(instance)
    records = instance.get_run_records(RunsFilter(statuses=ENDED))
    old = [record for record in records if record.end_time is not None and record.end_time < before]
    ids = [record.dagster_run.run_id for record in old if record.dagster_run.run_id not in shown]
    if not dry_run:
        for run_id in ids:
            instance.delete_run(run_id)
    return ids


def _shown(instance: dg.DagsterInstance) -> set[str]:
    """Launches whose materializations are the newest of their asset or partition."""
    kept: set[str] = set()
    for key in instance.all_asset_keys():
        seen: set[str | None] = set()
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
