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
from clstm_core.artifacts.folder import write_json
from orchestration.abandoned import close_abandoned, close_dead_runs
from orchestration.definitions import build_defs
from orchestration.failures import failed_checks, failures
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
        close_dead_runs()
        result = held.enter_context(
            dg.execute_job(job, instance=instance, run_config=request["run_config"], tags=tags, raise_on_error=False)
        )
        facts: dict[str, Any] = {}
        for event in result.all_events:
            if event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
                metadata = event.materialization.metadata
                facts |= {f"{event.asset_key.path[-1]}.{key}": _plain(value) for key, value in metadata.items()}
    return {
        "success": result.success,
        "errors": failures(result.all_events),
        "warnings": [*heard, *failed_checks(result.all_events)],
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


def _plain(value: Any) -> Any:
    raw = value.value
    return raw if isinstance(raw, (str, int, float, bool)) or raw is None else str(raw)


def main() -> int:
    request = json.loads(Path(sys.argv[1]).read_text())
    outcome = execute(request)
    write_json(Path(request["outcome"]), outcome)
    return 0 if outcome["success"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
