"""A second process for work of its own, and its end: nothing goes on unseen when the one that waits for it was killed.

Many small tensor operations wait for Python's lock: two threads of them take as long as one.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache


@cache
def die_with_parent() -> None:
    """Interrupt this process when the one that started it ends; nothing where this process is nobody's worker.

    Interrupted rather than killed: what is being written is finished or withdrawn. The system's own signal at a
    parent's death will not do: the parent of a forked worker is the fork server, which lives as long as its workers.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A body that no further Ctrl-C or SIGTERM cuts short; only the main thread hears signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def beside() -> ProcessPoolExecutor:
    """One process beside this one, with one thread of tensor arithmetic; what it is handed is pickled."""
    return ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """What the process beside begins with."""
    import torch

    die_with_parent()
    torch.set_num_threads(1)
