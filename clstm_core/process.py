"""A worker ends with whoever it works for: nothing goes on unseen when the one that waits for it was killed."""

import ctypes
import multiprocessing
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Interrupt this process when its parent ends, where it is a worker of another and the system can do that (Linux).

    Interrupted rather than killed: what is being written is finished or withdrawn.
    """
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if not parent.is_alive():  # it ended before the call above
        os.kill(os.getpid(), signal.SIGINT)
