"""The account's part of an observation, made anew from ledgers and quotes. See `clstm_core/env/observation.py`.

Everything of a decision comes from the rows of the step before it: what was held when it was made.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from clstm_core.config import EnvConfig
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.recomputed.market import read_market, spots, with_rates
from clstm_core.evidence_audit.case import MarketFiles
from clstm_core.evidence_audit.options import price, sensitivities, volatility
from clstm_core.specs import BOOK_FEATURES, MAX_LEGS

YEAR_NS = 365 * 86_400 * 10**9
SUMS = ("delta", "gamma", "vega", "theta", "crash")

PREMIUM_STEPS = 21
"""Premium counts until the account is so many steps old, or a multiple of that, where the next order fills."""

MOST_OF_EQUITY = 100.0


def book_features(result: Backtest, market: MarketFiles, env: EnvConfig) -> npt.NDArray[np.float64]:
    """What the account saw of itself at each decision [steps, 15], in the order of specs.BOOK_FEATURES.

    Assumes: one account (a policy's likeliest actions); legs are closed whole, two legs of one contract included
    """
    equity = result.table("equity").sort("step")
    legs = _legs(result, market, equity, env)
    marked = pl.col("weight") * pl.col("mark") - pl.col("multiplier") * pl.col("cost").fill_null(float("nan"))
    # a volatility that nobody could solve leaves no Greeks: they count as 0
    sums = [(pl.col("weight") * pl.col(name).fill_nan(0.0).fill_null(0.0)).sum().alias(name) for name in SUMS]
    held = legs.group_by("step").agg(
        *sums,
        gross=(pl.col("size") * pl.col("multiplier") * pl.col("delta").abs().fill_nan(0.0).fill_null(0.0)).sum(),
        legs_held=pl.col("count").sum() / MAX_LEGS,
        nearest_expiry_years=pl.col("years").min(),
        unrealised_pnl=marked.sum() / env.capital_usd,
        stale_legs=pl.col("count").filter("stale").sum() / MAX_LEGS,
    )
    capital, spot, next_fill = env.capital_usd, pl.col("spot"), pl.col("step") + env.fill_lag
    seen = (
        equity.join(held, on="step", how="left")
        .join(_premium(result), on="step", how="left")
        .sort("step")
        .with_columns(premium=pl.col("premium").fill_null(0.0).cum_sum().over((next_fill - 1) // PREMIUM_STEPS))
        .with_columns(premium=pl.when(next_fill % PREMIUM_STEPS == 0).then(0.0).otherwise("premium"))
        .with_columns(
            pl.col(*SUMS, "gross", "legs_held", "nearest_expiry_years", "unrealised_pnl", "stale_legs").fill_null(0.0)
        )
        .select(
            equity_change=pl.col("equity_usd") / capital - 1.0,
            cash_fraction=pl.col("cash_usd") / capital,
            share_fraction=pl.col("shares") * spot / capital,
            margin_used=pl.col("margin_usd") / capital,
            delta=(pl.col("delta") + pl.col("shares")) * spot / capital,
            gamma=0.01 * pl.col("gamma") * spot * spot / capital,
            vega=pl.col("vega") / capital,
            theta=pl.col("theta") / capital,
            legs_held="legs_held",
            nearest_expiry_years="nearest_expiry_years",
            unrealised_pnl="unrealised_pnl",
            stale_legs="stale_legs",
            gross_exposure=_of_equity((pl.col("gross") + pl.col("shares").abs()) * spot),
            crash_loss=_of_equity(-pl.col("crash") - env.crash_move * pl.col("shares") * spot),
            premium_sold=_of_equity(pl.col("premium")),
        )
    )
    return seen.select(BOOK_FEATURES).to_numpy()[:-1]


def _of_equity(use: pl.Expr) -> pl.Expr:
    """A use of the risk budget as a share of the equity there is."""
    without = pl.when(use > 0).then(MOST_OF_EQUITY).otherwise(0.0)
    share = (use / pl.col("equity_usd")).clip(0.0, MOST_OF_EQUITY)
    return pl.when(pl.col("equity_usd") > 0).then(share).otherwise(without)


def _premium(result: Backtest) -> pl.DataFrame:
    """What each step's orders took for options that they sold to open."""
    fills = result.table("fills")
    sold = fills.filter((pl.col("kind") == "option") & (pl.col("reason") == "open") & (pl.col("quantity") < 0))
    return sold.group_by("step").agg(premium=-(pl.col("quantity") * pl.col("multiplier") * pl.col("price")).sum())


def _legs(result: Backtest, market: MarketFiles, equity: pl.DataFrame, env: EnvConfig) -> pl.DataFrame:
    """Contracts held after each step: weight, legs, mark, what was paid, years to expiration, Greeks, and the crash."""
    fills, positions = result.table("fills"), result.table("positions")
    tables = read_market(market.tables, fills, positions)
    terms = tables.quotes.unique("contract_id", keep="first").select("contract_id", "expiration", "strike", "right")
    held = positions.group_by("step", "contract_id").agg(
        pl.col("quantity").sum(),
        pl.col("multiplier", "mark", "stale").first(),
        count=pl.len(),
        size=pl.col("quantity").abs().sum(),
    )
    held = (
        held.join(equity.select("step", "snapshot"), on="step")
        .join(terms, on="contract_id", how="left")
        .join(_paid(fills, steps=int(equity["step"].to_numpy().max())), on=["step", "contract_id"], how="left")
        .with_columns(
            years=(pl.col("expiration") - pl.col("snapshot")).dt.total_nanoseconds() / YEAR_NS,
            weight=pl.col("quantity") * pl.col("multiplier"),
        )
        .sort("snapshot")
    )
    near = float(market.info["near_days"])
    quoted = tables.quotes.filter((pl.col("ask") > 0) & (pl.col("ask") >= pl.col("bid")) & (pl.col("bid") >= 0))
    quoted = _facts(quoted, tables.underlyings, tables.rates, near)
    mid = (quoted["bid"].to_numpy() + quoted["ask"].to_numpy()) / 2.0
    vol = volatility(mid, *_terms(quoted))
    known = quoted.select("snapshot", "contract_id", vol=vol).filter(pl.col("vol").is_not_nan()).sort("snapshot")
    held = held.join_asof(known, on="snapshot", by="contract_id", strategy="backward", check_sortedness=False)
    held = _facts(held, tables.underlyings, tables.rates, near)
    spot, strike, years, rate, carry, side = _terms(held)
    with np.errstate(invalid="ignore", divide="ignore"):
        vol = held["vol"].to_numpy()
        greeks = sensitivities(spot, strike, years, vol, rate, carry, side)
        crashed = price(
            spot * (1.0 + env.crash_move), strike, years, vol * (1.0 + env.crash_vol_shock), rate, carry, side
        )
        crash = crashed - price(spot, strike, years, vol, rate, carry, side)
    columns = greeks._asdict() | {"crash": crash}
    return held.with_columns(pl.Series(name, columns[name]) for name in SUMS)


def _facts(frame: pl.DataFrame, underlyings: pl.DataFrame, rates: pl.DataFrame, near: float) -> pl.DataFrame:
    """`frame` with spot and rates of each row's snapshot, known there."""
    return with_rates(frame.join(spots(underlyings), on="snapshot", how="left"), rates, near)


def _terms(frame: pl.DataFrame) -> list[npt.NDArray[np.float64]]:
    years = (frame["expiration"] - frame["snapshot"]).dt.total_nanoseconds().to_numpy() / YEAR_NS
    side = np.where(frame["right"].to_numpy() == "C", 1.0, -1.0)
    spot, strike, rate, carry = (frame[name].to_numpy() for name in ("market_spot", "strike", "rate", "dividend_yield"))
    return [spot, strike, years, rate, carry, side]


def _paid(fills: pl.DataFrame, steps: int) -> pl.DataFrame:
    """Per step and contract held after it: what its open legs cost, contracts times price, each leg apart."""
    rows: list[tuple[int, str, float]] = []
    open_now: dict[str, list[tuple[float, float]]] = {}  # (quantity, price) of each leg, in the order of opening
    traded = fills.filter(pl.col("kind") == "option").sort("step", maintain_order=True)
    filled = traded.partition_by("step", as_dict=True, maintain_order=True)
    for step in range(1, steps + 1):  # what nobody trades any more is held to the last step all the same
        if (part := filled.get((step,))) is not None:
            for name, quantity, price, reason in part.select("contract_id", "quantity", "price", "reason").iter_rows():
                legs = open_now.setdefault(name, [])
                if reason == "open":
                    legs.append((quantity, price))
                else:
                    closed = next((leg for leg in legs if leg[0] == -quantity), None)
                    if closed is not None:
                        legs.remove(closed)
            open_now = {name: legs for name, legs in open_now.items() if legs}
        rows += [(step, name, sum(q * price for q, price in legs)) for name, legs in open_now.items()]
    schema = {"step": pl.Int32, "contract_id": pl.String, "cost": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")
