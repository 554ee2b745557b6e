"""A made-up run, complete as the chain would leave it: store, ledgers, findings and bundle manifest."""

import json
import math
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clstm_core.store.store import MetricsStore
from reports.collect import collect

N_SESSIONS, N_ITERATIONS = 320, 60
POLICIES = ("clstm_080_argmax", "cash", "buy_and_hold", "put_write", "buy_write", "short_straddle", "random")
GAINS = ("delta_usd", "gamma_usd", "vega_usd", "theta_usd", "carry_usd", "residual_usd")


def sessions(count: int = N_SESSIONS) -> list[datetime]:
    """Weekdays from 2024-01-02, at 21:00 UTC."""
    day, out = datetime(2024, 1, 2, 21, tzinfo=UTC), []
    while len(out) < count:
        if day.weekday() < 5:
            out.append(day)
        day += timedelta(days=1)
    return out


def write_backtest(folder: Path, index: int, capital: float = 1e6) -> pl.DataFrame:
    """Equity, fills and decisions of one made-up account; the equity frame."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(index)
    gains = {name: random.normal(30 * (k - 2), 900.0, N_SESSIONS) for k, name in enumerate(GAINS)}
    costs = {"slippage_usd": random.uniform(0, 60, N_SESSIONS), "fees_usd": random.uniform(0, 8, N_SESSIONS)}
    for values in (*gains.values(), *costs.values()):
        values[0] = 0.0
    settlement = np.zeros(N_SESSIONS)
    change = sum(gains.values()) - sum(costs.values())
    equity = pl.DataFrame(
        {
            "episode": np.zeros(N_SESSIONS, np.int32),
            "step": np.arange(N_SESSIONS, dtype=np.int32),
            "snapshot": sessions(),
            "equity_usd": capital + np.cumsum(change),
            "settlement_usd": settlement,
            **gains,
            **costs,
        }
    )
    equity.write_parquet(folder / "equity.parquet")
    n = 50
    fills = {
        "episode": [0] * n,
        "quantity": [(-1.0) ** k * 2 for k in range(n)],
        "price": [5.0 + 0.1 * (-1) ** k for k in range(n)],
        "multiplier": [100.0] * n,
        "fee_usd": [1.3] * n,
        "reason": ["open", "close"] * (n // 2),
        "bid": [4.9] * n,
        "ask": [5.1] * n,
    }
    pl.DataFrame(fills).write_parquet(folder / "fills.parquet")
    names = ["hold"] * 200 + ["near_short_strangle"] * 70 + ["hedge_delta"] * 30 + ["far_iron_condor"] * 19
    pl.DataFrame({"episode": [0] * len(names), "action_name": names}).write_parquet(folder / "decisions.parquet")
    return equity


def backtest_row(folder: Path, name: str, equity: pl.DataFrame, lag: int) -> dict:
    """What the store says about `write_backtest`'s account."""
    values = equity["equity_usd"].to_numpy()
    checkpoint = name.startswith("clstm")
    return {
        "backtest_id": folder.name,
        "run": "demo",
        "name": name,
        "policy": "checkpoint" if checkpoint else name,
        "milestone": name.split("_")[1] if checkpoint else "",
        "mode": "argmax" if checkpoint else "",
        "window": "test",
        "first_date": "2024-01-02",
        "last_date": "2025-03-24",
        "n_snapshots": N_SESSIONS,
        "label": "modelled quotes",
        "spread": "modelled",
        "fill_rule": "touch",
        "fill_lag": lag,
        "start_equity_usd": 1e6,
        "final_equity_usd": float(values[-1]),
        "total_return": float(values[-1] / 1e6 - 1) + 0.01 * (1 - lag),
        "max_drawdown": float((values / np.maximum.accumulate(values) - 1).min()),
        "sharpe": 0.4,
        "annual_return": 0.02,
        "annual_volatility": 0.09,
        "n_liquidations": 0,
        "max_margin_used": 0.21,
        "data_sha256": "d" * 64,
        "folder": str(folder),
        "created_at": "2026-01-05T10:00:00",
    }


def training_rows() -> list[dict]:
    """Sixty iterations that look like a run, with a gap of NaN in the held-out metric."""
    rows = []
    for k in range(1, N_ITERATIONS + 1):
        share = k / N_ITERATIONS
        rows.append(
            {
                "run": "demo",
                "iteration": k,
                "env_steps": 8192 * k,
                "approx_kl": 0.004 + 0.003 * math.sin(k),
                "full_unroll_kl": 0.005 + 0.003 * math.sin(k + 1),
                "clip_fraction": 0.14 + 0.03 * math.cos(k),
                "entropy": 3.2 - share,
                "entropy_pct": 100 - 30 * share,
                "policy_grad_norm": 0.3 + 0.1 * math.sin(k),
                "value_grad_norm": 0.05 / k,
                "actor_lr": 1e-4 * (1 - 0.9 * share),
                "critic_lr": 4e-4 * (1 - 0.8 * share),
                "explained_variance": 0.6 * share,
                "heldout_explained_variance": float("nan") if k % 5 else 0.1 * share - 0.05,
                "value_correlation": 0.75 * share,
                "predicted_mean": 0.2 * share,
                "monte_carlo_mean": 0.25,
                "predicted_std": 0.5 * share,
                "monte_carlo_std": 1.1,
                "mean_reward": 0.02 * share,
                "reward_p001": -9.0,
                "reward_p50": 0.0,
                "reward_p999": 8.0,
                "steps_per_second": 2400 + 50 * math.sin(k),
            }
        )
    return rows


