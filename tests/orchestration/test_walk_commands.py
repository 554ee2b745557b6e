"""`clstm walk-forward` from a terminal: mistakes are sentences before anything begins; the rest goes to the job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration import walk_commands
from orchestration.cli import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "nope"], ["nope", "SOURCE"]),
        (["--seeds", "one"], ["'one'", "0,1,2"]),
        (["--seeds", "1,1"], ["[1, 1]", "--seeds"]),
        (
            ["--source", "simulated", "--snapshots", "800"],
            ["800 sessions for 8 folds", "expected at least", "--training"],
        ),
        (["--window", "sliding"], ["'sliding'", "rolling"]),
        (["--name", "../outside"], ["../outside", "expected A-Z"]),
        (["--recipe", "nope"], ["nope", "default_cpu"]),
    ],
)
def test_mistakes_are_sentences(tmp_path, arguments, words):
    environment = {**os.environ, "CLSTM_HOME": str(tmp_path)}
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-m", "orchestration.cli", "walk-forward", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_what_is_asked_is_what_the_job_is_given(monkeypatch):
    given = {}

    def execute(job, run, recipe, *, ops, name):
        given.update(job=job, run=run, recipe=recipe, ops=ops, name=name)
        return {"walk_forward_record.verdict": "level", "walk_forward_record.report_path": "page"}

    monkeypatch.setattr(walk_commands, "execute", execute)
    flags = "--source simulated --snapshots 900 --recipe smoke --folds 2 --training 200 --validation 80 --steps 2560"
    done = CliRunner().invoke(app, ["walk-forward", *flags.split(), "--seeds", "3,4", "--warm", "--name", "mine"])
    assert done.exit_code == 0, done.output
    assert "Verdict: level" in done.output
    assert (given["job"], given["run"], given["name"]) == ("walk_forward", None, "walk_forward.mine")
    assert (given["recipe"].name, given["recipe"].source, given["recipe"].n_snapshots) == ("smoke", "simulated", 900)
    asked = given["ops"]["walk_forward_record"]["config"]
    assert asked["seeds"] == [3, 4]
    assert asked["warm"] is True
    assert (asked["walk"], asked["folds"], asked["steps"]) == ("mine", 2, 2560)


def test_the_jobs_form_takes_what_the_command_gives(monkeypatch):
    """The launch's configuration is one that Dagster accepts, key by key."""
    import dataclasses

    import dagster as dg

    from orchestration.definitions import build_defs
    from orchestration.jobs import chosen

    given = {}
    monkeypatch.setattr(
        walk_commands, "execute", lambda job, run, recipe, **others: given.update(recipe=recipe, **others) or {}
    )
    flags = "--source simulated --snapshots 900 --recipe smoke --folds 2 --training 200 --validation 80"
    assert CliRunner().invoke(app, ["walk-forward", *flags.split()]).exit_code == 0
    config = chosen(**dataclasses.asdict(given["recipe"])) | {"ops": given["ops"]}
    assert dg.validate_run_config(build_defs().resolve_job_def("walk_forward"), config)
