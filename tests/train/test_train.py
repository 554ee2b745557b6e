"""The trainer end to end on toy envs: determinism, resume, the ladder, metrics, and the command line."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.checkpoint import load_checkpoint, load_policy, newest_checkpoint, verify_checkpoint
from clstm_core.config import ModelConfig, PPOConfig, RunConfig
from clstm_core.errors import CheckpointError, NonFiniteError, SelfTestError
from clstm_core.ppo.learner import Learner
from clstm_core.train import command as train_command
from clstm_core.train.command import main, parser, progress_line, run_config
from clstm_core.train.loop import train, warm_start

FORESIGHT = [
    f"{where}{name}_{span}"
    for where in ("", "heldout_")
    for name in ("explained_variance", "value_correlation")
    for span in (1, 5, 21)
]
# fmt: off
METRICS = {
    "run", "iteration", "env_steps", "progress", "approx_kl", "full_unroll_kl", "champion_kl", "clip_fraction",
    "entropy", "entropy_pct", "policy_loss", "value_loss", "policy_grad_norm", "value_grad_norm", "actor_lr",
    "critic_lr", "entropy_coef", "bootstrapped_explained_variance", "heldout_bootstrapped_explained_variance",
    "value_correlation", *FORESIGHT,
    "predicted_mean", "predicted_std", "monte_carlo_mean", "monte_carlo_std", "mean_reward", "reward_std",
    "reward_p001", "reward_p50", "reward_p999", "episode_reward", "episode_length", "gpu_memory_mb",
    "steps_per_second", "seconds", "eta_seconds",
}
# fmt: on
CLOCKS = {"run", "steps_per_second", "seconds", "eta_seconds"}


def curve(run_dir: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]


def same_tensors(a: Path, b: Path) -> bool:
    one, two = load_checkpoint(a), load_checkpoint(b)
    pairs = [(one.model, two.model), (one.state, two.state)]
    return all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in pairs)


def stop_after(iterations: int):
    asked = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) >= iterations

    return stop


@pytest.fixture
def go(toys, tiny, tmp_path):
    def run(name: str, *, seed: int = 0, config: RunConfig | None = None, **more):
        config = config or tiny(seed=seed)
        env, heldout = toys.NoiseEnv(8, seed=1), toys.NoiseEnv(4, seed=2)
        return train(config, env, run_dir=tmp_path / name, heldout_env=heldout, **more)

    return run


def test_a_run_leaves_its_ladder_metrics_and_proof(go, tiny):
    seen = []
    result = go("one", report=seen.append)
    assert result.completed
    assert result.env_steps == result.last_metrics["env_steps"] == 6 * 128
    assert sorted(result.checkpoints) == ["000", "020", "040", "060", "080", "100"]
    steps = [load_policy(folder)[1]["env_steps"] for _, folder in sorted(result.checkpoints.items())]
    assert steps == [128 * i for i in (0, 2, 3, 4, 5, 6)]  # the first iteration at or past each fifth of six
    rows = [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert rows == seen
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(set(row) == METRICS for row in rows)
    assert [row["heldout_bootstrapped_explained_variance"] is None for row in rows] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert json.loads((result.run_dir / "self_test.json").read_text())["passed"]
    inputs = RunInputs.read(result.run_dir / "inputs.json")
    assert RunConfig.from_dict(dict(inputs.config)) == tiny()
    assert (inputs.run, inputs.config_sha256) == ("one", tiny().sha256)
    for folder in result.checkpoints.values():
        verify_checkpoint(folder).require_parent("inputs", inputs)
    meta = load_checkpoint(result.checkpoints["100"]).meta
    assert meta["milestone"] == "100"
    assert (
        meta["warmup"]["bootstrapped_explained_variance_after"]
        > meta["warmup"]["bootstrapped_explained_variance_before"]
    )
    assert RunConfig.from_dict(meta["config"]) == tiny()


def test_two_seeded_runs_are_equal_and_another_seed_is_not(go):
    one, two, other = go("one"), go("two"), go("other", seed=1)
    assert curve(one.run_dir) == curve(two.run_dir)
    assert same_tensors(one.checkpoints["100"], two.checkpoints["100"])
    assert curve(one.run_dir) != curve(other.run_dir)


@pytest.mark.parametrize("at", [1, 3, 5])
def test_resume_equals_the_uninterrupted_run(go, at):
    whole = go("whole")
    part = go("part", stop=stop_after(at))
    assert not part.completed
    assert part.iterations == at
    with (part.run_dir / "metrics.jsonl").open("a") as handle:  # as a kill after the checkpoint would leave it
        handle.write(json.dumps({"iteration": at + 1}) + "\n" + '{"iteration": ')
    rest = go("part")
    assert rest.completed
    assert curve(rest.run_dir) == curve(whole.run_dir)
    assert same_tensors(rest.checkpoints["100"], whole.checkpoints["100"])
    assert sorted(rest.checkpoints) == sorted(whole.checkpoints)


def test_slow_iterations_are_saved_by_the_clock(go, tiny, monkeypatch):
    monkeypatch.setattr("clstm_core.train.loop.CHECKPOINT_S", 0.0)
    seen = []

    def look(metrics):
        newest = newest_checkpoint(look.folder)
        seen.append(metrics["iteration"] - load_checkpoint(newest).meta["iteration"])

    look.folder = go("first", stop=stop_after(1)).run_dir
    go("first", report=look)
    assert seen == [1] * 5  # told before it is saved: what came before always was


def test_a_finished_run_is_not_trained_again(go):
    first = go("one")
    again = go("one", report=lambda metrics: pytest.fail("trained again"))
    assert again.completed
    assert curve(again.run_dir) == curve(first.run_dir)
    assert again.checkpoints == first.checkpoints


def test_warm_start_hands_on_to_train(go, toys, tiny, tmp_path):
    whole = go("whole")
    warm = warm_start(tiny(), toys.NoiseEnv(8, seed=1), run_dir=tmp_path / "warm")
    assert list(warm.checkpoints) == ["000"]
    again = warm_start(tiny(), toys.NoiseEnv(8, seed=1), run_dir=tmp_path / "warm")
    assert (again.checkpoints, again.warmup["policy_kl"]) == (warm.checkpoints, warm.warmup["policy_kl"])
    went_on = go("went on", initial=warm.checkpoints["000"])
    assert went_on.warmup == load_checkpoint(warm.checkpoints["000"]).meta["warmup"]
    without_heldout = [{k: v for k, v in row.items() if not k.startswith("heldout_")} for row in curve(whole.run_dir)]
    assert [{k: v for k, v in r.items() if not k.startswith("heldout_")} for r in curve(went_on.run_dir)] == (
        without_heldout
    )


def test_another_configuration_in_the_same_folder_is_refused(go, tiny):
    go("one", stop=stop_after(1))
    with pytest.raises(CheckpointError, match="begun with another configuration: seed differ"):
        go("one", seed=5)


@pytest.mark.parametrize(("what", "names"), [("ACTIONS", "abc"), ("OBSERVATION", "abcd")])
def test_a_checkpoint_of_another_list_of_names_is_not_resumed(go, monkeypatch, what, names):
    monkeypatch.setattr(f"clstm_core.train.run.{what}", tuple(names))
    go("one", stop=stop_after(1))
    monkeypatch.setattr(f"clstm_core.checkpoint.{what}", tuple(names))
    go("one", stop=stop_after(1))
    monkeypatch.setattr(f"clstm_core.checkpoint.{what}", (*names[:-1], "z"))
    with pytest.raises(
        CheckpointError, match=f"with other {what.lower()}: found {names[-1]} that .* expected z besides"
    ):
        go("one")


def test_a_failed_self_test_stops_the_run_and_stays_on_disk(go, monkeypatch, tmp_path):
    from clstm_core.ppo.self_test import run_self_test
    from clstm_core.train import run as training_run

    def planted(model, env, config, **_):
        return run_self_test(model, env, config, plant=lambda data: data._replace(start=torch.zeros_like(data.start)))

    monkeypatch.setattr(training_run, "run_self_test", planted)
    with pytest.raises(SelfTestError, match="self-test failed"):
        go("one")
    report = json.loads((tmp_path / "one" / "self_test.json").read_text())
    assert not report["passed"]
    assert not (tmp_path / "one" / "metrics.jsonl").exists()


@pytest.mark.parametrize("full", [False, True])
def test_a_diverging_run_stops_with_its_last_checkpoint_intact(toys, tiny, tmp_path, monkeypatch, full):
    def no_room(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    if full:
        monkeypatch.setattr("clstm_core.ppo.learner.save_file", no_room)
    env = toys.NoiseEnv(8, seed=1)
    act = env.act

    def poisoned(action):
        reward, ends = act(action)
        return torch.where(env.total == 130, float("inf"), reward), ends

    env.act = poisoned  # three rollouts of 16 steps warm up; step 130 falls into the ninth
    config = tiny(iterations=20)
    with pytest.raises(NonFiniteError, match=f"iteration 6, minibatch 0: .*{'No space' if full else 'is saved as'}"):
        train(config, env, run_dir=tmp_path)
    assert load_checkpoint(newest_checkpoint(tmp_path)).meta["iteration"] == 4
    assert (tmp_path / "non_finite_6.safetensors").is_file() is not full
    assert len(curve(tmp_path)) == 5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_the_very_last_step_lost_are_in_no_checkpoint(tiny, toys, tmp_path, monkeypatch, value):
    """No loss is computed with them any more, so that none tells."""
    iterate = Learner.iterate

    def loses(learner, **given):
        row = iterate(learner, **given)
        if learner.progress == 1.0:
            with torch.no_grad():
                learner.model.policy_head.bias[0] = value
        return row

    monkeypatch.setattr(Learner, "iterate", loses)
    with pytest.raises(NonFiniteError, match=r"iteration 4: 1 of \d+ weights are not finite .*policy_head.bias"):
        train(tiny(iterations=4), toys.NoiseEnv(8, seed=1), run_dir=tmp_path)
    assert not (tmp_path / "checkpoints" / "100").exists()
    assert all(weight.isfinite().all() for weight in load_checkpoint(newest_checkpoint(tmp_path)).model.values())


CHILD = """
import importlib.util, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("toys", sys.argv[1])
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)
from clstm_core.train.command import main
sys.exit(main(sys.argv[2:], envs=lambda config, *_: (toys.NoiseEnv(config.ppo.n_envs, seed=1), None)))
"""
FLAGS = ["--recipe", "smoke", "--timesteps", "10240", "--device", "cpu"]


def child(run_dir: Path, code: str = CHILD) -> subprocess.Popen:
    toys_file = Path(__file__).parents[1] / "conftest.py"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(toys_file), *FLAGS, "--run-dir", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_lines(process: subprocess.Popen, path: Path, lines: int) -> None:
    deadline = time.monotonic() + 120
    while not (path.is_file() and path.read_text().count("\n") >= lines):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_checkpoints_and_stops(tmp_path, asked):
    process = child(tmp_path)
    wait_for_lines(process, tmp_path / "metrics.jsonl", 3)
    process.send_signal(asked)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "stopped at" in out
    last = curve(tmp_path)[-1]["iteration"]
    assert load_checkpoint(tmp_path / "checkpoints" / "latest").meta["iteration"] == last


STUCK = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("toys", sys.argv[1])
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)
from clstm_core.train.command import main
class Stuck(toys.NoiseEnv):
    def act(self, action):
        if self.total[0] >= 100:  # within an iteration, which then never ends
            print("stuck", flush=True)
            time.sleep(600)
        return super().act(action)
sys.exit(main(sys.argv[2:], envs=lambda config, *_: (Stuck(config.ppo.n_envs, seed=1), None)))
"""


