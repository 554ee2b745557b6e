"""`clstm schedule on|off|status`: what starts by itself, from the terminal; the UI's Automation page does the same."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.home import dagster_home, project_home
from orchestration.launch import FAILED, USER_ERROR, fail
from orchestration.serve import ROOT

if TYPE_CHECKING:
    import dagster as dg

schedule_app = typer.Typer(help="Switch on and off what starts by itself.", no_args_is_help=True)

SCHEDULES = ("daily_market_data", "weekly_retraining", "weekly_challenger", "shadow_daily")
SENSORS = ("new_vendor_files", "shadow_sessions", "run_failures")
BY_NAME = ("drift_retraining", "new_data_retraining")
"""Sensors that are switched on by name alone: beside the weekly schedule each asks for challengers of its own, and each
challenger that is judged is a look."""


@schedule_app.callback()
def _schedule() -> None:
    """Switch on and off what starts by itself."""


Names = Annotated[
    list[str] | None,
    typer.Argument(help="schedules and sensors; when left out all but what is switched on by name alone"),
]


@schedule_app.command(name="on")
def on(
    names: Names = None,
    recipe: Annotated[str | None, typer.Option(help="named settings that they launch from now on")] = None,
    source: Annotated[str | None, typer.Option(help="where quotes come from")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of the vendor's files")] = None,
) -> None:
    """Switch on. What is launched is the standing recipe; the options change it."""
    import dataclasses

    from clstm_core.market.sources import open_source
    from orchestration.standing import read_standing, write_standing

    wanted, place = _known(names) or [*SCHEDULES, *SENSORS], project_home() / "data"
    changes: dict[str, Any] = {"name": recipe, "source": source, "data_dir": str(data.resolve()) if data else None}
    standing = dataclasses.replace(
        read_standing(place), **{key: value for key, value in changes.items() if value is not None}
    )
    open_source(standing.market())
    standing.require_hardware()
    if any(value is not None for value in changes.values()):
        write_standing(place, standing)
    for name in wanted:
        _switch(name, "start")
    typer.echo(f"They launch: {standing.flags()}")
    status()


@schedule_app.command(name="off")
def off(names: Names = None) -> None:
    """Switch off."""
    for name in _known(names) or [*SCHEDULES, *SENSORS, *BY_NAME]:
        _switch(name, "stop")
    status()


@schedule_app.command(name="status")
def status() -> None:
    """Say what is on, and whether anything watches the clock."""
    import dagster as dg

    dagster_home()
    with dg.DagsterInstance.get() as instance:
        running = {state.instigator_name for state in instance.all_instigator_state() if state.is_running}
        for name in (*SCHEDULES, *SENSORS, *BY_NAME):
            typer.echo(f"{name:<20} {'on' if name in running else 'off'}")
        if not daemon_lives(instance):
            typer.echo("Nothing watches the clock: start `make dev` (or dagster-daemon), and leave it running.")


def daemon_lives(instance: "dg.DagsterInstance") -> bool:
    """Whether the scheduler's daemon has been heard of lately."""
    return bool(instance.get_daemon_statuses(["SCHEDULER"])["SCHEDULER"].healthy)


def _known(names: list[str] | None) -> list[str]:
    every = [*SCHEDULES, *SENSORS, *BY_NAME]
    if unknown := sorted(set(names or ()) - set(every)):
        fail(f"unknown schedule {', '.join(unknown)}: expected {', '.join(every)}. Correct the name.", USER_ERROR)
    return names or []


def _switch(name: str, what: str) -> None:
    """`dagster schedule|sensor start|stop NAME`: it writes to the instance what the daemon reads."""
    dagster_home()
    kind = "schedule" if name in SCHEDULES else "sensor"
    command = [str(Path(sys.executable).with_name("dagster")), kind, what, name, "-w", str(ROOT / "workspace.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(command[1:4])}: {(done.stderr or done.stdout).strip().splitlines()[-1]}", FAILED)
