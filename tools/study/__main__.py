"""Train the cells of a study, and keep what each earns where it was trained and where it was not.

    python -m tools.study years --market data/cache/tensors/<id> --steps 2000000 --seeds 1
    python -m tools.study ablation --market data/cache/tensors/<id> --steps 2000000 --seeds 5
    python -m tools.study known --steps 500000 --seeds 3

A job of hours that may be stopped: what is trained is resumed, what is measured stands in
docs/generalisation/<study>.jsonl and is not measured again. Rows of another market, of other settings or of other code
are left alone and not counted. `--table` prints what there is.
"""

import argparse
import datetime
import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clstm_core.artifacts.code import code_sha256, git_commit
from clstm_core.artifacts.folder import read_jsonl
from clstm_core.artifacts.places import DIGITS
from clstm_core.config import RunConfig
from clstm_core.controls.found import found_in
from clstm_core.errors import ClstmError, ConfigError
from clstm_core.generalisation.measure import measure
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.specs import RUNGS
from clstm_core.train.envs import envs_on
from clstm_core.train.loop import train
from tools.study.cells import STUDIES, configuration
from tools.study.table import edges, tables

RESULTS = Path("docs/generalisation")
CODE = ("clstm_core.train.envs", "clstm_core.train.loop", "clstm_core.generalisation.measure")
KEY = ("cell", "seed", "steps", "episodes", "market", "code", "config")
"""What a row is of; of two rows that differ in one of these neither stands for the other."""


NEAR_FAR = ("near_days", "far_days", "embargo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0 done, 2 a user's mistake."""
    options = _parser().parse_args(arguments)
    place = RESULTS / f"{options.study}.jsonl"
    if options.table:
        print((edges if options.study == "known" else tables)(read_jsonl(place)))
        return 0
    try:
        if options.study == "known":
            _study(options, place, None)
            return 0
        if options.market is None:
            raise ConfigError(
                "no --market: expected a folder of market tensors, e.g. data/cache/tensors/<id>. Pass the one to train "
                "on, or --table to see what there is."
            )
        known = STUDIES[options.study]
        if strange := sorted(set(options.cells or ()) - set(known)):
            raise ConfigError(
                f"no cell {', '.join(strange)} in {options.study}: expected of {', '.join(known)}. Correct --cells."
            )
        _study(options, place, load_market(options.market))
    except ClstmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _study(options: argparse.Namespace, place: Path, market: MarketTensors | None) -> None:
    """Train and measure every cell and seed that has no row of this market, these settings and this code yet."""
    torch.set_num_threads(1)
    done = {key_of(row) for row in read_jsonl(place)}
    for seed in range(options.seeds):
        for cell in options.cells or list(STUDIES[options.study]):
            config = configuration(options.study, cell, steps=options.steps, seed=seed)
            key = {
                "cell": cell,
                "seed": seed,
                "steps": options.steps,
                "episodes": options.episodes,
                "market": market_key(market) if market else "",
                "code": code_sha256(*CODE),
                "config": config.sha256,
            }
            if key_of(key) in done:
                continue
            if market is None:
                found = found_in(cell, config, episodes=options.episodes)
            else:
                found = _trained(config, market, options, key["code"])
            row = {**key, **found, **_circumstances(options.market)}
            append(place, row)
            print(json.dumps(row), flush=True)


def market_key(market: MarketTensors) -> str:
    """What a market is made of: its closes to the cent, where they are split, and its settings.

    Not the tensors' own identity: two kinds of processor round the last bits of the same market differently, and a
    study of hours is gone on with on another machine.
    """
    closes = market.spot_T.double().round(decimals=2)
    facts = {name: market.info.get(name) for name in ("source", "label", "spread", "splits", "settings", *NEAR_FAR)}
    told = json.dumps(facts, sort_keys=True, default=str).encode() + closes.cpu().numpy().tobytes()
    return hashlib.sha256(told).hexdigest()


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row is of, as `KEY` names it."""
    return tuple(row.get(name) for name in KEY)


def append(place: Path, row: Mapping[str, Any]) -> None:
    """Write a row as a line of its own, also behind one that was torn."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("ab+") as handle:
        if handle.tell():
            handle.seek(-1, 2)
            if handle.read(1) != b"\n":
                handle.write(b"\n")
        handle.write(json.dumps(row).encode() + b"\n")


def _trained(config: RunConfig, market: MarketTensors, options: argparse.Namespace, code: str) -> dict[str, Any]:
    """One cell, trained and measured; figures of every rung."""
    made_by = f"{market.identity[:DIGITS]}-{code[:DIGITS]}"  # what another market or other code trained is not resumed
    folder = options.runs / made_by / f"{config.recipe}-{config.timesteps}-{config.seed}"
    env, heldout = envs_on(config, market)
    result = train(config, env, run_dir=folder, heldout_env=heldout)
    ladder = {name: folder / "checkpoints" / name for name in options.rungs}
    rows = measure(ladder, market, config, episodes=options.episodes, compared=options.episodes).rows
    metrics = read_jsonl(folder / "metrics.jsonl")
    last = metrics[-max(1, len(metrics) // 10) :]
    names = (
        *("milestone", "env_steps", "kind", "mode", "growth_bps", "error_bps", "deviation_bps", "per_risk"),
        *("gap_bps", "gap_error_bps", "explained_variance_5"),
    )
    return {
        "figures": [{name: row.get(name) for name in names} for row in rows],
        "seconds": round(result.seconds, 1),
        "kl": _mean(last, "approx_kl"),
        "clip_fraction": _mean(last, "clip_fraction"),
        "entropy_pct": metrics[-1]["entropy_pct"],
        "entropy_pct_after_a_tenth": metrics[len(metrics) // 10]["entropy_pct"],
    }


def _circumstances(market: Path | None) -> dict[str, Any]:
    """Where and when a row was made; the market by its name, wherever it lay on that machine."""
    said = [f"data/cache/tensors/{market.name}" if market and word == str(market) else word for word in sys.argv[1:]]
    return {
        "hardware": platform.processor() or platform.machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": git_commit(),
        "command": shlex.join(["python", "-m", "tools.study", *said]),
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
    out.add_argument("--rungs", nargs="*", choices=RUNGS, default=list(RUNGS), help="that are measured")
    out.add_argument("--episodes", type=int, default=512, help="per kind of market when measuring")
    out.add_argument("--runs", type=Path, default=Path("data/study"), help="where runs are kept, to be resumed")
    out.add_argument("--table", action="store_true", help="print what there is and train nothing")
    return out


if __name__ == "__main__":
    raise SystemExit(main())
