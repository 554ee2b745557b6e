"""What ends `clstm demo`, and its child with it: Ctrl-C, SIGTERM, a closed terminal, a second Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration import launch

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import subprocess, sys
import typer
from clstm_core.recipe import Recipe
from orchestration import launch

begin = subprocess.Popen

def start(command, **settings):
    if "orchestration.chain" not in command:
        return begin(command, **settings)
    child = begin([sys.executable, "-c", sys.argv[1]], **settings)
    print("child", child.pid, flush=True)
    return child

subprocess.Popen = start
launch._register = lambda run: None
try:
    launch.execute("train_and_evaluate", "demo", Recipe())
except typer.Exit as ended:
    raise SystemExit(ended.exit_code)
"""
OBEDIENT = """
import pathlib, os, time
place = pathlib.Path(os.environ["CLSTM_HOME"])
try:
    (place / "ready").touch()
    time.sleep(600)
except KeyboardInterrupt:
    (place / "finished what it wrote").touch()
"""
DEAF = """
import pathlib, os, signal, time
def hear(number, frame):
    (pathlib.Path(os.environ["CLSTM_HOME"]) / "heard").touch()
signal.signal(signal.SIGINT, hear)
(pathlib.Path(os.environ["CLSTM_HOME"]) / "ready").touch()
while True:
    time.sleep(600)
"""


@pytest.fixture
def command(tmp_path):
    """Starts the command with a child that works by itself; the command's process and the child's number."""
    begun = []

    def start(child, *, ignored=()):
        environment = {**os.environ, "CLSTM_HOME": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, child],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored],
        )
        number = next(int(line.split()[1]) for line in process.stdout if line.startswith("child "))
        begun.append((process, number))
        until(tmp_path / "ready")
        return process, number

    yield start
    for process, number in begun:
        process.kill()
        process.communicate()
        if lives(number):
            os.killpg(number, signal.SIGKILL)


def until(place):
    deadline = time.monotonic() + 20
    while not place.exists():
        assert time.monotonic() < deadline, f"no {place.name}"
        time.sleep(0.02)


def lives(number):
    """Whether a process is there; one that is dead and that nobody waited for is not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the child in /proc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_child_and_the_command_in_a_sentence(command, tmp_path, number):
    process, child = command(OBEDIENT)
    process.send_signal(number)
    _, said = process.communicate(timeout=15)
    assert process.returncode == 130
    assert said == "error: interrupted. The same command resumes run demo from its newest checkpoint.\n"
    assert not lives(child)
    assert (tmp_path / "finished what it wrote").exists()


def test_a_closed_terminal_stops_nothing_that_nohup_keeps(command, tmp_path):
    process, child = command(OBEDIENT, ignored=[signal.SIGHUP])
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.5)
    assert lives(child)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == 130
    assert not lives(child)


def test_a_shell_that_ignores_interrupts_for_what_runs_behind_it_is_not_obeyed(command):
    process, child = command(OBEDIENT, ignored=[signal.SIGINT])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == 130
    assert not lives(child)


def test_a_second_interrupt_kills_a_child_that_does_not_listen(command, tmp_path):
    process, child = command(DEAF)
    process.send_signal(signal.SIGINT)
    until(tmp_path / "heard")
    assert process.poll() is None, "it waits"
    assert lives(child)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)  # half of what one that does not listen is given
    assert process.returncode == 130
    assert said.startswith("error: interrupted.")
    assert said.count("\n") == 1
    assert not lives(child)


def test_signals_that_come_twice_by_themselves_leave_the_child_its_time(command, tmp_path):
    """make hands SIGTERM on to what it started, and a closing shell its SIGHUP."""
    process, child = command(DEAF)
    process.send_signal(signal.SIGTERM)
    until(tmp_path / "heard")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.5)
    assert lives(child)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert not lives(child)


@pytest.mark.parametrize(
    ("free", "log", "words"),
    [
        (0, "", "is full (0.0 MB free)"),
        (10**12, "OSError: [Errno 28] No space left on device", "is full (1,000,000.0 MB free)"),
        (10**12, "sqlite3.OperationalError: database or disk is full", "clstm prune --dry-run"),
        (10**12, "killed", "ended without an outcome (exit -9)"),
    ],
)
def test_a_chain_that_could_not_say_why_it_ended_had_a_full_disk_or_is_named(tmp_path, monkeypatch, free, log, words):
    place = tmp_path / "log"
    place.write_text(log)
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert words in launch.silent_end("demo", place, -9)
