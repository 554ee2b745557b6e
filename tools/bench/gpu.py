"""The published command's configuration on one GPU: `make bench-gpu`. It needs torch, numpy and safetensors alone.

Env steps/s of whole iterations at BPTT 16 and 128, seconds by phase, kernels per env step, peak memory, and the share
of the floor. What fails is said, and the rest is measured. `--device cpu --shrink 64` walks the same path anywhere, and
writes no rows.
"""

import argparse
import dataclasses
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.autograd import DeviceType

from clstm_core.config import RunConfig, seed_100m
from clstm_core.env.protocol import BatchedEnv
from clstm_core.ppo import captured
from clstm_core.ppo.learner import Learner
from clstm_core.train.command import make_envs
from tools.bench import phases
from tools.bench.growth import peak_megabytes
from tools.bench.rows import FOLDER, Row, cpu_model, row, write_rows
from tools.bench.worker import measure

FLOOR_SECONDS = 4.1
"""Seconds that the 100M steps of the published command should not go below on one H200."""
REFUSAL = (
    "error: no CUDA device is usable by this Python's torch: expected one GPU. Run `make bench` for the CPU, "
    "`make bench-gpu PYTHON=/path/to/python` for a Python whose torch sees the GPU, or `python -m tools.bench.gpu "
    "--device cpu --shrink 64` to walk the same path without one."
)


def published(bptt_steps: int, *, device: str, shrink: int = 1, compile_env: str = "auto") -> RunConfig:
    """`seed_100m` on the simulated market; envs, minibatch, width and market divided by `shrink`."""
    recipe = seed_100m()
    n_envs = max(2, recipe.ppo.n_envs // shrink)
    ppo = dataclasses.replace(
        recipe.ppo,
        n_envs=n_envs,
        bptt_steps=bptt_steps,
        batch_size=max(recipe.ppo.n_steps, recipe.ppo.batch_size // shrink),
    )
    return dataclasses.replace(
        recipe,
        device=device,
        compile_env=compile_env,
        timesteps=recipe.timesteps if shrink == 1 else 10**9,
        market=dataclasses.replace(
            recipe.market, source="simulated", n_snapshots=max(500, recipe.market.n_snapshots // shrink)
        ),
        model=dataclasses.replace(recipe.model, hidden_dim=max(16, recipe.model.hidden_dim // shrink)),
        ppo=ppo,
    )


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Products of float32 by TF32 meanwhile, or not; nothing here calls cuDNN, whose own switches do not matter."""
    products = torch.backends.cuda.matmul  # the older switch for all backends refuses once any has one of its own
    before = products.fp32_precision
    products.fp32_precision = "tf32" if on else "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before


def env_step(env: BatchedEnv) -> str:
    """How the env's step runs after its first, in words."""
    turn = getattr(env, "_turn", None)
    if turn is None:
        return "env step not compiled"
    return f"env step not compiled: {turn.why_not}" if turn.why_not else "env step compiled"


def kernels_per_step(env: BatchedEnv, steps: int = 8) -> float:
    """Kernels that one step of all envs launches (on a CPU: torch operations), actions all zero."""
    action = torch.zeros(env.n_envs, dtype=torch.int64, device=env.device)
    on_gpu = env.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU]
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(steps):
            env.step(action)
    events = profiler.events() or ()
    found = sum(event.device_type == DeviceType.CUDA if on_gpu else event.name.startswith("aten::") for event in events)
    return found / steps


def bench(config: RunConfig, iterations: int) -> tuple[float, list[str]]:
    """Env steps/s of one configuration, and what is printed of it."""
    env, _ = make_envs(config, None)
    on_gpu = env.device.type == "cuda"
    synchronize: Callable[[], None] = torch.cuda.synchronize if on_gpu else lambda: None
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    learner = Learner(config, env, threads=1)

    def iterate() -> None:
        learner.iterate()
        synchronize()

    times = measure(iterate, 0.0, at_least=iterations)
    launches = learner.launches
    learner.launch_anew()
    rate = config.ppo.samples_per_iteration / statistics.median(times)
    peak = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else peak_megabytes()
    floor = seed_100m().timesteps / FLOOR_SECONDS
    seconds = phases.profile(learner, iterations, synchronize, warmup=0)
    size = f"BPTT {config.ppo.bptt_steps}, {config.ppo.n_envs} envs, hidden {config.model.hidden_dim}"
    launched = "kernels" if on_gpu else "operations"
    return rate, [
        f"{size}: {rate:,.0f} steps/s, {rate / floor:.2%} of the floor (100M steps in {FLOOR_SECONDS} s)",
        f"{learner.engine}; {env_step(env)}; {launches}",
        f"peak memory {peak:,.0f} MB; {kernels_per_step(env):,.0f} {launched} per step of all envs",
        "by phase, every operation launched anew:" if on_gpu else "by phase:",
        *phases.lines(seconds),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 where a configuration failed, 2 where there is no CUDA device."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shrink", type=int, default=1, help="divide envs, minibatch, width and market; a dry run")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--bptt-steps", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--tf32", choices=("on", "off"), default="off", help="float32 products by TF32")
    parser.add_argument("--compile-env", choices=("on", "off", "auto"), default="auto", help="the env's step compiled")
    parser.add_argument("--graphs", choices=("on", "off"), default="on", help="walk and update as CUDA graphs")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(REFUSAL, file=sys.stderr)
        return 2
    hardware = torch.cuda.get_device_name() if options.device == "cuda" else cpu_model()
    if options.graphs == "off":
        os.environ[captured.OFF] = "1"
    flags = f"--tf32 {options.tf32} --compile-env {options.compile_env} --graphs {options.graphs}"
    print(f"{hardware}, torch {torch.__version__}, {flags}\n", flush=True)
    rows: list[Row] = []
    command = f"python -m tools.bench.gpu --iterations {options.iterations} {flags}"
    for bptt_steps in options.bptt_steps:
        config = published(bptt_steps, device=options.device, shrink=options.shrink, compile_env=options.compile_env)
        try:
            with tf32(options.tf32 == "on"):
                rate, told = bench(config, options.iterations)
        except RuntimeError as error:  # out of memory, or of torch: the other configurations may do
            print(f"error: BPTT {bptt_steps}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
            continue
        print("\n".join(told), end="\n\n", flush=True)
        name = f"{config.recipe} bptt {bptt_steps}{' tf32' if options.tf32 == 'on' else ''}"
        rows.append(row(name, command, hidden=config.model.hidden_dim, threads=1, steps_per_second=round(rate, 1)))
    if rows and options.device == "cuda" and options.shrink == 1:
        print(f"rows: {write_rows(options.out, hardware, rows)}")
    return int(len(rows) < len(options.bptt_steps))


if __name__ == "__main__":
    sys.exit(main())
