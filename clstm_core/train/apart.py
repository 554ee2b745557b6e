"""A trainer in a process of its own, as whoever starts it sees it: its rows as they come, its end in a sentence.

    train_apart(run, threads=1, report=print, warn=print)      # `python -m clstm_core.train --resume data/runs/RUN`

What the two say to each other goes through the run's folder: metrics.jsonl grows, the heartbeat is touched, checkpoints
appear. Nothing of it is lost with either process. Errors come through the trainer's stderr, which needs no disk.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clstm_core
from clstm_core.artifacts.folder import NewRows
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import CheckpointManifest
from clstm_core.artifacts.places import RunFolder
from clstm_core.checkpoint import newest_checkpoint
from clstm_core.errors import TrainingError
from clstm_core.ppo.ranks import SIZE
from clstm_core.process import undisturbed
from clstm_core.train.command import ERROR, FAILED, INTERRUPTED, USER_ERROR
from clstm_core.train.heartbeat import heartbeat_age
from clstm_core.train.run import METRICS

POLL_S, LAST_WORDS_S = 0.5, 5.0
GRACE_S = 12.0
"""For the end of an iteration and its checkpoint: less than `clstm` (20 s) and Dagster (180 s) wait for a step."""
SILENT_S, SLOW = 120.0, 5.0
"""A trainer is silent after so long without an iteration, or so many times its longest one."""
KEPT_LINES = 100


def train_apart(
    run: RunFolder, *, threads: int, report: Callable[[dict[str, Any]], None], warn: Callable[[str], None]
) -> None:
    """Go on with a run, whose inputs are written, in a process of its own, until it is trained.

    However the body ends, the trainer is gone then: it is told to stop, and killed where it does not listen. Where this
    process is killed, the trainer notices, writes a checkpoint and stops.

    Args:
        threads: of its tensor arithmetic
        report: called with each iteration's metrics soon after it
        warn: called with a sentence when the trainer is silent for long

    Raises: TrainingError with the trainer's own sentence, or how its process ended
    """
    newest = newest_checkpoint(run.path)
    begun = 0 if newest is None else CheckpointManifest.read(newest / FILE, files=False).iteration
    rows, silence = _Rows(run.path / METRICS, after=begun), _Silence(run, warn)

    def tell() -> None:
        for row in rows.new():
            silence.heard()
            report(row)

    with _started(run, threads) as (trainer, said):
        while trainer.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                trainer.wait(POLL_S)
            tell()
            if trainer.returncode is None:
                silence.look(trainer.pid)
    if trainer.returncode != 0:
        raise TrainingError(_ending(run, trainer.returncode, said))


@contextlib.contextmanager
def _started(run: RunFolder, threads: int) -> Iterator[tuple[subprocess.Popen, deque[str]]]:
    """A trainer in a session of its own, and the last lines of its stderr; it has ended when the body has."""
    command = [sys.executable, "-m", "clstm_core.train", "--resume", str(run.path.resolve())]
    command += ["--threads", str(threads), "--follow-parent", str(os.getpid())]
    said: deque[str] = deque(maxlen=KEPT_LINES)
    trainer = subprocess.Popen(
        command,
        cwd=Path(clstm_core.__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if name != SIZE},  # it trains alone
        start_new_session=True,
    )

    def listen() -> None:
        assert trainer.stderr is not None
        with trainer.stderr:
            for line in trainer.stderr:
                said.append(line.rstrip())
                with contextlib.suppress(OSError):  # a full disk: the trainer's sentence is yet to come
                    sys.stderr.write(line)

    listener = threading.Thread(target=listen, name="trainer-stderr", daemon=True)
    try:
        listener.start()
        yield trainer, said
    finally:
        _end(trainer)
        listener.join(LAST_WORDS_S)


def _end(trainer: subprocess.Popen) -> None:
    """Leave nothing of a trainer: SIGTERM, of which it makes a checkpoint, then SIGKILL to its whole group.

    The first goes to the trainer alone: what else may be in its group is the trainer's own to end.
    """
    with undisturbed():
        if trainer.poll() is None:
            trainer.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                trainer.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(trainer.pid, signal.SIGKILL)
        trainer.wait()


def _ending(run: RunFolder, code: int, said: deque[str]) -> str:
    """How a trainer ended that did not end well: its own sentence, or one about its process."""
    again = "Run the same command again: it resumes from the newest checkpoint."
    sentences = [line.removeprefix(ERROR) for line in said if line.startswith(ERROR)]
    if sentences and code in (FAILED, USER_ERROR):
        return sentences[-1]
    if code < 0:
        name = signal.Signals(-code).name
        why = " Most often memory ran out." if name == "SIGKILL" else ""
        return f"the trainer of run {run.name} was killed by {name}: expected it to reach its last step.{why} {again}"
    if code == INTERRUPTED:
        return f"the trainer of run {run.name} was told to stop by another process, and did. {again}"
    last = next((line for line in reversed(said) if line.strip()), "")
    return (
        f"the trainer of run {run.name} broke (exit code {code}): {last or 'it said nothing'}. Its traceback is in the "
        f"step's log. Nothing that was saved is lost: mend that and run the same command again."
    )


class _Rows:
    """Rows that a trainer appends to metrics.jsonl from now on.

    A file that is there already counts once the trainer has written it anew: until then it may hold iterations that
    were walked after the checkpoint, and will be walked again.

    Args:
        after: the iteration of the checkpoint that the trainer goes on from
    """

    def __init__(self, place: Path, after: int):
        self._place, self._after, self._rows = place, after, NewRows(place)
        self._stale = self._number()

    def new(self) -> list[dict[str, Any]]:
        """Rows since the last call, in order."""
        number = self._number()
        if number is None or number == self._stale:
            return []
        return [row for row in self._rows() if row["iteration"] > self._after]

    def _number(self) -> int | None:
        try:
            return self._place.stat().st_ino
        except FileNotFoundError:
            return None


class _Silence:
    """Says when a trainer has finished no iteration for long, and again after twice as long; it ends nothing."""

    def __init__(self, run: RunFolder, warn: Callable[[str], None]):
        self._run, self._warn = run, warn
        self._heard, self._longest = time.monotonic(), 0.0
        self._wait = SILENT_S

    def heard(self) -> None:
        """An iteration was finished."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._heard)
        self._heard, self._wait = now, max(SILENT_S, SLOW * self._longest)

    def look(self, process: int) -> None:
        """Warn where it is time to."""
        silent = time.monotonic() - self._heard
        if silent < self._wait:
            return
        self._wait = 2 * silent
        age = heartbeat_age(self._run.path)
        beats = "it has no heartbeat" if age is None else f"its heartbeat is {age:.0f} s old"
        self._warn(
            f"the trainer of run {self._run.name} (process {process}) has finished no iteration for {silent:.0f} s; "
            f"{beats}. It is left alone: terminate this launch where it hangs, and start it again."
        )
