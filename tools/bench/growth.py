"""How OptionsEnv grows with the number of accounts: env steps/s and the process's peak memory, a process per size."""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence

import torch

from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.build.simulated import simulated_market
from tools.bench.worker import measure

SIZES = (64, 256, 1024, 4096, 16_384)


def env_rate(n_envs: int, *, snapshots: int, seconds: float) -> float:
    """Env steps/s of random legal actions on a simulated market of `snapshots` sessions; drawing them is counted."""
    config, market = EnvConfig(), MarketConfig(source="simulated", n_snapshots=snapshots)
    env = OptionsEnv(simulated_market(market, embargo=config.horizon + market.feature_lookback), config, n_envs=n_envs)
    generator, mask = torch.Generator().manual_seed(0), env.observe()[1]

    def step() -> None:
        nonlocal mask
        action = torch.where(mask, torch.rand(mask.shape, generator=generator), -1.0).argmax(dim=1)
        found = env.step(action).action_mask
        assert found is not None
        mask = found

    times = measure(step, seconds)
    return n_envs * len(times) / sum(times)


def peak_megabytes() -> float:
    """Most memory that this process has held, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def growth(sizes: Sequence[int], *, threads: int, snapshots: int, seconds: float) -> list[str]:
    """Markdown rows, one per size."""
    rows = ["|  envs | env steps/s | peak MB |", "|---|---|---|"]
    for n_envs in sizes:
        flags = {"--envs": n_envs, "--threads": threads, "--snapshots": snapshots, "--seconds": seconds}
        command = [sys.executable, "-m", "tools.bench.growth", *(str(part) for pair in flags.items() for part in pair)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rows.append(f"| {n_envs:5} | {found['rate']:11,.0f} | {found['peak']:7,.0f} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one size in this process; JSON on stdout."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.growth", description=__doc__)
    for name, default in (("envs", 64), ("threads", 1), ("snapshots", 1500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rate = env_rate(options.envs, snapshots=options.snapshots, seconds=options.seconds)
    print(json.dumps({"rate": rate, "peak": peak_megabytes()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
