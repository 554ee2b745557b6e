"""Put-call parity over whole tables at once: forwards, discounts, carry and the spot that options trade on.

One weighted regression per chain, for millions of rows at once.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from clstm_core.market.calendars import session_date
from clstm_core.market.clock import DAYS_YEAR, YEAR_NS
from clstm_core.market.tables.schema import RATES

NEAR_MONEY = 0.04  # parity is read within +- this share of the forward
MIN_PAIRS = 5  # strikes quoted on both sides that one regression needs
SHORT_DAYS = 45.0  # expiries that carry and spot are read from
RATE_WINDOW_DAYS = 20.0  # discounts of shorter expiries say little about the rate
RATE_BOUNDS = (-0.01, 0.10)  # a year; outside, the chain does not say
DIVIDEND_BOUNDS = (-0.02, 0.06)
SMOOTHING = 20  # sessions of the trailing median


def pairs(quotes: pl.DataFrame, *, by_root: bool = True) -> pl.DataFrame:
    """Calls joined with puts of the same snapshot, expiry and strike, both two-sided, near the money.

    Columns: snapshot, [root,] expiry (date), strike, tte_years, difference = C - P at mid, half_spreads = the sum of
    the two half-spreads. With `by_root=False` the roots of one expiry date are joined with each other too, as a file
    without roots shows them.
    """
    keys = ["snapshot", "root", "expiry"] if by_root else ["snapshot", "expiry"]
    quoted = (
        quotes.lazy()
        .filter((pl.col("bid") > 0) & (pl.col("ask") > pl.col("bid")) & (pl.col("expiration") > pl.col("snapshot")))
        .select(
            *(["snapshot", "root"] if by_root else ["snapshot"]),
            "strike",
            "right",
            expiry=session_date(pl.col("expiration")),
            tte_years=(pl.col("expiration") - pl.col("snapshot")).dt.total_nanoseconds() / YEAR_NS,
            mid=(pl.col("bid") + pl.col("ask")) / 2,
            half=(pl.col("ask") - pl.col("bid")) / 2,
        )
    )
    calls = quoted.filter(pl.col("right") == "C").drop("right")
    puts = quoted.filter(pl.col("right") == "P").select(*keys, "strike", put_mid="mid", put_half="half")
    joined = calls.join(puts, on=[*keys, "strike"]).with_columns(
        difference=pl.col("mid") - pl.col("put_mid"), half_spreads=pl.col("half") + pl.col("put_half")
    )
    # Where C - P is nearest zero, strike + (C - P) is the forward to a few cents.
    at_the_money = joined.group_by(keys).agg(
        rough=(pl.col("strike") + pl.col("difference"))
        .sort_by(pl.col("difference").abs(), "strike", "difference")
        .head(MIN_PAIRS)
        .median()
    )
    return (
        joined.join(at_the_money, on=keys)
        .filter((pl.col("strike") / pl.col("rough") - 1).abs() <= NEAR_MONEY)
        .select(*keys, "strike", "tte_years", "difference", "half_spreads")
        # One order of summation, so that the same quotes give the same bits and the same hashes.
        .sort(*keys, "strike", "difference")
        .collect()
    )


def fit_parity(pairs: pl.DataFrame) -> pl.DataFrame:
    """Forward and discount of each chain, from the regression of C - P on K weighted by 1 / half-spreads.

        C - P = D (F - K)

    Returns: keys of `pairs` (snapshot, [root,] expiry), tte_years, forward, discount, n; chains of MIN_PAIRS strikes up
    Assumes: European options; wide quotes of options in the money say less, hence the weights
    """
    keys = [name for name in ("snapshot", "root", "expiry") if name in pairs.columns]
    ordered = pairs.sort(*keys, "strike", "difference")
    first, chain, n = _groups(ordered, keys)
    k, y = ordered["strike"].to_numpy(), ordered["difference"].to_numpy()
    weight = 1 / np.maximum(ordered["half_spreads"].to_numpy(), 1e-6)
    total = _sums(weight, first)
    k0, y0 = _sums(weight * k, first) / total, _sums(weight * y, first) / total
    dk = k - k0[chain]
    variance = _sums(weight * dk**2, first)
    slope = _sums(weight * dk * (y - y0[chain]), first) / np.where(variance > 0, variance, np.nan)
    return (
        ordered[first]
        .select(*keys, "tte_years", k0=k0, y0=y0, discount=-slope, n=n)
        .filter((pl.col("n") >= MIN_PAIRS) & (pl.col("discount") > 0.5) & (pl.col("discount") < 1.5))
        .select(*keys, "tte_years", pl.col("k0") + pl.col("y0") / pl.col("discount"), "discount", "n")
        .rename({"k0": "forward"})
    )


def _groups(ordered: pl.DataFrame, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First row of each group of a sorted frame, the group of each row, and the groups' sizes."""
    chain = ordered.select(pl.struct(keys).rle_id()).to_series().to_numpy().astype(np.int64)
    first = np.flatnonzero(np.diff(chain, prepend=-1))
    return first, chain, np.diff(first, append=len(chain))


