"""Marks of positions that nobody quotes: Black-Scholes at the volatility of the contract's last quote, for `recompute`.

Polars and the standard library alone; one position at a time, since there are few.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from clstm_core.evaluation.recomputed.equal import YEAR_NS
from clstm_core.evaluation.recomputed.market import Market, spots, with_rates

HALVINGS = 80
WIDEST = 8.0
"""Largest volatility x sqrt(T) that is looked for."""

PRECISE = 1e-13
"""Of a volatility: how near two steps of the search are when it ends."""

NOISE = 1e-13
"""Share of spot or strike below which a time value is rounding."""


def stale_marks(stale: pl.DataFrame, market: Market, near_days: float) -> pl.DataFrame:
    """What each unquoted position is worth: `stale` with `model_mark`, null where no earlier quote has a volatility.

    Args:
        stale: contract_id and snapshot of positions
    """
    usable = market.quotes.filter((pl.col("ask") > 0) & (pl.col("bid") >= 0) & (pl.col("ask") >= pl.col("bid")))
    asked = stale.select("contract_id", "snapshot").unique()
    terms = market.quotes.unique("contract_id").select("contract_id", "expiration", "strike", "right")
    now = known(asked.join(terms, on="contract_id", how="left"), market, near_days)
    before = known(
        usable.filter(pl.col("contract_id").is_in(asked["contract_id"].unique().implode())), market, near_days
    )
    quoted: dict[str, list[dict[str, Any]]] = {}
    for row in before.sort("snapshot", descending=True).iter_rows(named=True):
        quoted.setdefault(row["contract_id"], []).append(row)
    marks = [
        (row["contract_id"], row["snapshot"], _mark(row, quoted.get(row["contract_id"], [])))
        for row in now.iter_rows(named=True)
    ]
    names = ["contract_id", "snapshot", "model_mark"]
    found = pl.DataFrame(marks, schema=names, orient="row").cast(
        pl.Schema({**stale.schema, "model_mark": pl.Float64()})
    )
    return stale.join(found, on=["contract_id", "snapshot"], how="left")


def known(rows: pl.DataFrame, market: Market, near_days: float) -> pl.DataFrame:
    """Rows with spot, rates and years to expiration at their snapshot."""
    spotted = with_rates(rows.join(spots(market.underlyings), on="snapshot", how="left"), market.rates, near_days)
    return spotted.with_columns(years=(pl.col("expiration") - pl.col("snapshot")).dt.total_nanoseconds() / YEAR_NS)


def _mark(row: dict[str, Any], quoted: list[dict[str, Any]]) -> float | None:
    """The price of a contract at the volatility of its latest quote that has one."""
    if None in row.values() or row["years"] <= 0:
        return None
    for vol in _volatilities(row, quoted):
        return price(row, vol)
    return None


def _volatilities(row: dict[str, Any], quoted: list[dict[str, Any]]) -> Iterator[float]:
    for quote in quoted:  # latest first
        if quote["snapshot"] < row["snapshot"] and (vol := volatility(quote)) is not None:
            yield vol


def price(terms: dict[str, Any], vol: float) -> float:
    """What a contract costs at a volatility, per share."""
    share, cash = _worth(terms)
    return _price(share, cash, vol * math.sqrt(terms["years"]), _side(terms))


def volatility(quote: dict[str, Any]) -> float | None:
    """The volatility at which a contract costs its quote's mid; None where none does."""
    if None in quote.values() or quote["years"] <= 0:
        return None
    return _solved(*_worth(quote), quote["years"], _side(quote), 0.5 * (quote["bid"] + quote["ask"]))


@functools.lru_cache(maxsize=2**16)  # the backtests of one market hold the same contracts on the same days
def _solved(share: float, cash: float, years: float, side: float, paid: float) -> float | None:
    """The volatility at which an option costs `paid`, solved on the side that is worth time value alone, by parity."""
    inside = side * (share - cash) > 0
    target, side = (paid - side * (share - cash), -side) if inside else (paid, side)
    if not NOISE * max(share, cash) < target < (share if side > 0 else cash):
        return None
    root = math.sqrt(years)
    low, high = 1e-9, WIDEST / root
    vol = min(high, max(low, math.sqrt(2.0 * math.pi / years) * target / share))
    for _ in range(HALVINGS):
        gap = _price(share, cash, vol * root, side) - target
        low, high = (low, vol) if gap > 0 else (vol, high)
        # Newton's step, where it stays between what is known to be too low and too high
        d1 = math.log(share / cash) / (deviation := vol * root) + 0.5 * deviation
        slope = share * root * math.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
        after = vol - gap / slope if slope > 0 else low
        after = after if low < after < high else 0.5 * (low + high)
        if abs(after - vol) <= PRECISE * vol:
            return after
        vol = after
    return vol


def _worth(terms: dict[str, Any]) -> tuple[float, float]:
    """Today's worth of a share at expiration, less the dividends till then, and of the strike."""
    share = terms["market_spot"] * math.exp(-terms["dividend_yield"] * terms["years"])
    return share, terms["strike"] * math.exp(-terms["rate"] * terms["years"])


def _price(share: float, cash: float, deviation: float, side: float) -> float:
    """Black and Scholes's price; `deviation` is volatility x sqrt(years), `side` +1 of a call and -1 of a put."""
    d1 = math.log(share / cash) / deviation + 0.5 * deviation
    return side * (share * normal(side * d1) - cash * normal(side * (d1 - deviation)))


def _side(terms: dict[str, Any]) -> float:
    return 1.0 if terms["right"] == "C" else -1.0


def normal(x: float) -> float:
    """The standard normal distribution, precise in its lower tail."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
