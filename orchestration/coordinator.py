"""Who may be queued: one launch of a training run at a time, whoever launches it."""

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

from assets.support import PARTITION_TAG
from orchestration.abandoned import close, lock_is_free

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def refusal(instance: dg.DagsterInstance, run: str, *, but: str = "") -> str | None:
    """Why a launch of this run is not begun: another works on it, or waits to; None where there is none.

    A launch of the command line whose process is gone does not count, and is marked as ended: it would keep the run's
    place in the queue for good.

    Args:
        but: id of the launch that is to begin: it does not count, nor do those made after it that were not submitted
    """
    mine = instance.get_run_record_by_id(but) if but else None
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED, tags={PARTITION_TAG: run})):
        launch = record.dagster_run
        later = mine is not None and record.storage_id > mine.storage_id
        if launch.run_id == but or (later and launch.status == dg.DagsterRunStatus.NOT_STARTED):
            continue
        if not lock_is_free(launch):
            return (
                f"run {run} is at work in launch {launch.run_id[:8]} ({launch.job_name}): expected one launch of a run "
                "at a time. Wait for it, terminate it, or pass another name."
            )
        close(instance, launch.run_id)
    return None


class OneLaunchPerRun(QueuedRunCoordinator):
    """Dagster's queue, which a second launch of a partition does not enter: it fails at once, and says why."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue the launch, or fail it."""
        launch = context.dagster_run
        run = launch.tags.get(PARTITION_TAG)
        why = refusal(self._instance, run, but=launch.run_id) if run else None
        if why is None or launch.status != dg.DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        self._instance.report_run_failed(launch, f"Refused: {why}")
        refused = self._instance.get_run_by_id(launch.run_id)
        assert refused is not None
        return refused
