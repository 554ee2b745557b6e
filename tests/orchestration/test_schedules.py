"""What starts by itself: once per session of the exchange, once per week, and never twice."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from assets.partitions import training_run
from clstm_core.errors import ConfigError
from clstm_core.market.calendars import newest_ended_session
from clstm_core.recipe import Recipe
from orchestration import schedules as module
from orchestration.definitions import build_defs
from orchestration.schedules import SESSION_TAG, daily_market_data, shadow_daily, weekly_retraining
from orchestration.shadow_launch import SHADOW_RUN
from orchestration.standing import read_standing, run_config, write_standing

NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    """Puts another time in the place of now."""
    return lambda at: monkeypatch.setattr(module, "now", lambda: at)


@pytest.fixture
def instance(tmp_path):
    """One database for the events of all launches: one for each takes half a second to be made."""
    log = {"module": "dagster._core.storage.event_log", "class": "ConsolidatedSqliteEventLogStorage"}
    with dg.instance_for_test({"event_log_storage": log | {"config": {"base_dir": str(tmp_path / "events")}}}) as found:
        yield found


def tick(schedule, instance, at: datetime):
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
    context._instance = instance  # it would open the same databases once more
    return schedule(context)


def launched(instance, job_name, request) -> None:
    """What the daemon does with a request, but for the work."""
    job = build_defs().resolve_job_def(job_name)
    instance.create_run_for_job(job, tags=dict(request.tags), run_config=request.run_config)


def days(first: date, last: date, *times: tuple[int, int]):
    day = first
    while day <= last:
        if day.weekday() < 5:
            yield from (datetime(day.year, day.month, day.day, *time, tzinfo=NEW_YORK) for time in times)
        day += timedelta(days=1)


def test_market_data_is_asked_for_once_per_session(home, instance, clock):
    """Thanksgiving week: a holiday, a half day, and after it the winter's clock has been in force for weeks."""
    asked = []
    for at in days(date(2026, 11, 23), date(2026, 12, 1), (13, 35), (16, 35)):
        clock(at + timedelta(seconds=20))
        found = tick(daily_market_data, instance, at)
        if isinstance(found, dg.RunRequest):
            launched(instance, "refresh_market_data", found)
            asked.append((found.tags[SESSION_TAG], at.strftime("%m-%d %H:%M")))
    assert asked == [
        ("sp500_modelled-2026-11-20", "11-23 13:35"),  # the session before the schedule was switched on
        ("sp500_modelled-2026-11-23", "11-23 16:35"),
        ("sp500_modelled-2026-11-24", "11-24 16:35"),
        ("sp500_modelled-2026-11-25", "11-25 16:35"),
        ("sp500_modelled-2026-11-27", "11-27 13:35"),  # a half day ends at 13:00
        ("sp500_modelled-2026-11-30", "11-30 16:35"),
        ("sp500_modelled-2026-12-01", "12-01 16:35"),
    ]


@pytest.mark.parametrize("around", [date(2026, 3, 8), date(2026, 11, 1)])
def test_a_change_of_clocks_neither_doubles_nor_loses_a_session(home, instance, clock, around):
    found = Counter()
    for at in days(around - timedelta(days=6), around + timedelta(days=6), (13, 35), (16, 35)):
        clock(at + timedelta(seconds=20))
        request = tick(daily_market_data, instance, at)
        if isinstance(request, dg.RunRequest):
            launched(instance, "refresh_market_data", request)
            found[request.tags[SESSION_TAG]] += 1
    assert set(found.values()) == {1}
    assert len(found) == 11  # ten sessions and the one before them


def test_another_exchange_keeps_its_own_hours(home, instance, clock, monkeypatch):
    """Tokyo's session of a day has long ended when New York's begins."""
    from clstm_core.market import instrument as instruments

    tokyo = type("Tokyo", (), {"calendar": "XTKS"})
    monkeypatch.setattr(instruments, "instrument", lambda name: tokyo)
    at = datetime(2026, 11, 24, 13, 35, tzinfo=NEW_YORK)
    clock(at)
    found = tick(daily_market_data, instance, at)
    assert found.tags[SESSION_TAG] == "sp500_modelled-2026-11-24"


def test_of_missed_sessions_the_newest_alone_is_asked_for(home, instance, clock):
    """Nothing ran from Monday to Saturday: Dagster then shows the ticks of the week one after another."""
    clock(datetime(2026, 11, 21, 9, tzinfo=NEW_YORK))
    found = [
        tick(daily_market_data, instance, at) for at in days(date(2026, 11, 16), date(2026, 11, 20), (13, 35), (16, 35))
    ]
    asked = [item.tags[SESSION_TAG] for item in found if isinstance(item, dg.RunRequest)]
    assert asked == ["sp500_modelled-2026-11-20"]
    assert "2026-11-20 has ended since" in found[0].skip_message


