"""`clstm dev`: addresses that it refuses, and what becomes of it when one of its processes is killed.

What can go on does, and what cannot leaves no port taken.
"""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import typer

from clstm_core.artifacts.folder import is_locked
from orchestration import serve
from orchestration.home import DEV_LOCK

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


def unused(count):
    """Ports that were free a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((serve.LOCAL, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """The exit code and the sentence with which an address is refused, before anything is made."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    def ask(host, port, report_port):
        with pytest.raises(typer.Exit) as ended:
            serve.serve(host, port, report_port)
        assert list(tmp_path.iterdir()) == []
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return ended.value.exit_code, said

    return ask


@pytest.mark.parametrize(
    ("which", "what", "ways"),
    [
        (0, "the Dagster UI", "make dev PORT=N, or clstm dev --port N"),
        (1, "the reports", "make dev REPORT_PORT=N, or clstm dev --report-port N"),
    ],
)
def test_a_port_that_another_program_has_is_named(refused, which, what, ways):
    ports = unused(2)
    with socket.socket() as other:
        other.bind((serve.LOCAL, ports[which]))
        other.listen()
        code, said = refused(serve.LOCAL, *ports)
    assert code == 1
    assert f"port {ports[which]} of {serve.LOCAL}, for {what}, cannot be used: Address already in use" in said
    assert ways in said


def test_one_port_for_both_is_refused(refused):
    (port,) = unused(1)
    code, said = refused(serve.LOCAL, port, port)
    assert code == 2
    assert f"port {port} was asked for twice" in said


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a..b", "x" * 70])
def test_a_host_that_cannot_be_served_on_is_named(refused, host):
    code, said = refused(host, *unused(2))
    assert code == 2
    assert f"host {host} cannot be served on" in said
    assert "--host ADDRESS" in said


@pytest.mark.parametrize(("mine", "shown"), [("https://reports.example", "https://reports.example"), ("", None)])
def test_an_address_of_reports_that_is_set_is_kept(tmp_path, monkeypatch, mine, shown):
    """And while it serves, its lock says so."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".dagster"))
    monkeypatch.setenv("CLSTM_REPORT_URL", mine)
    port, report_port = unused(2)
    given, begin = [], subprocess.Popen

    def start(command, *, env=None, **settings):
        if env is not None:
            given.append(env["CLSTM_REPORT_URL"])
        return begin(LIVES, **settings)

    def watch(ui, reports_server, asked):
        assert is_locked(tmp_path / ".dagster" / DEV_LOCK)
        ended(ui)
        return 0

    monkeypatch.setattr(serve.subprocess, "Popen", start)
    monkeypatch.setattr(serve, "_watch", watch)
    monkeypatch.setattr(serve, "_close_dead", lambda: None)
    monkeypatch.setattr(serve, "Asked", lambda: None)
    assert serve.serve(serve.LOCAL, port, report_port) == 0
    assert given == [shown or f"http://{serve.LOCAL}:{report_port}"]
    assert not is_locked(tmp_path / ".dagster" / DEV_LOCK)


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
