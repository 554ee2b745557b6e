"""One form: what it refuses, the key that it adds, and the launch that comes of it, once."""

import dagster as dg
import pytest

from assets.partitions import training_run
from assets.support import PARTITION_TAG
from orchestration.definitions import build_defs
from orchestration.jobs import chosen
from orchestration.start_run import start_run, started_runs


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def ask(instance):
    """Launches the form; its result and what it added."""
    job = build_defs().resolve_job_def("start_run")

    def launch(run="", **recipe):
        config = {"ops": {"add_run": {"config": {"run": run}}}, **chosen(**recipe)}
        result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        return result, instance.get_run_by_id(result.run_id)

    return launch


def said(result) -> str:
    return next(e for e in result.all_events if e.is_step_failure).event_specific_data.user_failure_data.description


def request(instance, run, result):
    event = instance.get_records_for_run(result.run_id).records[-1].event_log_entry.dagster_event
    context = dg.build_run_status_sensor_context(
        sensor_name="started_runs", dagster_instance=instance, dagster_run=run, dagster_event=event
    )
    return list(started_runs(context))


def test_a_recipe_becomes_a_key_and_one_launch(instance, ask):
    result, run = ask(name="smoke", source="simulated", n_snapshots=300, seed=4)
    assert result.success
    (key,) = instance.get_dynamic_partitions(training_run.name)
    assert key.startswith("smoke-20")
    (wanted,) = request(instance, run, result)
    assert (wanted.partition_key, wanted.run_key) == (key, run.run_id)
    assert wanted.run_config == chosen(name="smoke", source="simulated", n_snapshots=300, seed=4)
    assert wanted.tags["recipe"] == "smoke"
    assert dg.validate_run_config(build_defs().resolve_job_def("train_and_evaluate"), wanted.run_config)


def test_the_form_opens_filled_in(instance, ask):
    """Launched as it opens, it starts the default recipe."""
    result = build_defs().resolve_job_def("start_run").execute_in_process(instance=instance)
    assert result.success
    assert instance.get_dynamic_partitions(training_run.name)[0].startswith("default_cpu-")


@pytest.mark.parametrize(
    ("run", "recipe", "words"),
    [
        ("../evil", {}, "run name '../evil': expected"),
        ("a", {"timesteps": -5}, "timesteps=-5: expected at least one rollout"),
        ("a", {"source": "spx_cboe"}, "no data folder for spx_cboe"),
        ("a", {"source": "spx_cboe", "data_dir": "/nowhere"}, "/nowhere"),
        ("a", {"timesteps": 0}, "timesteps=0: expected at least one rollout"),
        ("a", {"source": "simulated", "n_snapshots": 10**12}, "n_snapshots=1,000,000,000,000: expected 1 to 10,000"),
        ("a", {"n_snapshots": 300}, "n_snapshots=300: the source sp500_modelled has no such setting"),
        ("a", {"policy_of": "nobody"}, "no run nobody to take a policy from"),
        ("a", {"policy_of": "a"}, "judged again under its own name"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(instance, ask, tmp_path, monkeypatch, run, recipe, words):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    result, _ = ask(run, **({"name": "smoke"} | recipe))
    assert not result.success
    assert words in said(result)
    assert instance.get_dynamic_partitions(training_run.name) == []


def test_a_day_on_a_cpu_is_refused_unless_asked_for(instance, ask, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result, _ = ask("big", name="seed_100m")
    assert "hours on this machine's CPU" in said(result)
    assert ask("big", name="seed_100m", device="cpu")[0].success
    assert ask("small", name="seed_100m", timesteps=1000)[0].success
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert ask("gpu", name="seed_100m")[0].success


def test_a_run_at_work_is_not_started_twice(instance, ask):
    job = build_defs().resolve_job_def("train_and_evaluate")
    instance.add_dynamic_partitions(training_run.name, ["a"])
    instance.create_run_for_job(job, tags={PARTITION_TAG: "a"})
    result, _ = ask("a", name="smoke")
    assert "run a is at work in launch" in said(result)


def test_a_name_or_source_that_is_none_is_refused_by_the_form():
    job = build_defs().resolve_job_def("start_run")
    for wrong in ({"name": "smokee"}, {"source": "nope"}, {"device": "tpu"}, {"audit": "none"}):
        with pytest.raises(dg.DagsterInvalidConfigError, match="not in enum type"):
            dg.validate_run_config(job, chosen(**wrong))


def test_another_launch_asks_for_nothing(instance):
    result = build_defs().resolve_job_def("start_run").execute_in_process(instance=instance)
    run = instance.get_run_by_id(result.run_id)
    stripped = run._replace(tags={}) if hasattr(run, "_replace") else run
    assert isinstance(request(instance, stripped, result)[0], dg.SkipReason)
    assert start_run.name == "start_run"
