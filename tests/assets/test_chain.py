"""The whole chain on a small simulated market: what it leaves, what it reuses, and what stops it."""

import json

import dagster as dg
import pytest

from orchestration.definitions import build_defs
from orchestration.jobs import chosen

BESIDE = {"market_realism", "twin_tensors", "stressed_tensors"}
"""What stands beside the chain and waits for no proof."""
RUN = "tiny"


def settings():
    ops = {"policy_bundle": {"config": {"parity_steps": 40}}}
    return {**chosen(name="smoke", source="simulated", n_snapshots=260), "ops": ops}


def execute(home, instance, *, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    job = build_defs().resolve_job_def("train_and_evaluate")
    return job.execute_in_process(instance=instance, partition_key=RUN, run_config=settings(), raise_on_error=False)


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as found:
        found.add_dynamic_partitions("training_run", [RUN])
        yield found


def materialized(result):
    return [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]


def test_the_chain_ends_in_a_report_and_a_bundle_and_is_reused(tmp_path, instance, verdict, monkeypatch):
    home, asked = tmp_path / "home", verdict()
    result = execute(home, instance, monkeypatch=monkeypatch)
    failures = [event.event_specific_data.error for event in result.all_events if event.is_step_failure]
    assert result.success, failures
    assert len(materialized(result)) == 20
    evaluations = result.get_asset_check_evaluations()
    assert [e.check_name for e in evaluations if e.severity == dg.AssetCheckSeverity.ERROR and not e.passed] == []

    data = home / "data"
    page = (home / "reports" / "generated" / RUN / "index.html").read_text()
    comparison = json.loads((data / "runs" / RUN / "comparison.json").read_text())["comparison"]
    assert "simulated quotes" in page
    assert comparison["champion"]["milestone"] in {"020", "040", "060", "080", "100"}
    assert {"policy.onnx", "policy.ts", "policy.safetensors"} <= {p.name for p in (data / "bundles" / RUN).iterdir()}

    from clstm_core.store.store import MetricsStore

    store = MetricsStore(data / "metrics.duckdb")
    count = {name: store.query(f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in (
        "runs", "training_metrics", "checkpoints", "gate_results", "backtests", "comparisons", "exports", "reports"
    )}  # fmt: skip
    assert count["runs"] == 1
    assert count["training_metrics"] == 5
    assert count["checkpoints"] == 5
    assert all(count.values())
    run = store.query("SELECT status, label, verdict FROM runs")[0]
    assert run["status"] == "finished"
    assert run["verdict"] == comparison["verdict"]

    weights = (data / "runs" / RUN / "checkpoints" / "100" / "manifest.json").stat().st_mtime_ns
    written = {path: path.stat().st_mtime_ns for path in (data / "backtests").glob("*/manifest.json")}
    again = execute(home, instance, monkeypatch=monkeypatch)
    assert again.success
    assert asked == ["quick"]  # the first verdict was kept
    assert (data / "runs" / RUN / "checkpoints" / "100" / "manifest.json").stat().st_mtime_ns == weights
    assert {path: path.stat().st_mtime_ns for path in (data / "backtests").glob("*/manifest.json")} == written
    assert (
        json.loads((data / "runs" / RUN / "comparison.json").read_text())["comparison"]["verdict"]
        == comparison["verdict"]
    )


def test_a_failed_proof_stops_the_chain_before_training(tmp_path, instance, verdict, monkeypatch):
    verdict(failing=("conservation",))
    result = execute(tmp_path / "home", instance, monkeypatch=monkeypatch)
    assert not result.success
    assert set(materialized(result)) == {"market_quotes", "market_tensors", "environment_audit"} | BESIDE
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert "conservation" in failed
    assert not (tmp_path / "home" / "data" / "runs").exists()


def test_a_users_mistake_is_one_sentence(tmp_path, instance, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path / "home"))
    config = chosen(source="spx_cboe", data_dir=str(tmp_path / "none"))
    job = build_defs().resolve_job_def("refresh_market_data")
    result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    failure = next(event for event in result.all_events if event.is_step_failure).event_specific_data
    assert str(tmp_path / "none") in failure.user_failure_data.description
    assert "DATA=" in failure.user_failure_data.description
