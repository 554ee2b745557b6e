"""Shadow accounts in a data folder: commands, store, page, assets; a policy that is no champion is labelled so."""

import json
import shutil

import dagster as dg
import pytest
from typer.testing import CliRunner

from assets.partitions import training_run
from clstm_core.artifacts.folder import canonical_json, json_sha256
from clstm_core.artifacts.manifests import ReconciliationManifest, ShadowManifest
from clstm_core.artifacts.places import Places
from clstm_core.errors import BundleError, ConfigError, ShadowError
from clstm_core.shadow.accounts import (
    Feed,
    judge_account,
    log_of,
    reconcile_account,
    run_account,
    switch_account,
)
from clstm_core.shadow.log import ShadowLog
from clstm_core.store.store import MetricsStore
from orchestration.shadow_commands import shadow_app
from reports.shadow_list import shadow_accounts
from reports.shadow_page import render_shadow

NAME = "small"


@pytest.fixture(scope="module")
def home(bundle, tmp_path_factory):
    """A project's folder with the bundle, and an account that has seen all of its market."""
    root = tmp_path_factory.mktemp("home")
    shutil.copytree(bundle, root / "data" / "bundles" / NAME)
    places = Places(root / "data")
    run_account(places, NAME, places.bundle(NAME), Feed(), unqualified=True)
    reconcile_account(places, NAME, places.bundle(NAME), Feed())
    return root


@pytest.fixture
def clstm(home, monkeypatch):
    """`clstm shadow ...` in that folder."""
    monkeypatch.setenv("CLSTM_HOME", str(home))
    return lambda *words: CliRunner().invoke(shadow_app, [str(word) for word in words])


def test_an_account_is_summed_up_and_is_its_backtest(home):
    folder = home / "data" / "shadow" / NAME
    kept, found = (
        ShadowManifest.read(folder / "account.json"),
        ReconciliationManifest.read(folder / "reconciliation.json"),
    )
    assert (found.decisions_equal, found.to_the_cent) == (True, True)
    assert found.parents["log"] == kept.log_sha256 == ShadowLog(folder).last_sha256
    assert kept.figures["decided"] == found.figures["sessions"] == 75
    assert kept.answer.startswith("In 75 sessions")
    assert "simulated fills" in kept.answer
    assert kept.harm["words"].startswith(("Evidence", "Worse than cash"))
    assert kept.drift == []
    assert "not measured" in kept.drift_words


def test_the_store_has_it_and_is_rebuilt_from_its_files(home, tmp_path):
    folder = home / "data" / "shadow" / NAME
    store = MetricsStore(tmp_path / "metrics.duckdb")
    store.record(ShadowManifest.read(folder / "account.json"))
    store.record(ReconciliationManifest.read(folder / "reconciliation.json"))

    def rows():
        return [
            store.query(f"SELECT * FROM {table} ORDER BY ALL")
            for table in ("shadow_accounts", "shadow_sessions", "shadow_reconciliations")
        ]

    before = rows()
    assert [len(found) for found in before] == [1, 75, 1]
    assert before[0][0]["drift_flagged"] == 0
    assert before[2][0]["decisions_equal"] is True
    store.rebuild(home / "data")
    assert rows() == before


def test_the_commands_say_what_came_of_it(clstm, home):
    bundle = home / "data" / "bundles" / NAME
    run = clstm("run", "--bundle", bundle, "--unqualified")
    assert run.exit_code == 0, run.output
    assert "UNQUALIFIED" in run.output
    assert "Fills are simulated on simulated quotes; nothing was sent anywhere." in run.output
    again = clstm("reconcile", "--bundle", bundle)
    assert again.exit_code == 0, again.output
    assert "All 75 decisions, fills and sums of money are the backtest's" in again.output
    assert clstm("show", "--name", NAME).exit_code == 0