def test_a_second_ctrl_c_stops_at_once_in_a_sentence(tmp_path):
    process = child(tmp_path, STUCK)
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)  # the first one waits for the end of the iteration
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("stopped at once; the same command resumes")
    assert newest_checkpoint(tmp_path).name == "000"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", "4000"], "batch_size=4000 does not divide the rollout"),
        (["--bptt-steps", "128", "--batch-size", "4000"], "batch_size=4000 cuts sequences"),
        (["--hidden-dim", "30"], "hidden_dim=30 is no multiple of n_heads=4"),
        (["--n-env", "8"], "unrecognized arguments: --n-env 8"),
        (["--n-envs", "many"], "invalid int value: 'many'"),
        (["--threads", "0"], "threads=0: expected at least 1"),
        (["--recipe", "best"], "invalid choice: 'best'"),
        (["--market", "/no/such/folder", "--device", "cpu"], "no market tensors at /no/such/folder"),
    ],
)
def test_a_users_mistake_is_one_sentence(flags, message, capsys, tmp_path):
    try:
        code = main([*flags, "--run-dir", str(tmp_path)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_the_published_command_is_the_published_configuration():
    flags = "--timesteps 100000000 --n-envs 1024 --n-steps 128 --batch-size 4096 --reward-scale 0.02 --hidden-dim 256"
    found = run_config(parser().parse_args(flags.split()))
    assert found.ppo == PPOConfig()
    assert found.model == ModelConfig()
    assert found.timesteps == 100_000_000
    assert found.env.reward_scale == 0.02
    assert found.n_iterations == 763


def test_progress_line_says_what_one_watches():
    metrics = {"progress": 0.5, "env_steps": 1_234_567, "steps_per_second": 8000.0, "eta_seconds": 125.0}
    metrics |= {"mean_reward": 0.01, "approx_kl": 0.004, "explained_variance_5": None}
    line = progress_line(metrics)
    for part in ("50%", "1,234,567 steps", "8,000/s", "ETA 2:05", "KL 0.0040", "EV -"):
        assert part in line


def test_progress_is_live_on_a_terminal_only():
    class Stream:
        def __init__(self, live):
            self.live, self.text = live, ""

        def isatty(self):
            return self.live

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    base = {"env_steps": 1, "steps_per_second": 1.0, "eta_seconds": 1.0, "mean_reward": 0.0}
    base |= {"approx_kl": 0.0, "explained_variance_5": 0.0}
    for live, lines, returns in ((True, 1, 20), (False, 11, 0)):
        stream = Stream(live)
        progress = train_command.Progress(stream)
        for step in range(20):
            progress({**base, "progress": (step + 1) / 20})
        progress.close()
        assert stream.text.count("\n") == lines
        assert stream.text.count("\r") == returns


@pytest.mark.parametrize("place", ["/dev/full", None])
def test_a_run_goes_on_unseen_where_nobody_takes_its_words(toys, tmp_path, monkeypatch, place):
    """A closed terminal, the end of a pipe, a full disk: what was trained is worth more than a line."""

    def envs(config, *_):
        return toys.NoiseEnv(config.ppo.n_envs, seed=1), None

    flags = ["--recipe", "smoke", "--timesteps", "1024", "--device", "cpu", "--run-dir", str(tmp_path)]
    with open("/dev/full", "w") as out, open("/dev/full", "w", buffering=1) as errors:
        monkeypatch.setattr(sys, "stdout", out if place else None)
        monkeypatch.setattr(sys, "stderr", errors if place else None)
        assert main(flags, envs=envs) == 0
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), errors.fileno())
    assert newest_checkpoint(tmp_path).name == "100"


HELPED = """
import runpy, sys, time
from concurrent.futures import ThreadPoolExecutor
from clstm_core.train import command
def interrupted():
    ThreadPoolExecutor(1).submit(time.sleep, 600)
    print("stopped at once", flush=True)
    return command.INTERRUPTED
command.main = interrupted
runpy.run_module("clstm_core.train", run_name="__main__")
"""


def test_an_interrupted_command_waits_for_no_helper(tmp_path):
    stopped = subprocess.run(
        [sys.executable, "-c", HELPED], stdout=subprocess.PIPE, text=True, timeout=120, check=False
    )
    assert stopped.returncode == 130
    assert stopped.stdout == "stopped at once\n"


def test_the_trainer_imports_nothing_heavy():
    heavy = ["dagster", "polars", "duckdb", "plotly", "pandas", "pyarrow", "scipy"]
    code = (
        f"import sys, clstm_core.train.apart, clstm_core.train.command; print([m for m in {heavy} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
