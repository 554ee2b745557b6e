"""Spot, carry and tenors of a table that states none: what few strikes of one or two expiries can tell.

`tables/parity.py` needs five strikes and three expiries per session; a small table has fewer.
"""

from datetime import date

import numpy as np
import polars as pl

from clstm_core.market.calendars import session_date
from clstm_core.market.tables.parity import RATE_BOUNDS, YEAR_NS
from clstm_core.market.tables.schema import RATES

STRIKES_USED = 3  # nearest the money, of each chain
MIN_CARRY_DAYS = 2.0  # of a shorter expiry the forward says nothing of the carry
NEAR_DAYS, FAR_DAYS = 30.0, 60.0  # where ties of tenors go


def strike_pairs(quotes: pl.DataFrame) -> pl.LazyFrame:
    """Calls joined with puts of one snapshot, expiration and strike: snapshot, expiration, strike, difference = C - P.

    `half_spreads` is the sum of the two half-spreads.

    All strikes quoted on both sides, also on the day of their settlement; `parity.pairs` has those near the money.
    """
    sides = (
        quotes.lazy()
        .filter((pl.col("bid") >= 0) & (pl.col("ask") > 0) & (pl.col("ask") >= pl.col("bid")))
        .filter(pl.col("expiration") >= pl.col("snapshot"))
        .select(
            "snapshot",
            "expiration",
            "strike",
            "right",
            mid=(pl.col("bid") + pl.col("ask")) / 2,
            half=(pl.col("ask") - pl.col("bid")) / 2,
        )
        .unique(["snapshot", "expiration", "strike", "right"], keep="first", maintain_order=True)
    )
    keys = ["snapshot", "expiration", "strike"]
    calls, puts = (sides.filter(pl.col("right") == right).drop("right") for right in "CP")
    return calls.join(puts, on=keys, suffix="_put").select(
        *keys, difference=pl.col("mid") - pl.col("mid_put"), half_spreads=pl.col("half") + pl.col("half_put")
    )


def rough_forwards(quotes: pl.DataFrame) -> pl.DataFrame:
    """The forward of each chain: median of K + C - P over the strikes where calls and puts cost most nearly the same.

    Returns: date, expiration, tte_years, forward; chains with one strike quoted on both sides up
    Assumes: near the money C - P is so small that its discount does not matter
    """
    return (
        strike_pairs(quotes)
        .group_by("snapshot", "expiration")
        .agg(
            forward=(pl.col("strike") + pl.col("difference"))
            .sort_by(pl.col("difference").abs(), "strike")
            .head(STRIKES_USED)
            .median()
        )
        .filter(pl.col("forward") > 0)
        .select(
            "expiration",
            "forward",
            date=session_date(pl.col("snapshot")),
            tte_years=(pl.col("expiration") - pl.col("snapshot")).dt.total_nanoseconds() / YEAR_NS,
        )
        .sort("date", "tte_years", "expiration")
        .collect()
    )


def carry_rates(forwards: pl.DataFrame, spots: pl.DataFrame | None, sessions: list[date]) -> pl.DataFrame:
    """A `rates` table where none is stated and parity implies none: the carry from spot to forward, else zero.

        c = median over expiries of ln(F / S) / T;  rate = max(c, 0), dividend yield = rate - c

    Args: spots with date and close, None where there are none either
    """
    days = pl.DataFrame({"date": sessions}, schema={"date": pl.Date})
    if spots is None:
        carry = days.with_columns(carry=pl.lit(0.0))
    else:
        known = (
            forwards.join(spots.select("date", "close"), on="date")
            .filter(pl.col("tte_years") * 365 >= MIN_CARRY_DAYS)
            .group_by("date")
            .agg(carry=((pl.col("forward") / pl.col("close")).log() / pl.col("tte_years")).median())
        )
        carry = days.join(known, on="date", how="left").sort("date").with_columns(pl.col("carry").forward_fill())
    bounded = pl.col("carry").fill_null(0.0).clip(-RATE_BOUNDS[1], RATE_BOUNDS[1])
    rate = pl.max_horizontal(bounded, 0.0)
    return carry.select("date", tenor_days=pl.lit(30.0), rate=rate, dividend_yield=rate - bounded).cast(
        pl.Schema(RATES)
    )


def forward_spots(forwards: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """The spot of each session from its nearest chain: F e^{-(r - q) T}; columns date, close."""
    return (
        forwards.sort("date", "tte_years")
        .unique(subset="date", keep="first", maintain_order=True)
        .sort("date")
        .join_asof(rates.sort("date").select("date", "rate", "dividend_yield"), on="date", strategy="backward")
        .select(
            "date",
            close=pl.col("forward")
            * (-(pl.col("rate").fill_null(0) - pl.col("dividend_yield").fill_null(0)) * pl.col("tte_years")).exp(),
        )
    )


def listed_targets(listed: pl.DataFrame, tolerance: float) -> tuple[float, float] | None:
    """Near and far tenor targets, in days, that most sessions can fill; None where no expiry is a day away.

    `listed` has session and expiry (dates) of chains with calls and puts. Near is the listed number of days that most
    sessions fill within (1 +- tolerance) x it, ties nearest NEAR_DAYS; far the same among each session's expiries after
    the one that near takes, ties nearest FAR_DAYS; far = near where there is no other.
    """
    days: dict[date, list[int]] = {}
    for session, expiry in listed.select("session", "expiry").unique().sort("session", "expiry").iter_rows():
        if (ahead := (expiry - session).days) >= 1:
            days.setdefault(session, []).append(ahead)
    chains = list(days.values())
    near = _most_filled(chains, tolerance, NEAR_DAYS)
    if near is None:
        return None
    later = [[d for d in chain if d > min(chain, key=lambda d: (abs(d - near), d))] for chain in chains]
    # What is later in one session may be nearer than the near target elsewhere: targets must not cross.
    far = _most_filled([[d for d in chain if d >= near] for chain in later], tolerance, FAR_DAYS)
    return float(near), float(far if far is not None else near)


def _most_filled(chains: list[list[int]], tolerance: float, wanted: float) -> int | None:
    candidates = np.unique([d for chain in chains for d in chain])
    if not len(candidates):
        return None
    filled = sum(
        (np.abs(np.asarray(chain)[:, None] - candidates) <= tolerance * candidates).any(axis=0).astype(int)
        for chain in chains
        if chain
    )
    best = candidates[np.asarray(filled) == np.max(filled)]
    return int(min(best, key=lambda d: (abs(np.log(d / wanted)), d)))
