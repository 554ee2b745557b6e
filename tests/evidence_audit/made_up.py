"""A ladder and baselines that nobody ran, and their comparison as it is read back."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from clstm_core.evaluation.compare import compare
from clstm_core.evaluation.statistics import performance

N = 321
RUNGS = ("020", "040", "060", "080", "100")


@dataclass
class MadeUp:
    """A backtest that nobody ran."""

    name: str
    returns: np.ndarray = field(repr=False)
    milestone: str = ""
    window: str = "test"

    @property
    def id(self) -> str:
        return f"{self.name}-{self.window}"

    @property
    def manifest(self) -> dict[str, Any]:
        checkpoint = {"sha256": self.name, "env_steps": int(self.milestone)} if self.milestone else None
        return {
            **{"policy": "checkpoint" if self.milestone else self.name, "milestone": self.milestone},
            **{"mode": "argmax" if self.milestone else "", "run": "r", "seed": 0, "label": "modelled quotes"},
            **{"source": "sp500_modelled", "spread": "modelled", "window": {"name": self.window}, "fill_lag": 1},
            **{"fill_rule": "touch", "fill_fraction": 1.0, "n_snapshots": len(self.returns) + 1, "notes": []},
            **{
                "first_date": "2015-01-01",
                "last_date": "2016-01-01",
                "trader": {"label": self.name, "checkpoint": checkpoint},
            },
            "summary": {**self.performance, "n_fills": 1, "n_ruined": 0},
        }

    @property
    def performance(self) -> dict[str, Any]:
        curve, cash, _ = self.curves()
        return performance(curve[:, 0], cash).to_dict() | {"final_equity_usd": float(curve[-1, 0])}

    def table(self, name: str) -> pl.DataFrame:
        assert name == "equity"
        n, first = len(self.returns) + 1, datetime(2015, 1, 1, 21, tzinfo=UTC)
        walk = np.random.default_rng(99).normal(0.0003, 0.01, n)
        return pl.DataFrame(
            {
                "episode": [0] * n,
                "step": range(n),
                "snapshot": [first + timedelta(days=day) for day in range(n)],
                "equity_usd": 1e6 * np.concatenate([[1.0], np.cumprod(1.0 + self.returns)]),
                "spot": 4000.0 * np.exp(np.cumsum(walk)),
                "cash_return": [0.0, *(1e-4 + 1e-6 * np.arange(n - 1))],
            }
        )

    def curves(self):
        equity = self.table("equity")
        return equity["equity_usd"].to_numpy()[:, None], equity["cash_return"].to_numpy()[1:], equity["snapshot"]


def case_of(n=N - 1, *, judged=None, rungs=RUNGS):
    """The comparison of a ladder with cash, as it is read back, and its backtests."""
    random = np.random.default_rng(4)
    waits = 1e-4 + 1e-6 * np.arange(n)
    returns = {rung: waits + random.standard_t(4, n) * 0.004 + 1e-4 * k for k, rung in enumerate(RUNGS)}
    returns["040"] = returns["020"]  # two rungs that do the same
    if judged is not None:
        returns["100"] = judged(waits)
    results = [MadeUp(f"clstm_{rung}_argmax", values, rung) for rung, values in returns.items() if rung in rungs]
    results += [MadeUp("cash", waits), MadeUp("buy_and_hold", random.normal(3e-4, 0.01, n))]
    comparison = json.loads(json.dumps(compare(results, trials=37, counted="made up", replications=60).to_dict()))
    return SimpleNamespace(comparison=comparison, headline=lambda: results, judged=results, beside={}, ladder=[])
