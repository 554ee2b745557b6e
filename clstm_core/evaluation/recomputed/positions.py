"""Positions that fills add up to, beside what the ledger says, and their marks."""

import polars as pl

from clstm_core.evaluation.recomputed.equal import EXACT, STEP, unequal
from clstm_core.evaluation.recomputed.market import Market
from clstm_core.evaluation.recomputed.marks import stale_marks

SOLVED = 1e-6
"""What a mark may differ by where a volatility was solved for it, in currency per share."""


def held(
    positions: pl.DataFrame,
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    market: Market,
    contracts: pl.DataFrame,
    near_days: float,
) -> pl.DataFrame:
    """Positions after each step: what fills add up to beside what the ledger says, at the quotes' mid where quoted.

    What nobody quoted is worth what Black-Scholes says at the volatility of its last quote.
    """
    traded = fills.filter(pl.col("kind") == "option").group_by([*STEP, "contract_id"]).agg(pl.col("quantity").sum())
    owned = (
        traded.rename({"step": "traded_at"})
        .join(equity.select([*STEP, "snapshot"]), on="episode")
        .filter(pl.col("step") >= pl.col("traded_at"))
        .group_by([*STEP, "contract_id"])
        .agg(pl.col("quantity").sum())
        .filter(pl.col("quantity").abs() > EXACT)
    )
    said = positions.group_by([*STEP, "contract_id"]).agg(
        pl.col("quantity").sum().alias("said"),
        pl.col("multiplier", "mark", "stale").first(),
        said_at=pl.col("snapshot").first(),
    )
    quotes = market.quotes.select("snapshot", "contract_id", quote_bid="bid", quote_ask="ask")
    quoted = (pl.col("quote_bid") + pl.col("quote_ask")) / 2
    both = owned.join(said.filter(pl.col("said") != 0), on=[*STEP, "contract_id"], how="full", coalesce=True)
    both = both.join(equity.select([*STEP, "snapshot"]), on=STEP, how="left")
    stale = stale_marks(both.filter("stale").select("contract_id", "snapshot").unique(), market, near_days)
    return (
        both.join(stale, on=["contract_id", "snapshot"], how="left")
        .join(quotes, on=["snapshot", "contract_id"], how="left")
        .join(contracts, on="contract_id", how="left")
        .with_columns(pl.col("quantity", "said").fill_null(0.0), quoted=quoted)
        .with_columns(own_mark=pl.when("stale").then(pl.coalesce("model_mark", "mark")).otherwise("quoted"))
    )


def odd_positions(positions: pl.DataFrame) -> dict[str, int]:
    """Positions that do not follow from fills, and marks that are not the quotes'."""
    fresh, owned = positions.filter(~pl.col("stale")), positions.filter(pl.col("quantity") != 0)
    two_sided = pl.col("stale") & (pl.col("quote_ask") > pl.col("quote_bid"))
    return {
        "positions that differ from fills": positions.filter(
            (pl.col("quantity") - pl.col("said")).abs() > EXACT
        ).height,
        "positions at another snapshot than their step's": positions.filter(
            (pl.col("said_at") != pl.col("snapshot")).fill_null(value=True) & (pl.col("said") != 0)
        ).height,
        "positions with another multiplier than the contract's": unequal(owned, "own_multiplier", "multiplier"),
        "marks that are not the quotes' mid": fresh.filter(pl.col("quoted").is_not_null()).pipe(
            unequal, "quoted", "mark"
        ),
        "stale marks that are not their last volatility's": positions.filter(
            pl.col("stale") & ((pl.col("mark") - pl.col("model_mark")).abs() > SOLVED)
        ).height,
        "stale positions that are quoted": positions.filter(two_sided).height,
        "contracts held past their expiration": owned.filter(
            ~(pl.col("snapshot") < pl.col("expiration")).fill_null(value=False)
        ).height,
    }
