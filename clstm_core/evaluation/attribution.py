"""Where the money came from: Greeks, carry, costs and settlement, by month, and what they leave unexplained.

equity' - equity = delta + gamma + vega + theta + carry - spread - fees + settlement + residual
"""

import polars as pl

TERMS: dict[str, pl.Expr] = {
    "delta_usd": pl.col("delta_usd"),
    "gamma_usd": pl.col("gamma_usd"),
    "vega_usd": pl.col("vega_usd"),
    "theta_usd": pl.col("theta_usd"),
    "carry_usd": pl.col("carry_usd"),
    "spread_usd": -pl.col("slippage_usd"),
    "fees_usd": -pl.col("fees_usd"),
    "settlement_usd": pl.col("settlement_usd"),
    "residual_usd": pl.col("residual_usd"),
}
"""Terms and how they follow from the columns of the `equity` ledger; costs are negative: all add up to pnl_usd."""

LARGE_RESIDUAL = 0.25
"""A residual above this share of what moved (the absolute terms' sum) is flagged: Greeks then explain too little."""


def by_month(equity: pl.DataFrame) -> pl.DataFrame:
    """Profit and its terms by month, the mean of episodes: `month, pnl_usd, ... residual_usd, large_residual`.

    Units: the account's currency
    """
    return _summed(_steps(equity), ["month"]).sort("month")


def totals(equity: pl.DataFrame) -> dict[str, float | bool]:
    """Profit and its terms over the whole backtest, the mean of its episodes, and `large_residual`."""
    return _summed(_steps(equity), []).row(0, named=True)


def _steps(equity: pl.DataFrame) -> pl.DataFrame:
    """Per step: its month, profit and terms."""
    return (
        equity.sort("episode", "step")
        .with_columns(pnl_usd=pl.col("equity_usd").diff().over("episode"), episodes=pl.col("episode").n_unique())
        .filter(pl.col("step") > 0)
        .select(
            "pnl_usd",
            "episodes",
            month=pl.col("snapshot").dt.truncate("1mo").dt.date(),
            **TERMS,
        )
    )


def _summed(steps: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    names = ["pnl_usd", *TERMS]
    sums = [(pl.col(name) / pl.col("episodes")).sum() for name in names]
    frame = steps.group_by(keys).agg(sums) if keys else steps.select(sums)
    moved = pl.sum_horizontal([pl.col(name).abs() for name in TERMS])
    return frame.with_columns(large_residual=pl.col("residual_usd").abs() > LARGE_RESIDUAL * moved)
