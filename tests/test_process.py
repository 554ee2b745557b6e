"""A worker ends with whoever it works for."""

import os
import signal
import subprocess
import sys
import time

import pytest

WORK = """
import multiprocessing, os, sys, time
from clstm_core.process import die_with_parent

def work(told):
    die_with_parent()
    told.put(os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    told = context.SimpleQueue()
    context.Process(target=work, args=(told,)).start()
    print(told.get(), flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_ends_when_its_parent_is_killed(tmp_path, method):
    script = tmp_path / "work.py"
    script.write_text(WORK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script), method], stdout=subprocess.PIPE, text=True, env=environment)
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    ended = not alive(worker)
    if not ended:
        os.kill(worker, signal.SIGKILL)
    assert ended
