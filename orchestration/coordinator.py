"""Who may be queued: one launch of a training run at a time, whoever launches it."""

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

from assets.support import PARTITION_TAG

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def at_work(instance: dg.DagsterInstance, run: str, *, but: str = "") -> str | None:
    """What is to be said of a launch that works on this run already, or waits to; None where there is none.

    Args:
        but: id of a launch that does not count
    """
    found = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED, tags={PARTITION_TAG: run}))
    others = [launch for launch in found if launch.run_id != but]
    if not others:
        return None
    return (
        f"run {run} is at work in launch {others[0].run_id[:8]} ({others[0].job_name}): expected one launch of a run "
        "at a time. Wait for it, terminate it, or pass another name."
    )


class OneLaunchPerRun(QueuedRunCoordinator):
    """Dagster's queue, which a second launch of a partition does not enter: it fails at once, and says why."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue the launch, or fail it."""
        launch = context.dagster_run
        run = launch.tags.get(PARTITION_TAG)
        refusal = at_work(self._instance, run, but=launch.run_id) if run else None
        if refusal is None or launch.status != dg.DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        self._instance.report_run_failed(launch, f"Refused: {refusal}")
        refused = self._instance.get_run_by_id(launch.run_id)
        assert refused is not None
        return refused