@pytest.fixture
def watched(home, instance, monkeypatch):
    """A run that was started here watches a folder in shadow."""
    monkeypatch.setenv(SHADOW_RUN, "watched")
    write_standing(home / "data", Recipe(source="spx_barchart", data_dir=str(home)))
    instance.add_dynamic_partitions(str(training_run.name), ["watched"])


def test_shadow_runs_once_per_session_after_its_close(watched, home, instance, clock):
    """Thanksgiving week: a holiday, and a half day after it."""
    found = []
    for at in days(date(2026, 11, 23), date(2026, 12, 1), (17, 5)):
        clock(at + timedelta(seconds=20))
        found.append(tick(shadow_daily, instance, at))
    asked = [item for item in found if isinstance(item, dg.RunRequest)]
    assert [item.run_key for item in asked] == [
        f"watched-2026-{day}" for day in ("11-23", "11-24", "11-25", "11-27", "11-30", "12-01")
    ]
    assert found[3].skip_message == "XNYS held no session on 2026-11-26."
    assert {item.partition_key for item in asked} == {"watched"}
    config = asked[0].run_config["ops"]["shadow_reconciliation"]["config"]
    assert config == {"source": "directory", "market": "spx_barchart", "data": str(home)}
    job = build_defs().resolve_job_def("run_shadow")
    assert dg.validate_run_config(job, asked[0].run_config)


def test_shadow_begins_after_the_close_in_summer_and_winter(watched, instance, clock):
    """Its clock is New York's: 21:05 UTC in July, 22:05 UTC in December; always after the session's end."""
    assert shadow_daily.execution_timezone == "America/New_York"
    assert shadow_daily.cron_schedule[0].startswith("5,")
    for at, hour in (
        (datetime(2026, 7, 1, 17, 5, tzinfo=NEW_YORK), 21),
        (datetime(2026, 12, 1, 17, 5, tzinfo=NEW_YORK), 22),
    ):
        clock(at)
        assert at.astimezone(UTC).hour == hour
        assert tick(shadow_daily, instance, at.astimezone(UTC)).run_key == f"watched-{at.date()}"


def test_a_shadow_launch_that_failed_is_asked_for_again_that_evening_and_not_for_ever(watched, instance, clock):
    """At the later ticks, by other run keys; one that worked or was cancelled is left alone."""
    job, asked, said = build_defs().resolve_job_def("run_shadow"), [], []
    first = datetime(2026, 11, 24, 17, 5, tzinfo=NEW_YORK)
    for minutes in (0, 20, 50, 80):
        at = first + timedelta(minutes=minutes)
        clock(datetime.now(UTC) + timedelta(minutes=minutes))  # launches end by the machine's clock
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("clstm_core.market.calendars.newest_ended_session", lambda *args: date(2026, 11, 24))
            found = tick(shadow_daily, instance, at)
        if isinstance(found, dg.SkipReason):
            said.append(found.skip_message)
            continue
        asked.append(found.run_key)
        tags = dict(found.tags) | {"dagster/run_key": found.run_key}
        run = instance.create_run_for_job(job, tags=tags, run_config=found.run_config)
        instance.report_run_failed(run)
    assert asked == ["watched-2026-11-24", "watched-2026-11-24-2", "watched-2026-11-24-3"]
    assert said == ["3 launches failed for session 2026-11-24: expected one to succeed. Launch it yourself to see why."]


def test_a_shadow_launch_that_is_too_fresh_or_worked_is_not_asked_for_again(watched, instance, clock, monkeypatch):
    monkeypatch.setattr("clstm_core.market.calendars.newest_ended_session", lambda *args: date(2026, 11, 24))
    job, at = build_defs().resolve_job_def("run_shadow"), datetime(2026, 11, 24, 17, 25, tzinfo=NEW_YORK)
    clock(datetime.now(UTC))
    wanted = tick(shadow_daily, instance, at)
    run = instance.create_run_for_job(job, tags={"dagster/run_key": wanted.run_key}, run_config=wanted.run_config)
    instance.report_run_failed(run)
    assert tick(shadow_daily, instance, at).skip_message.startswith("The launch failed: it is asked for again from ")
    clock(datetime.now(UTC) + timedelta(minutes=11))
    again = tick(shadow_daily, instance, at)
    assert again.tags["attempt"] == f"2 of 3: launch {run.run_id[:8]} failed"
    run = instance.create_run_for_job(job, tags={"dagster/run_key": again.run_key}, run_config=again.run_config)
    instance.report_run_canceled(run)
    clock(datetime.now(UTC) + timedelta(hours=2))
    said = tick(shadow_daily, instance, at).skip_message
    assert said == f"Session 2026-11-24 was asked for in launch {run.run_id[:8]}."


