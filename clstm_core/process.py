"""A worker ends with whoever it works for: nothing goes on unseen when the one that waits for it was killed."""

import multiprocessing
import os
import signal
import threading
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
