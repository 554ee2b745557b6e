"""Dagster's history is bounded: old launches go, those whose results are still shown stay."""

import dagster as dg
import pytest

from orchestration.event_log import prune_events

keys = dg.DynamicPartitionsDefinition(name="key")


@dg.asset(partitions_def=keys)
def made() -> None:
    """By key."""


@dg.asset
def market() -> None:
    """Once."""


@pytest.fixture
def instance():
    with dg.instance_for_test() as found:
        found.add_dynamic_partitions("key", ["a", "b"])
        yield found


def launch(instance, asset, key=None):
    return dg.materialize([asset], instance=instance, partition_key=key).run_id


def test_launches_whose_results_were_replaced_go(instance):
    first_a, only_b, again_a = (launch(instance, made, key) for key in ("a", "b", "a"))
    old, new = launch(instance, market), launch(instance, market)
    assert prune_events(instance, days=1.0) == [], "they ended a moment ago"
    assert set(prune_events(instance, days=0.0, dry_run=True)) == {first_a, old}
    assert instance.get_run_by_id(first_a) is not None
    assert set(prune_events(instance, days=0.0)) == {first_a, old}
    assert {run.run_id for run in instance.get_runs()} == {only_b, again_a, new}
    assert instance.get_materialized_partitions(made.key) == {"a", "b"}


def test_what_works_and_what_failed(instance):
    @dg.job
    def breaks():
        @dg.op
        def fails():
            raise ValueError

        fails()

    failed = breaks.execute_in_process(instance=instance, raise_on_error=False).run_id
    queued = instance.create_run_for_job(breaks).run_id
    assert prune_events(instance, days=0.0) == [failed]
    assert instance.get_run_by_id(queued) is not None
