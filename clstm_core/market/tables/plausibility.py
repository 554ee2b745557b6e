"""Prices that are numbers and yet cannot be: quotes at odds with their neighbours, sessions in another unit, closes."""

import polars as pl

from clstm_core.market.calendars import session_date
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.tables.spot import strike_pairs

NEIGHBOUR_SLACK = 0.005  # of the spot, above what the neighbours' asks allow
SPOT_SLACK = 0.02  # of the spot (calls) or the strike (puts), which no option is worth more than
TIMES = 5.0  # an ask so many times what its neighbours allow, or what they bid so many times the ask, is no price
CARRY = 0.10  # per year, of spot and strike: a European option is worth less than its intrinsic value by no more
TIMES_FROM = 1e-4  # of the spot: differences below are ticks
STRIKES, MIN_STRIKES = 12, 3  # nearest the money, that a chain's parity line is read from
NEAR_DAYS = 60.0  # expiries that a session's discount and forward are read from; without any, its nearest one
UNIT = 0.25  # a discount, or a forward over the spot, so far from one is another unit
WIDTH = 0.05  # of the spot: a call and a put at the money so wide together say nothing of either
CLOSE_OFF = 0.03  # parity's spot so far from a close (as a share) doubts the close
STRIKE_TIMES = 100.0  # no strike is listed so many times above or below the spot
LONGEST_YEARS = 15.0  # to expiry; nothing is listed for longer


def implausible_prices(quotes: pl.DataFrame, spots: pl.DataFrame) -> pl.Series:
    """Whether each row's quote is at odds with the spot, or with what its neighbouring strikes let it be worth.

        calls: bid(K') <= C(K) <= ask(K'') for K'' < K < K';  bid(K'') - (K - K'') <= C(K) <= ask(K') + K' - K;  C <= S
        puts:  the same with the strikes in the other order;  P <= K

    A mid outside by NEIGHBOUR_SLACK of the spot is implausible, and so are a cheap option whose ask is TIMES what all
    its neighbours ask and allow, or a TIMES-th of what they bid, and a mid below the intrinsic value less its carry.

    Args:    spots with snapshot and close
    Assumes: of the two neighbours on either side the second tightest bound counts, so that one wrong quote costs its
             own row alone
    """
    chain = ["snapshot", "root", "expiration", "right"]
    call = pl.col("right") == "C"

    def neighbour(column: str, n: int) -> pl.Expr:
        return pl.col(column).shift(n).over(chain)

    gap = {n: (pl.col("rank").shift(n) - pl.col("rank")).over(chain).abs() for n in (1, 2, -1, -2)}
    above = [neighbour("ask", n) + (0.0 if n > 0 else gap[n]) for n in gap]
    below = [neighbour("bid", n) - (gap[n] if n > 0 else 0.0) for n in gap]
    asks = pl.max_horizontal(neighbour("ask", n) for n in gap)
    ordered = (
        quotes.lazy()
        .select(*chain, "strike", "bid", "ask", years=_years(), mid=(pl.col("bid") + pl.col("ask")) / 2)
        # The dearest strike of each chain first.
        .with_columns(rank=pl.when(call).then("strike").otherwise(-pl.col("strike")))
        .with_row_index("at")
        .join(spots.lazy().select("snapshot", "close"), on="snapshot", how="left")
        .sort(*chain, "rank")
        .with_columns(
            asks=asks,
            high=pl.concat_list(above).list.drop_nulls().list.sort().list.get(1, null_on_oob=True),
            low=pl.concat_list(below).list.drop_nulls().list.sort(descending=True).list.get(1, null_on_oob=True),
        )
    )
    slack, ticks = NEIGHBOUR_SLACK * pl.col("close"), TIMES_FROM * pl.col("close")
    dear = pl.max_horizontal("asks", "high")
    ceiling = pl.when(call).then("close").otherwise(pl.max_horizontal("strike", "close"))
    intrinsic = pl.when(call).then(1.0).otherwise(-1.0) * (pl.col("close") - pl.col("strike"))
    rules = (
        pl.col("mid") > pl.col("high") + slack,
        pl.col("mid") < pl.col("low") - slack,
        (pl.col("ask") > TIMES * dear) & (pl.col("ask") > dear + ticks),
        (TIMES * pl.col("ask") < pl.col("low")) & (pl.col("ask") < pl.col("low") - ticks),
        pl.col("mid") > (1 + SPOT_SLACK) * ceiling,
        pl.col("mid") < intrinsic - (SPOT_SLACK + CARRY * pl.col("years")) * ceiling,
    )
    marked = ordered.select("at", odd=pl.any_horizontal(rule.fill_null(False) for rule in rules)).sort("at").collect()
    return marked["odd"]