def comparison_rows() -> list[dict]:
    """Five rungs against two baselines on two windows."""
    return [
        {
            "run": "demo",
            "policy": "checkpoint",
            "policy_name": f"clstm_{milestone}_argmax",
            "milestone": milestone,
            "mode": "argmax",
            "against": against,
            "window": window,
            "fill_lag": 1,
            "metric": "mean_daily_excess_bps",
            "env_steps": 98_304 * (rung + 1),
            "estimate": 0.4 * rung - 0.5 + shift,
            "ci_low": 0.4 * rung - 3.0,
            "ci_high": 0.4 * rung + 2.1,
            "n_dates": N_SESSIONS,
            "distinguishable": False,
            "verdict": f"not distinguishable from {against}",
            "champion": milestone == "080",
        }
        for rung, milestone in enumerate(("020", "040", "060", "080", "100"))
        for window in ("test", "validation")
        for against, shift in (("cash", 0.0), ("buy_and_hold", -0.4))
    ]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A data folder with one finished run called demo; not to be changed."""
    data = tmp_path_factory.mktemp("finished") / "data"
    store = MetricsStore(data / "metrics.duckdb")
    quotes = data / "cache" / "quotes" / "abc"
    quotes.mkdir(parents=True)
    findings = {
        "check": ["wide_spread", "copied_session"],
        "severity": ["info", "error"],
        "count": [120, 2],
        "share": [0.01, 0.02],
        "snapshots": ["2024-02-01", "2024-03-29, 2024-05-27"],
        "detail": ["kept", "a holiday that repeats the session before; dropped"],
    }
    pl.DataFrame(findings).write_parquet(quotes / "findings.parquet")
    backtests = []
    for index, name in enumerate(POLICIES):
        for lag in (1, 0):
            folder = data / "backtests" / f"{name}-{lag}"
            backtests.append(backtest_row(folder, name, write_backtest(folder, index), lag))
    store.upsert("backtests", backtests)
    store.upsert("training_metrics", training_rows())
    store.upsert("comparisons", comparison_rows())
    verdict = "Beats cash; not distinguishable from buy_and_hold (95% interval -2.1 to 3.0 basis points a day)."
    store.upsert(
        "runs",
        [
            {
                "run": "demo",
                "recipe": "default_cpu",
                "source": "sp500_modelled",
                "label": "modelled quotes",
                "spread": "modelled",
                "trained_on": "sp500_modelled, 1,050 sessions",
                "trained_label": "modelled quotes",
                "data_sha256": "d" * 64,
                "config_sha256": "c" * 64,
                "git_commit": "0123abc",
                "quotes_dir": str(quotes),
                "champion_milestone": "080",
                "verdict": verdict,
            }
        ],
    )
    names = ("conservation", "martingale", "lookahead", "fees", "invariance")
    gate = {"run": "demo", "gate": "environment_audit", "blocking": True, "threshold": 0.01}
    gates = [{**gate, "name": n, "passed": n != "fees", "statistic": 0.001, "detail": f"{n}: checked"} for n in names]
    store.upsert("gate_results", gates)
    store.upsert("exports", [{"run": "demo", "file": "policy.onnx", "format": "onnx", "sha256": "e" * 64, "bytes": 9}])
    trial = {"run": "demo", "policy": "checkpoint", "data_sha256": "d" * 64, "window": "test"}
    store.upsert("trials", [{**trial, "milestone": m} for m in ("020", "040", "060", "080", "100")])
    gap = {"estimate": 0.4, "low": -1.0, "high": 1.9}
    rungs = [
        {
            "milestone": m,
            "env_steps": 98_304 * (k + 1),
            "in_sample_bps": 0.2 * k,
            "held_out_bps": 0.1 * k - 0.1,
            "gap": gap,
        }
        for k, m in enumerate(("020", "040", "060", "080", "100"))
    ]
    comparison = {
        "overfitting": {"rows": rungs, "answer": "No rung overfits distinguishably more than another."},
        "notes": ["put_write: no contract listed for the rule on 3 snapshots; it waited."],
    }
    folder = data / "runs" / "demo"
    folder.mkdir(parents=True)
    (folder / "comparison.json").write_text(json.dumps(comparison))
    bundle = data / "bundles" / "demo"
    bundle.mkdir(parents=True)
    parity = {"runtime": "onnx", "batch": 1, "steps": 1000, "actions_differing": 0, "max_logit_difference": 3e-7}
    latency = {"runtime": "onnx", "p50_us": 140.0, "p99_us": 300.0}
    manifest = {"parity": [{**parity, "passed": True}], "latency": [latency]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return data


@pytest.fixture
def data_dir(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed at will."""
    return Path(shutil.copytree(finished_run, tmp_path / "data"))


@pytest.fixture(scope="session")
def report_data(finished_run: Path):
    """The demo run as ReportData."""
    return collect("demo", MetricsStore(finished_run / "metrics.duckdb"), finished_run)
