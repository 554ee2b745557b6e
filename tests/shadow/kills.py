"""A shadow account in a process of its own, which kills itself with SIGKILL in the n-th call of a function: a script.

python tests/shadow/kills.py ACCOUNT BUNDLE TENSORS SESSIONS [FUNCTION COUNT]
"""

import os
import signal
import sys
from pathlib import Path

from clstm_core.market.tensors import load_market
from clstm_core.shadow import log as log_module
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.runner import Opening, ShadowRunner
from clstm_core.shadow.sources.replay import Replay


def deadly(owner, name: str, count: int, end) -> None:
    """Let the `count`-th call of a function be the last thing that happens."""
    real, calls = getattr(owner, name), [0]

    def counted(*args, **options):
        calls[0] += 1
        if calls[0] == count:
            end()
        return real(*args, **options)

    setattr(owner, name, counted)


def work(account: Path, bundle: Path, market, sessions: int) -> None:
    """All sessions that are not in the log yet."""
    with ShadowLog.writing(account) as log:
        opening = Opening(bundle=bundle, limits=Limits.none(), unqualified=True)
        ShadowRunner(log, opening, Replay(market, (0, sessions))).run()


if __name__ == "__main__":
    account, bundle, tensors, sessions, *how = sys.argv[1:]
    if how:
        owner = os if how[0] == "replace" else log_module
        deadly(owner, how[0], int(how[1]), lambda: os.kill(os.getpid(), signal.SIGKILL))
    work(Path(account), Path(bundle), load_market(Path(tensors)), int(sessions))
