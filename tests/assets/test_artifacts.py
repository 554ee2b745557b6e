"""What a finished chain left: it moves, it is rebuilt row by row, and no alteration of it is believed."""

import json
import shutil

import pytest

from assets.backtests import policy_backtests
from assets.reports import backtest_report
from assets.training import trained_policy
from clstm_core.artifacts.folder import canonical_json
from clstm_core.artifacts.manifest import SEAL, _seal
from clstm_core.artifacts.manifests import GateResults, RunStatus
from clstm_core.evaluation import recompute
from clstm_core.store.schema import TABLES
from clstm_core.store.store import MetricsStore

TIMES = {"recorded_at", "created_at"}


def rows(data):
    """Every table of the store, ordered by its key."""
    store, found = MetricsStore(data / "metrics.duckdb"), {}
    for name, table in TABLES.items():
        key = ", ".join(f'"{part}"' for part in table.key)
        found[name] = store.query(f"SELECT * FROM {name} ORDER BY {key}")
    return found


def resealed(path, change):
    """Alter a manifest as someone would who knows how its seal is made."""
    content = json.loads(path.read_text())
    del content[SEAL]
    change(content)
    path.write_text(canonical_json(content | {SEAL: _seal(content)}))


APART = {
    "controls",
    "challengers",
    "promotions",
    "promotion_rules",
    "shadow_accounts",
    "shadow_sessions",
    "shadow_drift",
    "shadow_reconciliations",
    "sweeps",
    "sweep_trials",
    "walk_forwards",
}
"""Tables that no stage of the chain fills; tests/controls, shadow, sweeps and walk_forward rebuild them from files."""


def test_the_store_is_rebuilt_row_by_row(moved):
    before = rows(moved.data)
    assert {name for name, found in before.items() if not found} == APART
    (moved.data / "metrics.duckdb").unlink()
    MetricsStore(moved.data / "metrics.duckdb").rebuild(moved.data)
    after = rows(moved.data)
    for name in TABLES:
        assert after[name] == before[name], name


def test_the_store_of_a_run_with_a_failed_check_is_rebuilt_row_by_row(moved, monkeypatch):
    monkeypatch.setattr(recompute, "CENT", -1.0)  # no account can be that exact
    assert not moved.stage(policy_backtests).success
    before = rows(moved.data)
    failed = [row["name"] for row in before["gate_results"] if row["blocking"] and not row["passed"]]
    assert failed == ["ledgers_recompute"]
    (moved.data / "metrics.duckdb").unlink()
    MetricsStore(moved.data / "metrics.duckdb").rebuild(moved.data)
    assert rows(moved.data) == before


def test_a_rebuilt_store_replaces_a_damaged_one(moved):
    before = rows(moved.data)
    (moved.data / "metrics.duckdb").write_bytes(b"no database")
    MetricsStore(moved.data / "metrics.duckdb").rebuild(moved.data)
    assert rows(moved.data) == before


def test_a_moved_project_reuses_everything_and_its_books_recompute(relaunch, capsys):
    data, (before, after) = relaunch.home / "data", relaunch.written
    assert before
    assert after == before  # nothing was made again
    for folder in (data / "backtests").iterdir():
        assert recompute.main([str(folder)]) == 0, capsys.readouterr().out
    texts = [path.read_text() for path in data.glob("**/*.json") if "launches" not in path.parts]
    assert not [text for text in texts if str(relaunch.home.parent) in text or "/finished" in text]


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 0x01
    path.write_bytes(bytes(content))


def manifests(data):
    return sorted(
        path
        for path in data.glob("**/*.json")
        # the table of the evidence is no manifest: runs/<run>/evidence.json names its hash
        if not {"launches", "index", "evidence"} & set(path.parts)
        and path.name not in ("meta.json", "config.json", "self_test.json")
    )


