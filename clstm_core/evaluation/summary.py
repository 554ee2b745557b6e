"""The figures of one backtest, computed from its ledgers alone, and the hash that names it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from clstm_core.evaluation.statistics import PERIODS_PER_YEAR, performance

_MACHINE_FACTS = ("path", "folder", "quotes_path")


def summarise(tables: Mapping[str, pl.DataFrame], *, capital: float) -> dict[str, Any]:
    """What a reader asks of a backtest; several episodes by their mean, the drawdown and the margin by the worst.

    Units: `_usd` in the account's currency; turnover in starting equities over the window (premium and stock value
           traded, expiries apart); returns, volatility, drawdown and margin as fractions
    """
    equity, fills, decisions = tables["equity"], tables["fills"], tables["decisions"]
    episodes = [part.sort("step") for part in equity.partition_by("episode", maintain_order=True)]
    shown = [performance(part["equity_usd"].to_numpy(), part["cash_return"].to_numpy()[1:]) for part in episodes]
    n = len(episodes)
    trades = fills.filter(pl.col("reason") != "expiry")
    traded = float((trades["quantity"] * trades["price"] * trades["multiplier"]).abs().sum())
    used = equity.filter(pl.col("equity_usd") > 0).select((pl.col("margin_usd") / pl.col("equity_usd")).max()).item()
    final = [float(part["equity_usd"][-1]) for part in episodes]
    return {
        "n_returns": max(part.n_returns for part in shown),
        "periods_per_year": PERIODS_PER_YEAR,
        "start_equity_usd": capital,
        "final_equity_usd": float(np.mean(final)),
        "final_equity_worst_usd": min(final),
        "total_return": float(np.mean([part.total_return for part in shown])),
        "annual_return": _mean([part.annual_return for part in shown]),
        "annual_volatility": _mean([part.annual_volatility for part in shown]),
        "sharpe": _mean([part.sharpe for part in shown]),
        "max_drawdown": min(part.max_drawdown for part in shown),
        "turnover": traded / capital / n,
        "spread_usd": float(equity["slippage_usd"].sum()) / n,
        "fees_usd": float(equity["fees_usd"].sum()) / n,
        "n_fills": round(trades.height / n),
        "n_expiries": round((fills.height - trades.height) / n),
        "n_liquidations": int(equity["liquidated"].sum()),
        "n_ruined": int(equity["terminated"].sum()),
        "n_unfilled": int(decisions["unfilled"].sum()),
        "n_rejected": int(decisions["rejected"].sum()),
        "stale_position_share": _share(tables["positions"]["stale"]),
        "max_margin_used": float(used or 0.0),
        "action_mix": action_mix(decisions),
    }


def action_mix(decisions: pl.DataFrame) -> dict[str, float]:
    """Share of decisions that each action took, largest first; `rule` for orders written by a rule."""
    counts = decisions.group_by("action_name").len().sort("len", "action_name", descending=[True, False])
    return {name: count / decisions.height for name, count in counts.iter_rows()}


def content_hash(facts: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Sixteen hex digits of what was backtested and what came out; where files lie on this machine is left out."""

    def portable(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: portable(item) for key, item in value.items() if key not in _MACHINE_FACTS}
        return value

    text = json.dumps([portable(facts), dict(files)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _share(flags: pl.Series) -> float:
    return float(flags.mean() or 0.0) if len(flags) else 0.0  # type: ignore[arg-type]
