"""The metrics store: idempotent, locked down, and never the place where rows get lost."""

import json
import logging
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from clstm_core.artifacts.manifests import GateResults
from clstm_core.errors import MetricsError
from clstm_core.store import schema
from clstm_core.store import store as metrics_store
from clstm_core.store.document import as_markdown
from clstm_core.store.rows import fitting, metrics_rows
from clstm_core.store.store import MetricsStore

NEXT = schema.SCHEMA_VERSION + 1
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"

HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path):
    return MetricsStore(tmp_path / "metrics.duckdb", timeout_s=0.2)


@contextmanager
def a_reader_elsewhere(path: Path):
    """Another process that keeps the store open, as a reviewer with a DuckDB shell would; yields its process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "holding"
    try:
        yield process.pid
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def iteration(number: int, **values) -> dict:
    return {"run": "r", "iteration": number, "env_steps": 10 * number, **values}


def metrics(store: MetricsStore) -> list[tuple]:
    rows = store.query("SELECT iteration, env_steps, approx_kl FROM training_metrics ORDER BY iteration")
    return [tuple(row.values()) for row in rows]


def test_writing_twice_is_writing_once(store):
    rows = [iteration(n, approx_kl=0.01 * n) for n in range(1, 4)]
    assert store.upsert("training_metrics", rows)
    assert store.upsert("training_metrics", rows)
    assert metrics(store) == [(1, 10, 0.01), (2, 20, 0.02), (3, 30, 0.03)]


def test_the_last_row_of_a_key_wins_and_left_out_columns_keep_their_value(store):
    store.upsert("training_metrics", [iteration(1, approx_kl=0.5), iteration(1, approx_kl=0.25), iteration(2)])
    store.upsert("training_metrics", [{"run": "r", "iteration": 1, "clip_fraction": 0.1}])
    assert metrics(store) == [(1, 10, 0.25), (2, 20, None)]


def test_many_rows_fit_in_one_call(store):
    names = schema.TRAINING_METRICS.column_names[3:]
    store.upsert("training_metrics", [iteration(n, **dict.fromkeys(names, float(n))) for n in range(1000)])
    assert store.query("SELECT count(*) AS n, sum(seconds) AS s FROM training_metrics") == [{"n": 1000, "s": 499500.0}]


def test_every_table_takes_a_row_of_its_keys(store):
    sample = {"VARCHAR": "x", "BIGINT": 3}
    for table in schema.TABLES.values():
        row = {name: sample[table.column(name).type] for name in table.key}
        store.upsert(table.name, [row, row])
        assert store.query(f'SELECT count(*) AS n FROM "{table.name}"') == [{"n": 1}]


def test_values_arrive_as_they_were_meant(store):
    import numpy as np

    moment = datetime(2026, 1, 2, 16, 30, tzinfo=UTC)
    store.upsert(
        "runs",
        [
            {
                "run": "Robert'); DROP TABLE runs;--",
                "seed": np.int64(7),
                "seconds": np.float32(0.5),
                "started_at": moment,
                "finished_at": "2026-01-02T18:00:00+01:00",
                "config": {"b": 1, "a": [2]},
                "folder": Path("data/runs/x"),
            }
        ],
    )
    (row,) = store.query("SELECT * FROM runs WHERE run = ?", ["Robert'); DROP TABLE runs;--"])
    assert (row["seed"], row["seconds"]) == (7, 0.5)
    assert (row["started_at"], row["finished_at"]) == (datetime(2026, 1, 2, 16, 30), datetime(2026, 1, 2, 17, 0))
    assert (row["config"], row["folder"]) == ('{"a": [2], "b": 1}', "data/runs/x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_numbers_that_are_none_become_null(store, value):
    store.upsert("training_metrics", [iteration(1, approx_kl=value)])
    assert metrics(store) == [(1, 10, None)]


@pytest.mark.parametrize(
    ("table", "row", "sentence"),
    [
        ("trainings", {"run": "r"}, "unknown table 'trainings'"),
        ("runs", {"run": "r", "colour": "red"}, "unknown column colour in a row of runs"),
        ("training_metrics", {"run": "r"}, "a row of training_metrics has no iteration"),
        ("training_metrics", {"run": "r", "iteration": 1.5}, "expected a whole number"),
        ("training_metrics", {"run": "r", "iteration": 2**70}, "expected a whole number"),
        ("training_metrics", {"run": "r", "iteration": 1, "approx_kl": "low"}, "expected a number"),
        ("gate_results", {"gate": "g", "name": "n", "passed": "yes"}, "expected True or False"),
        ("runs", {"run": "r", "started_at": "yesterday"}, "expected a time"),
        ("backtests", {"backtest_id": "b", "first_date": "soon"}, "expected a date"),
    ],
)
def test_a_wrong_row_is_refused_in_a_sentence_and_nothing_is_written(store, table, row, sentence):
    store.upsert("runs", [{"run": "before"}])
    with pytest.raises(MetricsError, match="expected") as error:
        store.upsert(table, [iteration(1), row] if table == "training_metrics" else [row])
    assert sentence in str(error.value)
    assert store.query("SELECT run FROM runs") == [{"run": "before"}]
    assert metrics(store) == []


def test_a_locked_store_delays_nobody_and_loses_nothing(store, caplog):
    store.upsert("training_metrics", [iteration(1)])
    with a_reader_elsewhere(store.path) as pid, caplog.at_level(logging.WARNING):
        assert not store.upsert("training_metrics", [iteration(2, approx_kl=0.5)])
        assert not store.upsert("training_metrics", [iteration(3), iteration(2, approx_kl=0.75)])
        assert f"process {pid}" in caplog.text
        assert str(store.journal.path) in caplog.text
        assert metrics(store) == [(1, 10, None)], "a reader beside another one sees what is stored"
    assert store.upsert("training_metrics", [iteration(4)])
    assert metrics(store) == [(1, 10, None), (2, 20, 0.75), (3, 30, None), (4, 40, None)]
    assert not store.journal.pending


def test_a_query_drains_the_journal(store):
    store.upsert("training_metrics", [iteration(1)])
    with a_reader_elsewhere(store.path):
        store.upsert("training_metrics", [iteration(2)])
    assert [row[0] for row in metrics(store)] == [1, 2]


def test_rows_wait_for_a_reader_that_leaves_in_time(tmp_path):
    store = MetricsStore(tmp_path / "metrics.duckdb", timeout_s=30)
    store.upsert("training_metrics", [iteration(1)])
    reader = a_reader_elsewhere(store.path)
    reader.__enter__()
    leave = threading.Timer(0.5, reader.__exit__, (None, None, None))
    leave.start()
    assert store.upsert("training_metrics", [iteration(2)])
    leave.join()
    assert not store.journal.pending


def test_a_connection_of_the_same_process_is_named_so(store, caplog):
    store.upsert("training_metrics", [iteration(1)])
    with duckdb.connect(str(store.path)):
        assert not store.upsert("training_metrics", [iteration(2)])
    assert "another connection of this process" in caplog.text
    assert [row[0] for row in metrics(store)] == [1, 2]


def test_a_torn_journal_line_is_set_aside_and_the_rest_is_stored(store, caplog):
    store.upsert("training_metrics", [iteration(1)])
    with a_reader_elsewhere(store.path):
        store.upsert("training_metrics", [iteration(2)])
        with store.journal.path.open("a") as handle:
            handle.write('{"table": "training_metrics", "row": {"run": "r", "iter')
        store.upsert("training_metrics", [iteration(3)])
    store.drain()
    assert [row[0] for row in metrics(store)] == [1, 2, 3]
    assert store.journal.rejected_path.read_text().startswith('{"table": "training_metrics"')
    assert "set aside 1 unreadable journal lines" in caplog.text


def test_the_journal_survives_a_write_that_fails(store, monkeypatch):
    store.upsert("training_metrics", [iteration(1)])
    with a_reader_elsewhere(store.path):
        store.upsert("training_metrics", [iteration(2)])

    def fail(*_args):
        raise duckdb.Error("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(metrics_store, "_upsert", fail)
        with pytest.raises(MetricsError, match="nothing was written"):
            store.upsert("training_metrics", [iteration(3)])
    assert store.journal.pending
    assert [row[0] for row in metrics(store)] == [1, 2]


def test_writers_of_several_threads_and_processes_lose_nothing(tmp_path):
    path = tmp_path / "metrics.duckdb"
    code = (
        "import sys; from clstm_core.store.store import MetricsStore\n"
        "store = MetricsStore(sys.argv[1], timeout_s=0.05)\n"
        "for n in range(20): store.upsert('training_metrics', [{'run': sys.argv[2], 'iteration': n}])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), f"p{n}"]) for n in range(3)]
    store = MetricsStore(path, timeout_s=0.05)

    def write(name: str) -> None:
        for n in range(20):
            store.upsert("training_metrics", [{"run": name, "iteration": n}])

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    patient = MetricsStore(path, timeout_s=30)
    assert patient.drain()
    counts = patient.query("SELECT run, count(*) AS n FROM training_metrics GROUP BY run ORDER BY run")
    assert [tuple(row.values()) for row in counts] == [(name, 20) for name in ("p0", "p1", "p2", "t0", "t1", "t2")]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/other.duckdb'",
        "SET enable_external_access = true",
        "DELETE FROM runs",
    ],
)
def test_a_query_can_neither_leave_the_store_nor_change_it(store, tmp_path, statement):
    store.upsert("runs", [{"run": "r"}])
    before = sorted(path.name for path in tmp_path.iterdir())
    assert before == ["metrics.duckdb", "metrics.duckdb.lock"]
    with pytest.raises(MetricsError, match="query failed"):
        store.query(statement.format(folder=tmp_path))
    assert store.query("SELECT run FROM runs") == [{"run": "r"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_no_store_and_no_duckdb_file_are_said_in_a_sentence(store):
    with pytest.raises(MetricsError, match="no metrics store at"):
        store.query("SELECT 1")
    store.path.write_bytes(b"not a database" * 100)
    with pytest.raises(MetricsError, match="unreadable metrics store"):
        store.upsert("runs", [{"run": "r"}])


def test_a_published_snapshot_is_whole_and_replaced_atomically(store, tmp_path):
    target = tmp_path / "it's public" / "metrics.duckdb"
    store.upsert("training_metrics", [iteration(1)])
    assert store.publish(target) == target
    with duckdb.connect(str(target), read_only=True) as old, a_reader_elsewhere(store.path):
        store.publish(target)  # neither a reader of the store nor one of the snapshot is in the way
        assert old.execute("SELECT count(*) FROM training_metrics").fetchall() == [(1,)]
    store.upsert("training_metrics", [iteration(2)])
    store.publish(target)
    with duckdb.connect(str(target), read_only=True) as new:
        assert new.execute("SELECT count(*) FROM training_metrics").fetchall() == [(2,)]
        key = "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        assert new.execute(key).fetchall() == [(len(schema.TABLES),)]
    assert [path.name for path in target.parent.iterdir()] == ["metrics.duckdb"]
    assert target.stat().st_mode & 0o222 == 0
    with pytest.raises(MetricsError, match="onto itself"):
        store.publish(store.path)


def test_an_old_store_gains_new_columns_and_tables_and_keeps_its_rows(store, monkeypatch):
    store.upsert("runs", [{"run": "old", "seed": 3}])
    runs = replace(schema.RUNS, columns=(*schema.RUNS.columns, schema.Column("mood", "VARCHAR", "", "", since=NEXT)))
    extra = schema.Table("extra", "", ("id",), (schema.Column("id", "BIGINT", "", "", since=NEXT),), since=NEXT)
    for name, table in (("runs", runs), ("extra", extra)):
        monkeypatch.setitem(schema.TABLES, name, table)
    monkeypatch.setattr(metrics_store, "SCHEMA_VERSION", NEXT)
    store.upsert("runs", [{"run": "new", "mood": "calm"}])
    store.upsert("extra", [{"id": 1}])
    rows = store.query("SELECT run, seed, mood FROM runs ORDER BY run")
    assert [tuple(row.values()) for row in rows] == [("new", None, "calm"), ("old", 3, None)]


def test_a_migrated_store_equals_a_fresh_one():
    added = schema.Column("mood", "VARCHAR", "", "", since=2)
    tables = {"runs": replace(schema.RUNS, columns=(*schema.RUNS.columns, added))}

    def columns(*steps: tuple[int, int]) -> list[tuple]:
        with duckdb.connect() as connection:
            for after, upto in steps:
                for statement in schema.migrations(tables, after=after, upto=upto):
                    connection.execute(statement)
            return connection.execute("DESCRIBE runs").fetchall()

    assert columns((0, 1), (1, 2)) == columns((0, 2))


def test_a_store_of_a_newer_release_is_left_alone(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(metrics_store, "SCHEMA_VERSION", 99)
        store.upsert("runs", [{"run": "r"}])
    with pytest.raises(MetricsError, match="schema version 99: expected at most") as error:
        store.upsert("runs", [{"run": "s"}])
    said = str(error.value)
    assert "a newer version of this project wrote to it meanwhile" in said, "an older chain may still be at work"
    assert "begin it again by the newer" in said
    assert "clstm rebuild-metrics" in said
    assert str(store.path) in said


def test_rebuilding_reads_what_manifests_say_and_leaves_misfits_out(store, tmp_path, caplog):
    run = tmp_path / "runs" / "demo"
    gates = GateResults(
        run="demo",
        gate="parity",
        data_sha256="abc",
        results=[{"name": "onnx", "passed": True, "blocking": True, "detail": "alike", "not_a_column": 1}],
        recorded_at="2026-11-25T00:00:00+00:00",
    ).write(run / "gates" / "parity.json")
    lines = [json.dumps({"run": "demo", "iteration": n, "approx_kl": 0.1, "new_key": 1}) for n in (1, 2)]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"run": "demo", "itera']))
    (run / "inputs.json").write_text("{}")
    store.record(gates)
    store.upsert("training_metrics", fitting("training_metrics", metrics_rows(run)))
    before = {name: store.query(f'SELECT * FROM "{name}" ORDER BY ALL') for name in schema.TABLES}
    assert (len(before["gate_results"]), len(before["training_metrics"])) == (1, 2)
    store.upsert("runs", [{"run": "nobody wrote this"}])
    store.rebuild(tmp_path)
    assert {name: store.query(f'SELECT * FROM "{name}" ORDER BY ALL') for name in schema.TABLES} == before
    assert "inputs.json holds something else" in caplog.text


class TwoTables:
    """A manifest whose rows go to two tables, the second of which may refuse them."""

    def __init__(self, kl):
        self.kl = kl

    def rows(self):
        return {"runs": [{"run": "demo"}], "training_metrics": [{"run": "demo", "iteration": 1, "approx_kl": self.kl}]}


def test_what_a_manifest_says_is_stored_at_one_opening_or_not_at_all(store, monkeypatch):
    opened = []
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda *place, **how: opened.append(place) or connect(*place, **how))
    store.record(TwoTables(0.1), TwoTables(0.2))
    assert len(opened) == 1
    assert store.query("SELECT approx_kl FROM training_metrics") == [{"approx_kl": 0.2}], "the later one stands"
    with pytest.raises(MetricsError):
        store.record(TwoTables(0.3), TwoTables("no number"))
    assert store.query("SELECT approx_kl FROM training_metrics") == [{"approx_kl": 0.2}]


def test_a_run_that_was_set_aside_is_forgotten_but_for_its_trials(store):
    for run in ("mine", "other"):
        store.upsert("runs", [{"run": run}])
        store.upsert("training_metrics", [{"run": run, "iteration": 1}])
        store.upsert("trials", [{"run": run, "policy": "checkpoint", "window": "test"}])
    store.forget("mine")
    assert [row["run"] for row in store.query("SELECT run FROM runs")] == ["other"]
    assert [row["run"] for row in store.query("SELECT run FROM training_metrics")] == ["other"]
    assert len(store.query("SELECT run FROM trials")) == 2


def test_a_full_disk_is_said_as_one_and_not_as_a_damaged_store(store):
    full = duckdb.IOException("IO Error: Could not write file: No space left on device")
    assert isinstance(store._failure(full, "nothing was written"), OSError)
    assert isinstance(store._failure(duckdb.IOException("IO Error: torn page"), "nothing was written"), MetricsError)


def test_the_reference_in_the_docs_is_the_schema():
    text = DOCS.read_text()
    reference = text.split("<!-- reference: begin -->\n", 1)[1].split("<!-- reference: end -->", 1)[0]
    assert reference.strip() == as_markdown().strip(), (
        "docs/metrics.md is out of step: run `python -m clstm_core.store.document docs/metrics.md`"
    )


def test_every_line_of_the_reference_has_its_five_cells():
    lines = [line for line in as_markdown().splitlines() if line.startswith("| ")]
    assert len(lines) > 100
    assert [line for line in lines if len(re.split(r"(?<!\\)\|", line)) != 7] == []


def test_every_column_says_what_it_is():
    for table in schema.TABLES.values():
        assert set(table.key) <= set(table.column_names)
        for column in table.columns:
            assert column.type in schema.TYPES
            assert column.note
            assert column.type != "DOUBLE" or column.unit or column.name.endswith(("_lr", "_coef", "_loss", "_norm"))
