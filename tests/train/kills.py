"""Kills a trainer at 20 moments, every second time within a write, and resumes it each time; prints where it hit.

    python tests/train/kills.py CONFTEST FOLDER SEED

Trainers are forks of this process, which has imported everything and computed nothing: a resume costs no start of
Python. A fork keeps in shared memory what it is writing, which its death leaves as it was.
"""

import importlib.util
import json
import mmap
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from slow_writes import STEPS, take_apart

from clstm_core.config import EnvConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.train import run as training_run
from clstm_core.train.loop import train

KILLS, ITERATIONS = 20, 60
PAUSE_S, LATEST_S, LATEST_STEP = 0.015, 1.6, 30
SETTINGS = {"n_envs": 8, "n_steps": 16, "batch_size": 32, "bptt_steps": 8, "extra_critic_epochs": 1}
SAVING, STEP, COUNT = 0, 1, 2  # places in the shared memory: a checkpoint is being written; which step; steps so far

spec = importlib.util.spec_from_file_location("toys", sys.argv[1])
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)


def go(run_dir: Path) -> None:
    """Train, or go on, to the end."""
    ppo = PPOConfig(**SETTINGS, evaluate_every=2, checkpoint_every=2)
    config = RunConfig(
        recipe="kills",
        timesteps=ITERATIONS * ppo.samples_per_iteration,
        device="cpu",
        env=EnvConfig(),
        model=ModelConfig(hidden_dim=16, attention_window=4),
        ppo=ppo,
    )
    torch.set_num_threads(1)
    train(config, toys.NoiseEnv(8, seed=1), run_dir=run_dir, heldout_env=toys.NoiseEnv(4, seed=2))


def slowed(run_dir: Path, seen: mmap.mmap) -> None:
    """The same, with a pause within each step of a checkpoint's writing."""
    save = training_run.save_checkpoint

    def tell(step: str) -> None:
        if seen[SAVING]:
            seen[STEP] = STEPS.index(step)
            seen[COUNT] = min(255, seen[COUNT] + 1)
            time.sleep(PAUSE_S)

    def saving(*args, **options):
        seen[SAVING] = 1
        saved = save(*args, **options)
        seen[SAVING] = 0
        return saved

    take_apart(tell)
    training_run.save_checkpoint = saving
    go(run_dir)


def forked(work, *args) -> int:
    """A fork that does this and ends; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work(*args)
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_once(run_dir: Path, chance: random.Random, in_a_write: bool) -> dict:
    """Begin or resume, and kill at a random moment, or within a random step of a checkpoint's writing."""
    seen = mmap.mmap(-1, 3)
    at, step = time.monotonic() + chance.uniform(0.0, LATEST_S), chance.randint(1, LATEST_STEP)
    child = forked(slowed, run_dir, seen)
    while not ended(child) and (seen[COUNT] < step if in_a_write else time.monotonic() < at):
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the trainer ended by itself: {status}"
    return {"within": STEPS[seen[STEP]] if seen[SAVING] else None, "steps": seen[COUNT]}


def main() -> None:
    folder, chance = Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    print(json.dumps([kill_once(folder / "killed", chance, bool(number % 2)) for number in range(KILLS)]))
    for name in ("killed", "whole"):
        _, status = os.waitpid(forked(go, folder / name), 0)
        assert status == 0


if __name__ == "__main__":
    main()
