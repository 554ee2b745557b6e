"""`clstm dev` when one of its processes is killed: what can go on does, and what cannot leaves no port taken."""

import os
import signal
import subprocess
import sys
import time

import pytest

from orchestration import serve

LIVES = [sys.executable, "-c", "import time; time.sleep(60)"]


def ended(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def test_a_killed_report_server_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "LEAST_LIFE_S", 0.0)
    server = serve._Server(LIVES, tmp_path / "log")
    assert server.keep() is None
    first = server.process
    ended(first)
    assert "it was started again" in server.keep()
    assert server.process.pid != first.pid
    assert server.process.poll() is None
    server.end()
    assert server.process.wait(10) is not None


def test_a_report_server_that_cannot_work_is_said_once_and_left_alone(tmp_path):
    server = serve._Server([sys.executable, "-c", "raise SystemExit('no such folder')"], tmp_path / "log")
    server.process.wait()
    assert "its links are dead" in server.keep()
    assert server.keep() is None
    assert "no such folder" in (tmp_path / "log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_what_it_serves_ends_with_it(tmp_path):
    code = (
        "import pathlib, time\nfrom orchestration.serve import _Server\n"
        f"server = _Server({LIVES!r}, pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "print(server.process.pid, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(child), "the server outlives the command that started it"


def test_what_a_killed_leader_left_behind_is_ended(monkeypatch):
    monkeypatch.setattr(serve, "STOP_S", 0.2)
    leader = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True)
    child = int(leader.stdout.readline())
    ended(leader)
    assert not gone(child, tries=2)
    serve._end_group(leader.pid)
    assert gone(child)


def gone(pid: int, tries: int = 100) -> bool:
    """Whether a process ends within some tenths of a second; it is killed where it does not in ten seconds."""
    for _ in range(tries):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if "Z" in _state(pid):
            return True
        time.sleep(0.1)
    if tries == 100:
        os.kill(pid, signal.SIGKILL)
    return False


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as handle:
        return handle.read().rsplit(")", 1)[1]