def test_switching_by_command_stays(clstm, home):
    shutil.copytree(home / "data" / "shadow" / NAME, home / "data" / "shadow" / "other", dirs_exist_ok=True)
    for word, state in (("halt", "HALTED"), ("reduce", "REDUCING"), ("resume", "ACTIVE")):
        assert f"{state} now" in clstm(word, "--name", "other", "--reason", f"a drill of {word}").output
        assert ShadowLog(home / "data" / "shadow" / "other").entries[-1]["switch"] == state
    said = clstm("halt", "--name", "other", "--reason", " ")
    assert said.exit_code == 2
    kept = judge_account(Places(home / "data"), "other")
    assert [row["by"] for row in kept.switches] == ["the opening", *["a person"] * 3]
    assert kept.switches[1]["reasons"] == "a drill of halt"


def test_a_switch_is_heard_while_the_account_is_at_work(home, tmp_path):
    """Another process holds the log: it halts before its next session, and does not make a person wait."""
    places, seen = Places(home / "data"), []

    def halt(entry):
        seen.append(entry)
        if len(seen) == 3:
            assert switch_account(places, "busy", "HALTED", "pulled while it runs") is None
            assert switch_account(places, "busy", "REDUCING", "too late") is None
            with pytest.raises(ShadowError, match="before the switch is loosened"):
                switch_account(places, "busy", "ACTIVE", "never mind")

    run_account(places, "busy", places.bundle(NAME), Feed(), unqualified=True, no_limits=True, most=6, tell=halt)
    entries = log_of(places, "busy").entries
    assert [row["kind"] for row in entries] == ["opened", *["decided"] * 3, "switched", *["decided"] * 3]
    assert {row["switch"] for row in entries[4:]} == {"HALTED"}
    assert entries[4]["reasons"] == ["pulled while it runs"]
    assert {row["action_name"] for row in entries[5:]} == {"hold"}
    assert not (places.shadow("busy") / "asked.json").exists()


def test_word_that_was_left_too_late_is_heeded_by_the_next_process(home):
    places = Places(home / "data")
    run_account(places, "late", places.bundle(NAME), Feed(), unqualified=True, most=2)
    (places.shadow("late") / "asked.json").write_text("{")
    run_account(places, "late", places.bundle(NAME), Feed(), unqualified=True, most=1)
    assert [row["switch"] for row in log_of(places, "late").entries[-2:]] == ["HALTED", "HALTED"]


def test_other_limits_than_an_account_was_opened_with_are_refused(home, tmp_path):
    places = Places(home / "data")
    run_account(places, "limited", places.bundle(NAME), Feed(), unqualified=True, most=1)
    file = tmp_path / "limits.json"
    file.write_text(json.dumps({"halt_drawdown": 0.01}))
    with pytest.raises(ShadowError, match=r"opened with other limits \(halt_drawdown\)"):
        run_account(places, "limited", places.bundle(NAME), Feed(), unqualified=True, limits=file)
    with pytest.raises(ShadowError, match="opened with other limits"):
        run_account(places, "limited", places.bundle(NAME), Feed(), unqualified=True, no_limits=True)


def test_a_bundle_that_was_exported_anew_is_another(home, tmp_path):
    places = Places(home / "data")
    run_account(places, "swapped", places.bundle(NAME), Feed(), unqualified=True, most=2)
    other = shutil.copytree(places.bundle(NAME), tmp_path / NAME)
    content = json.loads((other / "manifest.json").read_text())
    del content["seal"]
    content["provenance"]["run"] = "another"
    content["seal"] = json_sha256(content)
    (other / "manifest.json").write_text(canonical_json(content))
    with pytest.raises(ShadowError, match="is of bundle"):
        run_account(places, "swapped", other, Feed(), unqualified=True)
    assert len(log_of(places, "swapped").entries) == 3


