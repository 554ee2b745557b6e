"""What makes a trainer stop after its iteration: a signal, or the end of the process that started it."""

import os
import signal
import threading
import time
from typing import Any

ORPHAN_S, LOOK_S = 300.0, 0.5


class StopOnSignal:
    """Asked by the trainer after each iteration; Ctrl-C, SIGTERM or a closed terminal make it say stop.

    A second signal stops at once: what was saved before stays whole. A closed terminal that is ignored, as `nohup` asks
    for, stays ignored.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.asked = False
        self._before = {
            number: signal.signal(number, self._note)
            for number in self.SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }

    def __call__(self) -> bool:
        return self.asked

    def follow(self, parent: int) -> None:
        """Say stop once `parent`, the process that started this one, is gone, however it ended.

        No signal of the system's: Linux has one for the end of the parent's *thread*, and it would count as a second
        one. A process that cannot stop, because its iteration hangs, is killed after `ORPHAN_S`.
        """

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(LOOK_S)
            self.asked = True
            time.sleep(ORPHAN_S)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=watch, name="follow-parent", daemon=True).start()

    def release(self) -> None:
        """Leave the signals to whoever had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _signal: int, _frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
