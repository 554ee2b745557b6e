"""Several processes that train one policy: what one would learn, one writer, one end, and a resume to the bit."""

import importlib
import itertools
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from clstm_core.checkpoint import load_checkpoint, newest_checkpoint
from clstm_core.config import EnvConfig, PPOConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import CheckpointError, ConfigError, TrainingError
from clstm_core.market.tensors import load_market
from clstm_core.ppo.ranks import ALONE, Ranks, joined
from clstm_core.train import command
from clstm_core.train.loop import train

sys.path.append(str(Path(__file__).parent))  # the processes that are forked look there as well
several = importlib.import_module("several")

FLAGS = ["--recipe", "smoke", "--timesteps", "50000000", "--device", "cpu"]
LONGEST_S = 60.0


@contextmanager
def ranks(job, folder, *arguments, size=2):
    """Processes of a job, forked from one that has imported everything; none is left afterwards."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["several"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    started = [
        context.Process(target=several.rank, args=(number, size, port, job, folder, *arguments))
        for number in range(size)
    ]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.join()


def ended(processes):
    """Exit codes of processes that end by themselves, in bounded time."""
    deadline = time.monotonic() + LONGEST_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    return [process.exitcode for process in processes]


def words(folder):
    return [(folder / f"words{number}").read_text() for number in range(2)]


def done(job, folder):
    with ranks(job, folder) as processes:
        assert ended(processes) == [0, 0], words(folder)
    return folder


def rows(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def wait_for_rows(run_dir, number):
    deadline = time.monotonic() + LONGEST_S
    while not ((path := run_dir / "metrics.jsonl").is_file() and path.read_text().count("\n") >= number):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """What each of two processes learnt, one with their minibatches, and one with its own."""
    folder = done("learn", tmp_path_factory.mktemp("learnt"))
    return [torch.load(folder / f"rank{number}.pt") for number in range(2)], *several.one_process()


@pytest.mark.parametrize("case", several.CASES)
def test_the_gradients_are_those_of_one_process(learnt, case):
    """The first ones: of actor and critic of PPO, or of the warmup's critic, whose weights are not all 1."""
    (one, two), reference, _ = learnt
    for number in range(2):
        mine, theirs, expected = (found[case]["gradients"][number] for found in (one, two, reference))
        assert torch.equal(mine, theirs)
        assert (mine - expected).norm() < 1e-5 * expected.norm()


def test_two_processes_learn_what_one_with_their_minibatches_learns(learnt):
    """Rounding alone differs: eight iterations carry it to a thousandth of a figure or less."""
    (one, two), reference, _ = learnt
    assert one["curve"]["rows"] == two["curve"]["rows"]
    assert one["curve"]["warmup"] == two["curve"]["warmup"]
    for name, weight in one["curve"]["weights"].items():
        assert torch.equal(weight, two["curve"]["weights"][name])
    warmup, expected = ({**found["curve"]["warmup"], "value_loss": 0} for found in (one, reference))
    assert warmup == pytest.approx(expected, rel=1e-3, abs=1e-6)
    for mine, expected in zip(one["curve"]["rows"], reference["curve"]["rows"], strict=True):
        assert mine.keys() == expected.keys()
        for name, figure in mine.items():
            assert figure == (None if figure is None else pytest.approx(expected[name], rel=1e-3, abs=1e-4)), name


def test_two_processes_learn_as_fast_as_one(learnt):
    """The same seed with other minibatches: nearer to one process than two seeds of one process are to each other."""
    (two, _), _, seeds = learnt
    mine, *alone = [[row["mean_reward"] for row in found["rows"]] for found in (two["choice"], *seeds)]

    def apart(one, other):
        return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)

    assert apart(mine, alone[0]) < max(apart(one, other) for one, other in itertools.combinations(alone, 2))
    assert sum(mine[-3:]) / 3 > 2 * mine[0]


def test_a_run_of_two_is_written_by_one_and_resumes_to_the_bit(tmp_path, same_run):
    done("resume", tmp_path)
    assert same_run(tmp_path / "whole", tmp_path / "part")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("part", "rank0.pt", "rank1.pt", "whole", "words0", "words1")
    ]
    names = load_checkpoint(tmp_path / "whole" / "checkpoints" / "100").state.keys()
    own = {name for name in names if name.startswith(("env.", "carry.", "recurrent.", "rng."))}
    assert {name for name in names if name.startswith("rank1.")} == {f"rank1.{name}" for name in own}
    assert {row["heldout_explained_variance_1"] is None for row in rows(tmp_path / "whole")} == {True, False}
    env, _ = several.envs(several.config(), None, ALONE)
    with pytest.raises(CheckpointError, match=r"by a training of 2 .* found 1.*torchrun --nproc-per-node 2 -m clstm_c"):
        train(several.config(), env, run_dir=tmp_path / "part")


def test_a_number_that_is_not_finite_ends_both(tmp_path):
    done("poisoned", tmp_path)
    for number in range(2):
        said = (tmp_path / f"said{number}").read_text()
        assert "iteration 4, minibatch 0" in said
        assert f"saved as non_finite_4_rank{number}.safetensors" in said
        assert (tmp_path / f"non_finite_4_rank{number}.safetensors").is_file()
    assert load_checkpoint(newest_checkpoint(tmp_path)).meta["iteration"] == 2


