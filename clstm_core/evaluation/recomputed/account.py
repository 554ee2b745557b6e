"""The account walked from its capital on: cash, shares, what time did to them, and where the profit came from."""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from clstm_core.evaluation.recomputed.equal import EXACT, STEP, YEAR_NS, unequal
from clstm_core.evaluation.recomputed.market import Market


def account(way: pl.DataFrame, fills: pl.DataFrame, env: Mapping[str, Any]) -> pl.DataFrame:
    """Each step's cash, shares, interest, dividends and borrow cost, walked from the capital on.

    interest = cash (e^{r dt} - 1); dividends = shares S' (e^{q dt} - 1); borrow = max(-shares, 0) S b dt, with the
    rate, the yield and the spot S of the snapshot that the time begins at.
    """
    bought = pl.col("quantity").filter(pl.col("kind") == "underlying")
    flows = fills.group_by(STEP).agg(
        paid_early=pl.col("own_paid").filter("early").sum(),
        paid_late=pl.col("own_paid").filter(~pl.col("early")).sum(),
        shares_early=bought.filter(pl.col("early").filter(pl.col("kind") == "underlying")).sum(),
        shares_traded=bought.sum(),
        unpriced=pl.col("own_paid").is_null().any(),
        own_fees=pl.col("own_fee").sum(),
        # fills take the mark's place at mid: what was paid beyond it is the spread
        own_spread=((pl.col("own_price") - pl.col("own_mid")) * pl.col("quantity") * pl.col("own_multiplier")).sum(),
    )
    way = way.join(flows, on=STEP, how="left").sort(STEP)
    own: dict[str, list[float]] = {
        name: []
        for name in ("cash", "shares", "interest", "dividends", "borrow", "cash_return", "years", "held_shares")
    }
    cash = shares = 0.0
    last: dict[str, Any] = {}
    for row in way.with_columns(ns=pl.col("snapshot").dt.epoch("ns")).iter_rows(named=True):
        interest = dividends = borrow = growth = years = held = 0.0
        if row["episode"] != last.get("episode"):
            cash, shares = float(env["capital_usd"]), 0.0
        else:
            years = (row["ns"] - last["ns"]) / YEAR_NS
            growth = math.expm1(_number(last["rate"]) * years)
            cash -= row["paid_early"] or 0.0
            shares += row["shares_early"] or 0.0
            held = shares
            interest = cash * growth
            dividends = shares * _number(row["market_spot"]) * math.expm1(_number(last["dividend_yield"]) * years)
            borrow = max(-shares, 0.0) * _number(last["market_spot"]) * env["borrow_rate"] * years
            cash += interest + dividends - borrow - (row["paid_late"] or 0.0)
            shares += (row["shares_traded"] or 0.0) - (row["shares_early"] or 0.0)
        if row["unpriced"]:
            cash = math.nan
        for name, value in (
            ("cash", cash),
            ("shares", shares),
            ("interest", interest),
            ("dividends", dividends),
            ("borrow", borrow),
            ("cash_return", growth),
            ("years", years),
            ("held_shares", held),
        ):
            own[name].append(value)
        last = row
    return way.with_columns(
        pl.col("own_fees", "own_spread").fill_null(0.0),
        *(pl.Series(f"own_{name}", values, dtype=pl.Float64) for name, values in own.items()),
    ).rename({"own_spread": "own_spread paid"})


def _number(value: float | None) -> float:
    """A missing number spoils what is computed from it."""
    return math.nan if value is None else value


def explained(books: pl.DataFrame, fills: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """What settled above its last mark, what marks changed by, and the attribution's terms that must add up to it.

    Profit is marks' change + settlement + interest + dividends - borrow - fees - spread: with all others known, the
    change of option marks is what is left.
    """
    marked = held.select("episode", "contract_id", "own_mark", step=pl.col("step") + 1)
    expired = (
        fills.filter(pl.col("reason") == "expiry")
        # legs that a contract was bought and sold in settle against each other
        .group_by([*STEP, "contract_id"])
        .agg(pl.col("quantity").sum(), pl.col("own_multiplier", "settlement").first())
        .filter(pl.col("quantity").abs() > EXACT)
        .join(marked, on=[*STEP, "contract_id"], how="left")
        # bought in the very step before it settled (orders that fill at once): marked at mid then
        .join(_bought(fills), on=[*STEP, "contract_id"], how="left")
        .with_columns(before=pl.coalesce("own_mark", "bought_at"))
        .group_by(STEP)
        .agg(
            own_settlement=(
                -pl.col("quantity") * pl.col("own_multiplier") * (pl.col("settlement") - pl.col("before"))
            ).sum(),
            unmarked_before=pl.col("before").is_null().any(),
        )
        .with_columns(own_settlement=pl.when("unmarked_before").then(None).otherwise("own_settlement"))
        .drop("unmarked_before")
        .with_columns(expired=pl.lit(value=True))
    )
    books = books.join(expired, on=STEP, how="left").sort(STEP)
    profit = pl.col("own_equity") - pl.col("own_equity").shift(1).over("episode", order_by="step")
    spot_change = pl.col("market_spot") - pl.col("market_spot").shift(1).over("episode", order_by="step")
    flows = pl.col("own_interest") + pl.col("own_dividends") - pl.col("own_borrow")
    costs = pl.col("own_fees") + pl.col("own_spread paid")
    by_greeks = pl.sum_horizontal(f"{name}_usd" for name in ("delta", "gamma", "vega", "theta", "carry", "residual"))
    return (
        books.with_columns(
            own_settlement=pl.when(pl.col("expired").fill_null(value=False)).then("own_settlement").otherwise(0.0)
        )
        .with_columns(**{"own_share marks": (pl.col("own_held_shares") * spot_change).fill_null(0.0)})
        .with_columns(
            **{
                "own_option marks": (profit - flows + costs - pl.col("own_settlement") - pl.col("own_share marks"))
                .fill_null(0.0)
                .fill_nan(float("inf"))
            }
        )
        .with_columns(
            own_attribution=pl.col("own_option marks") + pl.col("own_share marks") + flows, explained_usd=by_greeks
        )
    )


def _bought(fills: pl.DataFrame) -> pl.DataFrame:
    """Mid at which contracts were traded before the time of their step passed."""
    early = fills.filter(pl.col("early") & (pl.col("kind") == "option"))
    return early.group_by([*STEP, "contract_id"]).agg(bought_at=pl.col("own_mid").first())


def odd_steps(books: pl.DataFrame, market: Market) -> dict[str, int]:
    """Steps that are missing, and what is said of a snapshot that is not so."""
    gaps = books.filter(pl.col("step") != pl.int_range(pl.len()).over("episode", order_by="step")).height
    spans = books.group_by("episode").agg(pl.len(), first=pl.col("snapshot").min(), last=pl.col("snapshot").max())
    between = [
        int(market.snapshots.is_between(first, last).sum()) - count
        for _, count, first, last in spans.select("episode", "len", "first", "last").iter_rows()
    ]
    unknown = books.filter(~pl.col("snapshot").is_in(market.snapshots.implode())).height
    return {
        "steps that are missing or double": gaps,
        "sessions left out or added": sum(map(abs, between)) + unknown,
        "spots that are not the underlying's": unequal(books, "market_spot", "spot"),
        "cash returns that are not the rates'": unequal(books, "own_cash_return", "cash_return"),
    }