def test_a_missed_shadow_tick_gives_way_to_a_newer_session(watched, instance, clock):
    clock(datetime(2026, 11, 25, 9, tzinfo=NEW_YORK))
    found = [tick(shadow_daily, instance, at) for at in days(date(2026, 11, 23), date(2026, 11, 24), (17, 5))]
    assert "2026-11-24 has ended since" in found[0].skip_message
    assert isinstance(found[1], dg.RunRequest)


def test_without_a_run_that_exists_shadow_says_why(home, instance, clock, monkeypatch):
    at = datetime(2026, 11, 24, 17, 5, tzinfo=NEW_YORK)
    clock(at)
    monkeypatch.delenv(SHADOW_RUN, raising=False)
    assert tick(shadow_daily, instance, at).skip_message == f"No run is named in {SHADOW_RUN}."
    monkeypatch.setenv(SHADOW_RUN, "nobody")
    assert "no run of that name" in tick(shadow_daily, instance, at).skip_message
    instance.add_dynamic_partitions(str(training_run.name), ["nobody"])
    assert "reads no folder" in tick(shadow_daily, instance, at).skip_message


@pytest.mark.parametrize(
    ("at", "session"),
    [
        (datetime(2026, 11, 27, 17, 59, tzinfo=UTC), date(2026, 11, 25)),
        (datetime(2026, 11, 27, 18, 0, tzinfo=UTC), date(2026, 11, 27)),
        (datetime(2026, 11, 24, 20, 59, tzinfo=UTC), date(2026, 11, 23)),
        (datetime(2026, 11, 24, 21, 0, tzinfo=UTC), date(2026, 11, 24)),
        (datetime(2026, 7, 6, 19, 59, tzinfo=UTC), date(2026, 7, 2)),
        (datetime(2026, 7, 6, 20, 0, tzinfo=UTC), date(2026, 7, 6)),
    ],
)
def test_a_session_has_ended_when_its_exchange_says_so(at, session):
    assert newest_ended_session(at) == session


def test_a_year_of_weeks_is_a_year_of_keys(home, instance, clock):
    """One key and one run key per tick; a tick that is looked at twice names the same ones."""
    write_standing(home / "data", Recipe(name="smoke", source="simulated", n_snapshots=400, seed=3))
    keys = []
    for week in range(52):
        at = datetime(2026, 1, 3, 6, tzinfo=UTC) + timedelta(weeks=week)
        clock(at + timedelta(seconds=20))
        first, again = (tick(weekly_retraining, instance, at) for _ in range(2))
        assert (first.run_key, first.partition_key) == (again.run_key, again.partition_key)
        assert first.run_config == run_config(Recipe(name="smoke", source="simulated", n_snapshots=400, seed=3))
        keys.append(first.partition_key)
    assert len(set(keys)) == 52
    assert instance.get_dynamic_partitions(training_run.name) == keys
    assert keys[0] == "weekly-2026-01-03"


def test_of_missed_weeks_the_newest_alone_is_run(home, instance, clock):
    clock(datetime(2026, 1, 19, 9, tzinfo=UTC))
    ticks = [datetime(2026, 1, day, 6, tzinfo=UTC) for day in (3, 10, 17)]
    found = [tick(weekly_retraining, instance, at) for at in ticks]
    assert [isinstance(item, dg.SkipReason) for item in found] == [True, True, False]
    assert instance.get_dynamic_partitions(training_run.name) == ["weekly-2026-01-17"]


def test_everything_starts_switched_off_but_what_answers_a_person():
    definitions = build_defs()
    assert {item.name: item.default_status for item in definitions.schedules} == {
        "daily_market_data": dg.DefaultScheduleStatus.STOPPED,
        "weekly_retraining": dg.DefaultScheduleStatus.STOPPED,
        "weekly_challenger": dg.DefaultScheduleStatus.STOPPED,
        "shadow_daily": dg.DefaultScheduleStatus.STOPPED,
    }
    assert {item.name: item.default_status for item in definitions.sensors} == {
        "started_runs": dg.DefaultSensorStatus.RUNNING,
        "new_vendor_files": dg.DefaultSensorStatus.STOPPED,
        "run_failures": dg.DefaultSensorStatus.STOPPED,
        "shadow_sessions": dg.DefaultSensorStatus.STOPPED,
        "drift_retraining": dg.DefaultSensorStatus.STOPPED,
        "new_data_retraining": dg.DefaultSensorStatus.STOPPED,
    }


def test_the_standing_recipe_comes_back_as_it_was_and_a_damaged_one_is_a_sentence(home):
    data = home / "data"
    assert read_standing(data) == Recipe()
    chosen = Recipe(name="smoke", source="spx_cboe", data_dir="/vendor", seed=5, audit="full")
    place = write_standing(data, chosen)
    assert read_standing(data) == chosen
    for text in ("{", "[]", '{"name": "nope"}', '{"unknown": 1}'):
        place.write_text(text)
        with pytest.raises(ConfigError, match=r"standing\.json: .*Expected a recipe|unknown recipe 'nope'"):
            read_standing(data)