def implausible_terms(quotes: pl.DataFrame, spots: pl.DataFrame) -> pl.DataFrame:
    """Whether each row's `strike` and `expiry` are such as nobody lists; columns of bool of those names.

    Args: spots with snapshot and close
    """
    ratio = pl.col("strike") / pl.col("close")
    return quotes.join(spots.select("snapshot", "close"), on="snapshot", how="left", maintain_order="left").select(
        strike=~ratio.is_between(1 / STRIKE_TIMES, STRIKE_TIMES).fill_null(True), expiry=_years() > LONGEST_YEARS
    )


def _years() -> pl.Expr:
    return (pl.col("expiration") - pl.col("snapshot")).dt.total_seconds() / (YEAR_NS / 1e9)


def sessions_in_another_unit(quotes: pl.DataFrame, spots: pl.DataFrame) -> pl.DataFrame:
    """Snapshots whose prices or strikes are in another unit, or whose quotes say nothing; columns snapshot and why.

        C - P = D (F - K): the discount D is near one and F near the spot, whatever the market does

    Args: spots with snapshot and close
    """
    lines = (
        _parity_lines(quotes)
        .join(spots, on="snapshot")
        .select("snapshot", "discount", "noise", "width", "close", ratio=pl.col("forward") / pl.col("close"))
        .sort("snapshot")
    )
    high = pl.lit(1 + UNIT)
    strange = ~_usual_discount().fill_null(True)
    far = ~pl.col("ratio").is_between(1 / high, high).fill_null(True)
    wide = pl.col("width") > WIDTH * pl.col("close")
    day = session_date(pl.col("snapshot"))
    why = (
        pl.when(wide)
        .then(pl.format("{}: a call and a put at the money are quoted {} wide.", day, pl.col("width").round(2)))
        .when(far)
        .then(pl.format("{}: parity's forward is {} times the spot.", day, pl.col("ratio").round(3)))
        .otherwise(pl.format("{}: prices are {} times what the strikes allow.", day, pl.col("discount").round(3)))
    )
    return lines.filter(strange | far | wide).select("snapshot", why=why)


def doubtful_closes(quotes: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Dates whose close is not what the session's quotes say, where these agree better with the session beside it.

    Beside it are the close before (of the first date the one after) and what the quotes before said, so that several
    wrong closes in a row are found too. A session in another unit is the opposite: its quotes disagree with both, or
    among themselves.

    Args:    prices with date and close
    Returns: date, close, parity (the spot that put-call parity implies), ascending
    Assumes: of quotes taken some hours after the close, as vendors do, the spot moves less than CLOSE_OFF
    """
    beside = pl.coalesce(pl.col("close").shift(1), pl.col("close").shift(-1))
    closes = prices.sort("date").select("date", "close", beside=beside)

    def nearer(reference: str) -> pl.Expr:
        parity, close = ((pl.col(name) / pl.col(reference)).log().abs() for name in ("parity", "close"))
        return (parity < close).fill_null(False)

    off = (pl.col("parity") / pl.col("close")).log().abs() > CLOSE_OFF + CARRY * pl.col("years")
    return (
        _parity_lines(quotes)
        .select("years", said=_usual_discount(), date=session_date(pl.col("snapshot")), parity="forward")
        .with_columns(before=pl.col("parity").shift(1))
        .join(closes, on="date", maintain_order="left")
        .filter(off & pl.col("said") & (nearer("beside") | nearer("before")))
        .select("date", "close", "parity")
        .sort("date")
    )


def _usual_discount() -> pl.Expr:
    """Whether prices and strikes are in one unit, by the discount of `_parity_lines`; null where it has none."""
    high = pl.lit(1 + UNIT)
    return pl.col("discount").is_between(1 / high - pl.col("noise"), high + pl.col("noise"))


def _parity_lines(quotes: pl.DataFrame) -> pl.DataFrame:
    """Discount, forward, the discount's noise and the quotes' width of each snapshot: medians of its near chains."""
    k, y = pl.col("strike"), pl.col("difference")
    days = (pl.col("expiration") - pl.col("snapshot")).dt.total_hours() / 24
    return (
        strike_pairs(quotes)
        .group_by("snapshot", "expiration")
        .agg(pl.col("strike", "difference", "half_spreads").sort_by(y.abs(), k).head(STRIKES))
        .filter(k.list.len() >= MIN_STRIKES)
        .filter((days <= NEAR_DAYS) | (pl.col("expiration") == pl.col("expiration").min().over("snapshot")))
        .explode("strike", "difference", "half_spreads")
        .group_by("snapshot", "expiration")
        .agg(
            discount=-pl.cov("difference", "strike") / k.var(),
            k0=k.mean(),
            y0=y.mean(),
            noise=pl.col("half_spreads").mean() / (k.max() - k.min()),
            width=pl.col("half_spreads").median(),
            years=_years().first(),  # of the group's one snapshot and expiration
        )
        .with_columns(forward=pl.col("k0") + pl.col("y0") / pl.col("discount"))
        .filter(pl.col("discount").is_finite() & pl.col("forward").is_finite())
        .group_by("snapshot")
        .agg(pl.col("discount", "forward", "noise", "width", "years").median())
        .sort("snapshot")
        .collect()
    )
