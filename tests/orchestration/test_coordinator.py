"""One launch of a run at a time: the second is refused where it is submitted, in words."""

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext

from assets.support import LOCK_TAG, PARTITION_TAG
from clstm_core.artifacts.folder import lock
from orchestration.coordinator import OneLaunchPerRun, refusal
from orchestration.home import TEMPLATE

REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("orchestration"), "__repository__")
ORIGIN = RemoteJobOrigin(REPOSITORY, "train_and_evaluate")


@pytest.fixture
def instance():
    """An instance with the settings of this project's, but for where it lies."""
    with dg.instance_for_test(overrides=yaml.safe_load(TEMPLATE.read_text())) as found:
        yield found


@pytest.fixture
def submit(instance):
    """Submits a launch of a run as the UI, a schedule or a sensor does; what became of it."""

    @dg.job
    def train_and_evaluate():
        pass

    def create(run=None):
        tags = {PARTITION_TAG: run} if run else {}
        return instance.create_run_for_job(train_and_evaluate, tags=tags, remote_job_origin=ORIGIN)

    def submit(run=None, launch=None):
        launch = launch or create(run)
        return instance.run_coordinator.submit_run(SubmitRunContext(launch, workspace=None))

    submit.create = create
    return submit


def words(instance, launch):
    return next(
        entry.dagster_event.message
        for entry in instance.all_logs(launch.run_id)
        if entry.dagster_event and entry.dagster_event.event_type == dg.DagsterEventType.RUN_FAILURE
    )


def test_the_settings_name_the_coordinator(instance):
    assert isinstance(instance.run_coordinator, OneLaunchPerRun)
    assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2


def test_the_second_launch_of_a_run_is_refused_and_another_is_not(instance, submit):
    first, second, other = submit("one"), submit("one"), submit("two")
    assert [launch.status for launch in (first, second, other)] == [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.QUEUED,
    ]
    assert f"run one is at work in launch {first.run_id[:8]} (train_and_evaluate)" in words(instance, second)


def test_of_launches_that_are_made_at_once_the_first_is_queued(instance, submit):
    """Two clicks: both are there before either is submitted, and each saw the other. Nobody would have trained."""
    one, other = submit.create("one"), submit.create("one")
    assert refusal(instance, "one", but=one.run_id) is None
    assert "run one is at work in launch" in refusal(instance, "one", but=other.run_id)
    assert "run one is at work in launch" in refusal(instance, "one")
    assert submit(launch=other).status == dg.DagsterRunStatus.FAILURE
    assert submit(launch=one).status == dg.DagsterRunStatus.QUEUED


def test_when_the_first_has_ended_the_next_is_queued(instance, submit):
    instance.report_run_failed(submit("one"))
    assert submit("one").status == dg.DagsterRunStatus.QUEUED


def test_a_launch_whose_process_was_killed_hinders_nobody_and_is_closed(instance, submit, tmp_path):
    """A `clstm demo` that died with its machine, and then a launch of its run from the UI."""
    held = tmp_path / "lock"
    tags = {PARTITION_TAG: "one", LOCK_TAG: str(held)}
    killed = dg.DagsterRun(job_name="train_and_evaluate", status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.add_run(killed)
    with lock(held, "run one"):
        assert submit("one").status == dg.DagsterRunStatus.FAILURE
    assert submit("one").status == dg.DagsterRunStatus.QUEUED
    assert instance.get_run_by_id(killed.run_id).status == dg.DagsterRunStatus.FAILURE


def test_launches_of_no_run_do_not_hinder_each_other(submit):
    assert [submit().status for _ in range(2)] == [dg.DagsterRunStatus.QUEUED] * 2


def test_a_launch_that_is_submitted_twice_is_one(instance, submit):
    """The daemon does so when it was interrupted."""
    first = submit("one")
    again = instance.run_coordinator.submit_run(SubmitRunContext(first, workspace=None))
    assert again.status == dg.DagsterRunStatus.QUEUED
