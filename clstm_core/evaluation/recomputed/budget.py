"""What each book takes of its account's risk budget, from positions and quotes, for `recompute`.

    net, gross   |shares + sum(w delta)| S, (|shares| + sum |w delta|) S        w = contracts x multiplier
    crash loss   sum w (V(S, vol) - V(S (1 + move), vol (1 + shock))) - shares S move
    vega         |sum(w vega)| x 0.01
    premium      of options sold to open in the stretch of 21 ages that the step's fills are in

All as shares of equity. Polars and the standard library alone; volatilities are solved for here.
"""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from clstm_core.evaluation.recomputed.equal import STEP
from clstm_core.evaluation.recomputed.market import Market
from clstm_core.evaluation.recomputed.marks import known, normal, price, volatility

USES = ("net_exposure", "gross_exposure", "crash_loss", "vega_per_point", "premium_sold")
SIGNED = "book_vega_usd"
"""What a point of volatility is worth to the book: the vega above with its sign, in currency."""

PREMIUM_STEPS = 21
"""Fills at the ages 0 .. 20 of an account count together, those at 21 .. 41, and so on."""

POINT = 0.01

MOST = 100.0
"""Largest share of equity that is written down, and what stands where there is no equity."""

SOLVED = 1e-6
"""What a use may differ by, relative to itself where beyond 1: volatilities are solved twice."""


def odd_budgets(
    books: pl.DataFrame,
    owned: pl.DataFrame,
    positions: pl.DataFrame,
    fills: pl.DataFrame,
    market: Market,
    env: Mapping[str, Any],
    near_days: float,
) -> dict[str, int]:
    """Steps whose ledger says of the risk budget what positions, quotes and fills do not.

    Args:
        books: the account recomputed, with `own_equity` and `own_shares`
        owned: what fills add up to, by contract; positions: the same as the ledger's legs, of which a contract may have
            several
    Returns: nothing of books whose account had no risk budget
    """
    if "max_net_exposure" not in env:
        return {}
    name = "risk budgets that are not the positions'"
    if set(USES) - set(books.columns):
        return {name: books.height}
    held = _held(owned, positions, books, market)
    found = _taken(books, held, fills, market, env, near_days)
    same = [
        (pl.col(f"own_{use}") - pl.col(use)).abs() <= SOLVED * pl.max_horizontal(pl.col(f"own_{use}"), 1.0)
        for use in USES
    ]
    if SIGNED in books.columns:  # books of before it have none
        vega = POINT * pl.col("vega")
        same.append((vega - pl.col(SIGNED)).abs() <= SOLVED * pl.max_horizontal(vega.abs(), pl.col("own_equity").abs()))
    return {name: found.filter(~pl.all_horizontal(same).fill_null(value=False)).height}


def _held(owned: pl.DataFrame, positions: pl.DataFrame, books: pl.DataFrame, market: Market) -> pl.DataFrame:
    """Contracts held after each step, with the sum of their legs' sizes: long and short legs of one may add up to 0."""
    legs = positions.group_by([*STEP, "contract_id"]).agg(size=pl.col("quantity").abs().sum())
    multiplier = market.quotes.unique("contract_id").select("contract_id", own_multiplier="multiplier")
    return (
        owned.filter(pl.col("quantity") != 0)
        .select(*STEP, "contract_id", "quantity")
        .join(legs, on=[*STEP, "contract_id"], how="full", coalesce=True)
        .with_columns(pl.col("quantity").fill_null(0.0))
        .join(books.select(*STEP, "snapshot"), on=STEP)
        .join(multiplier, on="contract_id", how="left")
    )


