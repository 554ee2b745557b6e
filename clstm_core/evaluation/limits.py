"""Accounts that stand above a limit after a step, though something was left in them that trades.

What is found above its margin or its risk budget is closed or trimmed at once, as far as it trades. So nothing that
trades may be left where a limit is still exceeded: that is asked of positions, shares and quotes, not of the flags that
the same step wrote.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig
from clstm_core.evaluation.protocol import Backtest

STEP = ["episode", "step"]
STANDING = ("net_exposure", "gross_exposure", "crash_loss")
"""Uses of the budget that hold at every decision; vega and premium sold cap what is opened."""

CENT = 0.01
BEYOND_ROUNDING = 1.0 + 2e-6


def above_margin(result: Backtest, places: Places) -> pl.DataFrame:
    """Steps [episode, step] after which margin exceeds equity by more than a cent though something trades."""
    equity = result.table("equity")
    kept = pl.col("margin_usd") <= pl.col("equity_usd") + CENT
    return _tradable(result, equity.filter(~_surely(kept)), places)


def above_budget(result: Backtest, places: Places) -> pl.DataFrame:
    """Steps [episode, step] after which a use of the risk budget exceeds its cap though something trades.

    Uses are those of the ledger, which `recompute` derives from positions, quotes and fills; caps are the account's.
    """
    usual, env = asdict(EnvConfig()), result.manifest["env"]
    kept = [pl.col(use) <= _cap(use, env, usual) * BEYOND_ROUNDING for use in STANDING]
    return _tradable(result, result.table("equity").filter(~pl.all_horizontal(map(_surely, kept))), places)


def _cap(use: str, env: Mapping[str, Any], usual: Mapping[str, Any]) -> float:
    return float(env.get(f"max_{use}", usual[f"max_{use}"]))


def _surely(condition: pl.Expr) -> pl.Expr:
    """False where it cannot be told: a number that is missing or none keeps no limit."""
    return condition.fill_null(value=False)


def _tradable(result: Backtest, above: pl.DataFrame, places: Places) -> pl.DataFrame:
    """Those of some steps after which shares, which always trade, or a leg that was quoted on its side are held."""
    if above.is_empty():
        return above.select(STEP)
    legs = result.table("positions").filter((pl.col("quantity") != 0) & ~_surely(pl.col("stale")))
    left = legs.join(above.select(STEP), on=STEP, how="semi")
    if not left.is_empty():
        quotes = pl.scan_parquet(places.root / result.manifest["quotes"]["path"])
        asked = left.select("snapshot", "contract_id").unique()
        quoted = quotes.select("snapshot", "contract_id", "bid", "ask").join(
            asked.lazy(), on=["snapshot", "contract_id"], how="semi"
        )
        left = left.join(quoted.collect(), on=["snapshot", "contract_id"], how="left").filter(_closable())
    shares = above.filter(~_surely(pl.col("shares") == 0.0))
    return pl.concat([shares.select(STEP), left.select(STEP)]).unique().sort(STEP)


def _closable() -> pl.Expr:
    """Whether the side that closes a leg was quoted: shorts are bought back, longs are sold to a bid.

    What is said to be quoted and is not in the tables counts as closable: nobody knows that it was not.
    """
    unknown = pl.col("bid").is_null() | pl.col("ask").is_null()
    return unknown | ((pl.col("ask") > pl.col("bid")) & ((pl.col("quantity") < 0) | (pl.col("bid") > 0)))
