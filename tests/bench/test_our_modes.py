"""Profile, growth and the GPU script, on a CPU at tiny sizes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from clstm_core.config import seed_100m
from clstm_core.env.compiled import Compiled
from clstm_core.ppo.learner import Learner
from tools.bench import __main__ as command
from tools.bench import gpu, phases
from tools.bench.growth import env_rate, peak_megabytes
from tools.bench.ours import config
from tools.bench.task import Task
from tools.bench.toy_env import ToyEnv

ROOT = Path(__file__).resolve().parents[2]


def test_every_second_belongs_to_one_phase():
    watch = phases.Phases()
    began = time.perf_counter()
    with watch.phase("update"):
        time.sleep(0.02)
        with watch.phase("value pass"):
            time.sleep(0.03)
    spent = time.perf_counter() - began
    assert watch.seconds["update"] >= 0.02
    assert watch.seconds["value pass"] >= 0.03
    assert sum(watch.seconds.values()) == pytest.approx(spent, rel=0.05)


@pytest.mark.parametrize("trunks", [1, 2])
def test_a_profile_finds_each_phase_and_leaves_the_learner_as_it_was(trunks):
    task = Task(hidden=8, n_envs=4, n_steps=16, batch_size=32, bptt_steps=8)
    learner = Learner(config(task, trunks), ToyEnv(4), threads=1)
    step, update = learner.env.step, phases.learner_module.update
    began = time.perf_counter()
    seconds = phases.profile(learner, 2)
    spent = time.perf_counter() - began
    assert set(seconds) == set(phases.PHASES)
    assert all(value > 0 for value in seconds.values())
    assert 2 * sum(seconds.values()) < spent
    assert seconds["rest"] < 0.5 * sum(seconds.values())
    assert learner.iteration == 3
    assert (learner.env.step, phases.learner_module.update) == (step, update)


@pytest.mark.slow
def test_the_profile_of_a_recipe_is_printed(capsys):
    assert command.main(["--profile", "--recipe", "smoke", "--iterations", "1", "--snapshots", "300"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("smoke, 16 envs, one thread: ")
    assert all(f"| {name}" in told for name in phases.PHASES)


def test_growth_measures_a_size():
    assert env_rate(4, snapshots=400, seconds=0.0) > 0
    assert peak_megabytes() > 10


def test_without_a_gpu_the_script_refuses_with_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "error: no CUDA device" in told.err
    assert "make bench" in told.err


DRY_RUN = ["--device", "cpu", "--shrink", "512", "--iterations", "1", "--bptt-steps", "16"]


def test_the_gpu_script_walks_its_path_on_a_cpu(tmp_path, capsys):
    before = torch.backends.cuda.matmul.fp32_precision
    assert gpu.main([*DRY_RUN, "--tf32", "on", "--compile-env", "off", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert torch.backends.cuda.matmul.fp32_precision == before
    assert "--tf32 on --compile-env off" in told
    assert "env step not compiled" in told
    assert "of the floor" in told
    assert "peak memory" in told
    assert "| env step" in told
    assert not list(tmp_path.iterdir())


def test_what_fails_on_a_gpu_is_said_and_the_rest_is_measured(monkeypatch, capsys):
    def bench(config, iterations):
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        if config.ppo.bptt_steps == 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB\nand more")
        return 1e6, ["measured"]

    monkeypatch.setattr(gpu, "bench", bench)
    assert gpu.main([*DRY_RUN, "128"]) == 1
    told = capsys.readouterr()
    assert told.err == "error: BPTT 16: CUDA out of memory. Tried to allocate 1 GiB\n"
    assert told.out.endswith("measured\n\n")


def test_a_step_that_could_not_be_compiled_is_named(toys):
    env = toys.NoiseEnv(2)
    assert gpu.env_step(env) == "env step not compiled"
    env._turn = Compiled(lambda: None)
    assert gpu.env_step(env) == "env step compiled"
    env._turn.why_not = "no triton"
    assert gpu.env_step(env) == "env step not compiled: no triton"


def test_the_gpu_script_measures_the_published_configuration():
    found, recipe = gpu.published(128, device="cuda"), seed_100m()
    assert found.ppo.bptt_steps == 128
    assert found.market.source == "simulated"
    for name in ("n_envs", "n_steps", "batch_size", "policy_epochs", "extra_critic_epochs"):
        assert getattr(found.ppo, name) == getattr(recipe.ppo, name)
    assert (found.model, found.timesteps) == (recipe.model, recipe.timesteps)


def test_the_gpu_script_loads_no_table_library():
    heavy = "{'polars', 'duckdb', 'dagster', 'pandas', 'scipy', 'arch', 'plotly'}"
    code = f"import sys, tools.bench.gpu; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")
