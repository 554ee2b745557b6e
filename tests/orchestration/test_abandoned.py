"""Runs that Dagster launched, and whose process is gone: they are closed at the next start; what may live is left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.events import EngineEventData

from clstm_core.artifacts.folder import is_locked, lock
from clstm_core.artifacts.manifests import RunStatus
from clstm_core.artifacts.places import Places
from clstm_core.train.status import RUNNING, STOPPED
from orchestration import abandoned, serve
from orchestration.abandoned import close_abandoned
from orchestration.home import DEV_LOCK, dagster_home

ROOT = Path(__file__).resolve().parents[2]
POOL = "gpu"
HOLD = """
import sys, time
from pathlib import Path
from clstm_core.artifacts.folder import lock
with lock(Path(sys.argv[1]), "run demo", shared=True):
    print("held", flush=True)
    time.sleep(600)
"""
JOB = """
import os, time
import dagster as dg

@dg.op(pool="gpu")
def waits():
    print("working", flush=True)
    time.sleep(600)

@dg.job(executor_def=dg.multiprocess_executor)
def chain():
    waits()

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        dg.execute_job(dg.reconstructable(chain), instance=instance)
"""


@pytest.fixture
def instance(tmp_path, monkeypatch):
    """The instance as the command makes it: on disk, with pools of one slot."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".dagster"))
    dagster_home()
    with dg.DagsterInstance.get() as found:
        found.event_log_storage.set_concurrency_slots(POOL, 1)
        yield found


@pytest.fixture
def launch(instance):
    """Adds a run in that state that holds the pool; its processes say their numbers."""

    def add(*processes, status=DagsterRunStatus.STARTED):
        run = DagsterRun(job_name="train_and_evaluate", status=status)
        instance.add_run(run)
        assert instance.event_log_storage.claim_concurrency_slot(POOL, run.run_id, "trained_policy").is_claimed
        for process in processes:
            instance.report_engine_event("Started process for run.", run, EngineEventData.in_process(process.pid))
        return run.run_id

    return add


@pytest.fixture
def begin():
    """Starts a process that lives until it is killed, or until the test ends."""
    begun = []

    def start(*command):
        line = [sys.executable, "-c", "import time; time.sleep(600)"] if not command else list(command)
        begun.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        return begun[-1]

    yield start
    for process in begun:
        kill(process)
        process.stdout.close()


@pytest.fixture
def hold(begin):
    """Starts a process that holds a lock."""

    def start(place):
        process = begin(sys.executable, "-c", HOLD, str(place))
        assert process.stdout.readline() == "held\n"
        return process

    return start


def kill(process):
    process.kill()
    process.wait()


def status(instance, run_id):
    return instance.get_run_by_id(run_id).status


def slots(instance):
    return [slot.run_id for slot in instance.event_log_storage.get_concurrency_info(POOL).claimed_slots]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (DagsterRunStatus.STARTED, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.STARTING, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED),
    ],
)
def test_a_dead_run_is_closed_and_its_slot_is_free(instance, launch, begin, before, after):
    worker = begin()
    dead = launch(worker, status=before)
    kill(worker)
    assert close_abandoned(instance) == [dead]
    assert status(instance, dead) == after
    assert slots(instance) == []
    assert close_abandoned(instance) == [], "once"


def test_a_living_one_is_left_alone_until_all_of_it_is_gone(instance, launch, begin):
    worker, step = begin(), begin()
    living = launch(worker, step)
    for process in (worker, step):
        assert close_abandoned(instance) == []
        assert status(instance, living) == DagsterRunStatus.STARTED
        assert slots(instance) == [living]
        kill(process)
    assert close_abandoned(instance) == [living]


def test_a_process_that_nobody_waited_for_is_dead(instance, launch, begin):
    worker = begin()
    dead = launch(worker)
    worker.kill()
    deadline = time.monotonic() + 10
    while close_abandoned(instance) != [dead]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert worker.returncode is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when a process began")
