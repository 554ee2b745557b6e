"""What every asset does the same way: say how far it is, keep check results, show tables, pass on a user's mistake."""

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from assets.resources import Metrics, ProjectPaths, Recipe
from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.folder import is_locked, lock
from clstm_core.artifacts.manifests import GateResults, RunInputs
from clstm_core.artifacts.places import DIGITS, RunFolder, run_name
from clstm_core.errors import ArtifactError, ClstmError, file_system_sentence, of_file_system
from clstm_core.process import die_with_parent

PROGRESS_TAG = ".dagster/clstm_progress"
"""Run tag with the file that the command line draws its progress bars from; tags of this prefix are not shown."""

LOCK_TAG = ".dagster/clstm_lock"
"""Run tag with the file that the process of a run holds locked for as long as it lives."""

PARTITION_TAG = "dagster/partition"
NO_WIDTH = "\u200b"
LOG_EVERY_S, LOG_SHARE = 5.0, 0.01
"""A stage's line in the log comes no sooner than this after the last one, nor than this share of its time so far: the
lines of two weeks are some thousand."""

THREADS = "OMP_NUM_THREADS"
NOTHING_MADE = dg.DataVersion("none")
"""Version of what an asset that has nothing to do leaves: the same each time, so that nothing after it grows stale."""

_ACTIVE = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


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
        if 0 < done < total and now - self._said >= max(LOG_EVERY_S, LOG_SHARE * (now - self._began)):
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
    with user_sentences():
        if partition := context.run.tags.get(PARTITION_TAG):
            run_name(partition)  # also where the first stage of a run is not partitioned: before anything starts
        die_with_parent()
        one_thread()
        commit = git_commit()
        tag_run(context, commit=commit[:DIGITS] + ("-dirty" if commit.endswith("-dirty") else ""))
        yield progress


@contextmanager
def user_sentences() -> Iterator[None]:
    """Turn an error of ours, or of the file system, into a failure of one sentence.

    Raises: dagster.Failure
    """
    try:
        yield
    except Exception as error:
        ours = isinstance(error, ClstmError)
        if not (ours or of_file_system(error)):
            raise
        words = str(error) if ours else file_system_sentence(error)
        raise dg.Failure(description=words, allow_retries=False) from error


@contextmanager
def run_stage(
    context: dg.AssetExecutionContext, name: str, paths: ProjectPaths
) -> Iterator[tuple[Progress, RunFolder]]:
    """A stage of one training run, whose folder no other launch of the same name works in meanwhile."""
    with stage(context, name) as progress, ExitStack() as held:
        run = paths.places.run(context.partition_key)
        _refuse_second_launch(context, run.name)
        # stages of one launch may run side by side; another launch's may not
        folder = paths.data / "launches" / run.name
        mine = folder / f"stage.{context.run.run_id}.lock"
        held.callback(mine.unlink, missing_ok=True)
        held.enter_context(lock(mine, f"run {run.name}", shared=True))
        for other in folder.glob("stage.*.lock"):
            if other != mine and is_locked(other):
                raise ArtifactError(
                    f"run {run.name} is being worked on by launch {other.name.split('.')[1][:8]}: expected one launch "
                    f"of a run at a time; its stage {name} was not begun. Wait for it, or pass another name."
                )
        if (inputs := RunInputs.kept(run.inputs)) is not None:
            tag_by_inputs(context, inputs)
        yield progress, run


def trains(context: dg.AssetExecutionContext) -> bool:
    """Whether this launch is to train as well: what cannot be trained is refused before the market is made."""
    return any(node.name == "trained_policy" for node in context.job_def.nodes)


def tag_run(context: dg.AssetExecutionContext, **facts: str) -> None:
    """Tag the launch with facts that are not tags of it yet: the runs page shows them, and filters by them."""
    if new := {name: value for name, value in facts.items() if value and context.run.tags.get(name) != value}:
        context.instance.add_run_tags(context.run.run_id, new)


def tag_by_recipe(context: dg.AssetExecutionContext, recipe: Recipe) -> None:
    """Tag the launch with what was chosen for it."""
    tag_run(context, recipe=recipe.name, source=recipe.source)


def tag_by_inputs(context: dg.AssetExecutionContext, inputs: RunInputs) -> None:
    """Tag the launch with what its training run is made from."""
    tag_run(
        context,
        recipe=str(inputs.config.get("recipe", "")),
        source=str(inputs.facts.get("source", "")),
        data=str(inputs.data_sha256 or "")[:DIGITS],
    )


