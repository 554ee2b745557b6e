"""A launch that was asked for by itself and failed: asked for again, by another run key, and not for ever.

Dagster launches a run key once, whatever came of it. Its own retries (`run_retries`) begin at once, as often as not
into the same trouble, and only where the instance's file says so; a sensor looks again anyway, and a schedule ticks
again.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG

ATTEMPTS = 3
"""Launches for one state of the files: what fails as often fails for no passing reason."""

NONE_NEW = "No file is new."

PAUSE = timedelta(minutes=10)
"""Between the end of a launch that failed and the next one; twice as long after the second."""


def asked_again(
    instance: dg.DagsterInstance, first: str, now: datetime, what: str = "for this"
) -> tuple[int | None, str]:
    """Number of the attempt that is due after the launch of that run key failed, 2 or more; else None, and why.

    A launch that a person cancelled or deleted is left alone, as is one that is at work.

    Args:
        what: that launches failed on or for, in words
    """
    for attempt in range(1, ATTEMPTS + 1):
        records = instance.get_run_records(dg.RunsFilter(tags={RUN_KEY_TAG: attempt_key(first, attempt)}), limit=1)
        if not records:
            return (attempt, "") if attempt > 1 else (None, NONE_NEW)
        if records[0].dagster_run.status != dg.DagsterRunStatus.FAILURE:
            return None, NONE_NEW
        due = _ended(records[0]) + attempt * PAUSE
        if attempt < ATTEMPTS and now < due:
            return None, f"The launch failed: it is asked for again from {due:%H:%M} UTC on."
    return None, f"{ATTEMPTS} launches failed {what}: expected one to succeed. Launch it yourself to see why."


def newest_launch(instance: dg.DagsterInstance, first: str) -> dg.DagsterRun | None:
    """The launch of the last attempt that was made; None where none was asked for yet."""
    found = None
    for attempt in range(1, ATTEMPTS + 1):
        runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: attempt_key(first, attempt)}), limit=1)
        found = runs[0] if runs else found
    return found


def attempt_key(first: str, attempt: int) -> str:
    """Run key of an attempt; the first one's is what the others begin with."""
    return first if attempt == 1 else f"{first}-{attempt}"


def _ended(record: dg.RunRecord) -> datetime:
    return record.update_timestamp if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)
