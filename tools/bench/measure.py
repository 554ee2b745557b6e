"""Run every system in a process of its own, ours and a peer in turn, so that a drifting machine hits both."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench.task import SYSTEMS, System
from tools.bench.worker import ROOFLINE

PEERS_PYTHON = Path(".venv-bench/bin/python")
MOST_LOAD = 0.5
"""Load average of the last minute from which on a measurement is in doubt."""
REMEDY = "Run `make bench`, which installs the peers into .venv-bench, with a package index in reach."

Numbers = dict[str, float | str]
Worker = Callable[..., Numbers]
"""Takes a system's name and flags of `tools.bench.worker`; what that printed."""


class BenchError(RuntimeError):
    """A measurement that did not come about; the message names the remedy."""


@dataclass(slots=True)
class Result:
    """One system's measurements at one size: the median and best env steps/s of each round, and ours beside them."""

    system: System
    hidden: int
    threads: int
    precision: str = "float32"  # of ours
    medians: list[float] = field(default_factory=list)
    bests: list[float] = field(default_factory=list)
    rivals: list[float] = field(default_factory=list)  # ours, measured just before each
    torch: str = ""  # version

    @property
    def name(self) -> str:
        """The system's, with the precision of ours where that is not float32."""
        other = self.system.is_ours and self.precision != "float32"
        return f"{self.system.name} {self.precision}" if other else self.system.name

    @property
    def steps_per_second(self) -> float:
        """Median over the rounds of the median over iterations."""
        return statistics.median(self.medians)

    @property
    def ratios(self) -> list[float]:
        """Ours / this, round by round; 1 for ours."""
        if self.system.is_ours:
            return [1.0]
        return [ours / peer for ours, peer in zip(self.rivals, self.medians, strict=True)]

    def add(self, found: Numbers) -> float:
        """Take a worker's numbers in; their median."""
        median, best = float(found["median"]), float(found["best"])
        self.medians.append(median)
        self.bests.append(best)
        self.torch = str(found["torch"])
        return median


def worker(python: Path) -> Worker:
    """Measures a system in a process of `python`, or of this Python where the system needs no package."""

    def run(name: str, *, threads: int, **flags: float | str) -> Numbers:
        """Raises: BenchError with the last line that the process left"""
        needs_peers = name in SYSTEMS and SYSTEMS[name].package is not None
        command = [str(python) if needs_peers else sys.executable, "-m", "tools.bench.worker", "--system", name]
        for flag, value in {"threads": threads, **flags}.items():
            command += [f"--{flag.replace('_', '-')}", str(value)]
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        done = subprocess.run(command, env=os.environ | counts, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise BenchError(f"{name} ended with code {done.returncode}: {last}")
        return json.loads(done.stdout.splitlines()[-1])

    return run


def missing(system: System, python: Path) -> str | None:
    """A sentence where the peers' environment lacks what a system needs; None where it has it."""
    if system.package is None:
        return None
    if not python.is_file():
        return f"{system.name} is missing: there is no {python}. {REMEDY}"
    looked = subprocess.run([str(python), "-c", f"import {system.package}"], capture_output=True, check=False)
    return None if looked.returncode == 0 else f"{system.name} is missing: {python} has no {system.package}. {REMEDY}"


def busy() -> str | None:
    """A sentence where other work goes on here; None on an idle machine, or where the system does not say."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < MOST_LOAD:
        return None
    return (
        f"the machine is busy (load {load:.1f} before the first measurement): two threads of one system wait for each "
        "other then, some of them most of the time. Measure again on an idle one."
    )


def compare(
    systems: Sequence[System],
    *,
    hidden: int,
    threads: int,
    seconds: float,
    rounds: int,
    measure: Worker,
    precision: str = "float32",
) -> Iterator[Result]:
    """Each system's result at one size, ours included, after all rounds.

    In a round every peer is measured just after ours with as many trunks. Without peers ours is measured alone.
    """
    results = {system.name: Result(system, hidden, threads, precision) for system in systems}
    for name in dict.fromkeys(system.rival for system in systems):
        results.setdefault(name, Result(SYSTEMS[name], hidden, threads, precision))
    peers = [system for system in systems if not system.is_ours]
    alone = [system for system in systems if system.is_ours and not any(p.rival == system.name for p in peers)]
    flags = {"hidden": hidden, "threads": threads, "seconds": seconds}
    for _ in range(rounds):
        for system in (*alone, *peers):
            ours = results[system.rival].add(measure(system.rival, precision=precision, **flags))
            if not system.is_ours:
                result = results[system.name]
                result.add(measure(system.name, **flags))
                result.rivals.append(ours)
    yield from sorted(results.values(), key=lambda result: list(SYSTEMS).index(result.system.name))


def rooflines(threads: int, measure: Worker) -> dict[str, float]:
    """Best GFLOP/s of a matrix product with this many threads, by dtype."""
    found = measure(ROOFLINE, threads=threads)
    return {dtype: float(found[dtype]) for dtype in ("float32", "bfloat16")}