def _taken(
    books: pl.DataFrame,
    held: pl.DataFrame,
    fills: pl.DataFrame,
    market: Market,
    env: Mapping[str, Any],
    near_days: float,
) -> pl.DataFrame:
    """`books` with own_net_exposure .. own_premium_sold."""
    each = _sensitivities(held.select("contract_id", "snapshot").unique(), market, env, near_days)
    weight = pl.col("quantity") * pl.col("own_multiplier")
    sums = (
        held.join(each, on=["contract_id", "snapshot"], how="left")
        .group_by(STEP)
        .agg(
            net=(weight * pl.col("delta")).sum(),
            gross=(pl.col("size") * pl.col("own_multiplier") * pl.col("delta").abs()).sum(),
            vega=(weight * pl.col("vega")).sum(),
            crash=(weight * pl.col("crash")).sum(),
        )
    )
    sold = (
        fills.filter((pl.col("kind") == "option") & (pl.col("reason") == "open") & (pl.col("quantity") < 0))
        .group_by(STEP)
        .agg(sold=(-pl.col("quantity") * pl.col("own_multiplier") * pl.col("own_price")).sum())
    )
    age_at_fill = pl.col("step") - 1 + int(env["fill_lag"])
    stretch = (age_at_fill // PREMIUM_STEPS).alias("stretch")
    all_of = books.join(sums, on=STEP, how="left").join(sold, on=STEP, how="left").sort(STEP)
    all_of = all_of.with_columns(pl.col("net", "gross", "vega", "crash", "sold").fill_null(0.0), stretch).with_columns(
        premium=pl.col("sold").cum_sum().over("episode", "stretch", order_by="step")
    )
    spot, shares = pl.col("market_spot"), pl.col("own_shares")
    return all_of.with_columns(
        own_net_exposure=_share(((shares + pl.col("net")) * spot).abs()),
        own_gross_exposure=_share((shares.abs() + pl.col("gross")) * spot),
        own_crash_loss=_share(-(pl.col("crash") + shares * spot * float(env["crash_move"]))),
        own_vega_per_point=_share(POINT * pl.col("vega").abs()),
        own_premium_sold=_share(pl.col("premium")),
    )


def _share(use: pl.Expr) -> pl.Expr:
    """A use as a share of equity, from 0 to MOST."""
    broke = pl.when(use > 0).then(MOST).otherwise(0.0)
    return pl.when(pl.col("own_equity") > 0).then((use / pl.col("own_equity")).clip(0.0, MOST)).otherwise(broke)


def _sensitivities(asked: pl.DataFrame, market: Market, env: Mapping[str, Any], near_days: float) -> pl.DataFrame:
    """Delta, vega and the profit of a crash per share of contracts at snapshots, at the volatility of the latest quote
    that has one; all zero where none does."""
    usable = market.quotes.filter((pl.col("ask") > 0) & (pl.col("bid") >= 0) & (pl.col("ask") >= pl.col("bid")))
    usable = usable.filter(pl.col("contract_id").is_in(asked["contract_id"].unique().implode()))
    quoted: dict[str, list[dict[str, Any]]] = {}
    for row in known(usable, market, near_days).sort("snapshot", descending=True).iter_rows(named=True):
        quoted.setdefault(row["contract_id"], []).append(row)
    terms = market.quotes.unique("contract_id").select("contract_id", "expiration", "strike", "right")
    rows = known(asked.join(terms, on="contract_id", how="left"), market, near_days)
    solved: dict[tuple[str, Any], float | None] = {}
    found = []
    for row in rows.iter_rows(named=True):
        vol = None
        for quote in quoted.get(row["contract_id"], []):  # latest first
            if quote["snapshot"] > row["snapshot"]:
                continue
            key = (row["contract_id"], quote["snapshot"])
            if key not in solved:
                solved[key] = volatility(quote)
            if (vol := solved[key]) is not None:
                break
        found.append((row["contract_id"], row["snapshot"], *_greeks(row, vol, env)))
    names = ["contract_id", "snapshot", "delta", "vega", "crash"]
    schema = pl.Schema({**asked.schema, **dict.fromkeys(names[2:], pl.Float64())})
    return pl.DataFrame(found, schema=names, orient="row").cast(schema)


def _greeks(row: Mapping[str, Any], vol: float | None, env: Mapping[str, Any]) -> tuple[float, float, float]:
    if vol is None or None in row.values() or row["years"] <= 0:
        return 0.0, 0.0, 0.0
    terms = dict(row)
    share = terms["market_spot"] * math.exp(-terms["dividend_yield"] * terms["years"])
    cash = terms["strike"] * math.exp(-terms["rate"] * terms["years"])
    deviation = vol * math.sqrt(terms["years"])
    d1 = math.log(share / cash) / deviation + 0.5 * deviation
    side = 1.0 if terms["right"] == "C" else -1.0
    crashed = terms | {"market_spot": terms["market_spot"] * (1.0 + float(env["crash_move"]))}
    return (
        side * share / terms["market_spot"] * normal(side * d1),
        share * math.sqrt(terms["years"]) * math.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi),
        price(crashed, vol * (1.0 + float(env["crash_vol_shock"]))) - price(terms, vol),
    )