def test_a_name_that_leaves_the_folder_is_refused_and_an_unknown_one_leaves_nothing(clstm, home):
    for word in ("halt", "reduce", "resume"):
        said = clstm(word, "--name", "../../elsewhere", "--reason", "x")
        assert said.exit_code == 2
        said = clstm(word, "--name", "nobody", "--reason", "x")
        assert said.exit_code == 2
    assert not (home / "data" / "shadow" / "nobody").exists()
    assert not (home.parent / "elsewhere").exists()
    assert clstm("compare", "--name", "nobody", "--reference", NAME).exit_code == 2
    assert clstm("show", "--name", "../small").exit_code == 2
    bundle = home / "data" / "bundles" / NAME
    assert clstm("run", "--bundle", bundle, "--name", "../x", "--unqualified").exit_code == 2


def test_what_is_asked_wrongly_is_a_sentence(home, bundle, tmp_path):
    places = Places(home / "data")
    with pytest.raises(BundleError, match="no champion"):
        run_account(places, "new", places.bundle(NAME), Feed())
    with pytest.raises(ConfigError, match="no bundle at"):
        run_account(places, "new", tmp_path, Feed())
    with pytest.raises(ConfigError, match="unknown source 'moon'"):
        run_account(places, "new", places.bundle(NAME), Feed(kind="moon"), unqualified=True)
    with pytest.raises(ConfigError, match="reads no files by session"):
        run_account(places, "new", places.bundle(NAME), Feed(kind="directory"), unqualified=True)
    with pytest.raises(ShadowError, match="no shadow account nobody"):
        judge_account(places, "nobody")
    assert "secret" not in repr(Feed(keys=("key", "secret")))


def test_the_page_escapes_labels_and_runs_no_script(home, tmp_path):
    folder = home / "data" / "shadow" / NAME
    content = ShadowManifest.read(folder / "account.json").content()
    content["facts"]["label"] = "simulated quotes <script>alert(1)</script>"
    content["sessions"][3]["reasons"] = "<img src=x>"
    page = render_shadow(content, None, tmp_path).read_text()
    assert "<script" not in page
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page
    assert "script-src &#39;none&#39;" in page
    assert "simulated fills: no order was ever sent" in page
    assert "UNQUALIFIED" in page
    assert page.count("<figure>") >= 4
    decisions = page[page.index('id="decisions"') :]
    first, last = (content["sessions"][at]["snapshot"][:10].replace("-", "\u2011") for at in (-30, -1))
    assert decisions.index(last) < decisions.index(first)  # the newest is seen without scrolling
    for words in (
        "Decisions",
        "Foreseen and realised",
        "Hedge ratios",
        "Drift by feature",
        "Stability",
        "Switch history",
    ):
        assert words in page
    assert [row["name"] for row in shadow_accounts(tmp_path)] == [NAME]
    assert shadow_accounts(tmp_path)[0]["kind"] == "simulated"


def test_what_changed_after_it_was_decided_on_is_shown_on_the_page_in_the_terminal_and_by_the_asset(home, clstm):
    places = Places(home / "data")
    run_account(places, "changed", places.bundle(NAME), Feed(), unqualified=True, most=3)
    row = log_of(places, "changed").decided[1]
    with ShadowLog.writing(places.shadow("changed")) as log:
        kept = {name: row[name] for name in ("snapshot", "seen_at", "source", "label", "source_sha256")}
        said = "changed: <b>a.csv</b> is gone since it was decided on: sha256 abc then, none now"
        log.append(
            kept
            | {"kind": "changed", "switch": "ACTIVE", "session_sha256": "", "content_sha256": "", "reasons": [said]}
            | {"session_files": "<b>a.csv</b>"}
        )
    shown = clstm("show", "--name", "changed")
    assert shown.exit_code == 0, shown.output
    assert said in shown.output
    day = f"{row['snapshot']:%Y-%m-%d}"
    assert f"Changed after it was decided on: {day}." in shown.output
    page = (home / "reports" / "generated" / "shadow" / "changed" / "index.html").read_text()
    assert "&lt;b&gt;a.csv&lt;/b&gt; is gone since" in page
    assert "<b>a.csv" not in page
    again = clstm("run", "--bundle", places.bundle(NAME), "--name", "changed", "--most", 1, "--unqualified")
    assert again.exit_code == 0, again.output
    assert f"{day}  changed  " in again.output  # it is in the market again: that is one more change
    assert len(ShadowLog(places.shadow("changed")).decided) == 4


