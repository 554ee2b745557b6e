"""What the files of a data folder tell, as rows of the store: the way back after the store was lost.

    runs/<run>/config.json, run.json           -> runs
    runs/<run>/metrics.jsonl                   -> training_metrics
    runs/<run>/checkpoints/<milestone>/*.json  -> checkpoints
    runs/<run>/gates.json, audit.json          -> gate_results
    runs/<run>/comparison.json (its pairs)     -> comparisons
    backtests/<id>/manifest.json               -> backtests, trials
    bundles/<run>/manifest.json                -> exports

Manifests may say more than the tables hold; what the tables have no column for is passed over.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clstm_core.errors import MetricsError
from clstm_core.store.schema import TABLES, TRIALS
from clstm_core.store.values import clean_row, known_columns

Rows = list[dict[str, Any]]
_log = logging.getLogger(__name__)
_FORMATS = {".safetensors": "safetensors", ".ts": "torchscript", ".onnx": "onnx", ".json": "json", ".md": "markdown"}


def rows_of(data_dir: Path) -> dict[str, Rows]:
    """Rows a table from every manifest under `data_dir`; misfits are left out with a warning."""
    found: dict[str, Rows] = {name: [] for name in TABLES}
    for folder in _folders(data_dir / "runs"):
        found["runs"] += _run(folder)
        found["training_metrics"] += _metrics(folder)
        found["checkpoints"] += _checkpoints(folder)
        found["gate_results"] += _gates(folder)
        found["comparisons"] += [
            {"run": folder.name, **known_columns(TABLES["comparisons"], row)}
            for row in read_rows(folder / "comparison.json", "pairs")
        ]
    for folder in _folders(data_dir / "backtests"):
        found["backtests"] += backtest_rows(folder)
    found["trials"] = [trial for row in found["backtests"] if (trial := trial_of(row))]
    for folder in _folders(data_dir / "bundles"):
        found["exports"] += _exports(folder)
    return {name: list(_fitting(name, rows)) for name, rows in found.items() if rows}


def backtest_rows(folder: Path) -> Rows:
    """The row of one backtest's manifest: known columns at its top level or one level down."""
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict):
        return []
    flat: dict[str, Any] = {}
    for value in manifest.values():
        if isinstance(value, dict):
            flat.update(known_columns(TABLES["backtests"], value))
    flat.update(known_columns(TABLES["backtests"], manifest))
    window = flat.get("window")
    if isinstance(window, Mapping):
        flat["window"] = window.get("name")
    return [{**flat, "backtest_id": folder.name, "folder": flat.get("folder") or str(folder)}]


def trial_of(backtest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The trial that a backtest was, for the registry; None for one without a run or a window."""
    if not backtest.get("run") or not backtest.get("window"):
        return None
    row = {name: value for name, value in known_columns(TRIALS, backtest).items() if value is not None}
    variant = f"{backtest.get('fill_rule') or 'touch'}/{backtest.get('fill_lag', 1)}"
    return {**row, "variant": variant, "recorded_at": backtest.get("created_at")}


def read_json(path: Path) -> Any:
    """The file's content; None when it is missing or, with a warning, unreadable."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        _log.warning("skipped %s: expected JSON, found %s.", path, error)
        return None


def read_jsonl(path: Path) -> Rows:
    """Objects of a JSONL file; a torn or unreadable line is skipped with a warning."""
    rows: Rows = []
    if not path.is_file():
        return rows
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            rows.append(value)
        else:
            _log.warning("skipped line %d of %s: expected one JSON object.", number, path)
    return rows


def read_rows(path: Path, *keys: str) -> Rows:
    """Objects of a JSON file that is a list, or holds one under one of `keys` or `rows`."""
    content = read_json(path)
    if isinstance(content, dict):
        content = next((content[key] for key in (*keys, "rows", "results") if isinstance(content.get(key), list)), [])
    return [row for row in content or [] if isinstance(row, dict)]


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _run(folder: Path) -> Rows:
    config, facts = read_json(folder / "config.json"), read_json(folder / "run.json")
    row: dict[str, Any] = {"run": folder.name, "folder": str(folder)}
    if isinstance(config, dict):
        row |= known_columns(TABLES["runs"], config)
        row["config"] = json.dumps(config, sort_keys=True)
        row["config_sha256"] = hashlib.sha256(row["config"].encode()).hexdigest()
        if isinstance(config.get("market"), dict):
            row["source"] = config["market"].get("source")
    if isinstance(facts, dict):
        row |= known_columns(TABLES["runs"], facts)
    return [{**row, "run": folder.name}]


def _metrics(folder: Path) -> Rows:
    table = TABLES["training_metrics"]
    return [{**known_columns(table, row), "run": folder.name} for row in read_jsonl(folder / "metrics.jsonl")]


def _checkpoints(folder: Path) -> Rows:
    rows = []
    for rung in _folders(folder / "checkpoints"):
        meta, manifest = read_json(rung / "meta.json"), read_json(rung / "manifest.json")
        if not rung.name.isdigit() or not isinstance(meta, dict) or not isinstance(manifest, dict):
            continue
        files = manifest.get("files") or {}
        row = {
            **known_columns(TABLES["checkpoints"], meta),
            "run": folder.name,
            "milestone": rung.name,
            "folder": str(rung),
            "model_sha256": files.get("model.safetensors") if isinstance(files, dict) else None,
            "manifest_sha256": hashlib.sha256((rung / "manifest.json").read_bytes()).hexdigest(),
        }
        rows.append(row)
    return rows


def _gates(folder: Path) -> Rows:
    table = TABLES["gate_results"]
    rows = [
        {"gate": "environment_audit", "blocking": True, **known_columns(table, row)}
        for row in read_rows(folder / "audit.json", "proofs")
    ]
    rows += [known_columns(table, row) for row in read_rows(folder / "gates.json", "gates")]
    return [{"run": folder.name, **row} for row in rows]


def _exports(folder: Path) -> Rows:
    manifest = read_json(folder / "manifest.json")
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        return []
    rows = []
    for name, digest in files.items():
        path = folder / name
        rows.append(
            {
                "run": manifest.get("run") or folder.name,
                "file": name,
                "format": _FORMATS.get(path.suffix),
                "milestone": manifest.get("milestone") or (manifest.get("policy") or {}).get("milestone"),
                "folder": str(folder),
                "sha256": digest,
                "bytes": path.stat().st_size if path.is_file() else None,
            }
        )
    return rows


def _fitting(name: str, rows: Rows) -> Iterable[dict[str, Any]]:
    for row in rows:
        try:
            yield clean_row(TABLES[name], row)
        except MetricsError as error:
            _log.warning("left out a row of %s: %s", name, error)