def test_a_signal_to_one_stops_both(tmp_path):
    run = tmp_path / "run"
    with ranks("command", tmp_path, *FLAGS, "--run-dir", str(run)) as processes:
        wait_for_rows(run, 3)
        os.kill(processes[1].pid, signal.SIGTERM)
        assert ended(processes) == [130, 130], words(tmp_path)
    assert load_checkpoint(run / "checkpoints" / "latest").meta["iteration"] == rows(run)[-1]["iteration"]
    said = words(tmp_path)
    assert said[0].count("stopped at") == 1
    assert said[1] == ""


def test_a_kill_of_one_ends_the_other_and_the_run_goes_on(tmp_path):
    """With `torchrun`, as it is started in earnest."""
    run, launcher = tmp_path / "run", [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [*launcher, "--master-port", port, several.__file__, *FLAGS, "--run-dir", str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        wait_for_rows(run, 3)
        workers = [int(pid) for pid in Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()]
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        _, errors = started.communicate(timeout=LONGEST_S)
    finally:
        started.kill()
        started.wait()
    assert started.returncode == 1
    assert "process 1 of 2 has lost another one" in errors
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    before = len(rows(run))
    assert load_checkpoint(newest_checkpoint(run)).meta["iteration"] <= before
    with ranks("command", tmp_path, *FLAGS, "--run-dir", str(run)) as processes:
        wait_for_rows(run, before + 2)
        os.kill(processes[0].pid, signal.SIGINT)
        assert ended(processes) == [130, 130], words(tmp_path)
    assert [row["iteration"] for row in rows(run)] == list(range(1, rows(run)[-1]["iteration"] + 1))


class Three(Ranks):
    size = 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_envs": 8}, "3 processes cannot share n_envs=8 evenly: expected a multiple of 3. Use e.g. --n-envs 9,"),
        ({"n_envs": 12, "batch_size": 32}, "cannot share batch_size=32 evenly: it has 4 sequences of bptt_steps=8,"),
    ],
)
def test_a_number_of_processes_that_cannot_share_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Three().share(PPOConfig(**(several.SETTINGS | settings)))


def test_a_users_mistake_is_said_once(tmp_path):
    flags = ["--n-envs", "9", "--batch-size", "48", "--run-dir", str(tmp_path / "run")]
    with ranks("command", tmp_path, *FLAGS, *flags) as processes:
        assert ended(processes) == [2, 2], words(tmp_path)
    said = words(tmp_path)
    assert said[0].startswith("error: 2 processes cannot share n_envs=9 evenly")
    assert said[0].count("\n") == 1
    assert said[1] == ""


def test_shares_trade_the_envs_that_one_process_would(begun):
    market = load_market(next((begun / "cache" / "tensors").iterdir()))
    settings = EnvConfig(horizon=21)
    whole = OptionsEnv(market, settings, n_envs=8, seed=3)
    parts = [OptionsEnv(market, settings, n_envs=4, first_env=first, seed=3) for first in (0, 4)]
    for step in range(40):
        action = (torch.arange(8) * 7 + step) % whole.n_actions
        expected = whole.step(action)
        found = [part.step(action[part.first_env : part.first_env + 4]) for part in parts]
        for name in expected._fields:
            assert torch.equal(torch.cat([getattr(part, name) for part in found]), getattr(expected, name))


def test_alone_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as found:
        assert found is ALONE


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two' in the environment: expected a whole number"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "RANK=0, LOCAL_RANK=0: expected 0 or more, and RANK below WORLD_SIZE=0"),
        ({"WORLD_SIZE": "2"}, "RANK='' in the environment: expected a whole number"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "expected 0 or more, and RANK below WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "the others cannot be looked for: .*MASTER_ADDR expected"),
    ],
)
def test_an_environment_that_says_half_of_it_is_a_sentence(said, message, monkeypatch, capsys):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert command.main(FLAGS, envs=several.envs) == 2
    words = capsys.readouterr().err
    assert re.match(f"error: .*{message}", words)
    assert "to train in one process, unset WORLD_SIZE" in words
    assert words.count("\n") == 1


def test_an_empty_number_of_processes_is_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")
    with joined() as found:
        assert found is ALONE


def test_a_launcher_that_ends_while_others_are_waited_for_is_missed(monkeypatch):
    """Asked afterwards, the process would name whoever adopted it as the one to follow, and train on for good."""
    followed, launcher = [], os.getppid()

    @contextmanager
    def long_wait():
        monkeypatch.setattr(os, "getppid", lambda: 1)
        yield Three()

    monkeypatch.setattr(command, "joined", long_wait)
    monkeypatch.setattr(command.StopOnSignal, "follow", lambda stop, parent: followed.append(parent))
    assert command.main([*FLAGS, "--threads", "0"]) == 2
    assert followed == [launcher]


def test_a_process_whose_launcher_was_killed_before_it_began_looks_for_it_no_longer_than_is_sensible(monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        said = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
        for name, value in (said | {"MASTER_PORT": str(nobody.getsockname()[1])}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("clstm_core.ppo.ranks.LAUNCHER_WAIT", timedelta(seconds=1))
        with pytest.raises(TrainingError, match="process 1 of 2 found no other one"), joined():
            pass
