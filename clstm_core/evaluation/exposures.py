"""What the book held and risked at each close: margin, exposures against their caps, legs, and the whole book's Greeks.

All of it is read off the ledgers. Delta, gamma and theta are those that the step's attribution used, divided by the
move that they were multiplied with (`env.rewards.explain`); vega and its size stand in `equity` already.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

CAPS = {
    "net_exposure": "max_net_exposure",
    "gross_exposure": "max_gross_exposure",
    "crash_loss": "max_crash_loss",
    "vega_per_point": "max_vega",
    "premium_sold": "max_premium_sold",
}
"""Columns of `equity` that the risk budget bounds, and the setting that says how far."""

SIGNED_VEGA = "book_vega_usd"
_SECONDS_PER_DAY = 86_400.0


def exposures(equity: pl.DataFrame, positions: pl.DataFrame) -> pl.DataFrame:
    """One row per snapshot of one episode: date, margin, exposures, legs, contracts and Greeks.

    Columns: net_exposure, gross_exposure, crash_loss, vega_per_point, premium_sold and margin; legs: contracts held by
             kind; bought, sold: contracts by number; stale: legs without a quote of the day; delta, gamma, vega, theta

    Units: shares of equity; delta: of the equity, signed; gamma: change of that delta per 1% move; vega: change
           per point of implied volatility, signed, None in books that do not say it; vega_per_point: its size; theta:
           per calendar day
    Assumes: delta, gamma and theta are of the book that stood before the next move, without legs that settle in it;
             None at the last snapshot and where the index did not move
    """
    held = positions.group_by("step").agg(
        legs=pl.len(),
        bought=pl.col("quantity").filter(pl.col("quantity") > 0).sum(),
        sold=-pl.col("quantity").filter(pl.col("quantity") < 0).sum(),
        stale=pl.col("stale").sum(),
    )
    # step k is explained by the Greeks that stood at k - 1
    move = (pl.col("spot").shift(-1) - pl.col("spot")).alias("move")
    days = (pl.col("snapshot").shift(-1) - pl.col("snapshot")).dt.total_seconds() / _SECONDS_PER_DAY
    worth = pl.when(pl.col("equity_usd") > 0).then(pl.col("equity_usd"))
    moved = pl.when(move.abs() > 1e-9 * pl.col("spot")).then(move)
    return (
        equity.sort("step")
        .join(held, on="step", how="left", maintain_order="left")
        .select(
            date=pl.col("snapshot").dt.date().cast(pl.String),
            margin=pl.col("margin_usd") / worth,
            **{name: pl.col(name) for name in CAPS},
            **{name: pl.col(name).fill_null(0) for name in ("legs", "bought", "sold", "stale")},
            delta=pl.col("delta_usd").shift(-1) / moved * pl.col("spot") / worth,
            gamma=2.0 * pl.col("gamma_usd").shift(-1) / moved**2 * 0.01 * pl.col("spot") ** 2 / worth,
            vega=(pl.col(SIGNED_VEGA) if SIGNED_VEGA in equity.columns else pl.lit(None, pl.Float64)) / worth,
            theta=pl.col("theta_usd").shift(-1) / days / worth,
        )
    )


def caps_of(env: Mapping[str, Any]) -> dict[str, float]:
    """The risk budget that an account was held to, by the columns that it bounds; shares of equity.

    Args:
        env: the environment's settings, as a backtest's manifest holds them
    """
    return {name: float(env[setting]) for name, setting in CAPS.items() if env.get(setting) is not None}
