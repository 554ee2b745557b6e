"""The doctor names what is missing and what to do, and fails only where something cannot work."""

import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import dagster as dg
import pytest
import torch
from dagster._daemon.types import DaemonHeartbeat

from clstm_core.model import lstm_kernel
from orchestration import doctor
from orchestration.doctor import examine, shown
from orchestration.home import TEMPLATE, dagster_home
from orchestration.serve import taken


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return tmp_path


def found(what):
    return next(item for item in examine() if item.what == what)


def test_a_fresh_machine_is_in_order(home):
    assert [item.what for item in examine() if item.failed] == []
    assert not (home / "data").exists(), "looking changes nothing"


def test_a_full_disk_is_a_fault(home, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE_GB", 1e9)
    item = found("disk")
    assert item.failed
    assert "clstm prune" in item.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_a_fault(home):
    (home / "data").mkdir(mode=0o500)
    assert found("data").failed


def test_a_folder_that_cannot_be_written_is_a_fault(home, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    item = found("data")
    assert item.failed
    assert "Permission denied" in item.found
    assert "CLSTM_HOME" in item.remedy


def test_settings_of_an_older_version_are_named(home):
    place = home / ".dagster" / "dagster.yaml"
    place.parent.mkdir()
    place.write_text(TEMPLATE.read_text())
    assert not found("settings").remedy
    place.write_text(TEMPLATE.read_text().replace("max_concurrent_runs: 2", "max_concurrent_runs: 9"))
    assert "concurrency" in found("settings").found
    place.write_text("{{{")
    assert found("settings").failed


@pytest.mark.parametrize("content", [b"some text", b"- a\n- list\n", b"7", b"\xff\xfe"])
def test_settings_that_are_none_are_a_fault(home, content):
    place = home / ".dagster" / "dagster.yaml"
    place.parent.mkdir()
    place.write_bytes(content)
    item = found("settings")
    assert item.failed
    assert str(place) in item.found
    assert item.remedy == "Move it away: a new one is made."
    assert not found("daemon").remedy, "one fault, one remedy"


def test_empty_settings_differ(home):
    place = home / ".dagster" / "dagster.yaml"
    place.parent.mkdir()
    place.touch()
    assert found("settings").warning
    assert "run_monitoring" in found("settings").found


def test_a_dagster_home_is_named_by_its_whole_path(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("DAGSTER_HOME", "rel/home")
    place = home / "rel" / "home"
    place.mkdir(parents=True)
    (place / "dagster.yaml").write_text(TEMPLATE.read_text())
    assert str(place) in found("settings").found
    assert "not heard of" in found("daemon").found
    (place / "dagster.yaml").write_text(TEMPLATE.read_text() + "nonsense: true\n")
    item = found("daemon")
    assert "cannot be opened" in item.found
    assert f"Move {place} away" in item.remedy


@pytest.fixture
def gpu(monkeypatch):
    """What torch finds."""

    def pretend(available, built_for):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "A Card")
        monkeypatch.setattr(torch, "version", SimpleNamespace(cuda=built_for))

    return pretend


def test_a_gpu_is_named(home, gpu):
    gpu(True, "12.8")
    assert found("GPU") == ("GPU", "A Card", "", False)


def test_a_gpu_that_torch_could_use_and_does_not_find_is_a_warning(home, gpu):
    gpu(False, "12.8")
    item = found("GPU")
    assert item.warning
    assert "built for CUDA 12.8" in item.found
    assert "nvidia-smi" in item.remedy


def test_a_torch_for_the_cpu_is_in_order(home, gpu):
    gpu(False, None)
    assert not found("GPU").remedy


def test_a_machine_without_a_compiler_is_told_what_it_misses(home, monkeypatch):
    monkeypatch.setattr(lstm_kernel, "why_not", lambda hidden, half: "There is no C++ compiler. Install g++.")
    item = found("kernels")
    assert item.warning
    assert "Install g++" in item.remedy


def test_kernels_are_named_with_their_precisions(home, monkeypatch):
    monkeypatch.setattr(lstm_kernel, "why_not", lambda hidden, half: "" if not half else "It does not multiply it.")
    assert found("kernels") == ("kernels", "compiled for this processor: float32", "", False)


def test_a_torch_that_cannot_be_loaded_is_a_fault(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert found("torch").failed
    assert "make clean" in found("torch").remedy


HOLD = """
import duckdb, sys
held = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_store_that_another_process_holds_is_a_warning(home):
    (home / "data").mkdir()
    command = [sys.executable, "-c", HOLD, str(home / "data" / "metrics.duckdb")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        item = found("store")
        assert item.warning
        assert "held open" in item.found
        assert "journal" in item.remedy
    finally:
        other.communicate()


def test_a_daemon_is_heard_of_or_not(home, monkeypatch):
    assert not found("daemon").remedy, "nothing was launched yet"
    monkeypatch.setenv("DAGSTER_HOME", str(home / ".dagster"))
    dagster_home()
    assert found("daemon").warning
    assert "make dev" in found("daemon").remedy
    with dg.DagsterInstance.get() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SCHEDULER", "one"))
    assert not found("daemon").remedy
    with dg.DagsterInstance.get() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 3600, "SCHEDULER", "one"))
    assert found("daemon").warning


def test_a_store_that_is_no_database_is_a_fault(home):
    (home / "data").mkdir()
    (home / "data" / "metrics.duckdb").write_bytes(b"no database" * 100)
    assert found("store").remedy == "clstm rebuild-metrics"


def test_a_port_that_is_taken_is_named(home, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert taken("127.0.0.1", port) == "Address already in use"
        monkeypatch.setattr(doctor, "UI_PORT", port)
        assert found(f"port {port}").warning
    assert taken("127.0.0.1", port) is None


def test_the_answer_comes_first(home, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE_GB", 1e9)
    lines = shown(examine()).splitlines()
    assert lines[0].startswith("1 fault,")
    assert any(line.startswith("FAULT  disk") for line in lines)
