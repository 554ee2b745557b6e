"""`clstm data inspect` and `clstm prune` from a terminal."""

import os
import time
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from assets.partitions import training_run
from clstm_core.artifacts.folder import lock
from orchestration.cli import app
from orchestration.data_commands import data_app
from orchestration.home import dagster_home

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "table" / "quotes.csv"


def test_a_usable_table_exits_with_zero_and_says_so_first():
    result = CliRunner().invoke(data_app, ["inspect", str(SAMPLE)])
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "Usable: 30 quotes on 3 sessions."


def test_an_unusable_one_exits_with_one_and_a_sentence(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n")
    result = CliRunner().invoke(data_app, ["inspect", str(path)])
    assert result.exit_code == 1
    assert result.output.startswith("Not usable: missing column")
    result = CliRunner().invoke(data_app, ["inspect", str(tmp_path / "nowhere"), "--source", "spx_cboe"])
    assert result.exit_code == 1
    assert result.output.startswith("Not usable: no folder")


@dg.asset(partitions_def=training_run)
def made() -> None:
    """By key."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A run that came to nothing long ago, one in use, market data and what launches of each said; its launches."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".dagster"))
    dagster_home()
    files = ("runs/abandoned/inputs.json", "runs/judged/report.json", "cache/tensors/unused/file", "launches/a/log")
    for name in files:
        place = tmp_path / "data" / name
        place.parent.mkdir(parents=True)
        place.write_bytes(b"x" * 2_000_000)
    then = time.time() - 40 * 86_400
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (then, then))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("training_run", ["abandoned", "judged"])
        for key in ("abandoned", "judged"):
            dg.materialize([made], instance=instance, partition_key=key)
    return tmp_path


def prune(*arguments):
    return CliRunner().invoke(app, ["prune", *arguments])


def listed(result):
    """Megabytes and name of each line that lists something."""
    return {line.split()[-1]: float(line.split()[0]) for line in result.output.splitlines() if line[10:14] == " MB "}


def everything(home):
    return {path for path in home.rglob("*") if path.is_file()}


GOES = {"runs/abandoned": 2.0, "cache/tensors/unused": 2.0, "launches/a": 2.0}


def test_a_dry_run_lists_what_would_go_and_deletes_nothing(home):
    before = everything(home)
    told = prune("--dry-run")
    assert told.exit_code == 0
    assert listed(told) == GOES, "launches of Dagster's own log are young"
    assert told.output.splitlines()[-2].startswith("6.0 MB, 0 launches")
    assert told.output.splitlines()[-1] == "Nothing was removed: leave out --dry-run."
    all_of_it = prune("--days", "0", "--dry-run")
    found = listed(all_of_it)
    assert found.pop("abandoned") == 0.0, "the key goes with its launch"
    assert found == GOES
    assert "1 launch of Dagster's event log" in all_of_it.output
    assert everything(home) == before

    done = prune("--days", "0")
    assert done.output.splitlines() == all_of_it.output.splitlines()[:-1], "what was announced"
    assert not any((home / "data" / name).exists() for name in GOES)
    assert (home / "data" / "runs" / "judged" / "report.json").is_file()
    with dg.DagsterInstance.get() as instance:
        assert instance.get_dynamic_partitions("training_run") == ["judged"]
        assert len(instance.get_runs()) == 1
    assert listed(prune("--days", "0")) == {}


def test_caches_wait_until_no_launch_works(home):
    with lock(home / "data" / "launches" / "b" / "lock", "run b"):
        told = prune("--days", "0", "--dry-run")
    assert told.output.splitlines()[0] == "Caches stay, a launch waits or works: b"
    assert "cache/tensors/unused" not in listed(told)
    assert "runs/abandoned" in listed(told)


def test_days_are_not_negative(home):
    before = everything(home)
    result = prune("--days", "-1")
    assert result.exit_code == 2
    assert "--days" in result.output
    assert everything(home) == before
