"""The chain's own process: what a killed one leaves behind is cleared, and what a living one works on is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRun, DagsterRunStatus

from assets.support import LOCK_TAG
from clstm_core.artifacts.folder import is_locked, lock
from orchestration.chain import close_abandoned
from orchestration.home import dagster_home
from orchestration.launch import _waiting_for

ROOT = Path(__file__).resolve().parents[2]
POOL = "market"
HOLD = """
import sys, time
from pathlib import Path
from clstm_core.artifacts.folder import lock
with lock(Path(sys.argv[1]), "run demo"):
    print("held", flush=True)
    time.sleep(600)
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
    """Adds a run in that state, with its lock named where there is one, and a slot of the pool where it holds one."""

    def add(status=DagsterRunStatus.STARTED, *, held=None, slot=True):
        run = DagsterRun(job_name="demo", status=status, tags={LOCK_TAG: str(held)} if held else {})
        instance.add_run(run)
        if slot:
            claim = instance.event_log_storage.claim_concurrency_slot(POOL, run.run_id, "market_quotes")
            assert claim.is_claimed
        return run.run_id

    return add


@pytest.fixture
def holder(tmp_path):
    """A living process that holds a lock."""
    place = tmp_path / "living.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process, place
    process.kill()
    process.wait()
    process.stdout.close()


def status(instance, run_id):
    return instance.get_run_by_id(run_id).status


def slots(instance):
    return [slot.run_id for slot in instance.event_log_storage.get_concurrency_info(POOL).claimed_slots]


def test_the_pools_are_kept_on_disk(instance):
    assert instance.event_log_storage.supports_global_concurrency_limits


@pytest.mark.parametrize("left", ["a file", "no file"])
def test_a_run_whose_lock_is_free_has_failed_and_its_slot_is_free(instance, launch, tmp_path, left):
    place = tmp_path / "dead.lock"
    if left == "a file":
        place.write_text("1")  # the number of a process that lives, in this container
    dead = launch(held=place)
    assert slots(instance) == [dead]
    close_abandoned(instance)
    assert status(instance, dead) == DagsterRunStatus.FAILURE
    assert slots(instance) == []
    events = [record.event_log_entry.dagster_event for record in instance.get_records_for_run(dead).records]
    said = [event.message or "" for event in events if event is not None]
    assert any("ended without saying why" in message for message in said)


def test_a_run_of_a_living_process_is_left_alone_until_that_is_killed(instance, launch, holder):
    process, place = holder
    living = launch(held=place)
    close_abandoned(instance)
    assert status(instance, living) == DagsterRunStatus.STARTED
    assert slots(instance) == [living]
    process.kill()
    process.wait()
    close_abandoned(instance)
    assert status(instance, living) == DagsterRunStatus.FAILURE
    assert slots(instance) == []


def test_an_earlier_run_that_names_the_lock_i_hold_is_dead(instance, launch, tmp_path):
    place = tmp_path / "mine.lock"
    dead = launch(held=place)
    with lock(place, "run demo"):
        close_abandoned(instance)
        assert status(instance, dead) == DagsterRunStatus.STARTED, "somebody holds it, who is not known to be me"
        close_abandoned(instance, mine=str(place))
    assert status(instance, dead) == DagsterRunStatus.FAILURE
    assert slots(instance) == []


def test_a_run_without_a_lock_is_another_launchers(instance, launch):
    run = launch(held=None)
    close_abandoned(instance)
    assert status(instance, run) == DagsterRunStatus.STARTED
    assert slots(instance) == [run]


@pytest.mark.parametrize("end", [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED])
def test_a_finished_runs_leftover_slots_are_freed(instance, launch, end):
    finished = launch(end)
    assert slots(instance) == [finished]
    close_abandoned(instance)
    assert slots(instance) == []
    assert status(instance, finished) == end
    waiting = instance.event_log_storage.claim_concurrency_slot(POOL, launch(slot=False), "market_quotes")
    assert waiting.is_claimed, "the next one goes on"


def test_a_chain_that_holds_the_pool_waits_for_nobody(instance, launch):
    """Its own step stays among the pool's pending ones while it works."""
    mine = launch()
    info = instance.event_log_storage.get_concurrency_info(POOL)
    assert [step.run_id for step in info.pending_steps] == [mine]
    assert _waiting_for() == ""
    other = launch(slot=False)
    instance.event_log_storage.claim_concurrency_slot(POOL, other, "market_quotes")
    assert _waiting_for() == f"waiting for pool {POOL}, held by run {mine[:8]}"


def test_slots_of_a_run_that_was_deleted_are_freed(instance, launch):
    gone = launch()
    instance.run_storage.delete_run(gone)
    close_abandoned(instance)
    assert slots(instance) == []


def test_nothing_to_close_changes_nothing(instance, launch):
    queued = launch(DagsterRunStatus.NOT_STARTED, slot=False)
    close_abandoned(instance)
    close_abandoned(instance)
    assert status(instance, queued) == DagsterRunStatus.NOT_STARTED


def the_chain_of(request: Path) -> int | None:
    """Process number of the chain that works on a request file."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if b"orchestration.chain" in words and str(request).encode() in words:
            return int(entry.parent.name)
    return None


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for the chain's process in /proc")
def test_a_killed_command_leaves_its_run_locked_for_as_long_as_the_chain_lives(tmp_path):
    environment = {**os.environ, "CLSTM_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment.pop("DAGSTER_HOME", None)
    flags = ["demo", "--recipe", "smoke", "--source", "simulated", "--snapshots", "260", "--run", "one"]
    command = [sys.executable, "-m", "orchestration.cli", *flags]
    folder = tmp_path / "data" / "launches" / "one"
    parent = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    chain = None
    try:
        deadline = time.monotonic() + 60
        while (chain := the_chain_of(folder / "request.json")) is None:
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        parent.kill()
        parent.wait()
        assert is_locked(folder / "lock")
        second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith("error: run one is in use by another process.")
        assert second.stderr.count("\n") == 1
        assert the_chain_of(folder / "request.json") == chain, "the second command disturbed nothing"
        assert is_locked(folder / "lock")
    finally:
        parent.kill()
        if chain is not None:
            os.killpg(chain, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_locked(folder / "lock"):
        assert time.monotonic() < deadline, "a killed chain still holds its run"
        time.sleep(0.05)
