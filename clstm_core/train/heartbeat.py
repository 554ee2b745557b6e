"""A trainer's heartbeat: a file that it touches every few seconds, so that others see that its process answers."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HEARTBEAT = "heartbeat"
BEAT_S = 2.0


@contextlib.contextmanager
def heartbeat(run_dir: Path) -> Iterator[None]:
    """Touch the run's heartbeat, from a thread, for as long as the body runs; a killed one leaves it as it was."""
    place, over = run_dir / HEARTBEAT, threading.Event()

    def beat() -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk is the trainer's to say
                place.touch()
            if over.wait(BEAT_S):
                return

    thread = threading.Thread(target=beat, name=HEARTBEAT, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)


def heartbeat_age(run_dir: Path) -> float | None:
    """Seconds since the run's trainer last touched its heartbeat; None where there is none."""
    try:
        return max(0.0, time.time() - (run_dir / HEARTBEAT).stat().st_mtime)
    except FileNotFoundError:
        return None
