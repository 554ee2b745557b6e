"""Runs whose process is gone: they are marked as ended, and what they held falls free.

Dagster does not: its default launcher cannot look at a run's process. A run that stays `started` keeps its slot of a
pool, its key, and one of the places for runs, for good.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType

from assets.support import LOCK_TAG
from clstm_core.artifacts.folder import is_locked
from orchestration.home import DEV_LOCK, dagster_home, project_home

GONE = "The process of this run ended without saying why."
SLACK_S = 5.0  # a process begins seconds before it says its number: what a corrected clock may add to that

_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def close_abandoned(instance: dg.DagsterInstance, mine: str = "") -> list[str]:
    """Mark runs whose process is gone as ended, and free the pool slots of every run that no longer works.

    A run of the command line holds a lock for as long as its process lives: a process number proves nothing, a new
    container reuses it. A run that Dagster launched holds none: `may_live` judges it, and only while no `clstm dev`
    serves this instance, whose code server looks after its own. What waits in the queue is left there.

    Args:
        mine: the lock that this process holds: another run that names it is dead

    Returns: the ids of the runs that were marked
    """
    served = is_locked(dagster_home() / DEV_LOCK)
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        if held := run.tags.get(LOCK_TAG):
            dead = held == mine or lock_is_free(run)
        else:
            dead = not served and not may_live(instance, run.run_id)
        if dead and close(instance, run.run_id):
            closed.append(run.run_id)
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return closed
    for pool in storage.get_concurrency_keys():
        for run_id in {slot.run_id for slot in storage.get_concurrency_info(pool).claimed_slots}:
            holder = instance.get_run_by_id(run_id)
            if holder is None or holder.is_finished:
                storage.free_concurrency_slots_for_run(run_id)
    return closed


def lock_is_free(run: dg.DagsterRun) -> bool:
    """Whether a run of the command line lost its process; False for a run that never held a lock."""
    held = run.tags.get(LOCK_TAG)
    return held is not None and not is_locked(Path(held))


def may_live(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run without a lock may still be at work; only what cannot be counts as dead.

    The processes of a run, its worker and its steps, say their numbers in its events. It is dead when each of them is
    gone: no process has that number, or the one that has it began after it was said, so that it is another one. The
    numbers of another container mean nothing here, but the locks of a training run's stages are seen from everywhere.
    A run that names no process counts as alive: it is about to, or another launcher's.
    """
    said = list(_processes(instance, run_id))
    if not said or any(_lives(number, at) for number, at in said):
        return True
    stages = (project_home() / "data" / "launches").glob(f"*/stage.{run_id}.lock")
    return any(is_locked(stage) for stage in stages)


def close_dead_runs() -> None:
    """Say of training runs whose process was killed that they are stopped, in their folders and in the store."""
    from clstm_core.artifacts.places import Places
    from clstm_core.store.store import MetricsStore
    from clstm_core.train.status import close_dead

    data = project_home() / "data"
    if dead := close_dead(Places(data)):
        MetricsStore(data / "metrics.duckdb").record(*dead)


def close(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Mark a dead run as ended; False where it has ended meanwhile, which it says before its process is gone."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return False
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, GONE)
    else:
        instance.report_run_failed(run, GONE)
    return True


def _processes(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[int, float]]:
    """The numbers of a run's processes, and when each was said (seconds of Unix time)."""
    kinds = {DagsterEventType.ENGINE_EVENT, DagsterEventType.STEP_WORKER_STARTED}
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.dagster_event
        metadata = getattr(event.event_specific_data, "metadata", None) if event is not None else None
        number = str(metadata["pid"].value) if metadata and "pid" in metadata else ""
        if number.isdecimal():
            yield int(number), entry.timestamp


def _lives(number: int, said_at: float) -> bool:
    """Whether the process that said this number then may still live; True where the system does not tell.

    Units: `said_at` in seconds of Unix time
    """
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    if sys.platform != "linux":
        return True
    try:
        fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except OSError:
        return True
    state, began = fields[0], int(fields[19]) / os.sysconf("SC_CLK_TCK")  # ticks since the machine started
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return state not in "ZX" and started + began <= said_at + SLACK_S
