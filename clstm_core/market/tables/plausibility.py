"""Prices that are numbers and yet cannot be: a mark above its neighbours and the spot, a session in another unit."""

import polars as pl

from clstm_core.market.calendars import session_date
from clstm_core.market.tables.spot import strike_pairs

NEIGHBOUR_SLACK = 0.005  # of the spot, above what the neighbours' asks allow
SPOT_SLACK = 0.02  # of the spot (calls) or the strike (puts), which no option is worth more than
STRIKES, MIN_STRIKES = 12, 3  # nearest the money, that a chain's parity line is read from
UNIT = 3.0  # a discount, or a forward over the spot, so many times too large or small is another unit


def implausible_prices(quotes: pl.DataFrame, spots: pl.DataFrame) -> pl.Series:
    """Whether each row's mid exceeds what the asks of its neighbouring strikes, or the spot, let it be worth.

        calls: C(K) <= C(K') <= ask(K') for K' < K;  C(K) <= C(K') + K' - K for K' > K;  C <= S
        puts:  P(K) <= P(K') <= ask(K') for K' > K;  P(K) <= P(K') + K - K' for K' < K;  P <= K

    Args:    spots with snapshot and close
    Assumes: of the two neighbours on either side the second smallest bound counts, so that one wrong ask costs its own
             row alone
    """
    chain = ["snapshot", "root", "expiration", "right"]
    call = pl.col("right") == "C"
    gap = [(pl.col("rank").shift(-n) - pl.col("rank")).over(chain) for n in (1, 2)]
    bounds = [
        *(pl.col("ask").shift(n).over(chain) for n in (1, 2)),
        *(pl.col("ask").shift(-n).over(chain) + step for n, step in zip((1, 2), gap, strict=True)),
    ]
    ordered = (
        quotes.lazy()
        .select(*chain, "strike", "ask", mid=(pl.col("bid") + pl.col("ask")) / 2)
        # The dearest strike of each chain first.
        .with_columns(rank=pl.when(call).then("strike").otherwise(-pl.col("strike")))
        .with_row_index("at")
        .join(spots.lazy().select("snapshot", "close"), on="snapshot", how="left")
        .sort(*chain, "rank")
        .with_columns(bound=pl.concat_list(bounds).list.drop_nulls().list.sort().list.get(1, null_on_oob=True))
    )
    above = pl.col("mid") > pl.col("bound") + NEIGHBOUR_SLACK * pl.col("close")
    ceiling = pl.when(pl.col("right") == "C").then("close").otherwise(pl.max_horizontal("strike", "close"))
    beyond = pl.col("mid") > (1 + SPOT_SLACK) * ceiling
    marked = ordered.select("at", odd=above.fill_null(False) | beyond.fill_null(False)).sort("at").collect()
    return marked["odd"]


def sessions_in_another_unit(quotes: pl.DataFrame, spots: pl.DataFrame) -> pl.DataFrame:
    """Snapshots whose prices or strikes are in another unit, and why; columns snapshot, why.

        C - P = D (F - K): the discount D is near one and F near the spot, whatever the market does

    Args: spots with snapshot and close
    """
    k, y = pl.col("strike"), pl.col("difference")
    lines = (
        strike_pairs(quotes)
        .group_by("snapshot", "expiration")
        .agg(pl.col("strike", "difference").sort_by(y.abs(), k).head(STRIKES))
        .filter(k.list.len() >= MIN_STRIKES)
        .explode("strike", "difference")
        .group_by("snapshot", "expiration")
        .agg(discount=-pl.cov("difference", "strike") / k.var(), k0=k.mean(), y0=y.mean())
        .with_columns(forward=pl.col("k0") + pl.col("y0") / pl.col("discount"))
        .group_by("snapshot")
        .agg(pl.col("discount", "forward").median())
        .join(spots.lazy(), on="snapshot")
        .select("snapshot", "discount", ratio=pl.col("forward") / pl.col("close"))
        .sort("snapshot")
        .collect()
    )
    strange, far = (~pl.col(name).is_between(1 / UNIT, UNIT).fill_null(True) for name in ("discount", "ratio"))
    day = session_date(pl.col("snapshot"))
    why = (
        pl.when(far)
        .then(pl.format("{}: parity's forward is {} times the spot.", day, pl.col("ratio").round(3)))
        .otherwise(pl.format("{}: prices are {} times what the strikes allow.", day, pl.col("discount").round(3)))
    )
    return lines.filter(strange | far).select("snapshot", why=why)
