"""A decision in a child that kills itself with SIGKILL at its n-th call of the operating system, for every n: a script.

python tests/feedback/registry_kills.py DATA WORK propose|promote|roll_back

Each child works on a copy of its own, WORK/<n>; one line per child: n, how it ended, and the call that was the last.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from clstm_core.artifacts.manifests import ChallengerManifest
from clstm_core.artifacts.places import Places
from clstm_core.feedback.registry import Registry, Taken

WATCHED = ("open", "os.", "shutil.", "fcntl.")
"""Audit events of calls that may change a disk; `os.fsync` and `os.symlink` are counted apart."""


def promote(data: Path) -> None:
    """Put the standing challenger in the champion's place."""
    registry = Registry(Places(data))
    with registry.writing() as before:
        taken = Taken(
            decision="promote",
            answer=f"{before.challenger.run} is champion.",
            reason="because a test asks",
            subject=before.challenger,
            roles={"champion": before.challenger, "previous": before.champion, "challenger": None},
        )
        registry.take(before, taken)


def propose(data: Path) -> None:
    """Let the challenger of run `newer` stand."""
    manifest = ChallengerManifest.read(data / "challengers" / "newer" / "manifest.json")
    Registry(Places(data)).propose(manifest, data / "bundles" / "newer", "because a test asks")


def roll_back(data: Path) -> None:
    """Restore the champion before."""
    Registry(Places(data)).roll_back("because a test asks")


ACTIONS = {"propose": propose, "promote": promote, "roll_back": roll_back}


def child(data: Path, action: str, count: int, said: int) -> None:
    """Decide, and die at the `count`-th call."""
    calls = [0]

    def seen(what: str) -> None:
        calls[0] += 1
        if calls[0] == count:
            os.write(said, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple) -> None:
        if event.startswith(WATCHED) and any(str(data) in str(item) for item in arguments):
            seen(event)

    real_fsync, real_symlink = os.fsync, os.symlink

    def fsync(descriptor: int) -> None:
        seen("os.fsync")
        real_fsync(descriptor)
        seen("after os.fsync")

    def symlink(target, link) -> None:
        real_symlink(target, link)
        seen("after os.symlink")

    os.fsync, os.symlink = fsync, symlink
    sys.addaudithook(audit)
    ACTIONS[action](data)


if __name__ == "__main__":
    source, work, action = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    count = 0
    while True:
        count += 1
        data = work / str(count)
        shutil.copytree(source, data, symlinks=True)
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            child(data, action, count, writing)
            os._exit(0)
        os.close(writing)
        status = os.waitpid(pid, 0)[1]
        last = os.read(reading, 100).decode()
        os.close(reading)
        how = "killed" if os.WIFSIGNALED(status) else f"ended {os.WEXITSTATUS(status)}"
        print(f"{count}|{how}|{last}", flush=True)
        if not os.WIFSIGNALED(status):
            break
