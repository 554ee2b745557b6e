"""How a training run goes, kept in its folder: running, then finished, stopped or failed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clstm_core.artifacts.folder import file_sha256, is_locked
from clstm_core.artifacts.manifests import RunStatus
from clstm_core.artifacts.places import LOCK, Places, RunFolder

RUNNING, STOPPED, FAILED, FINISHED = "running", "stopped", "failed", "finished"


@contextmanager
def followed(run: RunFolder, record: Callable[[RunStatus], None]) -> Iterator[None]:
    """Say `running` while the body runs, and stopped or failed when it ends otherwise than well.

    Args:
        record: called with each status that was written, e.g. to tell the store
    """
    kept = RunStatus.kept(run.status, files=False)
    status = RunStatus(run=run.name, status=RUNNING, started_at=(kept.started_at if kept else None) or _now())
    record(status.write(run.status))

    def end(how: str, reason: str) -> None:
        record(replace(status, status=how, finished_at=_now(), reason=reason).write(run.status))

    try:
        yield
    except Exception as error:
        end(FAILED, str(error))
        raise
    except BaseException:  # told to stop: by a signal, or by Dagster
        end(STOPPED, "told to stop")
        raise


def finished(run: RunFolder, rows: list[dict[str, Any]]) -> RunStatus:
    """The status of a finished run, which covers its metrics; the one that is there where nothing was trained since.

    Args:
        rows: of its metrics.jsonl
    """
    metrics = run.path / "metrics.jsonl"
    files = {metrics.name: file_sha256(metrics)} if metrics.is_file() else {}
    kept = RunStatus.kept(run.status, files=False)
    if kept is not None and kept.status == FINISHED and dict(kept.files) == files:
        return kept
    last = rows[-1] if rows else {}
    return RunStatus(
        run=run.name,
        status=FINISHED,
        started_at=kept.started_at if kept else None,
        finished_at=_now(),
        env_steps=last.get("env_steps"),
        iterations=last.get("iteration"),
        seconds=last.get("seconds"),
        files=files,
    ).write(run.status)


def close_dead(places: Places) -> list[RunStatus]:
    """Runs that say running while no process holds them were killed: they are stopped. Those that were changed.

    A run is held by its trainer, and by the stage of a launch that is about to start one.
    """
    changed = []
    for place in sorted(places.runs.glob("*/status.json")):
        status = RunStatus.kept(place, files=False)
        stages = (places.root / "launches" / place.parent.name).glob("stage.*.lock")
        held = any(map(is_locked, (place.parent / LOCK, *stages)))
        if status is not None and status.status == RUNNING and not held:
            reason = "its process ended without saying why"
            changed.append(replace(status, status=STOPPED, finished_at=_now(), reason=reason).write(place))
    return changed


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