def test_a_number_that_another_process_has_now_proves_nothing(begin):
    process = begin()
    assert abandoned._lives(process.pid, time.time())
    assert not abandoned._lives(process.pid, time.time() - 60), "it began after that was said"


def test_a_run_whose_stage_holds_its_lock_may_live_in_another_container(instance, launch, begin, hold, tmp_path):
    worker = begin()
    run = launch(worker)
    kill(worker)
    stage = hold(tmp_path / "data" / "launches" / "demo" / f"stage.{run}.lock")
    assert close_abandoned(instance) == []
    kill(stage)
    assert close_abandoned(instance) == [run]


def test_runs_of_a_served_instance_are_its_code_servers(instance, launch, begin, hold, tmp_path):
    worker = begin()
    run = launch(worker)
    kill(worker)
    server = hold(tmp_path / ".dagster" / DEV_LOCK)
    assert close_abandoned(instance) == []
    kill(server)
    assert close_abandoned(instance) == [run]


def test_a_run_that_names_no_process_is_left_to_its_launcher(instance, launch):
    run = launch()
    assert close_abandoned(instance) == []
    assert slots(instance) == [run]


def test_a_run_that_ended_while_it_was_looked_at_stays_what_it_is(instance, launch):
    run = launch(status=DagsterRunStatus.SUCCESS)
    assert not abandoned.close(instance, run)
    assert status(instance, run) == DagsterRunStatus.SUCCESS


def test_clstm_dev_closes_a_killed_run_before_it_serves(instance, tmp_path, capsys, begin):
    """A real run of Dagster's own: what its processes say of themselves is what is read here."""
    (tmp_path / "job.py").write_text(JOB)
    worker = begin(sys.executable, str(tmp_path / "job.py"))
    assert worker.stdout.readline() == "working\n"
    (run,) = instance.get_runs()
    assert slots(instance) == [run.run_id]
    serve._close_dead()
    assert status(instance, run.run_id) == DagsterRunStatus.STARTED
    numbers = {number for number, _ in abandoned._processes(instance, run.run_id)}
    assert worker.pid in numbers
    assert len(numbers) == 2, "the run's worker and its step"
    for number in numbers - {worker.pid}:
        os.kill(number, 9)
    kill(worker)
    serve._close_dead()
    assert status(instance, run.run_id) in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    assert slots(instance) == []
    assert f"the process of launch {run.run_id[:8]} (chain) is gone" in capsys.readouterr().out


def test_clstm_dev_says_of_a_killed_training_that_it_is_stopped(instance, tmp_path):
    run = Places(tmp_path / "data").run("demo")
    RunStatus(run="demo", status=RUNNING).write(run.status)  # as a killed one leaves it
    serve._close_dead()
    assert json.loads(run.status.read_text())["status"] == STOPPED


def test_a_training_whose_trainer_is_about_to_start_is_not_stopped(instance, tmp_path):
    """Python and its market take seconds, or minutes: what any other launch said meanwhile would stay until the end."""
    places = Places(tmp_path / "data")
    run = places.run("demo")
    RunStatus(run="demo", status=RUNNING).write(run.status)
    with lock(places.root / "launches" / "demo" / "stage.id.lock", "run demo", shared=True):
        serve._close_dead()
        assert json.loads(run.status.read_text())["status"] == RUNNING
    serve._close_dead()
    assert json.loads(run.status.read_text())["status"] == STOPPED


def test_the_lock_of_clstm_dev_is_free_when_nobody_serves(instance, tmp_path):
    assert not is_locked(tmp_path / ".dagster" / DEV_LOCK)


def test_slots_of_a_run_whose_worker_is_killed_are_freed_by_dagster(instance):
    waits = instance.run_monitoring_settings["free_slots_after_run_end_seconds"]
    assert waits + instance.run_monitoring_poll_interval_seconds <= 60
