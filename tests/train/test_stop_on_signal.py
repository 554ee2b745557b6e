"""The trainer's signals: each asks it to stop, but for a closed terminal where `nohup` has it ignored."""

import os
import signal

import pytest

from clstm_core.train.command import StopOnSignal


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
