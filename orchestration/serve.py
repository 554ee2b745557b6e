"""`clstm dev`: the Dagster UI and, beside it, a static server for the reports, until Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import typer

from orchestration.home import dagster_home, project_home
from orchestration.launch import FAILED, fail, interrupt, stop

LOCAL, UI_PORT, REPORT_PORT = "127.0.0.1", 3000, 3001
ROOT = Path(__file__).resolve().parent.parent
LOOK_S = 1.0


def serve(host: str, port: int, report_port: int) -> int:
    """Serve both until one of them ends or Ctrl-C; the exit code. A port that another program holds is named."""
    for number, what, flag in ((port, "the Dagster UI", "--port"), (report_port, "the reports", "--report-port")):
        if (refusal := taken(host, number)) is not None:
            fail(f"port {number} of {host}, for {what}, cannot be used: {refusal}. Pass another: {flag} N.", FAILED)
    dagster_home()
    reports = project_home() / "reports" / "generated"
    reports.mkdir(parents=True, exist_ok=True)
    pages = f"http://{host}:{report_port}"
    served = [sys.executable, "-m", "http.server", str(report_port), "--bind", host, "--directory", str(reports)]
    dg = str(Path(sys.executable).with_name("dg"))
    shown = [dg, "dev", "-w", str(ROOT / "workspace.yaml"), "--host", host, "--port", str(port)]
    typer.echo(f"Dagster UI: http://{host}:{port}    Reports: {pages}    Ctrl-C stops both")
    # Sessions of their own: a Ctrl-C reaches them once, from here. Handlers of our own: a shell's `&` ignores SIGINT.
    for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(wanted, interrupt)
    log = project_home() / "data" / "launches" / "report-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CLSTM_REPORT_URL": pages}
    with log.open("w") as handle:
        server = subprocess.Popen(served, stdout=handle, stderr=subprocess.STDOUT, start_new_session=True)
    ui = subprocess.Popen(shown, cwd=ROOT, start_new_session=True, env=environment)
    told = False
    try:
        while ui.poll() is None:
            if server.poll() is not None and not told:
                told = True
                typer.echo(
                    f"error: the report server ended ({server.returncode}), see {log}: its links are dead.", err=True
                )
            time.sleep(LOOK_S)
        code = ui.returncode
    except KeyboardInterrupt:
        stop(ui)
        code = 0
    finally:
        server.terminate()
    return code


def taken(host: str, port: int) -> str | None:
    """Why an address cannot be bound; None where it can."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a server just left is free
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return None
