"""The doctor names what is missing and what to do, and fails only where something cannot work."""

import os
import socket

import pytest

from orchestration import doctor
from orchestration.doctor import examine, shown
from orchestration.home import TEMPLATE
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
    assert lines[0].startswith("1 faults")
    assert any(line.startswith("FAULT  disk") for line in lines)
