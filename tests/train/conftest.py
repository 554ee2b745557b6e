"""Two runs compared to the bit: their curves without clocks, and the tensors that they ended with."""

import json
from pathlib import Path

import pytest
import torch

from clstm_core.checkpoint import load_checkpoint

CLOCKS = {"run", "steps_per_second", "seconds", "eta_seconds"}


def curve(run_dir: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]


def same_tensors(one: Path, other: Path) -> bool:
    a, b = load_checkpoint(one), load_checkpoint(other)
    pairs = [(a.model, b.model), (a.state, b.state)]
    return all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in pairs)


@pytest.fixture
def same_run():
    """Whether two finished runs, by their folders, have the same curve and the same last checkpoint."""

    def same(one: Path, other: Path) -> bool:
        last = Path("checkpoints") / "100"
        return curve(one) == curve(other) and same_tensors(one / last, other / last)

    return same
