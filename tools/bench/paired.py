"""Two checkouts of this project beside each other: seconds per iteration of a recipe, in pairs A B, B A, A B ...

    python -m tools.bench.paired --before ../old --recipe default_cpu [--market data/cache/tensors/<id>]

Each measurement is a process of its own with its checkout on the path. What both have to offer is used: a checkout that
knows no `threads`, `precision` or `compile_env` is measured as it is. The recipe is the older one's in both, as far as
the newer one has its settings: what was tuned since is no speed. Without a market each builds the simulated one.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

WORKER = """
import dataclasses, inspect, json, sys, time
from pathlib import Path
import torch
from clstm_core.config import RECIPES, MarketConfig, RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.tensors import load_market
from clstm_core.ppo.learner import Learner
asked = json.loads(sys.argv[1])
torch.set_num_threads(1)
for module, name in (("products", "faster_products"), ("memory", "keep_freed_memory")):
    try:
        getattr(__import__(f"clstm_core.native.{module}", fromlist=[name]), name)()
    except ImportError:
        pass
config, known = RECIPES[asked["recipe"]](), {field.name for field in dataclasses.fields(RunConfig)}
if asked.get("told"):
    print(json.dumps({room: dataclasses.asdict(getattr(config, room)) for room in ("env", "model", "ppo")}))
    sys.exit()
for room, settings in asked["settings"].items():
    mine = getattr(config, room)
    known_there = {field.name for field in dataclasses.fields(mine)}
    kept = type(mine)(**{key: value for key, value in settings.items() if key in known_there})
    config = dataclasses.replace(config, **{room: kept})
more = {key: asked[key] for key in ("precision", "compile_env") if key in known and asked[key]}
ppo = dataclasses.replace(config.ppo, **({"n_envs": asked["n_envs"]} if asked["n_envs"] else {}))
config = dataclasses.replace(config, timesteps=10**8, device="cpu", ppo=ppo, **more)
if asked["market"]:
    market = load_market(Path(asked["market"]))
else:
    for module in ("build.simulated", "worlds"):
        try:
            built = __import__(f"clstm_core.market.{module}", fromlist=["simulated_market"]).simulated_market
            break
        except (ImportError, AttributeError):
            pass
    market = built(MarketConfig(source="simulated", n_snapshots=2500), embargo=64)
env = OptionsEnv(market, config.env, n_envs=ppo.n_envs)
held = OptionsEnv(
    market, config.env, n_envs=min(64, ppo.n_envs), seed=1, window=market.split("validation")
) if "validation" in market.info.get("splits", {}) else None
if more.get("compile_env") == "on":
    env.compile()
threads = {"threads": asked["threads"]} if "threads" in inspect.signature(Learner).parameters else {}
learner = Learner(config, env, held, **threads)
learner.warm_up()
learner.iterate()
took = []
for _ in range(asked["iterations"]):
    began = time.perf_counter()
    learner.iterate()
    took.append(time.perf_counter() - began)
print(sorted(took)[len(took) // 2])
"""
DRAWS = 2000


def main() -> int:
    """Measure the pairs and print their ratios, with the median and its bootstrap interval."""
    out = argparse.ArgumentParser(prog="python -m tools.bench.paired", description=(__doc__ or "").split("\n")[0])
    out.add_argument("--before", type=Path, required=True, help="the older checkout")
    out.add_argument("--after", type=Path, default=Path(), help="the newer one (this)")
    out.add_argument("--market", type=Path, help="folder of market tensors that both can read; else a simulated one")
    out.add_argument("--recipe", default="default_cpu")
    out.add_argument("--n-envs", type=int, help="in place of the recipe's")
    out.add_argument("--threads", type=int, default=2, help="of the learner")
    out.add_argument("--precision", default="float32", help="of the newer one's products")
    out.add_argument("--compile-env", default="off", help="the newer one's env: on or off")
    out.add_argument("--iterations", type=int, default=7, help="of each measurement, whose median counts")
    out.add_argument("--pairs", type=int, default=5)
    options = out.parse_args()
    asked = {key: value for key, value in vars(options).items() if key not in ("before", "after", "pairs")}
    asked["market"] = str(options.market.resolve()) if options.market else None
    asked["settings"] = json.loads(_said(options.before, json.dumps(asked | {"told": True})))
    ratios = []
    for pair in range(options.pairs):
        places = {"before": options.before, "after": options.after}
        order = ("before", "after") if pair % 2 == 0 else ("after", "before")
        seconds = {name: _measured(places[name], json.dumps(asked)) for name in order}
        ratios.append(seconds["before"] / seconds["after"])
        print(
            f"{seconds['before']:.3f} s -> {seconds['after']:.3f} s per iteration: {ratios[-1]:.2f} times", flush=True
        )
    low, high = interval(ratios)
    print(f"median {statistics.median(ratios):.2f} times the rate, 95% interval {low:.2f} to {high:.2f}")
    return 0


def interval(ratios: list[float], seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of 95% of the median of some ratios."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return medians[int(0.025 * DRAWS)], medians[int(0.975 * DRAWS) - 1]


def _measured(checkout: Path, asked: str) -> float:
    """Seconds per iteration of one checkout."""
    return float(_said(checkout, asked))


def _said(checkout: Path, asked: str) -> str:
    """The last line that the worker prints of one checkout."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, asked],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"error: {checkout}: {done.stderr.strip().splitlines()[-1]}. Pass a checkout of this project.")
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
