"""What the files of a data folder say, as rows of the store: the way back after the store was lost.

    cache/audits/*.json, cache/realism/*.json             gate_results
    controls/*.json                                       controls
    runs/<run>/inputs.json, status.json, comparison.json  runs, comparisons
    runs/<run>/metrics.jsonl                              training_metrics
    runs/<run>/checkpoints/<rung>/manifest.json           checkpoints
    runs/<run>/generalisation.json                        generalisation
    runs/<run>/conventions.json                           convention_sweeps, tilt_and_timing
    runs/<run>/gates/*.json                               gate_results
    runs/<run>/report.json                                reports
    backtests/<id>/manifest.json                          backtests, trials
    bundles/<run>/manifest.json                           exports
    challengers/<run>/manifest.json                       challengers
    registry/states/<number>/decision.json                promotions, promotion_rules
    sweeps/<name>/sweep.json, trials/*.json               sweeps, sweep_trials
    walk_forward/<name>/walk_forward.json                 walk_forwards

Each manifest says its own rows (`Manifest.rows`), to the stage that wrote it and to the rebuild alike.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import read_jsonl
from clstm_core.artifacts.manifest import FILE, Manifest, Rows
from clstm_core.artifacts.manifests import (
    AuditVerdict,
    BacktestManifest,
    BundleManifest,
    ChallengerManifest,
    CheckpointManifest,
    ComparisonManifest,
    ControlsManifest,
    ConventionsManifest,
    GateResults,
    GeneralisationManifest,
    RealismVerdict,
    ReconciliationManifest,
    ReportManifest,
    RunInputs,
    RunStatus,
    ShadowManifest,
    SweepManifest,
    TrialManifest,
    WalkForwardManifest,
)
from clstm_core.artifacts.places import Places
from clstm_core.errors import ArtifactError
from clstm_core.store.schema import TABLES
from clstm_core.store.values import known_columns

_log = logging.getLogger(__name__)
_KINDS: tuple[tuple[type[Manifest], str], ...] = (
    (AuditVerdict, "cache/audits/*.json"),
    (RealismVerdict, "cache/realism/*.json"),
    (ControlsManifest, "controls/*.json"),
    (RunInputs, "runs/*/inputs.json"),
    (RunStatus, "runs/*/status.json"),
    (CheckpointManifest, f"runs/*/checkpoints/*/{FILE}"),
    (GeneralisationManifest, "runs/*/generalisation.json"),
    (GateResults, "runs/*/gates/*.json"),
    (ComparisonManifest, "runs/*/comparison.json"),
    (ConventionsManifest, "runs/*/conventions.json"),
    (ReportManifest, "runs/*/report.json"),
    (BacktestManifest, f"backtests/*/{FILE}"),
    (BundleManifest, f"bundles/*/{FILE}"),
    (ChallengerManifest, f"challengers/*/{FILE}"),
    (ShadowManifest, "shadow/*/account.json"),
    (ReconciliationManifest, "shadow/*/reconciliation.json"),
    (SweepManifest, "sweeps/*/sweep.json"),
    (TrialManifest, "sweeps/*/trials/*.json"),
    (WalkForwardManifest, "walk_forward/*/walk_forward.json"),
)


def rows_of(data_dir: Path) -> Iterator[Rows]:
    """Rows by table of every manifest below `data_dir`, earlier ones first; misfits are left out with a warning."""
    for kind, pattern in _KINDS:
        found = []
        for place in sorted(data_dir.glob(pattern)):
            if any(part.startswith(".") or part.endswith(".previous") for part in place.relative_to(data_dir).parts):
                continue
            try:
                found.append(kind.read(place, files=False))
            except ArtifactError as error:
                _log.warning("left out of the store: %s", error)
        for manifest in sorted(found, key=_written):
            yield manifest.rows()
    yield from _decisions(Places(data_dir))
    for run_dir in sorted(Places(data_dir).runs.glob("[!.]*")):
        yield {"training_metrics": metrics_rows(run_dir)}


def _decisions(places: Places) -> Iterator[Rows]:
    """Rows of every decision that took effect; a registry that is damaged is left out with a warning."""
    from clstm_core.feedback.registry import Registry

    try:
        for decision in reversed(Registry(places).history()):
            yield decision.rows()
    except ArtifactError as error:
        _log.warning("left out of the store: %s", error)


def metrics_rows(run_dir: Path) -> list[dict[str, Any]]:
    """One row per iteration of a run, as its metrics.jsonl says."""
    return [{**row, "run": run_dir.name} for row in read_jsonl(run_dir / "metrics.jsonl")]


def fitting(table: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the columns that the table has: manifests may say more."""
    return [known_columns(TABLES[table], row) for row in rows]


def _written(manifest: Manifest) -> str:
    """When a manifest was written: of two with the same key the later one counts, as it did when they were written."""
    for name in ("recorded_at", "created_at", "created"):
        if value := getattr(manifest, name, None):
            return str(value)
    return ""
