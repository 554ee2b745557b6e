"""Turns, table, rows and sentences, with a worker that measures nothing."""

import json
import sys
from pathlib import Path

import pytest

from tools.bench import __main__ as command
from tools.bench import measure, rows, table
from tools.bench.task import SYSTEMS

RATES = {"ours": 1000.0, "sb3": 250.0, "rl_games": 400.0, "ours_single": 1500.0, "puffer_style": 3000.0}
ROOFS = {1: {"float32": 100.0, "bfloat16": 400.0}}


class Told:
    """A worker that answers from a table and slows down by 10% a round, as a machine may."""

    def __init__(self):
        self.calls, self.precision = [], {}

    def __call__(self, name, **flags):
        if name == "roofline":
            return dict(ROOFS[1]) | {"torch": "2"}
        self.calls.append((name, flags["hidden"]))
        self.precision[name] = flags.get("precision")
        rate = RATES[name] * 0.9 ** sum(call == (name, flags["hidden"]) for call in self.calls)
        return {"median": rate, "best": 1.1 * rate, "torch": "2"}


def compare(names, rounds=3, precision="float32"):
    worker = Told()
    systems = [SYSTEMS[name] for name in names]
    flags = {"hidden": 64, "threads": 1, "seconds": 1.0, "rounds": rounds, "precision": precision}
    results = measure.compare(systems, measure=worker, **flags)
    return worker, list(results)


def test_ours_is_measured_just_before_every_peer():
    worker, results = compare(["ours", "sb3", "ours_single", "puffer_style"], rounds=2)
    assert [name for name, _ in worker.calls] == 2 * ["ours", "sb3", "ours_single", "puffer_style"]
    assert [result.system.name for result in results] == ["ours", "sb3", "ours_single", "puffer_style"]


def test_ratios_are_of_the_same_round():
    _, (ours, peer) = compare(["sb3"])
    assert peer.ratios == pytest.approx([4.0, 4.0, 4.0])
    assert ours.ratios == [1.0]
    assert peer.steps_per_second == pytest.approx(250 * 0.9**2)


def test_ours_alone_is_measured_too():
    worker, results = compare(["ours"], rounds=2)
    assert len(worker.calls) == 2
    assert [result.system.name for result in results] == ["ours"]


def test_the_answer_comes_before_the_table():
    _, results = compare(["sb3", "puffer_style"])
    assert table.answers(results) == [
        "ours / sb3 = 4.00 (4.00-4.00) at hidden 64 (1 thread)",
        "ours_single / puffer_style = 0.50 (0.50-0.50) at hidden 64 (1 thread)",
    ]
    head, _, *body = table.table(results, ROOFS)
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(table.HEAD)
    assert len({len(line) for line in (head, *body)}) == 1
    assert len(body) == 4
    assert "264k (2 trunks of 64)" in table.notes(results, ROOFS)[0]


def test_our_precision_is_asked_of_ours_alone_and_named():
    worker, results = compare(["sb3"], precision="bfloat16")
    assert worker.precision == {"ours": "bfloat16", "sb3": None}
    assert table.answers(results)[0].startswith("ours bfloat16 / sb3 = ")
    assert [row["system"] for row in rows.rows_of(results, {}, "")] == ["ours bfloat16", "sb3"]


def test_rows_name_the_command_and_replace_what_they_measure_again(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "commit", lambda: "abc1234")
    _, results = compare(["sb3"])
    found = rows.rows_of(results, ROOFS, "python -m tools.bench")
    path = rows.write_rows(tmp_path / "new", "AMD EPYC(TM) 9", found)
    assert path.name.startswith("amd-epyc-tm-9-20")
    assert path.name.endswith("-abc1234.json")
    rows.write_rows(tmp_path / "new", "AMD EPYC(TM) 9", [found[1] | {"ratio": 5.0}])
    kept = json.loads(path.read_text())
    assert [row["system"] for row in kept] == ["ours", "sb3", "matrix product float32", "matrix product bfloat16"]
    keys = {"system", "hidden", "threads", "steps_per_second", "gflops", "ratio", "command"}
    assert all(set(row) == keys for row in kept)
    assert [row["ratio"] for row in kept] == [1.0, 5.0, None, None]


def test_a_commit_that_is_not_what_was_measured_is_marked(monkeypatch):
    said = {"rev-parse": "abc1234", "status": " M clstm_core/config.py"}
    monkeypatch.setattr(rows, "_git", lambda verb, *_: said[verb])
    assert rows.commit() == "abc1234-changed"
    said["status"] = ""
    assert rows.commit() == "abc1234"
    said["rev-parse"] = ""
    assert rows.commit() == "no-commit"


def test_a_peer_that_is_not_there_is_named_with_the_remedy_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    document = tmp_path / "performance.md"
    document.write_text("# Performance\n")
    monkeypatch.setattr(command, "DOCUMENT", document)
    flags = ["--systems", "ours", "sb3", "puffer_style", "--hidden", "64", "--rounds", "1", "--append"]
    options = command.parser().parse_args([*flags, "--out", str(tmp_path), "--peers-python", str(tmp_path / "none")])
    assert command.compared(options, Told()) == 0
    told = capsys.readouterr()
    assert "sb3 is missing" in told.err
    assert "make bench" in told.err
    assert told.out.startswith("ours_single / puffer_style = 0.50 at hidden 64 (1 thread)\n")
    (path,) = tmp_path.glob("*.json")
    written = {row["system"]: row for row in json.loads(path.read_text())}
    assert {"ours", "ours_single", "puffer_style"} <= set(written)
    repeat = "python -m tools.bench --threads 1 --hidden 64 --seconds 10 --rounds 1 --systems ours sb3 puffer_style"
    assert written["ours"]["command"] == repeat
    text = document.read_text()
    assert text.startswith("# Performance\n\n## Beside its peers on a CPU\n")
    assert "- ours_single / puffer_style = 0.50" in text


def test_a_busy_machine_is_said(monkeypatch):
    monkeypatch.setattr(measure.os, "getloadavg", lambda: (1.7, 0.0, 0.0))
    assert "busy (load 1.7" in str(measure.busy())
    monkeypatch.setattr(measure.os, "getloadavg", lambda: (0.1, 2.0, 2.0))
    assert measure.busy() is None


def test_a_python_without_the_peer_is_named():
    sentence = measure.missing(SYSTEMS["sb3"], Path(sys.executable))
    assert sentence is not None
    assert "has no sb3_contrib" in sentence
    assert measure.missing(SYSTEMS["ours"], Path("none")) is None


def test_a_system_that_fails_is_said_and_the_exit_code_says_so(tmp_path, capsys):
    def fails(name, **flags):
        if name == "ours" and flags["hidden"] == 64:
            raise measure.BenchError("ours ended with code 1: out of memory")
        return Told()(name, **flags)

    flags = ["--systems", "ours", "--hidden", "64", "256", "--rounds", "1", "--out", str(tmp_path)]
    assert command.compared(command.parser().parse_args(flags), fails) == 1
    told = capsys.readouterr()
    assert "error: ours ended with code 1: out of memory" in told.err
    assert "| 256" in told.out


def test_the_last_word_of_a_process_that_failed_is_told():
    with pytest.raises(measure.BenchError, match=r"ours ended with code 1: .*multiple"):
        measure.worker(Path("none"))("ours", threads=1, hidden=6)
