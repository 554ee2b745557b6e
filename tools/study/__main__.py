"""Train the cells of a study, and keep what each earns where it was trained and where it was not.

    python -m tools.study years --market data/cache/tensors/<id> --steps 2000000 --seeds 1
    python -m tools.study ablation --market data/cache/tensors/<id> --steps 2000000 --seeds 5

A job of hours that may be stopped: what is trained is resumed, what is measured stands in
docs/generalisation/<study>.jsonl and is not measured again. `--table` prints what there is.
"""

import argparse
import datetime
import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.folder import read_jsonl
from clstm_core.config import RunConfig
from clstm_core.evaluation.generalisation import with_gaps
from clstm_core.generalisation.measure import measure
from clstm_core.market.tensors import load_market
from clstm_core.specs import RUNGS
from clstm_core.train.envs import envs_on
from clstm_core.train.loop import train
from tools.study.cells import STUDIES, configuration
from tools.study.table import table

RESULTS = Path("docs/generalisation")


def main() -> int:
    """Run the command line."""
    options = _parser().parse_args()
    place = RESULTS / f"{options.study}.jsonl"
    kept = read_jsonl(place) if place.is_file() else []
    if options.table:
        print(table(kept))
        return 0
    torch.set_num_threads(1)
    done = {(row["cell"], row["seed"], row["steps"]) for row in kept}
    cells = options.cells or list(STUDIES[options.study])
    for seed in range(options.seeds):
        for cell in cells:
            if (cell, seed, options.steps) in done:
                continue
            config = configuration(options.study, cell, steps=options.steps, seed=seed)
            row = {"cell": cell, "seed": seed, "steps": options.steps, **_trained(config, options)}
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("a") as handle:
                handle.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    return 0


def _trained(config: RunConfig, options: argparse.Namespace) -> dict[str, Any]:
    """One cell, trained and measured; figures of every rung."""
    market = load_market(options.market)
    folder = options.runs / f"{config.recipe}-{config.timesteps}-{config.seed}"
    env, heldout = envs_on(config, market)
    result = train(config, env, run_dir=folder, heldout_env=heldout)
    ladder = {name: folder / "checkpoints" / name for name in RUNGS}
    rows = with_gaps(measure(ladder, market, config, episodes=options.episodes, compared=options.episodes).rows)
    metrics = read_jsonl(folder / "metrics.jsonl")
    last = metrics[-max(1, len(metrics) // 10) :]
    names = ("milestone", "env_steps", "kind", "mode", "growth_bps", "error_bps", "deviation_bps", "per_risk")
    names += ("gap_bps", "gap_error_bps", "explained_variance_5")
    return {
        "figures": [{name: row.get(name) for name in names} for row in rows],
        "seconds": round(result.seconds, 1),
        "kl": _mean(last, "approx_kl"),
        "clip_fraction": _mean(last, "clip_fraction"),
        "entropy_pct": metrics[-1]["entropy_pct"],
        "entropy_pct_after_a_tenth": metrics[len(metrics) // 10]["entropy_pct"],
        "hardware": platform.processor() or platform.machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": git_commit(),
        "command": shlex.join(["python", "-m", "tools.study", *sys.argv[1:]]),
    }


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def _parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(prog="python -m tools.study", description=__doc__.splitlines()[0])
    out.add_argument("study", choices=sorted(STUDIES))
    out.add_argument("--market", type=Path, help="folder of market tensors")
    out.add_argument("--steps", type=int, default=2_000_000, help="env steps per cell")
    out.add_argument("--seeds", type=int, default=1)
    out.add_argument("--cells", nargs="*", help="some cells alone")
    out.add_argument("--episodes", type=int, default=512, help="per kind of market when measuring")
    out.add_argument("--runs", type=Path, default=Path("data/study"), help="where runs are kept, to be resumed")
    out.add_argument("--table", action="store_true", help="print what there is and train nothing")
    return out


if __name__ == "__main__":
    raise SystemExit(main())