def one_thread() -> None:
    """One CPU thread unless the environment says otherwise, whoever started this process.

    The nets are small: more threads only wait for each other (a backtest ran at a hundredth of its rate with two).
    """
    os.environ.setdefault(THREADS, "1")
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads(os.environ[THREADS]))


def threads(setting: str) -> int:
    """The number of threads that an OpenMP setting asks for: `4,2` is four, and two in each of them; one if unclear."""
    first = setting.partition(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else 1


def _refuse_second_launch(context: dg.AssetExecutionContext, run: str) -> None:
    """Raise ArtifactError where an earlier launch of the same run is alive."""
    mine = context.instance.get_run_record_by_id(context.run.run_id)
    others = context.instance.get_run_records(dg.RunsFilter(statuses=_ACTIVE, tags={PARTITION_TAG: run}))
    for other in others:
        held = other.dagster_run.tags.get(LOCK_TAG)
        alive = held is None or (held != context.run.tags.get(LOCK_TAG) and is_locked(Path(held)))
        earlier = mine is not None and other.create_timestamp < mine.create_timestamp
        if other.dagster_run.run_id != context.run.run_id and earlier and alive:
            raise ArtifactError(
                f"run {run} is being worked on by launch {other.dagster_run.run_id[:8]} "
                f"({other.dagster_run.job_name}): expected one launch of a run at a time. Wait for it, terminate it, "
                "or pass another name."
            )


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.TableMetadataValue:
    """Rows as Dagster's own table, which is shown without a click: for as many rows as one wants to see at once."""
    cells = [{column: _cell(row.get(column)) for column in columns} for row in rows]
    schema = dg.TableSchema([dg.TableColumn(column, _kind([row[column] for row in cells])) for column in columns])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in cells], schema)


def _cell(value: Any) -> str | float | bool | None:
    """A value as a table holds it: numbers to four digits, all that is no number as text."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return int(value) if isinstance(value, int) else str(value)


def _kind(values: Sequence[Any]) -> str:
    """What a column holds, in the words of Dagster's table schema."""
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {int, float}:
        return "float" if float in kinds else "int"
    return "bool" if kinds == {bool} else "string"


def long_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table, which the UI folds away where it is long; what could be read as markup is escaped."""

    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else escaped(str(value))

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column)) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def column_schema(**places: Path) -> dg.TableSchema:
    """Names and types of the columns of Parquet files, each after its table's name where there are several."""
    import polars as pl

    found = {name: pl.read_parquet_schema(place) for name, place in places.items()}
    return dg.TableSchema(
        [
            dg.TableColumn(f"{name}.{column}" if len(found) > 1 else column, str(kind))
            for name, schema in found.items()
            for column, kind in schema.items()
        ]
    )


def escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is, and in which no address becomes a link.

    The UI's Markdown links bare addresses after it has read escapes and entities, so that none of those would stop it:
    a space of no width divides them.
    """
    for letter, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\n", " "), ("\r", " ")):
        text = text.replace(letter, safe)
    text = "".join(f"\\{letter}" if letter in "|[]`*_~#!\\" else letter for letter in text)
    return re.sub(r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", NO_WIDTH, text)


def check(name: str, passed: bool, description: str, *, blocking: bool = False, **metadata: Any) -> dg.AssetCheckResult:
    """One check's result: a failure of a blocking check stops the chain, of another one only warns."""
    severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        check_name=name, passed=bool(passed), severity=severity, description=description, metadata=numbers(metadata)
    )


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among `values`, to six digits: a NaN or an infinity would blank a plot."""
    return {
        key: float(f"{value:.6g}") if isinstance(value, float) else value
        for key, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    }


def record_gates(
    metrics: Metrics, run: RunFolder, data_sha256: str | None, gate: str, results: Sequence[dg.AssetCheckResult]
) -> None:
    """Keep an asset's check results with the run and in the store, where the report finds them."""
    rows = [
        {
            "name": result.check_name,
            "passed": result.passed,
            "blocking": result.severity == dg.AssetCheckSeverity.ERROR,
            "detail": result.description,
        }
        for result in results
    ]
    gates = GateResults(
        run=run.name,
        gate=gate,
        data_sha256=data_sha256 or "",
        results=rows,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    metrics.store().record(gates.write(run.gates(gate)))