def test_the_gallery_lists_accounts(home, tmp_path):
    from reports.gallery import write_gallery

    content = ShadowManifest.read(home / "data" / "shadow" / NAME / "account.json").content()
    assert "Shadow accounts" not in write_gallery(tmp_path).read_text()
    render_shadow(content, None, tmp_path)
    listed = write_gallery(tmp_path).read_text()
    assert 'href="shadow/small/index.html"' in listed
    assert content["answer"] in listed


def test_the_assets_run_it_and_stop_where_decisions_differ(home, monkeypatch):
    from assets.resources import Metrics, ProjectPaths, ReportServer
    from assets.shadow import shadow_reconciliation, shadow_session

    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("training_run", [NAME])
    config = {"market": "", "window": "", "unqualified": True}

    def launch():
        return dg.materialize(
            [shadow_session, shadow_reconciliation, dg.AssetSpec("policy_bundle")],
            partition_key=NAME,
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {name: {"config": config} for name in ("shadow_session", "shadow_reconciliation")}},
            resources={
                "paths": ProjectPaths(home=str(home)),
                "metrics": Metrics(path=str(home / "data" / "metrics.duckdb")),
                "report_server": ReportServer(home=str(home)),
            },
        )

    done = launch()
    assert done.success
    checks = {found.check_name: found for found in done.get_asset_check_evaluations()}
    assert set(checks) == {"switch_active", "no_drift", "no_harm", "decisions_equal", "to_the_cent"}
    assert checks["decisions_equal"].passed
    assert checks["decisions_equal"].blocking
    from clstm_core.shadow import reconcile as module

    real = module.compared

    def planted(rows, tables, masks):
        altered = [dict(row) for row in rows]
        altered[4]["action_name"] = "hold" if altered[4]["action_name"] != "hold" else "close_all"
        return real(altered, tables, masks)

    monkeypatch.setattr(module, "compared", planted)
    checks = {found.check_name: found for found in launch().get_asset_check_evaluations()}
    assert not checks["decisions_equal"].passed


def test_the_assets_run_on_the_first_session_too(home, tmp_path):
    """There is nothing to compare yet: that is said, and is no failure."""
    from assets.resources import Metrics, ProjectPaths, ReportServer
    from assets.shadow import shadow_reconciliation, shadow_session

    shutil.copytree(home / "data" / "bundles", tmp_path / "data" / "bundles")
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("training_run", [NAME])
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"max_orders": 5}))
    shared = {"window": "", "unqualified": True}
    done = dg.materialize(
        [shadow_session, shadow_reconciliation, dg.AssetSpec("policy_bundle")],
        partition_key=NAME,
        instance=instance,
        run_config={
            "ops": {
                "shadow_session": {"config": shared | {"most": 1, "limits": str(limits)}},
                "shadow_reconciliation": {"config": shared},
            }
        },
        resources={
            "paths": ProjectPaths(home=str(tmp_path)),
            "metrics": Metrics(path=str(tmp_path / "data" / "metrics.duckdb")),
            "report_server": ReportServer(home=str(tmp_path)),
        },
    )
    assert done.success
    log = log_of(Places(tmp_path / "data"), NAME)
    assert log.facts["limits"]["max_orders"] == 5
    (kept,) = done.asset_materializations_for_node("shadow_reconciliation")
    assert kept.metadata["answer"].value == "Not compared yet: 1 of the 2 sessions that are needed were decided on."
    assert not (log.folder / "reconciliation.json").exists()


