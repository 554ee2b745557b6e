"""What asks for a challenger: each state of things once, with its reason, and only where a champion stands."""

import json
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import registry_makings

from assets.partitions import training_run
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import ShadowManifest
from clstm_core.artifacts.places import Places
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.triggers import Flagged, by_data, by_drift, by_week
from clstm_core.recipe import Recipe
from orchestration import schedules, sensors
from orchestration.definitions import build_defs
from orchestration.schedules import weekly_challenger, weekly_retraining
from orchestration.sensors import SHADOW_RUN, drift_retraining, new_data_retraining
from orchestration.standing import write_standing


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.delenv(SHADOW_RUN, raising=False)
    return tmp_path


@pytest.fixture
def champion(home):
    """A champion that a person appointed."""
    appoint(home)


def appoint(home):
    folder = home / "data" / "bundles" / "reigning"
    made = registry_makings.bundle(home / "data", "reigning")
    (folder / "config.json").write_text(json.dumps(Recipe(name="smoke").run_config().to_dict()))
    replace(made, files=files_of(folder)).write(folder / FILE)
    Registry(Places(home / "data")).appoint(folder, "a test")


def account(flagged, name="reigning", last="2026-05-04"):
    return ShadowManifest(
        name=name,
        facts={},
        answer="",
        switch="ACTIVE",
        figures={},
        sessions=[{"snapshot": "2026-05-01T20:00"}, {"snapshot": f"{last}T20:00"}],
        switches=[],
        drift=[],
        drift_words="",
        drift_flagged=flagged,
        regimes=[],
        calibration=[],
        harm={},
        log_sha256="",
        entries=2,
    )


def shadow(home, flagged, **changes):
    place = home / "data" / "shadow" / "reigning" / "account.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    account(flagged, **changes).write(place)


def look(sensor, cursor=None):
    with dg.DagsterInstance.ephemeral() as instance:
        found = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
        keys = instance.get_dynamic_partitions(training_run.name)
    if isinstance(found, dg.SkipReason):
        return [], cursor, found.skip_message
    return list(found.run_requests or ()), found.cursor, keys


def test_a_flagged_feature_asks_once_and_says_why():
    asked, state = by_drift(account(["vix", "skew"]), Flagged())
    assert asked.run.startswith("drift-2026-05-04-")
    assert asked.why == "drift in shadow account reigning, 2 sessions until 2026-05-04: skew, vix"
    assert by_drift(account(["skew", "vix"], last="2026-05-12"), state) == (None, state)
    more, other = by_drift(account(["skew", "vix", "rate"], last="2026-05-12"), state)
    assert more.run != asked.run
    assert other.features == ("rate", "skew", "vix")


def test_drift_that_flickers_asks_once_and_never_twice_in_a_week():
    state, asked = Flagged(), []
    for day in range(1, 29):
        flagged = ["vix"] if day % 2 else ["vix", "skew"]
        found, state = by_drift(account(flagged, last=f"2026-06-{day:02d}"), Flagged.of(state.cursor))
        asked += [] if found is None else [day]
    assert asked == [1, 8]  # the second feature asks in the week after the first: 1 and 8 June are Mondays
    state, asked = Flagged(), []
    for day in range(1, 29):
        flagged = ["vix"] if day % 2 else []
        found, state = by_drift(account(flagged, last=f"2026-06-{day:02d}"), state)
        asked += [] if found is None else [day]
    assert asked == [1, 9, 15, 23]  # it went away and came back each day: one a week


def test_the_next_champions_account_asks_for_itself():
    _, state = by_drift(account(["vix"]), Flagged())
    again, _ = by_drift(account(["vix"], name="next", last="2026-06-01"), state)
    assert again.why.startswith("drift in shadow account next")
    assert Flagged.of("c0ffee") == Flagged.of("") == Flagged.of("[]") == Flagged.of("null") == Flagged()
    kept = Flagged.of('{"account": "a", "features": ["vix"], "week": "2026-w19"}')  # of a release before this one
    assert (kept.features, kept.asked) == (("vix",), None)


def test_a_feature_that_went_away_counts_again():
    _, state = by_drift(account(["vix"]), Flagged())
    nothing, cleared = by_drift(account([]), state)
    assert (nothing, cleared.features) == (None, ())
    again, _ = by_drift(account(["vix"], last="2026-06-01"), cleared)
    assert again.run.startswith("drift-2026-06-01-")


def test_new_data_asks_once_per_week():
    assert by_data(date(2026, 5, 4), "spx").run == by_data(date(2026, 5, 8), "spx").run == "data-2026-w19"
    assert by_data(date(2026, 5, 11), "spx").run != "data-2026-w19"
    assert by_week(date(2026, 5, 9)).run == "challenger-2026-05-09"


