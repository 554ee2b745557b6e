"""`clstm retrain` from a terminal: mistakes are sentences before anything begins; the rest goes to the job."""

import dataclasses
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from clstm_core.artifacts.places import Places
from clstm_core.config import RECIPES
from clstm_core.errors import ConfigError
from clstm_core.feedback.plan import RetrainPlan
from clstm_core.feedback.standing import look_words
from orchestration import retrain_commands
from orchestration.cli import app
from orchestration.definitions import build_defs
from orchestration.jobs import chosen

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "feedback"))
from registry_makings import challenger

SMALL = "--source simulated --snapshots 600 --recipe smoke --gate 61 --judged 61 --steps 2560"


@pytest.fixture
def given(tmp_path, monkeypatch):
    """What the job is given; nothing is launched."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    found = {}

    def execute(job, run, recipe, *, ops):
        found.update(job=job, run=run, recipe=recipe, ops=ops)
        said = {"answer": "mine may be proposed", "proposed": "mine is challenger", "page_path": "mine/index.html"}
        return {f"challenger_policy.{name}": words for name, words in said.items()}

    monkeypatch.setattr(retrain_commands, "execute", execute)
    return found


def test_what_is_asked_is_what_the_job_is_given(given):
    flags = [*SMALL.split(), "--start", "scratch", "--name", "mine", "--why", "a new regime", "--no-propose"]
    done = CliRunner().invoke(app, ["retrain", *flags])
    assert done.exit_code == 0, done.output
    assert "Answer:   mine may be proposed" in done.output
    assert "Registry: mine is challenger" in done.output
    assert "Page:     mine/index.html" in done.output
    assert (given["job"], given["run"], given["recipe"].name) == ("fine_tune_challenger", "mine", "smoke")
    asked = given["ops"]["challenger_policy"]["config"]
    assert (asked["start"], asked["why"], asked["steps"], asked["propose"]) == ("scratch", "a new regime", 2560, False)
    config = chosen(**dataclasses.asdict(given["recipe"])) | {"ops": given["ops"]}
    assert dg.validate_run_config(build_defs().resolve_job_def("fine_tune_challenger"), config)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--start", "champion"], "no champion to begin with"),
        (["--as-of", "soon"], "as_of='soon'"),
        (["--why", " "], "without a reason"),
        (["--judged", "600"], "600 sessions are known"),
        (["--name", "../outside"], "expected A-Z"),
    ],
)
def test_mistakes_are_sentences_before_anything_begins(given, flags, words):
    done = CliRunner().invoke(app, ["retrain", *SMALL.split(), *flags])
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)
    assert not given


def test_what_it_costs_of_the_years_looks_is_said_before_anything_is_trained(given, tmp_path):
    done = CliRunner().invoke(app, ["retrain", *SMALL.split(), "--name", "mine"])
    assert "It costs up to 1 of the year's 52 looks" in done.output
    assert "0 were spent" in done.output
    now = datetime.now(UTC).isoformat(timespec="seconds")
    data = tmp_path / "data"
    for number in range(50):
        challenger(data, f"c{number}", created=now)
    challenger(data, "long_ago", created="2020-01-01T00:00:00+00:00")
    plan = RetrainPlan(
        name="both",
        why="a test",
        settings=RECIPES["smoke"]().to_dict(),
        starts=("champion", "scratch"),
        champion="c" * 64,
        champion_folder="registry/bundles/c",
    )
    said = look_words(Places(data), plan)
    assert "It costs up to 2 of the year's 52 looks, one per start that is judged" in said
    assert "50 were spent in the last 365 days" in said
    assert "as many tests" in said
    assert "refused" not in said
    challenger(data, "another", created=now)
    assert "refused by rule fresh look" in look_words(Places(data), plan)
