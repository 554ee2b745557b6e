"""Fills beside what they should say: prices from quotes and spots, fees by the configuration, and when they are due."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from clstm_core.evaluation.recomputed.equal import STEP, either, unequal
from clstm_core.evaluation.recomputed.market import Market, spots


def priced(
    fills: pl.DataFrame, way: pl.DataFrame, market: Market, contracts: pl.DataFrame, env: Mapping[str, Any]
) -> pl.DataFrame:
    """Fills beside what they should say: own_price, own_fee, own_bid, own_ask, own_mid, own_multiplier, due.

    `due` is the snapshot at which such an order fills, `early` whether that lies before the time that passes.
    """
    quotes = market.quotes.select("snapshot", "contract_id", quote_bid="bid", quote_ask="ask")
    steps = way.with_columns(
        before=pl.col("snapshot").shift(1).over("episode", order_by="step"), arrived="snapshot"
    ).select(*STEP, "before", "arrived")
    option, expiry = pl.col("kind") == "option", pl.col("reason") == "expiry"
    ordered = pl.col("reason").is_in(["open", "close", "hedge"])
    buys, lag = pl.col("quantity") > 0, int(env["fill_lag"])
    share = 0.5e-4 * env["share_spread_bps"]
    half = (pl.col("own_ask") - pl.col("own_bid")) / 2
    own_mid = (pl.col("own_bid") + pl.col("own_ask")) / 2
    paid = pl.lit(1.0) if env["fill_rule"] == "touch" else pl.lit(float(env["fill_fraction"]))
    side = pl.when(buys).then(1.0).otherwise(-1.0)
    per_contract, per_share = env["commission_per_contract_usd"], env["commission_per_share_usd"]
    return (
        fills.join(steps, on=STEP, how="left")
        .join(quotes, on=["snapshot", "contract_id"], how="left")
        .join(contracts, on="contract_id", how="left")
        .join(spots(market.underlyings), on="snapshot", how="left")
        .with_columns(
            due=pl.when(ordered & pl.lit(lag == 0)).then("before").otherwise("arrived"),
            own_bid=pl.when(expiry)
            .then("settlement")
            .when(option)
            .then("quote_bid")
            .otherwise(pl.col("market_spot") * (1.0 - share)),
            own_ask=pl.when(expiry)
            .then("settlement")
            .when(option)
            .then("quote_ask")
            .otherwise(pl.col("market_spot") * (1.0 + share)),
            own_multiplier=pl.when(option).then("own_multiplier").otherwise(1.0),
            own_fee=pl.when(expiry)
            .then(0.0)
            .otherwise(pl.col("quantity").abs() * pl.when(option).then(per_contract).otherwise(per_share)),
        )
        .with_columns(
            own_mid=own_mid,
            own_price=pl.when(~expiry & option & pl.lit(env["fill_rule"] == "touch"))
            .then(pl.when(buys).then("own_ask").otherwise("own_bid"))
            .otherwise(pl.max_horizontal(own_mid + side * paid * half, 0.0)),
            early=pl.col("due") != pl.col("arrived"),
        )
        .with_columns(own_paid=pl.col("quantity") * pl.col("own_price") * pl.col("own_multiplier") + pl.col("own_fee"))
    )


def odd_fills(fills: pl.DataFrame, equity: pl.DataFrame) -> dict[str, int]:
    """Fills that do not follow from quotes, settlement values, the lag and the account's configuration."""
    expiry = pl.col("reason") == "expiry"
    options = fills.filter((pl.col("kind") == "option") & ~expiry)
    expiries, shares = fills.filter(expiry), fills.filter(pl.col("kind") == "underlying")
    tradable = (pl.col("own_ask") > pl.col("own_bid")) & ((pl.col("quantity") > 0) | (pl.col("own_bid") > 0))
    due = (pl.col("before") < pl.col("expiration")) & (pl.col("arrived") >= pl.col("expiration"))
    known = (pl.col("kind") == "option") & pl.col("reason").is_in(["open", "close", "liquidation", "expiry"]) | (
        pl.col("kind") == "underlying"
    ) & pl.col("reason").is_in(["open", "close", "hedge", "liquidation"])
    return {
        "fills whose bid or ask is not the quotes'": either(options, ("own_bid", "bid"), ("own_ask", "ask")),
        "fills without a quote to trade on": options.filter(~tradable.fill_null(value=False)).height,
        "fills at another price than their rule's": unequal(options, "own_price", "price"),
        "shares at another price than the spot's": either(
            shares, ("own_price", "price"), ("own_bid", "bid"), ("own_ask", "ask")
        ),
        "expiries at another value than the settlement": either(
            expiries, ("settlement", "price"), ("settlement", "bid"), ("settlement", "ask")
        ),
        "expiries at another time than their contract's": expiries.filter(~due.fill_null(value=False)).height,
        "fees other than the configuration's": unequal(fills, "own_fee", "fee_usd"),
        "fills at another snapshot than their lag's": fills.filter(
            ~(pl.col("snapshot") == pl.col("due")).fill_null(value=False)
        ).height,
        "fills with another multiplier than the contract's": unequal(fills, "own_multiplier", "multiplier"),
        "fills of no known kind or step": fills.filter(~known.fill_null(value=False)).height
        + fills.join(equity, on=STEP, how="anti").height,
    }
