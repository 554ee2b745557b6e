"""`clstm doctor`: what the project needs of a machine, what was found, and what to do where it is missing."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from clstm_core.plural import counted
from orchestration.home import TEMPLATE, project_home
from orchestration.serve import LOCAL, REPORT_PORT, UI_PORT, taken, ways

LEAST_PYTHON, LEAST_FREE_GB = (3, 11), 5.0
GB = 1e9


class Finding(NamedTuple):
    """One look: what was found, and the remedy where something is wrong; a warning stops nothing."""

    what: str
    found: str
    remedy: str = ""
    warning: bool = False

    @property
    def failed(self) -> bool:
        """Whether something cannot work."""
        return bool(self.remedy) and not self.warning


def examine() -> list[Finding]:
    """Every look, in the order in which a person would ask."""
    home = project_home()
    dagster_home = Path(os.environ.get("DAGSTER_HOME") or home / ".dagster").resolve()
    settings = _settings(dagster_home)
    return [
        _python(),
        *_torch(),
        _disk(home),
        *_writable({"data": home / "data", "reports": home / "reports" / "generated", "DAGSTER_HOME": dagster_home}),
        settings,
        *_ports(),
        _store(home / "data" / "metrics.duckdb"),
        Finding("daemon", "cannot be asked with these settings") if settings.failed else _daemon(dagster_home),
    ]


def shown(findings: list[Finding]) -> str:
    """A line per finding, remedies below them; the answer first."""
    failed, warned = sum(item.failed for item in findings), sum(item.warning and bool(item.remedy) for item in findings)
    lines = [
        "Everything is in order."
        if not failed + warned
        else f"{counted(failed, 'fault')}, {counted(warned, 'warning')}."
    ]
    for item in findings:
        mark = "FAULT" if item.failed else "note" if item.remedy else "ok"
        lines.append(f"{mark:<6} {item.what:<13} {item.found}")
        if item.remedy:
            lines.append(f"{'':<20} -> {item.remedy}")
    return "\n".join(lines)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, LEAST_PYTHON))
    return Finding("Python", found, "" if sys.version_info >= LEAST_PYTHON else f"Install Python {wanted} or later.")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", str(error), "Install the project again: `make clean`, then your command.")
        return
    yield Finding("torch", metadata.version("torch"))
    if torch.cuda.is_available():
        yield Finding("GPU", torch.cuda.get_device_name(0))
    elif torch.version.cuda:
        remedy = (
            "Look at `nvidia-smi`: a driver is missing, or older than this torch. Training runs on the CPU until then."
        )
        yield Finding("GPU", f"none, though torch is built for CUDA {torch.version.cuda}", remedy, warning=True)
    else:
        yield Finding("GPU", "none, and torch is built for the CPU: enough for the recipes default_cpu and smoke")
    yield _kernels()


def _kernels() -> Finding:
    from clstm_core.config import default_cpu
    from clstm_core.model.lstm_kernel import why_not

    hidden = default_cpu().model.hidden_dim
    if reason := why_not(hidden, half=False):
        return Finding("kernels", "none: training on the CPU takes twice as long and more", reason, warning=True)
    also = "" if why_not(hidden, half=True) else ", bfloat16"
    return Finding("kernels", f"compiled for this processor: float32{also}")


def _disk(home: Path) -> Finding:
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free / GB
    remedy = "" if free >= LEAST_FREE_GB else f"Free {LEAST_FREE_GB:.0f} GB: `clstm prune --dry-run` says what may go."
    return Finding("disk", f"{free:,.1f} GB free below {place}", remedy)


def _writable(folders: dict[str, Path]) -> Iterator[Finding]:
    for what, folder in folders.items():
        place = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=place):
                yield Finding(what, f"{folder} can be written")
        except OSError as error:
            remedy = f"Give yourself the right to write to {place}, or set CLSTM_HOME to another folder."
            yield Finding(what, f"{folder}: {error.strerror or error}", remedy)


def _settings(dagster_home: Path) -> Finding:
    """Whether the instance's settings are those that this version asks for."""
    place = dagster_home / TEMPLATE.name
    if not place.is_file():
        return Finding("settings", f"{place} is made by the first launch")
    import yaml

    try:
        mine, wanted = (yaml.safe_load(path.read_text()) or {} for path in (place, TEMPLATE))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        return Finding("settings", f"{place}: {' '.join(str(error).split())}", "Move it away: a new one is made.")
    if not isinstance(mine, dict):
        found = f"{place} holds a {type(mine).__name__}: expected settings by name"
        return Finding("settings", found, "Move it away: a new one is made.")
    other = sorted(key for key in wanted if mine.get(key) != wanted[key])
    if not other:
        return Finding("settings", str(place))
    remedy = f"Compare it with {TEMPLATE}, or move it away: a new one is made."
    return Finding("settings", f"{place} differs in {', '.join(other)}", remedy, warning=True)


def _ports() -> Iterator[Finding]:
    for port, what, flag in ((UI_PORT, "UI", "--port"), (REPORT_PORT, "reports", "--report-port")):
        refusal = taken(LOCAL, port)
        remedy = f"If that is not `clstm dev` itself: {ways(flag)}." if refusal else ""
        yield Finding(f"port {port}", f"{refusal or 'free'} ({what})", remedy, warning=True)


def _store(path: Path) -> Finding:
    from clstm_core.errors import MetricsError
    from clstm_core.store.store import MetricsStore, StoreLockedError

    if not path.is_file():
        return Finding("store", "none yet: the first run makes it")
    try:
        rows = MetricsStore(path, timeout_s=1.0).query("SELECT count(*) AS runs FROM runs")
    except StoreLockedError as error:
        return Finding("store", str(error), "Writes wait for it and are kept in a journal meanwhile.", warning=True)
    except MetricsError as error:
        return Finding("store", str(error), "clstm rebuild-metrics")
    return Finding("store", f"{path.name}: {counted(rows[0]['runs'], 'run')}")


def _daemon(dagster_home: Path) -> Finding:
    if not (dagster_home / TEMPLATE.name).is_file():
        return Finding("daemon", "nothing was launched yet")
    import dagster as dg

    from orchestration.schedule_commands import daemon_lives

    try:
        with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
            if daemon_lives(instance):
                return Finding("daemon", "runs: schedules, sensors and queued launches are looked after")
    except Exception as error:  # whatever the instance's storage raises
        found = " ".join(str(error).split())
        return Finding("daemon", f"the instance cannot be opened: {found}", f"Move {dagster_home} away.")
    remedy = "Start `make dev` (or dagster-daemon) where schedules or the UI are wanted."
    return Finding("daemon", "not heard of: nothing scheduled or queued starts", remedy, warning=True)
