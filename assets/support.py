"""What every asset does the same way: say how far it is, keep check results, show tables, pass on a user's mistake."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from assets.resources import Metrics, ProjectPaths
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
LOG_EVERY_S = 5.0
THREADS = "OMP_NUM_THREADS"
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

        torch.set_num_threads(max(1, int(os.environ[THREADS])))


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


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table; what could be read as markup is escaped."""

    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else escaped(str(value))

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column)) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    for letter, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\n", " ")):
        text = text.replace(letter, safe)
    return "".join(f"\\{letter}" if letter in "|[]`*!\\" else letter for letter in text)


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
