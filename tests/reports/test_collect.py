"""Gathering a report: what is stored arrives, and what is missing stays empty."""

import json

import polars as pl
import pytest

from clstm_core.store.store import MetricsStore
from reports.collect import collect

N_SESSIONS = 320


def test_the_whole_run_arrives(report_data):
    data = report_data
    assert data.data_label == "modelled quotes, modelled spread"
    assert data.policy_name == "clstm_080_argmax"
    assert [curve.is_policy for curve in data.curves] == [True] + [False] * 6
    assert {len(curve.dates) for curve in data.curves} == {N_SESSIONS}
    assert (data.first_date, data.last_date, data.n_sessions) == ("2024-01-02", "2025-03-24", N_SESSIONS)
    assert data.verdict.startswith("Beats cash; not distinguishable")
    assert data.overfitting[1]["gap_high"] == 1.9
    assert data.trial_count == 5
    assert data.training[-1]["heldout_explained_variance"] is not None
    assert data.training[0]["heldout_explained_variance"] is None
    assert [row["severity"] for row in data.quality] == ["error", "info"]
    assert data.parity[0]["p50_us"] == 140.0
    assert {row["name"] for row in data.gates} == {"conservation", "martingale", "lookahead", "fees", "invariance"}


def test_attribution_adds_up_to_the_change_of_equity(report_data):
    total = sum(value for row in report_data.attribution for key, value in row.items() if key != "month")
    equity = report_data.curves[0].equity
    assert total == pytest.approx(equity[-1] - equity[0], abs=1e-6)
    assert len(report_data.attribution) == 15


def test_costs_missing_from_the_store_come_from_the_ledger(report_data):
    row = next(row for row in report_data.backtests if row["headline"])
    # 50 fills of 2 contracts x 100, each 0.10 worse than the mid
    assert (row["n_fills"], row["fees_usd"]) == (50, pytest.approx(65.0))
    assert abs(row["spread_usd"]) == pytest.approx(1_000.0)
    assert row["turnover"] == pytest.approx(50 * 200 * 5.0 / 1e6, rel=0.01)


def test_the_action_mix_is_a_share_of_all_decisions(report_data):
    assert sum(row["share"] for row in report_data.actions) == pytest.approx(1.0)
    assert report_data.actions[0] == {"action": "hold", "count": 200, "share": pytest.approx(200 / 319)}


def test_the_headline_is_the_later_fill_and_the_newest_backtest(data_dir):
    store = MetricsStore(data_dir / "metrics.duckdb")
    row = store.query("SELECT * FROM backtests WHERE backtest_id = 'cash-1'")[0]
    store.upsert("backtests", [{**row, "backtest_id": "cash-newer", "created_at": "2026-02-01T00:00:00"}])
    (data_dir / "backtests" / "cash-1").rename(data_dir / "backtests" / "cash-newer")
    data = collect("demo", store, data_dir)
    assert sum(curve.name == "cash" for curve in data.curves) == 1
    assert {row["fill_lag"] for row in data.backtests if row["headline"]} == {1}


def test_backtests_of_an_earlier_training_are_left_out_where_the_run_says_which_count(data_dir):
    store = MetricsStore(data_dir / "metrics.duckdb")
    ids = {"ids": ["clstm_080_argmax-1", "clstm_080_argmax-0"]}
    (data_dir / "runs" / "demo" / "policy_backtests.json").write_text(json.dumps(ids))
    (data_dir / "runs" / "demo" / "baseline_backtests.json").write_text(json.dumps({"ids": ["cash-1"]}))
    assert [curve.name for curve in collect("demo", store, data_dir).curves] == ["clstm_080_argmax", "cash"]


def test_a_run_nobody_has_heard_of_is_an_empty_report(data_dir):
    data = collect("nobody", MetricsStore(data_dir / "metrics.duckdb"), data_dir)
    assert (data.curves, data.training, data.gates, data.quality, data.verdict) == ([], [], [], [], None)


def test_missing_and_unreadable_files_leave_their_panel_empty(data_dir, caplog):
    mine = data_dir / "backtests" / "clstm_080_argmax-1"
    (mine / "equity.parquet").write_bytes(b"PAR1 torn")
    (mine / "decisions.parquet").unlink()
    (data_dir / "bundles" / "demo" / "manifest.json").write_text("{")
    data = collect("demo", MetricsStore(data_dir / "metrics.duckdb"), data_dir)
    assert (data.attribution, data.actions, data.parity) == ([], [], [])
    assert "clstm_080_argmax" not in [curve.name for curve in data.curves]
    assert "equity.parquet" in caplog.text


def test_only_the_first_episode_of_a_backtest_is_drawn(data_dir):
    path = data_dir / "backtests" / "cash-1" / "equity.parquet"
    frame = pl.read_parquet(path)
    pl.concat([frame, frame.with_columns(episode=pl.lit(1, pl.Int32))]).write_parquet(path)
    data = collect("demo", MetricsStore(data_dir / "metrics.duckdb"), data_dir)
    assert {len(curve.dates) for curve in data.curves} == {N_SESSIONS}
