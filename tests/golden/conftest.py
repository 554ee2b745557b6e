"""The frozen market, and the comparison with what was written down: `--update-golden` writes it down again."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from clstm_core.config import MarketConfig
from clstm_core.market.build.assemble import build_market_tensors

HERE = Path(__file__).parent
TABLES = ("quotes", "underlyings", "rates")


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/*.json again, then read the diff")


def columns(table: pl.DataFrame) -> dict:
    """A canonical table as the columns that the builder reads."""
    return {name: table[name].to_numpy() for name in table.columns}


def build(tables: dict[str, pl.DataFrame]):
    """The canonical tables as a market: three fifths of its sessions train."""
    config = MarketConfig(
        source="simulated", train_fraction=0.6, validation_fraction=0.2, min_training_snapshots=20, n_snapshots=75
    )
    facts = {"source": "golden", "label": "simulated quotes", "premium": True}
    return build_market_tensors(*(columns(tables[name]) for name in TABLES), config, embargo=0, info=facts)


@pytest.fixture(scope="session")
def frozen():
    """The committed tables, and `build`, which makes a market of them or of altered ones."""
    return SimpleNamespace(
        tables={name: pl.read_parquet(HERE / "market" / f"{name}.parquet") for name in TABLES},
        build=build,
        folder=HERE / "market",
    )


@pytest.fixture(scope="session")
def market(frozen):
    """The frozen market as tensors."""
    return frozen.build(frozen.tables)


def rounded(value):
    """Floats at eight significant digits and no smaller than 1e-9, so that the file shows what changed and no more."""
    return float(f"{round(value, 9):.8g}") if isinstance(value, float) else value


def close(found, expected, tolerance: float) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance)
    return found == expected


def differences(found: dict, expected: dict, tolerance: float) -> list[str]:
    """One line per entry that differs, with every figure that does."""
    lines = [f"{name}: not expected" for name in found.keys() - expected.keys()]
    for name, line in expected.items():
        mine = found.get(name)
        if mine is None:
            lines.append(f"{name}: missing")
            continue
        wrong = [
            f"{key} {mine.get(key)}, expected {line.get(key)}"
            for key in sorted(mine.keys() | line.keys())
            if not close(mine.get(key), line.get(key), tolerance)
        ]
        if wrong:
            lines.append(f"{name}: {'; '.join(wrong)}")
    return sorted(lines)


@dataclass(frozen=True)
class Golden:
    """`golden(name, found)`: compare {entry: {figure: value}} with <name>.json, one line per entry."""

    folder: Path
    update: bool = False

    def __call__(self, name: str, found: dict[str, dict], tolerance: float = 1e-6) -> None:
        path = self.folder / f"{name}.json"
        found = {entry: {key: rounded(value) for key, value in line.items()} for entry, line in found.items()}
        if self.update:
            lines = ",\n".join(f" {json.dumps(entry)}: {json.dumps(line)}" for entry, line in found.items())
            path.write_text(f"{{\n{lines}\n}}\n")
        wrong = differences(found, json.loads(path.read_text()), tolerance)
        head = f"{path.name} says otherwise; where that is meant: python -m pytest tests/golden --update-golden"
        if wrong:
            raise AssertionError("\n".join([head, *wrong]))


@pytest.fixture
def golden(request):
    """What was written down; `--update-golden` writes it down again."""
    return Golden(HERE, request.config.getoption("--update-golden", default=False))
