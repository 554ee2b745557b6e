"""A disk that fills while a checkpoint is written: the former one stays, a sentence says it, and a resume goes on."""

import errno
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from clstm_core.checkpoint import load_checkpoint, newest_checkpoint, verify_checkpoint
from clstm_core.train import command
from clstm_core.train.loop import train
from clstm_core.train.run import TrainingRun

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("slow_writes", HERE / "slow_writes.py")
slow_writes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(slow_writes)

AT = 3
FLAGS = ["--recipe", "smoke", "--timesteps", "3072", "--device", "cpu"]
CHILD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("toys", sys.argv[1])
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)
from clstm_core.train.command import main
sys.exit(main(sys.argv[2:], envs=lambda config, *_: (toys.NoiseEnv(config.ppo.n_envs, seed=1), None)))
"""


def full(step):
    """What the system, or safetensors in its words, says of a full disk."""
    if step == "tensors":
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the disk")


class Disk:
    """Full from a given step of writing on, counted from 1; with room for all of them where none is given."""

    def __init__(self, room=None):
        self.room, self.steps = room, []

    def __call__(self, step):
        if step == "remove":  # what takes room away from nobody
            return
        self.steps.append(step)
        if self.room is not None and len(self.steps) >= self.room:
            full(step)


@pytest.fixture
def cut_off(toys, tiny, tmp_path):
    """The uninterrupted run, one that was cut off, and how to go on with it."""

    def go(name, **more):
        env, heldout = toys.NoiseEnv(8, seed=1), toys.NoiseEnv(4, seed=2)
        return train(tiny(), env, run_dir=tmp_path / name, heldout_env=heldout, **more)

    asked = iter(range(1, AT + 1))
    go("whole")
    go("part", stop=lambda: next(asked) == AT)
    return tmp_path / "whole", tmp_path / "part", go


def test_a_checkpoint_that_finds_no_room_at_any_step_loses_nothing(cut_off, toys, tiny, same_run, monkeypatch):
    whole, part, go = cut_off
    run = TrainingRun(tiny(), toys.NoiseEnv(8, seed=1), None, part)
    run.continue_from(load_checkpoint(newest_checkpoint(part)))
    former = verify_checkpoint(newest_checkpoint(part))
    assert former.folder.name == "latest", "the one that is written over"
    run.iterate()
    disk = Disk()
    with monkeypatch.context() as patch:
        slow_writes.take_apart(lambda step: disk(step), patch.setattr)
        shutil.copytree(part, part.with_name("with room"))
        run.run_dir = part.with_name("with room")
        run.save("latest")
        run.run_dir, steps = part, disk.steps
        assert set(steps) == {"tensors", "text", "flush", "rename"}
        for room in range(1, len(steps)):  # the last step comes after the new one stands
            disk = Disk(room)
            with pytest.raises((OSError, SafetensorError)):
                run.save("latest")
            assert disk.steps == steps[: len(disk.steps)]
            found = newest_checkpoint(part)
            assert verify_checkpoint(found).identity == former.identity, f"step {room}: {steps[room - 1]}"
            if found.name != "latest":  # the old one had been moved out of the way
                assert found.name == "latest.previous"
                found.rename(part / "checkpoints" / "latest")
        assert not list(part.rglob(".*.tmp"))
    go("part")
    assert same_run(part, whole)


@pytest.fixture
def go(toys):
    """Calls the trainer's command for a folder; its exit code."""

    def call(run_dir):
        def envs(config, *_):
            return toys.NoiseEnv(config.ppo.n_envs, seed=1), None

        return command.main([*FLAGS, "--run-dir", str(run_dir)], envs=envs)

    return call


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def whole(kept, go):
    """The same command's run where there was room, made once."""
    assert go(kept) == 0
    return kept


@pytest.mark.parametrize("step", ["tensors", "text", "flush", "rename"])
def test_the_command_says_it_and_the_same_command_goes_on(go, whole, tmp_path, same_run, monkeypatch, capsys, step):
    saved = []

    def fills(found):
        saved.append(found)
        if found == step and saved.count("tensors") > 4:  # the third checkpoint, two files each
            full(step)

    with monkeypatch.context() as patch:
        slow_writes.take_apart(fills, patch.setattr)
        assert go(tmp_path / "part") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: cannot use ")
    assert "No space left on device" in said
    assert "nothing that was finished is lost" in said
    assert verify_checkpoint(newest_checkpoint(tmp_path / "part")).iteration > 0
    assert go(tmp_path / "part") == 0
    assert same_run(tmp_path / "part", whole)


def child(run_dir, **more):
    command_line = [sys.executable, "-c", CHILD, str(HERE.parent / "conftest.py"), *FLAGS, "--run-dir", str(run_dir)]
    return subprocess.run(command_line, capture_output=True, text=True, check=False, **more)


def test_a_file_that_the_system_cuts_off(go, whole, tmp_path, same_run):
    """The kernel's own refusal in the middle of a file: here by a limit on a file's size, as a quota would."""
    limit = 40_000  # bytes: more than weights and metrics, less than the optimizers' state once they have stepped

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = child(tmp_path / "part", preexec_fn=small)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert newest_checkpoint(tmp_path / "part").name == "000"
    assert [place.name for place in (tmp_path / "part" / "checkpoints").iterdir()] == ["000"]
    assert go(tmp_path / "part") == 0
    assert same_run(tmp_path / "part", whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not made or made.returncode != 0:
        pytest.skip("no right to mount a file system here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_is_really_full(go, whole, small_disk, tmp_path, same_run):
    ballast, run = small_disk / "ballast", small_disk / "run"
    ballast.write_bytes(bytes(700_000))
    done = child(run)
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    newest = newest_checkpoint(run)
    assert newest is not None, "there was room for one"
    ballast.unlink()
    shutil.move(run, tmp_path / "run")
    assert go(tmp_path / "run") == 0
    assert same_run(tmp_path / "run", whole)
