"""Runs one chain in this process and leaves its outcome in a file: what `clstm demo` starts as a child.

    python -m orchestration.chain REQUEST.json

The request holds job, run, run_config, tags, progress (file), outcome (file) and lock: a file that this process
inherits held, so that it falls free when this process ends, and not when the command that started it does.
"""

import json
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import dagster as dg
from dagster import DagsterEventType

from assets.support import LOCK_TAG, PARTITION_TAG, PROGRESS_TAG
from clstm_core.artifacts.folder import is_locked, write_json
from orchestration.definitions import build_defs
from orchestration.home import dagster_home


def job_named(name: str) -> dg.JobDefinition:
    """A job by name, as the process of each step finds it."""
    return build_defs().resolve_job_def(name)


def execute(request: dict[str, Any]) -> dict[str, Any]:
    """Execute the job; what came of it in plain JSON types, never an exception of the chain's own."""
    dagster_home()
    heard = _listen()
    tags = {**request["tags"], PROGRESS_TAG: request["progress"], LOCK_TAG: request["lock"]}
    if request["run"]:
        tags[PARTITION_TAG] = request["run"]
    job = dg.build_reconstructable_job("orchestration.chain", "job_named", (request["job"],))
    with ExitStack() as held:
        instance = held.enter_context(dg.DagsterInstance.get())
        close_abandoned(instance, mine=request["lock"])
        _close_dead_runs()
        result = held.enter_context(
            dg.execute_job(job, instance=instance, run_config=request["run_config"], tags=tags, raise_on_error=False)
        )
        facts: dict[str, Any] = {}
        for event in result.all_events:
            if event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
                metadata = event.materialization.metadata
                facts |= {f"{event.asset_key.path[-1]}.{key}": _plain(value) for key, value in metadata.items()}
        failures = [event for event in result.all_events if event.event_type == DagsterEventType.STEP_FAILURE]
        errors = [_sentence(event) for event in failures if not _is_check_failure(event)]
        checks = [
            event.asset_check_evaluation_data
            for event in result.all_events
            if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION
            and not event.asset_check_evaluation_data.passed
        ]
        words = {
            f"check {found.check_name} of {found.asset_key.path[-1]} failed: {found.description}": found.severity
            for found in checks
        }
        blocking = [line for line, severity in words.items() if severity == dg.AssetCheckSeverity.ERROR]
    return {
        "success": result.success,
        "errors": errors or blocking or [_sentence(event) for event in failures],
        "warnings": [*heard, *words],
        "facts": facts,
        "run_id": result.run_id,
    }


def _listen() -> list[str]:
    """A list that grows by what the project's own code warns of, e.g. a corrupt cache; the log has it too."""
    heard: list[str] = []
    root, show = Path(__file__).resolve().parents[1], warnings.showwarning

    def hear(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is UserWarning and Path(filename).is_relative_to(root) and ".venv" not in filename:
            heard.append(str(message))
        show(message, category, filename, lineno, file, line)

    warnings.showwarning = hear
    return heard


def close_abandoned(instance: dg.DagsterInstance, mine: str = "") -> None:
    """Mark runs whose process is gone as failed, and free the pool slots of every run that no longer works.

    A run's process holds a lock for as long as it lives: a process number proves nothing, a new container reuses it.

    Args:
        mine: the lock that this process holds: another run that names it is dead
    """
    for record in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        held = record.tags.get(LOCK_TAG)
        if held and (held == mine or not is_locked(Path(held))):
            instance.report_run_failed(record, "The process of this run ended without saying why.")
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    for pool in storage.get_concurrency_keys():
        for run_id in {slot.run_id for slot in storage.get_concurrency_info(pool).claimed_slots}:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)


def _close_dead_runs() -> None:
    """Say of training runs whose process was killed that they are stopped, in their folders and in the store."""
    from clstm_core.artifacts.places import Places
    from clstm_core.store.store import MetricsStore
    from clstm_core.train.status import close_dead
    from orchestration.home import project_home

    data = project_home() / "data"
    if dead := close_dead(Places(data)):
        MetricsStore(data / "metrics.duckdb").record(*dead)


def _plain(value: Any) -> Any:
    raw = value.value
    return raw if isinstance(raw, (str, int, float, bool)) or raw is None else str(raw)


def _is_check_failure(event: dg.DagsterEvent) -> bool:
    """Whether a step only failed because a blocking check did: the check's own words say more."""
    error: Any = event.event_specific_data
    return error.error is not None and error.error.cls_name == "DagsterAssetCheckFailedError"


def _sentence(event: dg.DagsterEvent) -> str:
    """The user's sentence of a failed step; the innermost error where it is not one of ours."""
    data: Any = event.event_specific_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip().splitlines()[-1] if error else 'failed'}"


def main() -> int:
    request = json.loads(Path(sys.argv[1]).read_text())
    outcome = execute(request)
    write_json(Path(request["outcome"]), outcome)
    return 0 if outcome["success"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
