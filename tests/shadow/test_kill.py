"""Killed at any moment, an account goes on: its log is that of an undisturbed run, byte for byte."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clstm_core.market.tensors import save_market
from clstm_core.shadow import log as log_module
from clstm_core.shadow.log import ShadowLog

sys.path.insert(0, str(Path(__file__).parent))
from kills import deadly, work

SESSIONS = 14
MOMENTS = [
    ("flush", 1),  # the opening, before its rename
    ("replace", 1),
    ("write_json", 1),  # the opening stands, the head does not
    ("flush", 2),
    ("replace", 2),
    ("write_json", 1),
    ("replace", 5),
    ("write_json", 2),
    ("file_sha256", 12),
    ("flush", 3),
]
"""A function of the log and the call of it that is the last, one kill after the other on one account."""


class Killed(BaseException):
    """Nothing after it happens."""


def die():
    raise Killed


def files(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "log").glob("*.parquet"))}


@pytest.fixture(scope="module")
def undisturbed(bundle, market, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "account"
    work(folder, bundle, market, SESSIONS)
    return folder


def test_stopped_between_any_two_steps_of_writing(undisturbed, bundle, market, tmp_path, monkeypatch):
    folder, stopped = tmp_path / "account", 0
    for name, count in MOMENTS:
        with monkeypatch.context() as patched:
            owner = os if name == "replace" else log_module
            patched.setattr(owner, name, getattr(owner, name))
            deadly(owner, name, count, die)
            try:
                work(folder, bundle, market, SESSIONS)
            except Killed:
                stopped += 1
    work(folder, bundle, market, SESSIONS)
    assert stopped >= 8
    assert files(folder) == files(undisturbed)
    assert ShadowLog(folder).last_sha256 == ShadowLog(undisturbed).last_sha256


@pytest.mark.slow
def test_kill_9_at_ten_moments(undisturbed, bundle, market, tmp_path):
    save_market(market, tmp_path / "tensors")
    command = [sys.executable, str(Path(__file__).with_name("kills.py"))]
    command += [str(tmp_path / "account"), str(bundle), str(tmp_path / "tensors"), str(SESSIONS)]
    ended = [
        subprocess.run([*command, name, str(count)], check=False, timeout=300).returncode for name, count in MOMENTS
    ]
    assert ended.count(-signal.SIGKILL) >= 8
    assert set(ended) <= {-signal.SIGKILL, 0}
    subprocess.run(command, check=True, timeout=300)
    mine, theirs = files(tmp_path / "account"), files(undisturbed)
    # the source's identity is that of tensors that were written, which those in memory have not
    assert list(mine) == list(theirs)
    assert len(mine) == SESSIONS + 1
    log, whole = ShadowLog(tmp_path / "account").table(), ShadowLog(undisturbed).table()
    assert log.drop("previous", "source_sha256", "session_sha256").equals(
        whole.drop("previous", "source_sha256", "session_sha256")
    )
    assert not list((tmp_path / "account" / "log").glob(".*.tmp"))
