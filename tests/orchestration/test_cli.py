"""The command line: a user's mistake is one sentence and exit code 2, before anything is begun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orchestration.progress import Follower

ROOT = Path(__file__).resolve().parents[2]


def clstm(home, *arguments):
    environment = {**os.environ, "CLSTM_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-m", "orchestration.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "nope"], ["nope", "sp500_modelled", "SOURCE"]),
        (["--source", "spx_cboe"], ["spx_cboe", "DATA="]),
        (["--source", "spx_barchart", "--data", "/no/such/folder"], ["/no/such/folder", "DATA="]),
        (["--recipe", "nope"], ["nope", "default_cpu", "--recipe"]),
        (["--run", "../outside"], ["../outside", "expected A-Z", "RUN"]),
        (["--run", "x" * 300], ["x" * 300, "at most 100"]),
        (["--run", "a b"], ["'a b'", "expected A-Z"]),
        (["--run", "-rf"], ["-rf"]),
        (["--run=-rf"], ["'-rf'", "a letter, digit or '_' first"]),
        (["--frobnicate", "1"], ["--frobnicate", "--help"]),
        (["--snapshots", "many"], ["--snapshots", "--help"]),
    ],
)
def test_mistakes_are_sentences(tmp_path, arguments, words):
    done = clstm(tmp_path, "demo", *arguments)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("flag", ["--port", "--report-port"])
@pytest.mark.parametrize("number", ["0", "65536", "99999", "-1", "many"])
def test_a_port_that_is_none_is_a_sentence(tmp_path, flag, number):
    done = clstm(tmp_path, "dev", f"{flag}={number}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert f"'{flag}'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / ".dagster").exists()


def test_a_broken_instance_is_a_sentence(tmp_path):
    (tmp_path / ".dagster").mkdir()
    (tmp_path / ".dagster" / "dagster.yaml").write_text("{{{")
    done = clstm(tmp_path, "demo", "--source", "simulated", "--recipe", "smoke")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot open the Dagster instance")
    assert done.stderr.count("\n") == 1


def test_a_store_that_is_no_database_is_a_sentence(tmp_path):
    (tmp_path / "data" / "runs" / "one").mkdir(parents=True)
    (tmp_path / "data" / "metrics.duckdb").write_bytes(b"no database" * 100)
    done = clstm(tmp_path, "publish-metrics", str(tmp_path / "published.duckdb"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: unreadable metrics store")
    assert "clstm rebuild-metrics" in done.stderr
    assert done.stderr.count("\n") == 1
    done = clstm(tmp_path, "rebuild-metrics")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert clstm(tmp_path, "publish-metrics", str(tmp_path / "published.duckdb")).returncode == 0


def test_a_snapshot_is_written_into_a_folder_that_is_there(tmp_path):
    gone = tmp_path / "gone" / "published.duckdb"
    done = clstm(tmp_path, "publish-metrics", str(gone))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot write {gone}: expected a file in a folder that is there")
    assert not gone.parent.exists()


def test_a_home_that_is_a_file_is_a_sentence(tmp_path):
    home = tmp_path / "home"
    home.write_text("")
    done = clstm(home, "demo", "--source", "simulated", "--recipe", "smoke")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot use {home}")
    assert done.stderr.count("\n") == 1


def test_rebuild_needs_no_store(tmp_path):
    done = clstm(tmp_path, "rebuild-metrics")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_becomes_unreadable_fails_the_chain_in_a_sentence(tmp_path):
    folder = tmp_path / "vendor" / "spx_cboe_eod"
    folder.mkdir(parents=True)
    done = clstm(tmp_path, "demo", "--source", "spx_cboe", "--data", str(tmp_path / "vendor"), "--recipe", "smoke")
    assert done.returncode in (1, 2)
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_progress_without_a_terminal_is_plain_lines(tmp_path, capsys):
    progress = tmp_path / "progress.jsonl"
    rows = [{"stage": "train", "done": done, "total": 1000} for done in (0, 500, 1000)]
    with Follower(progress) as follower:
        for row in rows:
            with progress.open("a") as handle:
                handle.write(json.dumps(row) + "\n")
            follower.update()
        with progress.open("a") as handle:
            handle.write('{"stage": "torn')  # a line that is still being written
        follower.update()
    shown = capsys.readouterr().out
    assert [line.split()[:2] for line in shown.splitlines()] == [["train", "0%"], ["train", "50%"], ["train", "100%"]]
    assert "\x1b" not in shown


def test_first_launches_at_once_make_one_instance(tmp_path):
    """Storage is made by whoever comes first; the others wait for it."""
    home = tmp_path / "home" / ".dagster"
    home.parent.mkdir()
    code = "import sys; from orchestration.launch import _register; _register(sys.argv[1])"
    environment = {**os.environ, "CLSTM_HOME": str(home.parent), "DAGSTER_HOME": str(home)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, name], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two", "three")
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert set(instance.get_dynamic_partitions("training_run")) == {"one", "two", "three"}
