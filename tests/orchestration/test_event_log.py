"""Dagster's history is bounded: old launches go with their files, those whose results are still shown stay."""

import shutil
import sqlite3
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType

from assets.partitions import session_month, training_run
from assets.support import LOCK_TAG, PARTITION_TAG
from clstm_core.artifacts.folder import lock
from orchestration.event_log import LEFT_BEHIND, Launch, at_work, prune_events
from orchestration.home import TEMPLATE


@dg.asset(partitions_def=training_run, check_specs=[dg.AssetCheckSpec("good", asset="made")])
def made() -> dg.MaterializeResult:
    """By key."""
    print("step's output")
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


@dg.asset(partitions_def=session_month)
def month() -> None:
    """By month."""


@dg.asset
def market() -> None:
    """Once."""


@dg.op
def nothing() -> None:
    """Nothing."""


@dg.job
def works() -> None:
    """Never launched."""
    nothing()


@pytest.fixture
def instance():
    with dg.instance_for_test() as found:
        found.add_dynamic_partitions("training_run", ["a", "b"])
        yield found


def launch(instance, asset, key=None):
    return dg.materialize([asset], instance=instance, partition_key=key).run_id


def ids(pruned):
    return {launch.run_id for launch in pruned.launches}


def files(instance, run_id):
    return [path for path in Path(instance.root_directory).rglob("*") if run_id in str(path) and path.is_file()]


def test_launches_whose_results_were_replaced_go(instance):
    first_a, only_b, again_a = (launch(instance, made, key) for key in ("a", "b", "a"))
    old, new = launch(instance, market), launch(instance, market)
    assert prune_events(instance, days=1.0) == ([], []), "they ended a moment ago"
    assert ids(prune_events(instance, days=0.0, dry_run=True)) == {first_a, old}
    assert instance.get_run_by_id(first_a) is not None
    assert ids(prune_events(instance, days=0.0)) == {first_a, old}
    assert {run.run_id for run in instance.get_runs()} == {only_b, again_a, new}
    assert instance.get_materialized_partitions(made.key) == {"a", "b"}


def test_their_files_go_with_them_and_their_bytes_are_told(instance):
    first, again = launch(instance, made, "a"), launch(instance, made, "a")
    wanted = {first: sum(path.stat().st_size for path in files(instance, first))}
    assert wanted[first] > 10_000
    assert {path.suffix for path in files(instance, first)} >= {".db", ".out"}
    told = prune_events(instance, days=0.0, dry_run=True).launches
    assert {launch.run_id: launch.bytes for launch in told} == wanted
    assert [launch.name for launch in told] == ["a"]
    assert files(instance, first)
    assert prune_events(instance, days=0.0).launches == told
    assert files(instance, first) == []
    assert not (Path(instance.storage_directory()) / first).exists()
    assert files(instance, again)
    assert instance.all_logs(again)
    assert prune_events(instance, days=0.0) == ([], [])


def rows(instance, run_id):
    """Rows that name a launch, by table."""
    found = {}
    for place in ("history/runs.db", "history/runs/index.db"):
        with sqlite3.connect(Path(instance.root_directory) / place) as tables:
            for (name,) in tables.execute("select name from sqlite_master where type = 'table'").fetchall():
                if "run_id" in {column[1] for column in tables.execute(f"pragma table_info({name})")}:
                    (found[name],) = tables.execute(
                        f"select count(*) from {name} where run_id = ?", (run_id,)
                    ).fetchone()
    return {name: count for name, count in found.items() if count}


def test_no_table_grows_by_launches_that_went(instance):
    first, again = launch(instance, made, "a"), launch(instance, made, "a")
    assert set(rows(instance, first)) == {"runs", "run_tags", "event_logs", "asset_check_executions"}
    kept = rows(instance, again)
    prune_events(instance, days=0.0)
    assert rows(instance, first) == {}
    assert rows(instance, again) == kept


def test_what_was_deleted_before_leaves_no_file_behind(instance):
    gone, kept = launch(instance, market), launch(instance, market)
    instance.report_runless_asset_event(dg.AssetMaterialization("told"))
    instance.delete_run(gone)
    left = [path for path in files(instance, gone) if path.suffix == ".db"]
    others = {path for path in left[0].parent.iterdir() if gone not in path.name}
    size = sum(path.stat().st_size for path in files(instance, gone))
    assert prune_events(instance, days=1.0).launches == [], "its file is young"
    assert prune_events(instance, days=0.0).launches == [Launch(gone, LEFT_BEHIND, size)]
    assert files(instance, gone) == []
    assert others <= set(left[0].parent.iterdir()), "the index of all launches is none of theirs"
    assert instance.get_latest_materialization_event(market.key).run_id == kept
    assert instance.get_latest_materialization_event(dg.AssetKey("told")) is not None


def test_launches_and_keys_of_runs_that_are_gone_go(instance):
    of_a, of_b = launch(instance, made, "a"), launch(instance, made, "b")
    instance.add_dynamic_partitions("training_run", ["asked for", "2025-01-01"])
    of_month, shown = launch(instance, month, "2025-01-01"), launch(instance, market)
    assert prune_events(instance, days=1.0, living=[]) == ([], []), "they ended a moment ago"
    told = prune_events(instance, days=0.0, living=["b"], dry_run=True)
    assert (ids(told), told.keys) == ({of_a}, ["a"])
    assert prune_events(instance, days=0.0, living=["b"]) == told
    assert {run.run_id for run in instance.get_runs()} == {of_b, of_month, shown}
    assert set(instance.get_dynamic_partitions("training_run")) == {"b", "asked for", "2025-01-01"}
    assert instance.get_materialized_partitions(made.key) == {"b"}


def test_a_key_whose_launch_waits_stays(instance):
    of_a = launch(instance, made, "a")
    waiting = instance.create_run_for_job(works, tags={PARTITION_TAG: "a"}).run_id
    pruned = prune_events(instance, days=0.0, living=[])
    assert (ids(pruned), pruned.keys) == ({of_a}, [])
    assert instance.get_run_by_id(waiting) is not None
    assert set(instance.get_dynamic_partitions("training_run")) == {"a", "b"}


def test_what_works_and_what_failed(instance):
    @dg.job
    def breaks():
        @dg.op
        def fails():
            raise ValueError

        fails()

    failed = breaks.execute_in_process(instance=instance, raise_on_error=False).run_id
    queued = instance.create_run_for_job(breaks).run_id
    assert ids(prune_events(instance, days=0.0)) == {failed}
    assert instance.get_run_by_id(queued) is not None
    assert at_work(instance) == {"breaks"}


def test_a_launch_whose_process_is_gone_is_not_at_work(instance, tmp_path):
    place = tmp_path / "lock"
    tags = {LOCK_TAG: str(place), PARTITION_TAG: "a"}
    instance.create_run_for_job(works, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert at_work(instance) == set()
    with lock(place, "run a"):
        assert at_work(instance) == {"a"}


@pytest.mark.parametrize("kind", [InstigatorType.SCHEDULE, InstigatorType.SENSOR])
def test_ticks_do_not_stay_for_ever(tmp_path, kind):
    shutil.copyfile(TEMPLATE, tmp_path / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert set(instance.get_tick_retention_settings(kind).values()) == {30}
