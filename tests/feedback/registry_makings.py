"""Bundles and challengers made of a few bytes: the registry asks for hashes, not for graphs."""

import datetime
from pathlib import Path

import numpy as np
import polars as pl

from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import BundleManifest, ChallengerManifest

STANDING = "champion: the best of those that qualify"
NAMES = ("policy.onnx", "policy.safetensors", "config.json", "golden.safetensors")
CREATED = "2026-11-01T00:00:00+00:00"


def bundle(data: Path, run: str, *, standing: str = STANDING, train_until: str = "2019-12-31") -> BundleManifest:
    """A bundle of run `run` below `data/bundles` whose files hold its name."""
    folder = data / "bundles" / run
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(f"{name} of {run}".encode() * 50)
    until = f'{{"market": {{"train_until": "{train_until}", "validation_until": "{train_until}"}}}}'
    (folder / "config.json").write_text(until)
    manifest = BundleManifest(
        run=run,
        created=CREATED,
        made_from="",
        policy={"milestone": "100"},
        provenance={"run": run, "standing": standing, "data_label": "modelled quotes"},
        schema={"observation": [], "actions": []},
        schema_sha256="",
        memory_sessions=21,
        account={},
        graphs={},
        shapes={},
        opset=20,
        versions={},
        parity=[{"runtime": "onnx", "passed": True, "steps": 10, "actions_differing": 0, "max_logit_difference": 0.0}],
        latency=[{"runtime": "onnx", "p50_us": 80.0, "p99_us": 140.0}],
        golden={},
        bytes={},
        files=files_of(folder),
    )
    return manifest.write(folder / FILE)


def days(count: int, first: str = "2021-01-04") -> list[datetime.date]:
    """Week days from `first` on."""
    found, day = [], datetime.date.fromisoformat(first)
    while len(found) < count:
        if day.weekday() < 5:
            found.append(day)
        day += datetime.timedelta(days=1)
    return found


def challenger(
    data: Path,
    run: str,
    *,
    champion: str = "",
    growth=None,
    against=None,
    first: str = "2021-01-04",
    made: BundleManifest | None = None,
    created: str = CREATED,
    figures: dict | None = None,
    **facts,
) -> ChallengerManifest:
    """A challenger below `data/challengers` whose log growth per session is `growth`, the champion's `against`."""
    made = made or bundle(data, run)
    draw = np.random.default_rng(5)
    growth = draw.normal(0.004, 0.004, 252) if growth is None else np.asarray(growth)
    against = draw.normal(-0.001, 0.006, len(growth)) if against is None else np.asarray(against)
    dates = days(len(growth), first)
    folder = data / "challengers" / run
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        {
            "date": dates,
            "challenger": growth,
            "champion": against,
            "cash": np.zeros(len(growth)),
            "regime": np.resize(["calm", "middle", "wild"], len(growth)),
        }
    ).write_parquet(folder / "pairs.parquet")
    said = {
        "run": run,
        "start": "champion" if champion else "scratch",
        "why": "a test",
        "outcome": "challenger",
        "answer": f"{run} may be proposed.",
        "bundle": made.identity,
        "champion": champion,
        "stages": [{"name": "regression", "passed": True, "words": "no regression"}],
        "judged": {
            "first": str(dates[0]),
            "last": str(dates[-1]),
            "sessions": len(dates),
            "label": "modelled quotes",
        },
        "figures": {"luck_p": 0.01, "sessions": len(dates), "parity": True, "latency_p50_us": 80.0} | (figures or {}),
        "created": created,
    }
    manifest = ChallengerManifest(**(said | facts), files=files_of(folder, "pairs.parquet"))
    return manifest.write(folder / FILE)
