"""The stage that trains: its trainer is another process, whose rows, end and faults are the stage's own."""

import logging
import os
import shutil
import signal

import dagster as dg
import pytest

from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.training import trained_policy, training_progress
from clstm_core.artifacts.folder import is_locked
from clstm_core.artifacts.manifests import RunStatus
from clstm_core.artifacts.places import Places
from clstm_core.store.store import MetricsStore
from clstm_core.train import apart


@pytest.fixture
def places(begun, home):
    return Places(shutil.copytree(begun, home / "data"))


@pytest.fixture
def stage(places, home, instance):
    """Launches the stage for a run, by name."""

    def launch(run):
        instance.add_dynamic_partitions("training_run", [run])
        return dg.materialize(
            [trained_policy],
            instance=instance,
            partition_key=run,
            resources={
                "paths": ProjectPaths(home=str(home)),
                "metrics": Metrics(path=str(places.root / "metrics.duckdb")),
                "report_server": ReportServer(home=str(home)),
            },
            raise_on_error=False,
        )

    return launch


@pytest.fixture
def when_it_trains(places, monkeypatch):
    """Has something done with the trainer's process after its first iteration."""

    def do(what):
        real = apart.train_apart

        def watched(run, *, report, **more):
            waiting = [what]

            def told(row):
                report(row)
                if waiting:
                    waiting.pop()(int((run.path / ".lock").read_text()))

            real(run, report=told, **more)

        monkeypatch.setattr(apart, "train_apart", watched)

    return do


def status(places, run):
    return RunStatus.read(places.run(run).status, files=False).status


def test_its_rows_are_in_the_store_and_its_curves_live(places, stage, instance, said):
    result = stage("short")
    assert result.success, said(result)
    (rows,) = MetricsStore(places.root / "metrics.duckdb").query("SELECT count(*) AS n FROM training_metrics")
    assert rows["n"] == 12
    seen = instance.fetch_observations(training_progress.key, limit=100).records
    assert len(seen) >= 1
    assert status(places, "short") == "finished"
    assert sorted(place.name for place in (places.run("short").path / "checkpoints").iterdir()) == [
        "000",
        "020",
        "040",
        "060",
        "080",
        "100",
        "latest",
    ]


def test_a_silent_trainer_is_a_warning_and_a_killed_one_fails_the_stage(
    places, stage, said, instance, monkeypatch, when_it_trains
):
    monkeypatch.setattr(apart, "SILENT_S", 0.0)
    monkeypatch.setattr(apart, "SLOW", 0.0)
    when_it_trains(lambda trainer: os.kill(trainer, signal.SIGKILL))
    result = stage("long")
    assert not result.success
    assert said(result).startswith("the trainer of run long was killed by SIGKILL")
    assert "it resumes from the newest checkpoint" in said(result)
    warned = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert any("has finished no iteration for" in words for words in warned), warned
    assert status(places, "long") == "failed"
    assert not is_locked(places.run("long").path / ".lock")
