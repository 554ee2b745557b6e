"""Whoever is killed or told to stop, a trainer that Dagster started has saved its run and is gone soon after."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from clstm_core.artifacts.folder import is_locked
from clstm_core.artifacts.places import Places
from clstm_core.checkpoint import newest_checkpoint, verify_checkpoint
from orchestration import abandoned
from orchestration.failures import kept_failures
from orchestration.home import dagster_home

ROOT = Path(__file__).resolve().parents[2]
RUN = "long"
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")

WORKER = """
import dagster as dg
job = dg.build_reconstructable_job("orchestration.chain", "job_named", ("train_and_evaluate",))
with dg.DagsterInstance.get() as instance:
    only = [dg.AssetKey("trained_policy")]
    tags = {"dagster/partition": "long"}
    dg.execute_job(job, instance=instance, asset_selection=only, tags=tags, raise_on_error=False)
"""
COMMAND = """
import subprocess, sys
import typer
from clstm_core.recipe import Recipe
from orchestration import launch

begin = subprocess.Popen

def start(command, **settings):
    return begin([sys.executable, "-c", sys.argv[1]] if "orchestration.chain" in command else command, **settings)

subprocess.Popen = start
try:
    launch.execute("train_and_evaluate", "long", Recipe())
except typer.Exit as ended:
    raise SystemExit(ended.exit_code)
"""


@pytest.fixture
def run(begun, tmp_path, monkeypatch):
    """The folder of a run that is begun, in an installation of its own."""
    shutil.copytree(begun, tmp_path / "data")
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".dagster"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Places(tmp_path / "data").run(RUN)


@pytest.fixture
def instance(run):
    dagster_home()
    with dg.DagsterInstance.get() as found:
        found.add_dynamic_partitions("training_run", [RUN])
        yield found


@pytest.fixture
def begin(run, instance):
    """Starts a process that launches the training, and waits until that is under way; the two processes' numbers."""
    begun = []

    def start(*code):
        process = subprocess.Popen(
            [sys.executable, "-c", *code],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        until(lambda: (run.path / "metrics.jsonl").is_file() or process.poll() is not None, 120)
        assert process.poll() is None, process.stderr.read()
        return process, int((run.path / ".lock").read_text())

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stderr.close()


def lives(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def until(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_saved(run):
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return verify_checkpoint(newest_checkpoint(run.path)).iteration == rows[-1]["iteration"] > 0


def processes(instance):
    """Numbers of the processes that the newest launch's events name: its worker and its step."""
    (launch,) = instance.get_runs(limit=1)
    return launch.run_id, {number for number, _ in abandoned._processes(instance, launch.run_id)}


def parent_of(number):
    return int(Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_killed_trainer_fails_the_launch_in_a_sentence(run, instance, begin):
    worker, trainer = begin(WORKER)
    os.kill(trainer, signal.SIGKILL)
    worker.wait(60)
    launch, _ = processes(instance)
    assert instance.get_run_by_id(launch).status == DagsterRunStatus.FAILURE
    (said,) = kept_failures(instance, launch)
    assert said.startswith("the trainer of run long was killed by SIGKILL")
    assert not is_locked(run.path / ".lock")


def test_a_killed_step_leaves_a_checkpoint_and_no_trainer(run, instance, begin):
    worker, trainer = begin(WORKER)
    step = parent_of(trainer)
    assert step in processes(instance)[1] - {worker.pid}
    os.kill(step, signal.SIGKILL)
    until(lambda: not lives(trainer))
    assert is_saved(run)
    worker.wait(60)
    launch, _ = processes(instance)
    assert instance.get_run_by_id(launch).status == DagsterRunStatus.FAILURE


def test_a_killed_launch_leaves_a_checkpoint_and_nothing_that_works(run, instance, begin):
    worker, trainer = begin(WORKER)
    step = parent_of(trainer)
    worker.kill()
    until(lambda: not lives(trainer) and not lives(step))
    assert is_saved(run)
    assert json.loads(run.status.read_text())["status"] == "stopped"


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_of_the_command(run, begin, times):
    command, trainer = begin(COMMAND, WORKER)
    for _ in range(times):
        command.send_signal(signal.SIGINT)
        time.sleep(0.2)
    command.wait(60)
    assert command.returncode == 130
    until(lambda: not lives(trainer))
    assert is_saved(run)


def test_the_uis_terminate_saves_and_ends(run, instance):
    """Through Dagster's own code server, launcher and queue, as the UI does it."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import PythonFileTarget

    from orchestration.chain import job_named

    only = {dg.AssetKey("trained_policy")}
    code = PythonFileTarget(
        python_file=str(ROOT / "orchestration" / "definitions.py"),
        attribute=None,
        working_directory=str(ROOT),
        location_name="orchestration",
    )
    with WorkspaceProcessContext(instance, code) as context:
        workspace = context.create_request_context()
        repository = workspace.get_code_location("orchestration").get_repository("__repository__")
        remote = repository.get_full_job("train_and_evaluate")
        launch = instance.create_run_for_job(
            job_named("train_and_evaluate").get_subset(asset_selection=only),
            tags={"dagster/partition": RUN},
            asset_selection=frozenset(only),
            remote_job_origin=remote.get_remote_origin(),
            job_code_origin=remote.get_python_origin(),
        )
        instance.launch_run(launch.run_id, workspace)
        until((run.path / "metrics.jsonl").is_file, 120)
        trainer = int((run.path / ".lock").read_text())
        assert instance.run_coordinator.cancel_run(launch.run_id)
        until(lambda: instance.get_run_by_id(launch.run_id).is_finished)
    assert instance.get_run_by_id(launch.run_id).status == DagsterRunStatus.CANCELED
    assert not lives(trainer)
    assert is_saved(run)
    assert json.loads(run.status.read_text())["status"] == "stopped"
