"""A launch that failed is asked for again by the sensor that asked for it: later, by another key, and not for ever."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from assets.partitions import training_run
from orchestration import sensors
from orchestration.asked_again import ATTEMPTS, PAUSE
from orchestration.sensors import SHADOW_RUN, new_vendor_files, shadow_sessions

NAME = "watched"
KEYED = {"shadow_sessions": f"{NAME}-", "new_vendor_files": ""}


@dg.job(partitions_def=training_run)
def launched():
    pass


@pytest.fixture
def clock(monkeypatch):
    """What time the sensors take it to be: now and so much."""
    later = [timedelta(0)]
    monkeypatch.setattr(sensors, "now", lambda: datetime.now(UTC) + later[0])
    return later


@pytest.fixture(params=[shadow_sessions, new_vendor_files], ids=lambda sensor: sensor.name)
def desk(request, tmp_path, monkeypatch):
    """A sensor that looked once at a file: (look, end a launch that was asked for, key of the first one, folder)."""
    (tmp_path / "data").mkdir()
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.csv").write_text("1")
    (tmp_path / "data" / "standing.json").write_text(json.dumps({"source": "table", "data_dir": str(folder)}))
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv(SHADOW_RUN, NAME)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("training_run", [NAME])
        cursor = [None]

        def look():
            """Keys of the launches that are asked for, or why there is none."""
            found = request.param(dg.build_sensor_context(instance=instance, cursor=cursor[0]))
            if isinstance(found, dg.SkipReason):
                return found.skip_message
            cursor[0] = found.cursor
            return [wanted.run_key for wanted in found.run_requests or ()]

        def end(key, status):
            """As the daemon launches what was asked for; it ends now."""
            tags = {"dagster/run_key": key}
            run = instance.create_run_for_job(launched, tags=tags, status=dg.DagsterRunStatus.STARTED)
            if status == dg.DagsterRunStatus.FAILURE:
                instance.report_run_failed(run)
            elif status == dg.DagsterRunStatus.CANCELED:
                instance.report_run_canceled(run)

        assert look() == []
        yield look, end, KEYED[request.param.name] + sensors.fingerprint(folder), folder


def test_a_launch_that_failed_is_asked_for_again_after_a_pause_and_not_for_ever(desk, clock):
    look, end, first, _ = desk
    asked = []
    for attempt in range(ATTEMPTS):
        (key,) = look()
        asked.append(key)
        end(key, dg.DagsterRunStatus.FAILURE)
        if attempt + 1 < ATTEMPTS:
            assert "asked for again from" in look()
        clock[0] += (attempt + 1) * PAUSE + timedelta(seconds=1)
    assert asked == [first, f"{first}-2", f"{first}-3"]
    clock[0] += timedelta(days=1)
    assert look().startswith("3 launches failed for this")


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED])
def test_one_that_is_at_work_or_was_cancelled_is_left_alone(desk, clock, status):
    look, end, first, _ = desk
    assert look() == [first]
    end(first, status)
    clock[0] += timedelta(days=1)
    assert look() == "No file is new."


def test_an_attempt_that_works_ends_it_and_new_files_begin_anew(desk, clock):
    look, end, first, folder = desk
    (key,) = look()
    end(key, dg.DagsterRunStatus.FAILURE)
    clock[0] += PAUSE + timedelta(seconds=1)
    (again,) = look()
    end(again, dg.DagsterRunStatus.STARTED)
    clock[0] += timedelta(days=1)
    assert look() == "No file is new."
    (folder / "b.csv").write_text("2")
    assert look() == []
    (fresh,) = look()
    assert fresh not in (first, again)
