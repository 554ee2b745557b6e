"""Where the money came from: Greeks, carry, costs and settlement, by month, and what they leave unexplained.

equity' - equity = delta + gamma + vega + theta + carry + settlement - spread - fees + residual

Beyond cash, carry is less what cash would have earned on the first equity; all other terms are the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clstm_core.evaluation.figures import ATTRIBUTION, LARGE_RESIDUAL

_COSTS = {"spread_usd": -pl.col("slippage_usd"), "fees_usd": -pl.col("fees_usd")}
TERMS: dict[str, pl.Expr] = {name: _COSTS.get(name, pl.col(name)) for name in ATTRIBUTION}
"""Terms and how they follow from the columns of the `equity` ledger; costs are negative: all add up to pnl_usd."""


def by_month(equity: pl.DataFrame) -> pl.DataFrame:
    """Profit and its terms by month, the mean of episodes: `month` (as 2024-01), `pnl_usd`, and each of `TERMS`.

    Beside them `cash_usd`, what the first equity left at the short rate would have earned in the month.

    Units: the account's currency
    """
    cash = (pl.col("equity_usd").first() * (1.0 + pl.col("cash_return")).cum_prod()).over("episode")
    steps = (
        equity.sort("episode", "step")
        .with_columns(pnl_usd=pl.col("equity_usd").diff().over("episode"), cash_usd=cash)
        .with_columns(cash_usd=pl.col("cash_usd").diff().over("episode"))
        .filter(pl.col("step") > 0)
        .select("pnl_usd", "cash_usd", month=pl.col("snapshot").dt.strftime("%Y-%m"), **TERMS)
    )
    n_episodes = equity["episode"].n_unique()
    means = [pl.col(name).sum() / n_episodes for name in ("pnl_usd", "cash_usd", *TERMS)]
    return steps.group_by("month").agg(means).sort("month")


def residual_share(months: Sequence[Mapping[str, Any]]) -> float | None:
    """How much of all movement the Greeks do not explain: the absolute residuals over all absolute terms, by month.

    None where nothing moved, or there is no month.
    """
    moved = {name: sum(abs(month[name]) for month in months) for name in TERMS}
    total = sum(moved.values())
    return moved["residual_usd"] / total if total else None


def beyond_cash(months: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The months, each with `excess_usd` (profit less cash's), `residual_share` and whether that is `large`."""
    rows = []
    for month in months:
        share = residual_share([month])
        extra = {"excess_usd": month["pnl_usd"] - month["cash_usd"], "residual_share": share}
        rows.append({**month, **extra, "large": share is not None and share > LARGE_RESIDUAL})
    return rows
