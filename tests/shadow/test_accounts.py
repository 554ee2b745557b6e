"""Shadow accounts in a data folder: commands, store, page, assets; a policy that is no champion is labelled so."""

import json
import shutil

import dagster as dg
import pytest
from typer.testing import CliRunner

from clstm_core.artifacts.manifests import ReconciliationManifest, ShadowManifest
from clstm_core.artifacts.places import Places
from clstm_core.errors import BundleError, ConfigError, ShadowError
from clstm_core.shadow.accounts import Feed, judge_account, reconcile_account, run_account
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


def test_the_sensor_starts_off_and_asks_for_a_run(home, monkeypatch, tmp_path):
    from orchestration.sensors import SHADOW_RUN, shadow_sessions

    assert shadow_sessions.default_status is dg.DefaultSensorStatus.STOPPED
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.delenv(SHADOW_RUN, raising=False)
    assert SHADOW_RUN in shadow_sessions(dg.build_sensor_context()).skip_message
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "data").mkdir()
    (folder / "a.csv").write_text("1")
    (tmp_path / "data" / "standing.json").write_text(json.dumps({"source": "table", "data_dir": str(folder)}))
    monkeypatch.setenv(SHADOW_RUN, NAME)
    first = shadow_sessions(dg.build_sensor_context())
    assert not first.run_requests
    second = shadow_sessions(dg.build_sensor_context(cursor=first.cursor))
    assert [request.partition_key for request in second.run_requests] == [NAME]
    assert second.run_requests[0].run_config["ops"]["shadow_session"]["config"]["source"] == "directory"
    third = shadow_sessions(dg.build_sensor_context(cursor=second.cursor))
    assert third.skip_message == "No file is new."
