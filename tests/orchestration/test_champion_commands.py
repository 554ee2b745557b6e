"""`clstm champion ...` says who is champion, decides, and ends a mistake in one sentence."""

import errno
import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clstm_core.artifacts.places import Places
from clstm_core.feedback.registry import Registry
from clstm_core.store.store import MetricsStore
from orchestration.cli import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "feedback"))
from registry_makings import bundle, challenger


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def clstm(home):
    """Run `clstm champion`; its exit code, what it said, and its error."""

    def run(*arguments):
        done = CliRunner().invoke(app, ["champion", *arguments])
        return done.exit_code, re.sub(r"\s+", " ", done.output)

    return run


def test_from_nothing_to_a_champion_and_back(home, clstm):
    code, said = clstm("history")
    assert (code, "Nothing was decided yet" in said) == (0, True)
    code, said = clstm("show")
    assert (code, "expected a champion" in said) == (2, True)
    bundle(home / "data", "a")
    code, said = clstm("appoint", "--bundle", str(home / "data" / "bundles" / "a"), "--reason", "the first")
    assert (code, "expected --force" in said) == (2, True)
    code, said = clstm("appoint", "--bundle", str(home / "data" / "bundles" / "a"), "--reason", "the first", "--force")
    assert code == 0
    assert "a is champion because a person said so: no rule was asked" in said
    identity = Registry(Places(home / "data")).current().champion.identity
    challenger(home / "data", "b", champion=identity)
    code, said = clstm("propose", "--run", "b", "--reason", "drift")
    assert (code, "b is challenger and waits for a decision" in said) == (0, True)
    code, said = clstm("promote")
    assert code == 0
    assert "superior passed" in said
    assert "champion: b" in said
    assert "simulated fills on modelled quotes" in said
    code, said = clstm("roll-back", "--reason", "it lost money")
    assert (code, "a is champion again, to the byte" in said) == (0, True)
    code, said = clstm("history")
    assert code == 0
    assert said.index("roll back") < said.index("promote") < said.index("propose") < said.index("appoint")
    assert "it lost money" in said


def test_a_refusal_says_why_and_ends_with_one(home, clstm):
    challenger(home / "data", "a", figures={"luck_p": 0.2})
    assert clstm("propose", "--run", "a")[0] == 0
    code, said = clstm("promote")
    assert code == 1
    assert "not_luck refused Luck does as well in 20.0% of fair worlds; at most 2.5% is asked." in said
    assert "there is no champion: cash" in said
    code, said = clstm("promote")
    assert (code, "no challenger stands" in said) == (2, True)
    challenger(home / "data", "b")
    clstm("propose", "--run", "b")
    assert "b was withdrawn, undecided" in clstm("withdraw", "--reason", "enough")[1]
    assert clstm("propose", "--run", "nobody")[0] == 2


def test_a_plan_is_said_and_registered(home, clstm):
    assert re.search(r"sessions 126", clstm("plan")[1])
    limits = home / "limits.json"
    limits.write_text(json.dumps({"sessions": 252}))
    code, said = clstm("plan", "--file", str(limits), "--reason", "a longer look")
    assert code == 0
    assert "sessions 252" in said
    limits.write_text("[]")
    assert "holds a list: expected a JSON object" in clstm("plan", "--file", str(limits), "--reason", "x")[1]
    limits.write_text("{")
    assert "unreadable plan" in clstm("plan", "--file", str(limits), "--reason", "x")[1]


def test_a_damaged_copy_is_said(home, clstm):
    bundle(home / "data", "a")
    clstm("appoint", "--bundle", str(home / "data" / "bundles" / "a"), "--reason", "the first", "--force")
    file = Registry(Places(home / "data")).current().champion.folder / "policy.onnx"
    file.chmod(0o644)
    file.write_bytes(b"torn")
    assert clstm("history")[0] == 0
    code, said = clstm("show")
    assert code == 1
    assert "DAMAGED" in said
    assert "policy.onnx" in said
    page = (home / "reports" / "generated" / "champion" / "index.html").read_text()
    assert "the champion&#39;s copy is damaged" in page


def test_a_disk_that_fills_after_a_promotion_leaves_it_done_and_told_and_the_next_command_completes_it(
    home, clstm, monkeypatch
):
    challenger(home / "data", "a")
    assert clstm("propose", "--run", "a")[0] == 0
    page = home / "reports" / "generated" / "champion" / "index.html"
    store = home / "data" / "metrics.duckdb"
    page.unlink()
    store.unlink()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("clstm_core.feedback.registry_files.write_json", full)
        patched.setattr("clstm_core.store.store.MetricsStore.record", full)
        patched.setattr("reports.feedback_page.write_text", full)
        code, said = clstm("promote")
        assert code == 0
        assert "champion: a" in said
        assert "What was decided holds; what could not be written:" in said
        for what in ("head.json", "metrics.duckdb", "reports/generated"):
            assert re.search(rf"{what} \(No space left on device\)", said), what
        assert "run `clstm champion show` to complete it" in said
        code, said = clstm("show")
        assert (code, "could not be written" in said) == (1, True)
    assert Registry(Places(home / "data")).current().champion.run == "a"
    code, said = clstm("show")
    assert (code, "could not be written" in said) == (0, False)
    assert "a is champion" in page.read_text()
    rows = MetricsStore(store).query("SELECT decision FROM promotions ORDER BY number")
    assert [row["decision"] for row in rows] == ["propose", "appoint"]
    head = json.loads((home / "data" / "registry" / "head.json").read_text())
    assert head["number"] == 2
