"""`clstm runs|report|compare|evaluate` on a run that went through the whole chain."""

import dataclasses
import json
import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from clstm_core.artifacts.folder import file_sha256, lock
from clstm_core.artifacts.manifests import BacktestSet, ComparisonManifest, ReportManifest
from clstm_core.artifacts.places import Places
from clstm_core.evaluation.run_list import list_runs
from orchestration.cli import app


@pytest.fixture
def home(finished, tmp_path, monkeypatch):
    """A copy of the finished chain, which the command works in."""
    place = shutil.copytree(finished, tmp_path / "home")
    monkeypatch.setenv("CLSTM_HOME", str(place))
    return place


def clstm(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def other(home):
    """A second run: the first one's, judged by its first rung and with another seed."""
    places = Places(home / "data")
    run = places.run("other")
    shutil.copytree(places.run("one").path, run.path)
    inputs = json.loads(run.inputs.read_text())
    ids = BacktestSet.read(run.backtests("policy_backtests")).ids
    kept = ComparisonManifest.read(run.comparison)
    row = next(row for row in kept.comparison["rows"] if row["backtest_id"] in ids and row["milestone"] == "020"
               and row["mode"] == "argmax" and row["headline"])  # fmt: skip
    champion = {**kept.champion, "milestone": "020", "name": row["name"], "backtest_id": row["backtest_id"]}
    dataclasses.replace(kept, comparison={**kept.comparison, "champion": champion}).write(run.comparison)
    from clstm_core.artifacts.manifests import RunInputs

    known = RunInputs.read(run.inputs)
    dataclasses.replace(known, config={**inputs["config"], "seed": 5}).write(run.inputs)
    return "other"


def test_the_list_says_what_came_of_a_run(home):
    (line,) = list_runs(Places(home / "data"))
    assert (line.name, line.recipe, line.source, line.standing) == ("one", "smoke", "simulated", "finished")
    assert line.champion == "100%"
    assert line.outcome.endswith("too short to distinguish from cash")
    shown = clstm("runs").output.splitlines()
    assert len(shown) == 2
    assert line.outcome in shown[1]


def test_a_report_is_written_again_from_files(home):
    page = home / "reports" / "generated" / "one" / "index.html"
    shutil.rmtree(home / "reports")
    done = clstm("report", "one")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"Report:  {page}"
    kept = ReportManifest.read(Places(home / "data").run("one").report)
    assert kept.sha256 == file_sha256(page)
    assert kept.figures > 0
    assert (home / "reports" / "generated" / "report.css").is_file()


def test_a_report_is_written_as_one_file(home, tmp_path):
    place = tmp_path / "page.html"
    done = clstm("report", "one", "--single-file", place)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"One file: {place}"
    assert "<script src=" not in place.read_text()
    done = clstm("report", "one", "--single-file", tmp_path)
    assert done.exit_code == 2
    assert "expected a file in a folder that is there" in done.output


def test_a_run_at_work_is_left_alone(home):
    with lock(home / "data" / "launches" / "one" / "lock", "run one"):
        done = clstm("report", "one")
    assert done.exit_code == 2
    assert "being worked on" in done.output


def test_two_runs_are_laid_side_by_side(home, other):
    done = clstm("compare", "one", other)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("25 common sessions are too few to distinguish one from other.")
    assert "Warning" not in done.output, "the same market, window, fills and account"
    settings = done.output[done.output.index("Settings that differ") :].splitlines()
    assert settings[2].split() == ["seed", "0", "5"]
    assert settings[3] == ""
    page = home / "reports" / "generated" / "one+other" / "index.html"
    assert done.output.splitlines()[-1] == f"Page: {page}"
    text = page.read_text()
    assert "Content-Security-Policy" in text
    assert "<script" not in text
    assert 'src="data:image/svg+xml;base64,' in text
    assert "25 common sessions" in text


def test_markup_in_what_a_run_says_stays_text(home, other):
    place = Places(home / "data").run("other").comparison
    kept = ComparisonManifest.read(place)
    said = {**kept.comparison, "verdict": "<img src=x onerror=alert(1)>"}
    dataclasses.replace(kept, comparison=said).write(place)
    assert clstm("compare", "one", other).exit_code == 0
    text = (home / "reports" / "generated" / "one+other" / "index.html").read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_a_look_at_the_test_window_is_registered_once(home, tmp_path):
    checkpoint, out = home / "data" / "runs" / "one" / "checkpoints" / "060", tmp_path / "out"
    registry = home / "data" / "trials.jsonl"
    before = registry.read_text().splitlines()
    asked = ("evaluate", "--checkpoint", checkpoint, "--out", out)
    done = clstm(*asked)
    assert done.exit_code == 0, done.output
    assert "these weights had looked at these dates before" in done.output
    assert registry.read_text().splitlines() == before, "the chain has entered this rung"
    done = clstm(*asked, "--window", "train", "--mode", "stochastic", "--episodes", "3")
    assert done.exit_code == 0, done.output
    assert "entered now" in done.output
    (added,) = registry.read_text().splitlines()[len(before) :]
    assert {name: json.loads(added)[name] for name in ("run", "milestone", "mode", "window")} == {
        "run": "one",
        "milestone": "060",
        "mode": "stochastic",
        "window": "train",
    }


def test_an_evaluation_leaves_tables_and_pictures(home, tmp_path):
    checkpoint, out = home / "data" / "runs" / "one" / "checkpoints" / "100", tmp_path / "out"
    done = clstm("evaluate", "--checkpoint", checkpoint, "--out", out)
    assert done.exit_code == 0, done.output
    assert "Data: simulated quotes" in done.output
    episodes, curves = pl.read_csv(out / "episodes.csv"), pl.read_parquet(out / "curves.parquet")
    assert episodes.height == 1
    assert curves.height == 25
    assert curves["date"].is_sorted()
    row = ComparisonManifest.read(Places(home / "data").run("one").comparison)
    judged = next(r for r in row.comparison["rows"] if r["backtest_id"] == row.champion["backtest_id"])
    assert episodes["total_return"][0] == pytest.approx(judged["total_return"]), "as the chain judged it"
    grown = (1 + curves["return"]).product() - 1
    assert grown == pytest.approx(judged["total_return"])
    assert pl.read_csv(out / "distribution.csv")["count"].sum() == 25
    for name in ("pnl.svg", "returns.svg"):
        assert (out / name).read_text().startswith("<svg")
    bare = shutil.copytree(checkpoint, tmp_path / "bare")
    done = clstm("evaluate", "--checkpoint", bare)
    assert done.exit_code == 2
    assert "lies in no run" in done.output
    done = clstm("evaluate", "--checkpoint", checkpoint, "--window", "validation")
    assert done.exit_code == 2
    assert "no validation window" in done.output


def test_an_altered_checkpoint_is_refused(home):
    checkpoint = home / "data" / "runs" / "one" / "checkpoints" / "100"
    with (checkpoint / "model.safetensors").open("ab") as handle:
        handle.write(b"x")
    done = clstm("evaluate", "--checkpoint", checkpoint)
    assert done.exit_code == 2
    assert "altered file" in done.output
    assert done.output.count("\n") == 1


def test_another_market_may_be_traded(home, tmp_path):
    from pathlib import Path

    sample = Path(__file__).parents[2] / "data" / "samples" / "table" / "quotes.csv"
    checkpoint = home / "data" / "runs" / "one" / "checkpoints" / "100"
    asked = ("evaluate", "--checkpoint", checkpoint, "--out", tmp_path / "out", "--data", sample)
    done = clstm(*asked, "--source", "table")
    assert done.exit_code == 0, done.output
    assert "user's table" in done.output
    done = clstm(*asked)
    assert done.exit_code == 2
    assert "no such setting" in done.output
