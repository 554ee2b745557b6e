"""The conventions as a stage: labelled, kept, drawn, and out of reach of everything that is judged."""

import json

import dagster as dg

from assets.convention_sweeps import convention_sweeps
from clstm_core.artifacts.manifests import ConventionsManifest
from clstm_core.store.store import MetricsStore


def evaluations(result):
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def test_conventions_stand_beside_the_comparison_and_are_reused(moved):
    one = moved
    for kept in (one.folder / "conventions.json", one.data / "metrics.duckdb"):  # as if they had never been asked for
        kept.unlink()
    trials = (one.data / "trials.jsonl").read_bytes()
    backtests = {path.name for path in (one.data / "backtests").iterdir()}
    comparison = (one.folder / "comparison.json").read_bytes()

    made = one.stage(convention_sweeps)
    assert made.success
    checks = evaluations(made)
    assert all(found.passed for found in checks.values())
    assert set(checks) == {"clean_walk_is_the_backtest", "ledgers_recompute"}
    facts = json.loads((one.folder / "conventions.json").read_text())
    assert facts["sins"][0]["sin"] == "clean"
    assert {row["fill_lag"] for row in facts["delays"]} == set(range(-2, 6))
    assert facts["label"] == "simulated quotes"

    # nothing that is judged knows of it
    assert (one.data / "trials.jsonl").read_bytes() == trials
    assert {path.name for path in (one.data / "backtests").iterdir()} == backtests
    assert (one.folder / "comparison.json").read_bytes() == comparison
    store = MetricsStore(one.data / "metrics.duckdb")
    rows = store.query("SELECT sweep, variant, possible FROM convention_sweeps WHERE run = ?", [one.run])
    assert {row["sweep"] for row in rows} == {"sin", "delay", "spread", "break_even"}
    assert [row["possible"] for row in rows if row["variant"] == "-1"] == [False]
    assert store.query("SELECT count(*) AS n FROM tilt_and_timing WHERE month = ''")[0]["n"] == 6

    written = (one.folder / "conventions.json").read_bytes()
    again = one.stage(convention_sweeps)
    assert again.success
    assert (one.folder / "conventions.json").read_bytes() == written
    assert {name: found.passed for name, found in evaluations(again).items()} == dict.fromkeys(checks, True)

    # a clean walk that left something else than the judged backtest stops the chain
    altered = {name: value for name, value in json.loads(written).items() if name not in ("seal", "kind", "version")}
    ConventionsManifest(**altered | {"apart": ["equity"]}).write(one.folder / "conventions.json")
    told = evaluations(one.stage(convention_sweeps))["clean_walk_is_the_backtest"]
    assert not told.passed
    assert told.severity == dg.AssetCheckSeverity.ERROR
