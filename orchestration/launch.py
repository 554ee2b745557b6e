"""One launch of a job from the command line: the run's key, a child process that works, and its progress drawn."""

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from orchestration.home import dagster_home, project_home
from orchestration.progress import Follower

if TYPE_CHECKING:
    import dagster as dg

    from clstm_core.recipe import Recipe

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
STOP_S, WAITING_S, LOOK_S = 20.0, 10.0, 0.1
LEAST_FREE, LOG_END = 20_000_000, 20_000  # bytes
NO_SPACE = ("no space left", "disk is full", "disk quota exceeded")


def execute(
    job: str, run: str | None, recipe: "Recipe", *, ops: dict[str, Any] | None = None, name: str | None = None
) -> dict[str, Any]:
    """Register the run's key, execute the job in a child process, and draw its progress; its facts.

    Args:
        ops: configuration of the job's assets, by name
        name: of the launch, where it is neither its run's nor its job's
    """
    from clstm_core.artifacts.folder import hold, write_json
    from clstm_core.artifacts.places import run_name
    from orchestration.jobs import chosen

    name = run_name(run) if run else name or job
    _register(run)
    folder = project_home() / "data" / "launches" / name
    folder.mkdir(parents=True, exist_ok=True)
    request, progress, outcome, log, lock = (
        folder / file for file in ("request.json", "progress.jsonl", "outcome.json", "log", "lock")
    )
    with lock.open("a") as held:
        try:
            hold(held)
        except BlockingIOError:
            fail(f"run {name} is in use by another process. Wait for it, or pass another RUN.", FAILED)
        outcome.unlink(missing_ok=True)
        progress.write_text("")
        config = chosen(**dataclasses.asdict(recipe)) | ({"ops": ops} if ops else {})
        settings = {
            "job": job,
            "run": run,
            "run_config": config,
            "tags": {"recipe": recipe.name, "source": recipe.source},
            "progress": str(progress),
            "outcome": str(outcome),
            "lock": str(lock),
        }
        write_json(request, settings)
        typer.echo(f"Run {name}; log: {log}")
        asked = Asked()
        with log.open("w") as handle:
            child = subprocess.Popen(
                [sys.executable, "-m", "orchestration.chain", str(request)],
                stdout=handle,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).resolve().parent.parent,
                env={**os.environ, "CLSTM_HOME": str(project_home()), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                pass_fds=(held.fileno(),),
            )
    # From here on the lock is the child's: it is held for as long as the chain works, whatever becomes of this command.
    with Follower(progress) as follower:
        looked = time.monotonic()
        try:
            while child.poll() is None and not asked.to_stop:
                follower.update()
                if min(follower.silent_s, time.monotonic() - looked) > WAITING_S:
                    looked = time.monotonic()
                    follower.say(_waiting_for())
                time.sleep(0.3)
            follower.update()
        finally:  # also where a closed terminal takes no more lines
            if interrupted := asked.to_stop and child.poll() is None:
                stop(child, asked)
        if interrupted:
            fail(f"interrupted. The same command resumes run {name} from its newest checkpoint.", INTERRUPTED)
    if not outcome.is_file():
        fail(silent_end(name, log, child.returncode), FAILED)
    result = json.loads(outcome.read_text())
    if not result["success"]:
        fail("; ".join(result["errors"]) + f"\nlog: {log}", FAILED)
    for line in result["warnings"]:
        typer.echo(f"note: {line}")
    return result["facts"]


def silent_end(run: str, log: Path, code: int) -> str:
    """What is said of a chain that could not even write what came of it: most often its disk was full."""
    free = shutil.disk_usage(log.parent).free
    end = log.read_bytes()[-LOG_END:].decode(errors="replace").lower()
    if free < LEAST_FREE or any(words in end for words in NO_SPACE):
        return (
            f"the disk of {log.parent} is full ({free / 1e6:,.1f} MB free): expected room for what run {run} writes. "
            "Free some (`clstm prune --dry-run` says what may go) and run the same command again: nothing that was "
            "finished is lost."
        )
    return (
        f"the chain ended without an outcome (exit {code}): expected one in {log.with_name('outcome.json')}. Run the "
        f"same command again, it resumes run {run}; the end of {log} may say why."
    )


def _register(run: str | None) -> None:
    """Make the Dagster instance where there is none, and add the run's key to it."""
    from assets.partitions import training_run

    with opened() as instance:
        if run:
            instance.add_dynamic_partitions(str(training_run.name), [run])


@contextmanager
def opened() -> Iterator["dg.DagsterInstance"]:
    """The Dagster instance, made by whoever comes first; what its storage raises ends the command in a sentence."""
    import dagster as dg

    home = dagster_home()
    try:
        # in turn: two first launches would both make the same tables
        with (home / "instance.lock").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            instance = dg.DagsterInstance.get()
        with instance:
            yield instance
    except OSError:
        raise
    except Exception as error:  # whatever the instance's storage and its configuration's reader raise
        found = " ".join(str(error).split())
        fail(f"cannot open the Dagster instance {home}: {found}. Move that folder away: a new one is made.", FAILED)


def _waiting_for() -> str:
    """Who holds the pool that a silent chain may be waiting for; empty where nobody does."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        waiting = []
        for pool in storage.get_concurrency_keys() if storage.supports_global_concurrency_limits else ():
            info = storage.get_concurrency_info(pool)
            # a step that has its slot stays among the pending ones: it waits for nobody
            waits = any(step.assigned_timestamp is None for step in info.pending_steps)
            if not waits or not info.claimed_slots:
                continue
            holders = []
            for run_id in {slot.run_id for slot in info.claimed_slots}:
                holder = instance.get_run_by_id(run_id)
                holders.append(holder.tags.get("dagster/partition", run_id[:8]) if holder else run_id[:8])
            waiting.append(f"waiting for pool {pool}, held by run {', '.join(sorted(holders))}")
    return "; ".join(waiting)


class Asked:
    """Whether Ctrl-C, SIGTERM or a closed terminal asked this command to end; made before the child is started.

    Handlers of our own: a shell's `&` ignores SIGINT. A closed terminal stops nothing that `nohup` was asked to keep.
    Nothing is raised: whoever waits for the child looks here, so that no signal comes between the child and its end.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.to_stop = self.to_hurry = False
        for number in self.SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: Any) -> None:
        # only a second Ctrl-C is meant as one: make and a closing shell send the others twice by themselves
        self.to_hurry |= self.to_stop and number == signal.SIGINT
        self.to_stop = True


def stop(child: subprocess.Popen, asked: Asked) -> None:
    """End the child's process group: by force when it does not listen, and at once on a second Ctrl-C."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)
    until = time.monotonic() + STOP_S
    while child.poll() is None and not asked.to_hurry and time.monotonic() < until:
        time.sleep(LOOK_S)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)
