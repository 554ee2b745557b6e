"""A trainer in a process of its own: the same run to the bit, its words in its caller's mouth, and no orphan."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from clstm_core.artifacts.folder import is_locked, lock
from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.checkpoint import load_checkpoint, newest_checkpoint
from clstm_core.errors import TrainingError
from clstm_core.train import apart
from clstm_core.train.command import main
from clstm_core.train.envs import envs_of
from clstm_core.train.heartbeat import HEARTBEAT, heartbeat_age
from clstm_core.train.inputs import config_of
from clstm_core.train.loop import train

ROOT = Path(__file__).resolve().parents[2]
CALLER = """
import sys
from pathlib import Path
from clstm_core.artifacts.places import RunFolder
from clstm_core.train.apart import train_apart
train_apart(RunFolder(Path(sys.argv[1])), threads=1, report=lambda row: print(row["iteration"], flush=True), warn=print)
"""


@pytest.fixture
def places(begun, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    return Places(shutil.copytree(begun, tmp_path / "data"))


def apart_of(run, report=lambda row: None, warn=lambda words: None):
    apart.train_apart(run, threads=1, report=report, warn=warn)


def trainer_of(run):
    """Number of the process that trains a run."""
    assert is_locked(run.path / ".lock")
    return int((run.path / ".lock").read_text())


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


def iterations(run):
    return [json.loads(line)["iteration"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def is_saved(run):
    """Whether the newest checkpoint is of the last iteration that was finished."""
    return load_checkpoint(newest_checkpoint(run.path)).meta["iteration"] == iterations(run)[-1]


class Ended(BaseException):
    """As Dagster's interruption is one."""


def at_first(do):
    """Something to do at the first row alone: a trainer that was ended is not there at the next, if there is one."""
    waiting = [do]
    return lambda row: waiting.pop()() if waiting else None


def ends_after(row):
    if row["iteration"] >= 3:
        raise Ended


def test_it_is_the_same_run_to_the_bit_also_resumed(places, tmp_path, same_run):
    run, seen = places.run("short"), []
    shutil.copytree(places.root, tmp_path / "here")
    here = Places(tmp_path / "here").run("short")
    inputs = RunInputs.read(here.inputs)
    env, heldout = envs_of(inputs, places)
    train(config_of(inputs), env, run_dir=here.path, heldout_env=heldout)
    with pytest.raises(Ended):
        apart_of(run, lambda row: (seen.append(row), ends_after(row)))
    assert is_saved(run)
    first, at = len(seen), iterations(run)[-1]
    with (run.path / "metrics.jsonl").open("a") as handle:  # walked after the checkpoint, as a kill leaves it
        handle.write(json.dumps({"iteration": at + 1}) + "\n")
    apart_of(run, seen.append)
    assert [row["iteration"] for row in seen[first:]] == list(range(at + 1, 13)), "those of this trainer"
    assert seen[first:] == [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()][at:]
    assert same_run(run.path, here.path)
    assert not (run.path / HEARTBEAT).exists()


def test_an_interrupted_caller_leaves_a_checkpoint_and_no_trainer(places):
    run, numbers = places.run("long"), []
    with pytest.raises(Ended):
        apart_of(run, lambda row: (numbers.append(trainer_of(run)), ends_after(row)))
    assert not lives(numbers[0])
    assert not is_locked(run.path / ".lock")
    assert is_saved(run)
    assert os.getpgrp() not in numbers, "in a group of its own"


