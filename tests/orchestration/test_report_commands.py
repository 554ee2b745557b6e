"""`clstm --version`, `clstm runs`, and what the commands about runs say where there are none."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.report_commands import shown

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "polars", "dagster", "numpy", "plotly", "duckdb", "pandas", "scipy", "jinja2"}


@pytest.fixture
def clstm(tmp_path, monkeypatch):
    """Calls the command in an empty home."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_the_release_is_said(clstm):
    done = clstm("--version")
    assert done.exit_code == 0
    name, number = done.output.split()
    assert name == "clstm-options"
    assert number.count(".") == 2


def test_help_and_mistakes_load_nothing_heavy():
    """Each command loads what it needs when it runs: a typo costs a quarter of a second, not four."""
    code = "import sys, orchestration.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "typer" in done.stdout.split()
    assert not HEAVY & set(done.stdout.split())


def test_without_runs_the_list_says_how_to_begin_one(clstm):
    done = clstm("runs")
    assert done.exit_code == 0
    assert "clstm demo" in done.output


def test_a_run_that_has_only_begun_is_listed_as_such(clstm, tmp_path):
    (tmp_path / "data" / "runs" / "half").mkdir(parents=True)
    (tmp_path / "data" / "runs" / "half" / "inputs.json").write_text("no manifest")
    header, line = clstm("runs").output.splitlines()
    assert header.split()[:2] == ["name", "recipe"]
    assert line.split()[:2] == ["half", "begun"]
    assert "not judged yet" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "nope"], "no run nope in"),
        (["report", "../x"], "run name '../x'"),
        (["compare", "nope", "half"], "no run nope in"),
        (["compare", "half", "half"], "expected two runs"),
        (["compare", "half", "other"], "half was not judged yet"),
        (["evaluate", "--checkpoint", "nowhere"], "found nothing, expected a checkpoint's folder"),
        (["evaluate", "--checkpoint", __file__], "found a file, expected a checkpoint's folder"),
        (["evaluate", "--checkpoint", "nowhere", "--episodes", "2"], "would all be one"),
        (["evaluate", "--checkpoint", "nowhere", "--mode", "stochastic", "--episodes", "0"], "expected 1 or more"),
    ],
)
def test_wrong_uses_are_one_sentence_and_exit_with_two(clstm, tmp_path, arguments, words):
    for name in ("half", "other"):
        (tmp_path / "data" / "runs" / name).mkdir(parents=True)
    done = clstm(*arguments)
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1
    assert words in done.output


def test_a_table_is_as_wide_as_its_cells():
    assert shown(("a", "b"), [("long", "1"), ("x", "")]) == ["a     b", "long  1", "x"]
