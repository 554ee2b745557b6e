"""Jobs decide on the champion: a refusal is a result whose checks say by which figure, and everything is kept."""

import errno
import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.resources import Metrics, ProjectPaths, ReportServer
from clstm_core.artifacts.places import Places
from clstm_core.feedback.promote import decide
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.rules_names import RULES
from clstm_core.store.store import MetricsStore
from orchestration.definitions import build_defs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "feedback"))
from registry_makings import bundle, challenger

WHY = "because a test asks"


@pytest.fixture
def home(tmp_path):
    return tmp_path


@pytest.fixture
def registry(home):
    return Registry(Places(home / "data"))


@pytest.fixture
def launch(home):
    """Run a job by name, with other settings of the asset where they are given."""
    overrides = {
        "paths": ProjectPaths(home=str(home)),
        "metrics": Metrics(path=str(home / "data" / "metrics.duckdb")),
        "report_server": ReportServer(home=str(home)),
    }
    defs = build_defs(resource_overrides=overrides, executor=dg.in_process_executor)

    def run(job, **settings):
        config = {"ops": {"champion": {"config": settings}}} if settings else None
        return defs.resolve_job_def(job).execute_in_process(run_config=config, raise_on_error=False)

    return run


def propose(registry, home, run, **facts):
    state = registry.current()
    against = state.champion.identity if state and state.champion else ""
    made = challenger(home / "data", run, champion=against, **facts)
    registry.propose(made, home / "data" / "bundles" / run, WHY)


def told(done):
    (event,) = done.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def checks(done):
    return {found.check_name: found for found in done.get_asset_check_evaluations()}


def test_a_better_challenger_is_promoted_with_every_figure(launch, registry, home):
    bundle(home / "data", "a")
    registry.appoint(home / "data" / "bundles" / "a", WHY)
    propose(registry, home, "b")
    done = launch("promote_champion")
    assert done.success
    facts, found = told(done), checks(done)
    assert facts["decision"] == "promote"
    assert facts["champion"] == "b"
    assert facts["lower_bps"] > 0.0
    assert set(found) == set(RULES)
    assert all(check.passed for check in found.values())
    assert found["drawdown"].metadata["limit"].value > found["drawdown"].metadata["figure"].value
    page = (home / "reports" / "generated" / "champion" / "index.html").read_text()
    assert '<a href="../challengers/b/index.html">b</a>' in page
    assert (
        "it became champion by all rules"
        in (home / "reports" / "generated" / "challengers" / "b" / "index.html").read_text()
    )


def test_a_refusal_is_a_result_and_its_checks_warn(launch, registry, home):
    propose(registry, home, "a", figures={"luck_p": 0.2})
    done = launch("promote_champion")
    assert done.success
    assert told(done)["decision"] == "refuse"
    assert told(done)["champion"] == "none: cash"
    failed = {name: check for name, check in checks(done).items() if not check.passed}
    assert set(failed) == {"not_luck"}
    assert failed["not_luck"].severity == dg.AssetCheckSeverity.WARN
    assert failed["not_luck"].metadata["figure"].value == 0.2
    assert failed["not_luck"].metadata["limit"].value == 0.025
    assert "Luck does as well in 20.0%" in failed["not_luck"].description


def test_a_roll_back_shows_what_the_restored_champion_came_in_by(launch, registry, home):
    for run in ("a", "b"):
        propose(registry, home, run)
        decide(Places(home / "data"))
        assert registry.current().champion.run == run
    done = launch("roll_back_champion")
    assert done.success
    assert told(done)["champion"] == "a"
    assert told(done)["reason"] == "a person launched it"
    assert all(check.passed for check in checks(done).values())
    assert registry.current().champion.run == "a"


def test_a_champion_that_a_person_appointed_has_passed_no_check(launch, registry, home):
    bundle(home / "data", "a")
    registry.appoint(home / "data" / "bundles" / "a", WHY)
    propose(registry, home, "b")
    decide(Places(home / "data"))
    done = launch("roll_back_champion", action="roll back", reason="it lost money")
    assert done.success
    assert not any(check.passed for check in checks(done).values())
    assert "a person appointed" in checks(done)["superior"].description


def test_nothing_to_decide_on_is_a_failure_of_one_sentence(launch):
    done = launch("promote_champion")
    assert not done.success
    (event,) = done.filter_events(lambda event: event.is_step_failure)
    assert "no challenger stands: expected one to decide on" in str(event.event_specific_data)


def test_every_decision_is_in_the_store_and_comes_back_from_its_files(launch, registry, home):
    propose(registry, home, "a", figures={"luck_p": 0.2})
    launch("promote_champion")
    store = MetricsStore(home / "data" / "metrics.duckdb")
    kept = ("promotions", "promotion_rules")
    before = {name: store.query(f"SELECT * FROM {name} ORDER BY ALL") for name in kept}
    assert [row["decision"] for row in before["promotions"]] == ["propose", "refuse"]
    assert before["promotions"][1]["rules_failed"] == "not_luck"
    assert len(before["promotion_rules"]) == len(RULES)
    # a state that never held is no decision
    shutil.copytree(registry.root / "states" / "000002", registry.root / "states" / "000003", symlinks=True)
    store.path.unlink()
    store.rebuild(home / "data")
    assert {name: store.query(f"SELECT * FROM {name} ORDER BY ALL") for name in kept} == before
    assert [row["run"] for row in store.query("SELECT run FROM challengers")] == ["a"]


def test_a_promotion_that_a_full_disk_cannot_keep_is_a_success_that_says_so_and_is_completed(
    launch, registry, home, monkeypatch
):
    propose(registry, home, "a")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("clstm_core.store.store.MetricsStore.record", full)
        patched.setattr("reports.feedback_page.write_text", full)
        done = launch("promote_champion")
    assert done.success
    assert told(done)["champion"] == "a"
    assert "metrics.duckdb (No space left on device)" in told(done)["unwritten"]
    assert not launch("promote_champion").success  # nobody stands; and yet the rest is written
    rows = MetricsStore(home / "data" / "metrics.duckdb").query("SELECT decision FROM promotions ORDER BY number")
    assert [row["decision"] for row in rows] == ["propose", "appoint"]
    assert "a is champion" in (home / "reports" / "generated" / "champion" / "index.html").read_text()