def test_the_sensor_starts_off_and_asks_for_a_run(home, monkeypatch, tmp_path):
    from orchestration.sensors import SHADOW_RUN, shadow_sessions

    assert shadow_sessions.default_status is dg.DefaultSensorStatus.STOPPED
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.delenv(SHADOW_RUN, raising=False)
    instance = dg.DagsterInstance.ephemeral()

    def look(cursor=None):
        return shadow_sessions(dg.build_sensor_context(instance=instance, cursor=cursor))

    assert SHADOW_RUN in look().skip_message
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "data").mkdir()
    (folder / "a.csv").write_text("1")
    (tmp_path / "data" / "standing.json").write_text(json.dumps({"source": "table", "data_dir": str(folder)}))
    monkeypatch.setenv(SHADOW_RUN, NAME)
    assert "no run of that name" in look().skip_message
    instance.add_dynamic_partitions("training_run", [NAME])
    first = look()
    assert not first.run_requests
    second = look(first.cursor)
    assert [request.partition_key for request in second.run_requests] == [NAME]
    assert second.run_requests[0].run_config["ops"]["shadow_session"]["config"]["source"] == "directory"
    third = look(second.cursor)
    assert third.skip_message == "No file is new."


def test_a_file_that_arrives_while_the_account_is_at_work_is_asked_for_afterwards(tmp_path, monkeypatch):
    """A launch beside another of the same run is refused: asked for then, the session would be lost."""
    from orchestration.sensors import SHADOW_RUN, shadow_sessions

    @dg.job(partitions_def=training_run)
    def at_work():
        pass

    (tmp_path / "data").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.csv").write_text("1")
    recipe = {"source": "table", "data_dir": str(tmp_path / "files")}
    (tmp_path / "data" / "standing.json").write_text(json.dumps(recipe))
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv(SHADOW_RUN, NAME)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("training_run", [NAME])
        run = instance.create_run_for_job(at_work, tags={"dagster/partition": NAME}, status=dg.DagsterRunStatus.STARTED)

        def look(cursor=None):
            return shadow_sessions(dg.build_sensor_context(instance=instance, cursor=cursor))

        assert look().skip_message.startswith(f"run {NAME} is at work in launch {run.run_id[:8]}")
        instance.report_run_canceled(run)
        first = look()
        assert len(look(first.cursor).run_requests) == 1


def test_word_left_too_late_comes_before_what_is_commanded_afterwards(home):
    """A halt that the process no longer heard must not undo a later resume."""
    places = Places(home / "data")
    run_account(places, "order", places.bundle(NAME), Feed(), unqualified=True, no_limits=True, most=2)
    (places.shadow("order") / "asked.json").write_text(json.dumps({"switch": "HALTED", "reason": "pulled"}))
    assert switch_account(places, "order", "ACTIVE", "all is well") == "HALTED"
    run_account(places, "order", places.bundle(NAME), Feed(), unqualified=True, most=1)
    assert [row["switch"] for row in log_of(places, "order").entries[-3:]] == ["HALTED", "ACTIVE", "ACTIVE"]


def test_what_is_asked_during_the_last_session_is_in_the_log_and_nothing_is_loosened_at_work(home):
    places, told = Places(home / "data"), []

    def last(entry):
        told.append(switch_account(places, "last", "HALTED", "at the end"))

    run_account(places, "last", places.bundle(NAME), Feed(), unqualified=True, no_limits=True, most=1, tell=last)
    assert told == [None]
    assert log_of(places, "last").entries[-1]["switch"] == "HALTED"

    def loosen(entry):
        with pytest.raises(ShadowError, match="before the switch is loosened"):
            switch_account(places, "last", "REDUCING", "a little more")

    run_account(places, "last", places.bundle(NAME), Feed(), unqualified=True, most=1, tell=loosen)


def test_a_halt_is_heard_when_a_process_takes_the_account_in_that_very_moment(home, monkeypatch):
    import contextlib

    from clstm_core.shadow.log import ShadowLog as Log

    places = Places(home / "data")
    run_account(places, "moment", places.bundle(NAME), Feed(), unqualified=True, most=1)
    real, held = Log.writing, contextlib.ExitStack()

    def taken(folder):
        held.enter_context(real(folder))
        return real(folder)

    monkeypatch.setattr(Log, "writing", taken)
    with held:
        assert switch_account(places, "moment", "HALTED", "now") is None
    assert json.loads((places.shadow("moment") / "asked.json").read_text())["switch"] == "HALTED"
