"""What every asset does the same way: find its parents, say how far it is, show tables, pass on a user's mistake."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from clstm_core.errors import file_system_sentence, of_file_system

PROGRESS_TAG = "clstm/progress"
"""Run tag with the file that the command line draws its progress bars from."""

LOG_EVERY_S = 5.0


class Progress:
    """Tells the run's log, and the command line where it listens, how far a stage is; called with (done, total)."""

    def __init__(self, context: dg.AssetExecutionContext, stage: str):
        self._log, self._stage = context.log, stage
        target = context.run.tags.get(PROGRESS_TAG)
        self._file = Path(target) if target else None
        self._began = self._said = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if self._file is not None:
            line = {"stage": self._stage, "done": done, "total": total, "note": note}
            with self._file.open("a") as handle:
                handle.write(json.dumps(line) + "\n")
        now = time.monotonic()
        if 0 < done < total and now - self._said >= LOG_EVERY_S:
            self._said = now
            left = (now - self._began) * (total - done) / done
            self._log.info(f"{self._stage}: {done:,} of {total:,} ({done / total:.0%}), {left:.0f} s left. {note}")

    def reused(self, what: str) -> None:
        """Say that a stage had nothing to do."""
        self._log.info(f"{self._stage}: {what}")
        self(1, 1, what)


@contextmanager
def stage(context: dg.AssetExecutionContext, name: str) -> Iterator[Progress]:
    """Run a stage's body: its progress is told, and an error of ours becomes a failure of one sentence.

    Raises: dagster.Failure for our own errors (their messages carry the remedy) and for those of the file system
    """
    progress = Progress(context, name)
    progress(0, 1)
    try:
        yield progress
    except Exception as error:
        ours = type(error).__module__.split(".")[0] in ("clstm_core", "reports")
        if not (ours or of_file_system(error)):
            raise
        words = str(error) if ours else file_system_sentence(error)
        raise dg.Failure(description=words, allow_retries=False) from error


def latest_metadata(context: dg.AssetExecutionContext, asset: str) -> Mapping[str, Any]:
    """Metadata values of an asset's newest materialization; dagster.Failure when there is none."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey(asset))
    if event is None or event.asset_materialization is None:
        raise dg.Failure(
            description=f"{asset} has no materialization: expected one before this asset. Materialize {asset} first.",
            allow_retries=False,
        )
    return {key: value.value for key, value in event.asset_materialization.metadata.items()}


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON file that an earlier asset wrote; dagster.Failure with the remedy when it is not there."""
    if not path.is_file():
        raise dg.Failure(description=f"no {path}: expected the file of an earlier asset. {remedy}", allow_retries=False)
    content = read_kept(path)
    if not isinstance(content, dict):
        raise dg.Failure(
            description=f"damaged file {path}: expected the JSON object of an earlier asset. Delete it. {remedy}",
            allow_retries=False,
        )
    return content


def read_kept(path: Path) -> Any:
    """JSON that was kept for the next time; None where there is none or it is damaged, and the work is done again."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table; what could be read as markup is escaped."""

    def cell(value: Any) -> str:
        text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        for letter, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
            text = text.replace(letter, safe)
        return text

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column)) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def check(name: str, passed: bool, description: str, *, blocking: bool = False, **metadata: Any) -> dg.AssetCheckResult:
    """One check's result: a failure of a blocking check stops the chain, of another one only warns."""
    severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
    finite = {key: value for key, value in metadata.items() if value == value and value not in (None, float("inf"))}
    return dg.AssetCheckResult(
        check_name=name, passed=bool(passed), severity=severity, description=description, metadata=finite
    )


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among `values`: a NaN or an infinity would blank a plot."""
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    }


def identity(facts: Any, *rooms: str) -> str:
    """Hash of what a result depends on: `facts`, and the core's code in the files and folders named by `rooms`."""
    import clstm_core

    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    package = Path(clstm_core.__file__).parent
    for room in rooms:
        paths = sorted((package / room).rglob("*.py")) if (package / room).is_dir() else [package / room]
        for path in paths:
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True, default=str))
    os.replace(temporary, path)


def record_gates(
    store: Any, run_dir: Path, data_sha256: str, gate: str, results: Sequence[dg.AssetCheckResult]
) -> None:
    """Keep an asset's check results with the run and in the store, where the report finds them."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = [
        {
            "data_sha256": data_sha256,
            "gate": gate,
            "name": result.check_name,
            "passed": result.passed,
            "blocking": result.severity == dg.AssetCheckSeverity.ERROR,
            "detail": result.description,
            "recorded_at": now,
        }
        for result in results
    ]
    path = run_dir / "gates.json"
    kept = read_kept(path) or []
    write_json(path, [row for row in kept if row["gate"] != gate] + rows)
    store.upsert("gate_results", [{"run": run_dir.name, **row} for row in rows])


def record_run(store: Any, run_dir: Path, **facts: Any) -> None:
    """Add facts to what is known of a run, in its folder and in the store."""
    path = run_dir / "run.json"
    kept = read_kept(path) or {}
    write_json(path, kept | facts)
    store.upsert("runs", [{"run": run_dir.name, "folder": str(run_dir), **facts}])
