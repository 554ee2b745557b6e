"""Seconds of a full ladder evaluation: every rung in both modes and every baseline, on every window, at both fill lags.

    python -m tools.full_ladder DATA RUN        e.g. python -m tools.full_ladder data demo-sp500_modelled

The chain walks part of it (`evaluation.ladder`); this is the whole, halved between two processes as the chain halves
its own. Ledgers are written to a temporary folder; nothing is entered in the trial registry, since nothing is shown.
"""

import argparse
import dataclasses
import tempfile
import time
from itertools import product
from pathlib import Path

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.evaluation.backtest import run_backtests, windows_of
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.ladder import STOCHASTIC_EPISODES, Pass
from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.market.tensors import load_market
from clstm_core.process import beside
from clstm_core.specs import RUNGS
from clstm_core.train.inputs import config_of


def walk(data: Path, run: str, passes: list[Pass], out: Path) -> list[tuple[Pass, int, int, float]]:
    """Pass, accounts, sessions and seconds of each, walked one after another."""
    places = Places(data)
    folder = places.run(run)
    inputs = RunInputs.read(folder.inputs)
    config, identity = config_of(inputs), str(inputs.data_sha256)
    market = load_market(places.tensors(identity), identity=identity)
    found = []
    for window, fill_lag in passes:
        policies = [policy for name in RUNGS for policy in load_checkpoint(folder.checkpoint(name))]
        rules = baselines(market, random_episodes=STOCHASTIC_EPISODES)
        env = dataclasses.replace(config.env, fill_lag=fill_lag)
        began = time.perf_counter()
        results = run_backtests([*policies, *rules], market, env, window, out_dir=out)
        accounts = sum(policy.n_episodes for policy in [*policies, *rules])
        seconds = time.perf_counter() - began
        found.append((Pass(window, fill_lag), accounts, results[0].manifest["n_snapshots"], seconds))
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path, help="data folder of the project")
    options.add_argument("run", help="a run that is trained")
    options.add_argument("--processes", type=int, choices=(1, 2), default=2)
    chosen = options.parse_args()
    places = Places(chosen.data)
    identity = str(RunInputs.read(places.run(chosen.run).inputs).data_sha256)
    windows = windows_of(load_market(places.tensors(identity), identity=identity))
    passes = [Pass(window, lag) for lag, window in product((1, 0), windows)]
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        if chosen.processes == 1:
            rows = walk(chosen.data, chosen.run, passes, Path(out))
        else:
            with beside() as pool:
                other = pool.submit(walk, chosen.data, chosen.run, passes[1::2], Path(out))
                rows = walk(chosen.data, chosen.run, passes[::2], Path(out)) + other.result()
        whole = time.perf_counter() - began
    for found, accounts, sessions, seconds in rows:
        print(f"{found.window:<11} lag {found.fill_lag}  {accounts} accounts  {sessions:,} sessions  {seconds:6.1f} s")
    print(f"{len(passes)} passes, {chosen.processes} process(es): {whole:.1f} s")


if __name__ == "__main__":
    main()
