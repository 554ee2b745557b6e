"""`clstm sweep` from a terminal: mistakes are sentences before anything begins; the rest goes to the job."""

import dagster as dg
import pytest
from typer.testing import CliRunner

from orchestration import sweep_commands
from orchestration.cli import app


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--search", "ppo.lr=1:2"], "ppo.lr"),
        (["--search", "env.horizon=1:2"], "not searched"),
        (["--search", "ppo.actor_lr=2:1"], "low < high"),
        (["--seeds", "one"], "0,1,2"),
        (["--trials", "0"], "--trials"),
        (["--name", "../outside"], "expected A-Z"),
        (["--recipe", "nope"], "default_cpu"),
        (["--source", "nope"], "nope"),
    ],
)
def test_mistakes_are_said_before_anything_is_launched(monkeypatch, arguments, words):
    launched = []
    monkeypatch.setattr(sweep_commands, "execute", lambda *given, **more: launched.append(given))
    done = CliRunner().invoke(app, ["sweep", *arguments])
    assert done.exit_code != 0
    assert words in str(done.exception)
    assert not launched


def test_what_is_asked_is_what_the_job_is_given(monkeypatch):
    """And the launch's configuration is one that Dagster accepts, key by key."""
    given = {}

    def execute(job, run, recipe, *, ops, name):
        given.update(job=job, run=run, recipe=recipe, ops=ops, name=name)
        return {"sweep_record.answer": "the recipe is the best", "sweep_record.report_path": "page"}

    monkeypatch.setattr(sweep_commands, "execute", execute)
    flags = "--source simulated --snapshots 900 --recipe smoke --trials 3 --steps 2560 --seeds 3,4 --name mine"
    done = CliRunner().invoke(app, ["sweep", *flags.split(), "--search", "ppo.policy_epochs=1:3"])
    assert done.exit_code == 0, done.output
    assert "the recipe is the best" in done.output
    assert (given["job"], given["run"], given["name"]) == ("sweep", None, "sweep.mine")
    asked = given["ops"]["sweep_record"]["config"]
    assert (asked["trials"], asked["steps"], asked["seeds"]) == (3, 2560, [3, 4])
    assert asked["space"] == ["ppo.policy_epochs=1:3"]
    from orchestration.definitions import build_defs

    assert dg.validate_run_config(build_defs().resolve_job_def("sweep"), {"ops": given["ops"]})
