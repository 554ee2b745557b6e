"""Who does the second half of a learner's work: another thread, or the same one in its turn."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import torch


class _AtOnce(Executor):
    """Does what it is given when it is given it, in the caller's thread."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """The result of the work, which is done."""
        done: Future = Future()
        done.set_result(work(*args, **kwargs))
        return done


def helper(threads: int) -> Executor:
    """What does the second half of the work, beside the first where there is a thread for it."""
    if threads < 2:
        return _AtOnce()
    # each thread has its own number of threads for tensor arithmetic
    return ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
