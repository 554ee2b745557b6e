"""`clstm dev`: the Dagster UI and, beside it, a static server for the reports, until Ctrl-C."""

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import typer

from orchestration.home import DEV_LOCK, dagster_home, project_home
from orchestration.launch import FAILED, USER_ERROR, Asked, fail, opened, stop

LOCAL, UI_PORT, REPORT_PORT = "127.0.0.1", 3000, 3001
ANY_PORT, LAST_PORT = 0, 65535
ROOT = Path(__file__).resolve().parent.parent
LOOK_S, STOP_S = 1.0, 3.0
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
LEAST_LIFE_S = 5.0  # a server that lives no longer cannot work


def serve(host: str, port: int, report_port: int) -> int:
    """Serve both until one of them ends or Ctrl-C; the exit code. An address that cannot be served on is named."""
    _refuse(host, port, report_port)
    reports = project_home() / "reports" / "generated"
    reports.mkdir(parents=True, exist_ok=True)
    pages = os.environ.get("CLSTM_REPORT_URL") or f"http://{host}:{report_port}"
    served = [sys.executable, "-m", "http.server", str(report_port), "--bind", host, "--directory", str(reports)]
    dg = str(Path(sys.executable).with_name("dg"))
    shown = [dg, "dev", "-w", str(ROOT / "workspace.yaml"), "--host", host, "--port", str(port)]
    log = project_home() / "data" / "launches" / "report-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    home = dagster_home()
    environment = {**os.environ, "CLSTM_REPORT_URL": pages}
    with (home / DEV_LOCK).open("a") as held:
        _close_dead()
        fcntl.flock(held, fcntl.LOCK_SH)  # shared: a second one on other ports is no reason to refuse this one
        typer.echo(f"Dagster UI: http://{host}:{port}    Reports: {pages}    Ctrl-C stops both")
        # Sessions of their own: a Ctrl-C reaches them once, from here.
        asked = Asked()
        reports_server = _Server(served, log)
        ui = subprocess.Popen(shown, cwd=ROOT, start_new_session=True, env=environment, preexec_fn=_end_with_parent)
        try:
            return _watch(ui, reports_server, asked)
        finally:
            reports_server.end()


def _refuse(host: str, port: int, report_port: int) -> None:
    """End the command with a sentence where it cannot serve on these addresses."""
    if port == report_port:
        fail(
            f"port {port} was asked for twice, for the Dagster UI and for the reports: expected two ports. Pass "
            f"another: {ways('--report-port')}.",
            USER_ERROR,
        )
    if (refusal := taken(host, ANY_PORT)) is not None:
        fail(
            f"host {host} cannot be served on: {refusal}: expected an address of this machine, such as {LOCAL}. Pass "
            "another: clstm dev --host ADDRESS.",
            USER_ERROR,
        )
    for number, what, flag in ((port, "the Dagster UI", "--port"), (report_port, "the reports", "--report-port")):
        if (refusal := taken(host, number)) is not None:
            fail(f"port {number} of {host}, for {what}, cannot be used: {refusal}. Pass another: {ways(flag)}.", FAILED)


def ways(flag: str) -> str:
    """How a port is passed, by either of the two commands."""
    return f"make dev {flag.lstrip('-').replace('-', '_').upper()}=N, or clstm dev {flag} N"


def _close_dead() -> None:
    """Close what was at work when an earlier one was killed: it would hold its place, its pool and its key for good."""
    from clstm_core.errors import ClstmError
    from orchestration.abandoned import close_abandoned, close_dead_runs

    with opened() as instance:
        for run_id in close_abandoned(instance):
            run = instance.get_run_by_id(run_id)
            name = run.tags.get("dagster/partition", run.job_name) if run else ""
            typer.echo(f"note: the process of launch {run_id[:8]} ({name}) is gone: it is marked as ended.")
    try:
        close_dead_runs()
    except ClstmError as error:  # a store that cannot be written to is no reason to show nothing
        typer.echo(f"note: {error}", err=True)


def _watch(ui: subprocess.Popen, reports_server: "_Server", asked: Asked) -> int:
    """Wait until Dagster ends or somebody asks for the end; the exit code."""
    while ui.poll() is None:
        if asked.to_stop:
            stop(ui, asked)
            return 0
        if (fault := reports_server.keep()) is not None:
            typer.echo(fault, err=True)
        time.sleep(LOOK_S)
    _end_group(ui.pid)
    typer.echo(
        "error: Dagster ended: one of its processes was killed or could not go on, as said above. Nothing that was "
        "finished is lost. Start `make dev` again; a run that was at work goes on when it is launched again under "
        "its name.",
        err=True,
    )
    return ui.returncode or FAILED  # it says 0 when one of its processes was killed; on its own it never ends


class _Server:
    """The report server, started again when it ends; one that ends at once is left alone."""

    def __init__(self, command: list[str], log: Path):
        self._command, self._log, self._given_up = command, log, False
        self._start()

    def _start(self) -> None:
        self._began = time.monotonic()
        with self._log.open("a") as handle:
            # a session of its own: see `serve`
            self.process = subprocess.Popen(
                self._command,
                stdout=handle,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def keep(self) -> str | None:
        """Start it again where it ended; what to tell a person of that, if anything."""
        if self._given_up or self.process.poll() is None:
            return None
        ended = f"the report server ended ({self.process.returncode}), see {self._log}"
        if time.monotonic() - self._began < LEAST_LIFE_S:
            self._given_up = True
            return f"error: {ended}: its links are dead. Stop this with Ctrl-C, mend what the log says, start it again."
        self._start()
        return f"note: {ended}: it was started again."

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()


def _end_group(group: int) -> None:
    """End what a killed leader left behind: it would hold the port."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        time.sleep(STOP_S)
        os.killpg(group, signal.SIGKILL)


def _end_with_parent() -> None:
    """Ask Linux to interrupt this child when `clstm dev` is killed: its ports would stay taken otherwise."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def taken(host: str, port: int) -> str | None:
    """Why an address cannot be bound; None where it can."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a server just left is free
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:  # no name of a host can be so
        return "it is no name of a host"
    return None
