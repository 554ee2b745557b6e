"""What makes a trainer stop: signals, but for a closed terminal that `nohup` has ignored, and its parent's end."""

import os
import signal
import subprocess
import sys

import pytest

from clstm_core.train.stop import StopOnSignal


@pytest.fixture
def stop():
    """Makes the trainer's listener; the signals are the test's own again afterwards."""
    before = {number: signal.getsignal(number) for number in StopOnSignal.SIGNALS}
    yield StopOnSignal
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", StopOnSignal.SIGNALS)
def test_each_signal_asks_for_the_end_and_a_second_insists(stop, number):
    asked = stop()
    assert not asked()
    os.kill(os.getpid(), number)
    assert asked()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_a_closed_terminal_that_is_ignored_stays_ignored(stop):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asked = stop()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not asked()
    os.kill(os.getpid(), signal.SIGTERM)
    assert asked()
    asked.release()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


LONE = """
import os, time
from clstm_core.train import stop
stop.ORPHAN_S = 1.0
asked = stop.StopOnSignal()
asked.follow(os.getppid())
print(asked(), flush=True)
time.sleep(1.0)
print(asked(), flush=True)
asked.follow(os.getpid())  # which is nobody's parent: as if it were gone
while not asked():
    time.sleep(0.01)
print("asked", flush=True)
time.sleep(600)  # and does not listen
"""


def test_a_trainer_whose_parent_is_gone_stops_or_is_killed_in_time():
    lone = subprocess.run([sys.executable, "-c", LONE], capture_output=True, text=True, timeout=60, check=False)
    assert lone.stdout.split() == ["False", "False", "asked"]
    assert lone.returncode == -signal.SIGKILL