def _sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sums of consecutive groups, always added in the same order: the same quotes give the same bits and hashes."""
    return np.add.reduceat(values, first) if len(values) else values


def residuals(pairs: pl.DataFrame, fits: pl.DataFrame) -> pl.DataFrame:
    """The pairs with `residual` = C - P - D (F - K), in the quotes' currency."""
    keys = [name for name in ("snapshot", "root", "expiry") if name in pairs.columns]
    return pairs.join(fits.select(*keys, "forward", "discount"), on=keys).with_columns(
        residual=pl.col("difference") - pl.col("discount") * (pl.col("forward") - pl.col("strike"))
    )


def implied_rates(fits: pl.DataFrame) -> pl.DataFrame:
    """The `rates` table that parity implies: one row a session, tenor = the longest expiries used.

        r = median(-ln D / T) over 20 .. 45 days, or the three longest expiries; r - q = slope of ln F on T

    Units:   continuously compounded, a year, ACT/365
    Assumes: a session sees only itself and the SMOOTHING - 1 before it (trailing medians); values outside RATE_BOUNDS
             and DIVIDEND_BOUNDS are clipped
    """
    short = fits.filter(pl.col("tte_years").is_between(0.5 / DAYS_YEAR, SHORT_DAYS / DAYS_YEAR)).sort(
        "snapshot", "tte_years", "forward"
    )
    first, session, n = _groups(short, ["snapshot"])
    years = short["tte_years"].to_numpy()
    centred = years - (_sums(years, first) / n)[session]
    variance = _sums(centred**2, first)
    carry = _sums(centred * np.log(short["forward"].to_numpy()), first) / np.where(variance > 0, variance, np.nan)
    days = pl.col("tte_years") * DAYS_YEAR
    longest = (days >= RATE_WINDOW_DAYS) | (pl.col("tte_years").rank("ordinal", descending=True).over("snapshot") <= 3)
    return (
        short.with_columns(days=days, rate=-pl.col("discount").log() / pl.col("tte_years"), longest=longest)
        .group_by("snapshot", maintain_order=True)
        .agg(pl.col("days", "rate").filter("longest").median())
        .rename({"days": "tenor_days"})
        .with_columns(carry=pl.Series(carry).fill_nan(None), expiries=pl.Series(n))
        .filter(pl.col("expiries") >= 3)
        .sort("snapshot")
        .with_columns(pl.col("rate", "carry").rolling_median(window_size=SMOOTHING, min_samples=1))
        .with_columns(pl.col("rate").clip(*RATE_BOUNDS))
        .select(
            date=session_date(pl.col("snapshot")),
            tenor_days="tenor_days",
            rate="rate",
            dividend_yield=(pl.col("rate") - pl.col("carry")).clip(*DIVIDEND_BOUNDS),
        )
        .cast(pl.Schema(RATES))
    )


def parity_spots(fits: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """The spot that the options trade on, a session: median over short expiries of F e^{-(r - q) T}.

    Returns: date, parity_spot
    """
    return (
        fits.filter(pl.col("tte_years").is_between(0.5 / DAYS_YEAR, SHORT_DAYS / DAYS_YEAR))
        .with_columns(date=session_date(pl.col("snapshot")))
        .join(rates, on="date")
        .group_by("date")
        .agg(
            parity_spot=(
                pl.col("forward") * (-(pl.col("rate") - pl.col("dividend_yield")) * pl.col("tte_years")).exp()
            ).median()
        )
        .sort("date")
    )