def test_a_trainer_that_does_not_listen_is_killed_whatever_signals_come_meanwhile(places, monkeypatch):
    monkeypatch.setattr(apart, "GRACE_S", 1.0)
    run, numbers = places.run("long"), []

    def stuck(row):
        numbers.append(trainer_of(run))
        os.kill(numbers[0], signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()  # a second Ctrl-C, within the grace
        raise Ended

    with pytest.raises(Ended):
        apart_of(run, stuck)
    assert not lives(numbers[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_killed_trainer_is_a_sentence_and_is_resumed(places):
    run = places.run("long")
    with pytest.raises(TrainingError, match=r"^the trainer of run long was killed by SIGKILL: .* it resumes from"):
        apart_of(run, at_first(lambda: os.kill(trainer_of(run), signal.SIGKILL)))
    assert heartbeat_age(run.path) is not None
    with pytest.raises(Ended):
        apart_of(run, ends_after)


def test_a_trainer_that_another_stops_is_a_sentence(places):
    run = places.run("long")

    with pytest.raises(TrainingError, match="was told to stop by another process, and did"):
        apart_of(run, at_first(lambda: os.kill(trainer_of(run), signal.SIGTERM)))
    assert is_saved(run)


def test_a_killed_caller_is_noticed_the_trainer_saves_and_ends(places):
    run = places.run("long")
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(run.path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert caller.stdout.readline() == "1\n"
    number = trainer_of(run)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    until(lambda: not lives(number))
    assert not is_locked(run.path / ".lock")
    assert is_saved(run)


def test_a_second_trainer_is_refused(places):
    run = places.run("long")
    with lock(run.path / ".lock", "run long"), pytest.raises(TrainingError, match=r"in use by another process \(pid"):
        apart_of(run)


def test_the_trainers_own_sentence_is_the_callers_whatever_python_says_after_it(places, tmp_path, monkeypatch):
    later = "import atexit, sys\natexit.register(print, 'and more', file=sys.stderr)\n"
    (tmp_path / "sitecustomize.py").write_text(later)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    run = places.run("long")
    shutil.rmtree(places.cache)
    with pytest.raises(TrainingError, match=r"^no market tensors at "):
        apart_of(run)


def test_a_log_that_is_full_hides_no_sentence_of_the_trainers(places, tmp_path, monkeypatch):
    """What it said before could not be kept: what it says at its end is still heard."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nprint('a warning', file=sys.stderr)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("WORLD_SIZE", "2")  # of whoever started Dagster: a run of the chain has one trainer
    run = places.run("long")
    shutil.rmtree(places.cache)
    with open("/dev/full", "w", buffering=1) as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        with pytest.raises(TrainingError, match=r"^no market tensors at "):
            apart_of(run)
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_a_trainer_that_breaks_says_by_what(places, tmp_path, monkeypatch, capfd):
    (tmp_path / "sitecustomize.py").write_text("import clstm_core.train.heartbeat as h\nh.heartbeat = None\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    run = places.run("long")
    with pytest.raises(TrainingError, match=r"broke \(exit code 1\): TypeError: 'NoneType' object is not callable"):
        apart_of(run)
    assert "Traceback" in capfd.readouterr().err


def test_a_silent_trainer_is_told_of_and_left_alone(places, monkeypatch):
    monkeypatch.setattr(apart, "SILENT_S", 1.0)
    monkeypatch.setattr(apart, "SLOW", 0.0)
    run, told, stopped = places.run("long"), [], []

    def hangs(row):
        if told:
            raise Ended  # it goes on
        if not stopped:
            stopped.append(trainer_of(run))
            os.kill(stopped[0], signal.SIGSTOP)

    def warn(words):
        if stopped:
            told.append(words)
            os.kill(stopped[0], signal.SIGCONT)

    with pytest.raises(Ended):
        apart_of(run, hangs, warn)
    assert f"the trainer of run long (process {stopped[0]}) has finished no iteration for" in told[0]
    assert "its heartbeat is" in told[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seed", "3"], "found --seed besides"),
        (["--recipe", "smoke", "--run-dir", "elsewhere"], "found --recipe, --run-dir besides"),
    ],
)
def test_a_resumed_run_takes_no_other_settings(places, capsys, flags, words):
    assert main(["--resume", str(places.run("long").path), *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_run_that_the_chain_did_not_begin_is_refused(places, capsys):
    run = places.run("other")
    dataclasses.replace(RunInputs.read(places.run("long").inputs), run="other", parents={}).write(run.inputs)
    assert main(["--resume", str(run.path)]) == 2
    assert "run other names no market tensors" in capsys.readouterr().err
    assert main(["--resume", str(places.run("none").path)]) == 2
    assert "no run inputs at" in capsys.readouterr().err


def test_a_heartbeat_is_the_time_of_a_file(tmp_path):
    assert heartbeat_age(tmp_path) is None
    (tmp_path / HEARTBEAT).touch()
    os.utime(tmp_path / HEARTBEAT, (time.time() - 100, time.time() - 100))
    assert heartbeat_age(tmp_path) == pytest.approx(100, abs=5)