def test_drift_launches_one_challenger_per_flagged_state(home, champion):
    shadow(home, [])
    assert look(drift_retraining)[0] == []
    shadow(home, ["vix"])
    (request,), cursor, keys = look(drift_retraining)
    assert request.partition_key == request.run_key == keys[0]
    config = request.run_config
    assert config["ops"]["challenger_policy"]["config"]["why"].endswith(": vix")
    job = build_defs().resolve_job_def("fine_tune_challenger")
    assert dg.validate_run_config(job, config)
    shadow(home, ["vix"], last="2026-05-06")
    assert look(drift_retraining, cursor)[0] == []
    shadow(home, ["vix", "skew"], last="2026-05-06")
    assert look(drift_retraining, cursor)[0] == []
    shadow(home, ["vix", "skew"], last="2026-05-11")
    assert len(look(drift_retraining, cursor)[0]) == 1


@pytest.mark.parametrize("sensor", [drift_retraining, new_data_retraining])
def test_a_retraining_that_failed_is_asked_for_again_by_its_name_and_not_for_ever(home, champion, monkeypatch, sensor):
    """While it is at work, and after it came to its end, nothing is asked for."""
    folder = home / "vendor"
    folder.mkdir()
    (folder / "a.csv").write_text("a")
    write_standing(home / "data", Recipe(name="smoke", source="spx_cboe", data_dir=str(folder)))
    shadow(home, ["vix"])
    job, keys, cursor = build_defs().resolve_job_def("fine_tune_challenger"), [], None
    now = datetime.now(UTC)
    monkeypatch.setattr(sensors, "now", lambda: now)

    def tick(instance):
        found = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
        said = [] if isinstance(found, dg.SkipReason) else list(found.run_requests or ())
        return said, (cursor if isinstance(found, dg.SkipReason) else found.cursor or cursor)

    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2 if sensor is new_data_retraining else 1):
            asked, cursor = tick(instance)
        while asked:
            (request,) = asked
            assert len(keys) < 4
            keys.append(request.run_key)
            tags = dict(request.tags) | {"dagster/run_key": request.run_key}
            run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
            assert tick(instance)[0] == []
            instance.report_run_failed(run)
            if len(keys) == 1:  # it rests for some minutes first
                assert tick(instance)[0] == []
            now += timedelta(hours=1)
            asked, cursor = tick(instance)
            assert not asked or asked[0].partition_key == keys[0]
        assert keys == [keys[0], f"{keys[0]}-2", f"{keys[0]}-3"]
        shadow(home, [])
        assert tick(instance)[0] == []


def test_another_account_is_watched_where_it_is_named(home, champion, monkeypatch):
    shadow(home, ["vix"])
    monkeypatch.setenv(SHADOW_RUN, "other")
    assert look(drift_retraining)[2] == "There is no shadow account other."


def test_without_a_champion_nothing_asks_for_a_challenger(home):
    shadow(home, ["vix"])
    for sensor in (drift_retraining, new_data_retraining):
        asked, _, why = look(sensor)
        assert asked == []
        assert "No champion stands" in why


def test_files_that_rest_ask_for_one_challenger_per_week(home, champion, monkeypatch):
    folder = home / "vendor"
    folder.mkdir()
    write_standing(home / "data", Recipe(name="smoke", source="spx_cboe", data_dir=str(folder)))
    monkeypatch.setattr(sensors, "now", lambda: datetime(2026, 5, 6, tzinfo=UTC))
    (folder / "a.csv").write_text("a")
    asked, cursor, _ = look(new_data_retraining)
    assert asked == []
    (request,), cursor, _ = look(new_data_retraining, cursor)
    assert request.run_key == "data-2026-w19"
    assert "vendor" in request.run_config["ops"]["challenger_policy"]["config"]["why"]
    (folder / "b.csv").write_text("b")
    _, cursor, _ = look(new_data_retraining, cursor)
    (again,), _, _ = look(new_data_retraining, cursor)
    assert again.run_key == request.run_key  # Dagster launches a run key once


def test_of_the_two_weekly_schedules_the_one_that_fits_is_run(home, monkeypatch):
    at = datetime(2026, 5, 9, 6, tzinfo=UTC)
    monkeypatch.setattr(schedules, "now", lambda: at)

    def tick(schedule):
        with dg.instance_for_test() as instance:
            return schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))

    assert tick(weekly_retraining).run_key == "weekly-2026-05-09"
    assert isinstance(tick(weekly_challenger), dg.SkipReason)
    appoint(home)
    assert isinstance(tick(weekly_retraining), dg.SkipReason)
    found = tick(weekly_challenger)
    assert found.run_key == found.partition_key == "challenger-2026-05-09"
    assert found.run_config["ops"]["challenger_policy"]["config"]["why"] == "schedule: the week of 2026-05-09"