def test_a_flipped_byte_in_any_manifest_is_noticed(finished):
    from clstm_core.artifacts import manifests as kinds
    from clstm_core.artifacts.manifest import Manifest

    by_kind = {kind.kind: kind for kind in vars(kinds).values() if isinstance(kind, type) and issubclass(kind, Manifest)
               and kind is not Manifest}  # fmt: skip
    found = manifests(finished / "data")
    assert len(found) > 60
    for path in found:
        content = path.read_bytes()
        kind = by_kind[json.loads(content)["kind"]]
        assert kind.kept(path, files=False) is not None, path
        copy = path.with_name("flipped.json")
        for at in range(0, len(content), max(1, len(content) // 25)):
            copy.write_bytes(content)
            flip(copy, at)
            assert kind.kept(copy, files=False) is None, (path, at)
        copy.unlink()


ALTERATIONS = {
    "market": [
        ("cache/quotes/*/manifest.json", lambda content: content.update(label="real quotes")),
        ("cache/tensors/*/manifest.json", lambda content: content["info"].update(label="real quotes")),
    ],
    "splits": [("cache/tensors/*/manifest.json", lambda content: content["info"]["splits"].update(test=[0, 60]))],
    "label": [("runs/*/inputs.json", lambda content: content["facts"].update(label="real quotes"))],
    "evidence": [
        ("backtests/*/manifest.json", lambda content: content["summary"].update(total_return=5.0)),
        ("runs/*/comparison.json", lambda content: content["comparison"].update(verdict="It beats everything.")),
        ("bundles/*/manifest.json", lambda content: content["schema"]["actions"].reverse()),
    ],
    "rung": [
        ("runs/*/checkpoints/100/manifest.json", lambda content: content.update(env_steps=1)),
        ("bundles/*/manifest.json", lambda content: content.update(files={})),
    ],
}


ALWAYS_RUN = ("market", "evidence", "rung")
"""One alteration of each kind; the others make as much of the chain again."""


@pytest.mark.parametrize("careful", [pytest.param(False, marks=pytest.mark.slow), True], ids=["careless", "resealed"])
@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=() if what in ALWAYS_RUN else pytest.mark.slow) for what in ALTERATIONS]
)
def test_an_altered_manifest_is_made_again(moved, stages, what, careful):
    order, ops = stages
    verdict = json.loads((moved.folder / "comparison.json").read_text())["comparison"]["verdict"]
    assert "simulated quotes" in (moved.home / "reports" / "generated" / "one" / "index.html").read_text()
    texts = {}
    for pattern, change in ALTERATIONS[what]:
        assert list(moved.data.glob(pattern))
        for path in moved.data.glob(pattern):
            if careful:
                resealed(path, change)
            else:
                content = json.loads(path.read_text())
                change(content)
                path.write_text(canonical_json(content))
            texts[path] = path.read_text()
    moved.does(*order, ops=ops)
    for path, text in texts.items():
        assert not path.exists() or path.read_text() != text, path
    assert json.loads((moved.folder / "comparison.json").read_text())["comparison"]["verdict"] == verdict
    assert "real quotes" not in (moved.home / "reports" / "generated" / "one" / "index.html").read_text()


def test_damaged_check_results_are_made_again(moved, stages):
    order, ops = stages
    damaged = sorted((moved.folder / "gates").glob("*.json"))
    assert damaged
    for path in damaged:
        path.write_text(path.read_text().replace('"gate"', '"gat"'))
    moved.does(*order, ops=ops)
    assert [GateResults.read(path, files=False).gate for path in damaged] == [path.stem for path in damaged]


def test_training_that_is_told_to_stop_says_stopped(moved, monkeypatch):
    from clstm_core.train import apart

    class Stopped(BaseException):
        pass

    def cut(*args, **options):
        raise Stopped

    shutil.rmtree(moved.folder / "checkpoints" / "100")
    monkeypatch.setattr(apart, "train_apart", cut)
    assert not moved.stage(trained_policy).success
    status = RunStatus.read(moved.folder / "status.json", files=False)
    assert status.status == "stopped"
    assert rows(moved.data)["runs"][0]["status"] == "stopped"


def test_training_that_breaks_says_failed_whatever_broke(moved, monkeypatch):
    from clstm_core.train import apart

    def broken(*args, **options):
        raise MemoryError("no room")

    shutil.rmtree(moved.folder / "checkpoints" / "100")
    monkeypatch.setattr(apart, "train_apart", broken)
    assert not moved.stage(trained_policy).success
    assert rows(moved.data)["runs"][0]["status"] == "failed"
    monkeypatch.undo()
    moved.does(trained_policy)
    assert rows(moved.data)["runs"][0]["status"] == "finished"


def test_leftovers_of_killed_writers_are_swept(moved, stages):
    order, ops = stages
    left = [moved.data / place / ".x.abc.tmp" for place in ("cache/quotes", "cache/tensors", "backtests", "bundles")]
    for folder in left:
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
    shutil.rmtree(moved.data / "cache" / "index")
    for folder in (moved.data / "bundles" / "one", *(moved.data / "backtests").glob("[!.]*")):
        shutil.rmtree(folder)
    moved.does(*order, ops=ops)
    assert [folder for folder in left if folder.exists()] == []


def test_the_report_names_its_page(moved):
    moved.does(backtest_report)
    report = json.loads((moved.folder / "report.json").read_text())
    assert report["path"] == "../reports/generated/one/index.html"
    assert (moved.data / report["path"]).is_file()
