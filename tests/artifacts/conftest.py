"""Processes that write beside a test: they say a word when they are in the midst of it, and then wait."""

import subprocess
import sys

import pytest

HEAD = """
import sys, time
from pathlib import Path
from clstm_core.artifacts import folder
place = Path(sys.argv[1])
def wait():
    print("there", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def elsewhere():
    """Starts a process that runs `code` with `place` and `wait()`; it stands in `wait` when this returns."""
    started = []

    def start(code, place):
        process = subprocess.Popen([sys.executable, "-c", HEAD + code, str(place)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
