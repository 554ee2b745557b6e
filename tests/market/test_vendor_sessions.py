"""A vendor's files by month: read into the cache that a refresh reads from, and named where they cannot be."""

from datetime import date

import dagster as dg
import pytest

from assets.resources import ProjectPaths, Recipe
from assets.vendor_sessions import NONE, vendor_sessions
from clstm_core.market.cache import ensure_quotes
from clstm_core.market.sources import default_config
from clstm_core.market.sources.spx_barchart import SPXBarchart


@pytest.fixture
def load(tmp_path):
    """Materializes one month of a source."""

    def month(key, **recipe):
        return dg.materialize(
            [vendor_sessions],
            partition_key=key,
            instance=dg.DagsterInstance.ephemeral(),
            resources={"paths": ProjectPaths(home=str(tmp_path / "home")), "recipe": Recipe(name="smoke", **recipe)},
            raise_on_error=False,
        )

    return month


def facts(result):
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def readable(result):
    (found,) = result.get_asset_check_evaluations()
    return found


def test_each_month_reads_its_own_files_and_a_refresh_reads_none_again(load, barchart, tmp_path, monkeypatch):
    days = barchart.write_days(date(2026, 2, 23), date(2026, 3, 6))
    given = {"source": "spx_barchart", "data_dir": str(tmp_path)}
    for key, month in (("2026-02-01", 2), ("2026-03-01", 3)):
        result = load(key, **given)
        mine = [day for day in days if day.month == month]
        assert facts(result)["sessions"] == len(mine) > 3
        assert facts(result)["rows"] > 0
        assert all(str(day) in facts(result)["files"] for day in mine)
        assert readable(result).passed

    def refuse(self, path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(SPXBarchart, "parse", refuse)
    ensure_quotes(default_config("spx_barchart", data_dir=str(tmp_path)), tmp_path / "home" / "data" / "cache")
    assert facts(load("2026-03-01", **given))["sessions"] > 3


def test_a_file_that_cannot_be_read_is_named_and_the_month_goes_on(load, barchart, tmp_path):
    days = barchart.write_days(date(2026, 3, 2), date(2026, 3, 6))
    barchart.path(days[2]).write_bytes(b"no gzip")
    result = load("2026-03-01", source="spx_barchart", data_dir=str(tmp_path))
    assert result.success
    assert facts(result)["sessions"] == 5
    assert not readable(result).passed
    assert f"{days[2]}.json.gz" in readable(result).description


def test_a_month_without_files_and_a_source_without_any(load, barchart, tmp_path):
    barchart.write_days(date(2026, 3, 2), date(2026, 3, 3))
    assert facts(load("2025-01-01", source="spx_barchart", data_dir=str(tmp_path)))["sessions"] == 0
    assert facts(load("2026-03-01"))["source"] == NONE


def test_a_folder_that_is_missing_is_a_sentence(load):
    result = load("2026-03-01", source="spx_barchart", data_dir="/no/such/folder")
    failed = next(event for event in result.all_events if event.is_step_failure)
    assert "/no/such/folder" in failed.event_specific_data.user_failure_data.description
