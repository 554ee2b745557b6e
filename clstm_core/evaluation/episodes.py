"""A backtest's accounts one by one: figures by episode, profit and returns by session, and their distribution."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from clstm_core.artifacts.folder import write_json, write_text
from clstm_core.evaluation.backtest import BacktestResult
from clstm_core.evaluation.books import Books
from clstm_core.evaluation.ledgers import TABLES

BINS = 41
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)


class Distribution(NamedTuple):
    """Returns of all sessions and episodes.

    bins: one row per bin: low, high, count; facts: mean, deviation, skewness and quantiles by name
    Units: fractions of the equity before
    """

    bins: pl.DataFrame
    facts: dict[str, float]


def episodes_of(result: BacktestResult) -> pl.DataFrame:
    """One row per episode: sessions, returns, drawdown, final equity, fills, fees, liquidations, ruin.

    Units: returns and drawdown as fractions; annual figures null in a window shorter than a year
    """
    capital = result.manifest["env"]["capital_usd"]
    books = Books({name: result.table(name) for name in TABLES}, capital)
    rows: list[dict[str, Any]] = []
    for equity, performance in zip(books.episodes, books.performances, strict=True):
        number = int(equity["episode"][0])
        rows.append(
            {
                "episode": number,
                "sessions": equity.height - 1,
                "total_return": performance.total_return,
                "annual_return": performance.annual_return,
                "sharpe": performance.sharpe,
                "max_drawdown": performance.max_drawdown,
                "final_equity_usd": float(equity["equity_usd"][-1]),
                "fills": books.trades.filter(pl.col("episode") == number).height,
                "fees_usd": float(equity["fees_usd"].sum()),
                "liquidations": int(equity["liquidated"].sum()),
                "ruined": bool(equity["terminated"].any()),
            }
        )
    return pl.DataFrame(rows, schema_overrides={"annual_return": pl.Float64, "sharpe": pl.Float64})


def curves_of(result: BacktestResult) -> pl.DataFrame:
    """One row per episode and session after the first: episode, step, date, equity, profit so far, returns.

    Units: `return`, `cash_return` and `excess_return` as fractions of the equity before
    """
    capital = result.manifest["env"]["capital_usd"]
    equity = result.table("equity").sort("episode", "step")
    before = pl.col("equity_usd").shift(1).over("episode")
    return (
        equity.with_columns((pl.col("equity_usd") / before - 1.0).alias("return"))
        .filter(pl.col("step") > pl.col("step").min().over("episode"))
        .select(
            "episode",
            "step",
            pl.col("snapshot").dt.date().alias("date"),
            "equity_usd",
            (pl.col("equity_usd") - capital).alias("pnl_usd"),
            "return",
            "cash_return",
            (pl.col("return") - pl.col("cash_return")).alias("excess_return"),
        )
    )


def distribution_of(curves: pl.DataFrame) -> Distribution:
    """How the sessions' returns are distributed; bins of equal width from the least to the largest."""
    returns = curves["return"].to_numpy()
    counts, edges = np.histogram(returns, bins=BINS)
    bins = pl.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts.astype(np.int64)})
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    centred = returns - returns.mean()
    skewness = float((centred**3).mean() / centred.std() ** 3) if centred.std() > 0 else 0.0
    named = {f"quantile_{share:.0%}": float(np.quantile(returns, share)) for share in QUANTILES}
    facts = {"mean": float(returns.mean()), "deviation": deviation, "skewness": skewness, **named}
    return Distribution(bins, facts)


def write_tables(folder: Path, episodes: pl.DataFrame, curves: pl.DataFrame, distribution: Distribution) -> list[Path]:
    """Write the tables as CSV, the curves as Parquet too; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in (("episodes", episodes), ("curves", curves), ("distribution", distribution.bins)):
        place = folder / f"{name}.csv"
        write_text(place, table.write_csv())
        written.append(place)
    curves.write_parquet(folder / "curves.parquet", compression="zstd")
    write_json(folder / "distribution.json", distribution.facts)
    return [*written, folder / "curves.parquet", folder / "distribution.json"]
