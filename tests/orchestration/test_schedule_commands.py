"""`clstm schedule on|off|status`: what it switches, what it says, and what it refuses before it switches anything."""

import subprocess

import dagster as dg
import pytest
import typer
from dagster._core.scheduler.instigation import InstigatorStatus

from orchestration import schedule_commands
from orchestration.definitions import build_defs
from orchestration.schedule_commands import BY_NAME, SCHEDULES, SENSORS, off, on, status
from orchestration.standing import read_standing


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".dagster"))
    return tmp_path


@pytest.fixture
def switched(home, monkeypatch):
    """What would be switched, in turn: `dagster` itself is not asked."""
    asked = []

    def run(command, **settings):
        asked.append(tuple(command[1:4]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(schedule_commands.subprocess, "run", run)
    return asked


def test_everything_that_is_named_here_exists():
    found = build_defs()
    assert {found.resolve_schedule_def(name).name for name in SCHEDULES} == set(SCHEDULES)
    assert {found.resolve_sensor_def(name).name for name in SENSORS} == set(SENSORS)


def test_on_and_off_switch_everything_unless_told_otherwise(switched):
    on(None, None, None, None)
    assert switched == [
        *(("schedule", "start", name) for name in SCHEDULES),
        *(("sensor", "start", name) for name in SENSORS),
    ]
    switched.clear()
    off(["run_failures"])
    assert switched == [("sensor", "stop", "run_failures")]
    switched.clear()
    off(None)
    assert {name for _, _, name in switched} == {*SCHEDULES, *SENSORS, *BY_NAME}


def test_what_asks_for_more_challengers_is_switched_on_by_name_alone(switched):
    on(list(BY_NAME), None, None, None)
    assert switched == [("sensor", "start", name) for name in BY_NAME]


def test_options_change_the_standing_recipe(switched, home, capsys):
    on(["weekly_retraining"], "smoke", "simulated", None)
    assert switched == [("schedule", "start", "weekly_retraining")]
    standing = read_standing(home / "data")
    assert (standing.name, standing.source) == ("smoke", "simulated")
    assert "They launch: " in capsys.readouterr().out
    on(["weekly_retraining"], None, None, None)
    assert read_standing(home / "data") == standing


@pytest.mark.parametrize("command", [lambda names: on(names, "smoke", None, None), off])
def test_an_unknown_name_is_refused_before_anything_changes(switched, home, capsys, command):
    with pytest.raises(typer.Exit) as ended:
        command(["weekly_retraining", "weekly"])
    assert ended.value.exit_code == 2
    assert "unknown schedule weekly: expected daily_market_data" in capsys.readouterr().err
    assert switched == []
    assert not (home / "data" / "standing.json").exists()


def test_what_dagster_refuses_is_said_in_a_sentence(home, monkeypatch, capsys):
    def refuse(command, **settings):
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nno such workspace\n")

    monkeypatch.setattr(schedule_commands.subprocess, "run", refuse)
    with pytest.raises(typer.Exit) as ended:
        off(["daily_market_data"])
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "error: schedule stop daily_market_data: no such workspace\n"


def test_a_switch_is_read_where_the_daemon_reads_it(home, capsys):
    """Through Dagster's own command: a schedule on, seen, and off again."""
    on(["weekly_retraining"], "smoke", "simulated", None)
    said = capsys.readouterr().out
    assert "weekly_retraining    on" in said
    assert "daily_market_data    off" in said
    assert "Nothing watches the clock" in said
    with dg.DagsterInstance.get() as instance:
        (state,) = [state for state in instance.all_instigator_state() if state.is_running]
        assert state.instigator_name == "weekly_retraining"
        assert state.status == InstigatorStatus.RUNNING
    off(["weekly_retraining"])
    assert "weekly_retraining    off" in capsys.readouterr().out


def test_status_says_whether_anything_watches_the_clock(home, monkeypatch, capsys):
    monkeypatch.setattr(schedule_commands, "daemon_lives", lambda instance: True)
    status()
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()] == [[name, "off"] for name in (*SCHEDULES, *SENSORS, *BY_NAME)]
