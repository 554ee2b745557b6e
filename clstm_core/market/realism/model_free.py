"""The model-free volatility of listed quotes, by the rule of the VIX."""

import polars as pl

TARGET_DAYS = 30.0
LEAST_DAYS = 7.0
DAY_SECONDS = 86_400.0
YEAR_DAYS = 365.0


def strip_variance(quotes: pl.DataFrame, carry: pl.DataFrame) -> pl.DataFrame:
    """Model-free variance of every (snapshot, expiration).

        2 / T sum of dK / K^2 e^{rT} Q(K)  -  1 / T (F / K0 - 1)^2

    Shapes:  quotes as `schema.QUOTES`; carry: `snapshot`, `rate`. Result: `snapshot`, `expiration`, `days`, `variance`
             (a year), `strikes` counted
    Source:  Cboe, "Volatility Index Methodology" (2019). F from the strike where call and put differ least; K0 the
             strike at or below it; out-of-the-money mids outwards until two neighbours in a row have no bid
    """
    keys = ["snapshot", "expiration"]
    sides = quotes.filter(pl.col("ask") > 0).select(
        *keys, "strike", "right", mid=(pl.col("bid") + pl.col("ask")) / 2, has_bid=pl.col("bid") > 0
    )
    calls = sides.filter(pl.col("right") == "C").drop("right")
    puts = sides.filter(pl.col("right") == "P").drop("right")
    pairs = (
        calls.join(puts, on=[*keys, "strike"], suffix="_put")
        .join(carry.select("snapshot", "rate"), on="snapshot")
        .sort(*keys, "strike")
        .with_columns(days=(pl.col("expiration") - pl.col("snapshot")).dt.total_seconds() / DAY_SECONDS)
        .with_columns(growth=(pl.col("rate") * pl.col("days") / YEAR_DAYS).exp())
    )
    difference = pl.col("mid") - pl.col("mid_put")
    nearest = difference.abs().arg_min()
    forward = pairs.group_by(keys).agg(
        forward=pl.col("strike").get(nearest) + pl.col("growth").get(nearest) * difference.get(nearest)
    )
    pairs = pairs.join(forward, on=keys).with_columns(
        k0=pl.col("strike").filter(pl.col("strike") <= pl.col("forward")).max().over(keys)
    )
    below, above = pl.col("strike") < pl.col("k0"), pl.col("strike") > pl.col("k0")
    bid = pl.when(below).then("has_bid_put").otherwise("has_bid")
    price = pl.when(below).then("mid_put").when(above).then("mid").otherwise((pl.col("mid") + pl.col("mid_put")) / 2)
    out = pairs.with_columns(bid=bid | (pl.col("strike") == pl.col("k0")), price=price).with_columns(
        # nearer the money first: two neighbours without a bid end the side
        dead=~pl.col("bid") & ~pl.col("bid").shift(1).over(keys).fill_null(True)
    )
    out = out.with_columns(
        cut_above=(pl.col("dead") & above).cum_sum().over(keys) > 0,
        cut_below=((~pl.col("bid") & ~pl.col("bid").shift(-1).over(keys).fill_null(True)) & below)
        .reverse()
        .cum_sum()
        .reverse()
        .over(keys)
        > 0,
    ).filter(pl.col("bid") & ~(above & pl.col("cut_above")) & ~(below & pl.col("cut_below")))
    left, right = pl.col("strike").shift(1).over(keys), pl.col("strike").shift(-1).over(keys)
    width = pl.when(left.is_null()).then(right - pl.col("strike")).when(right.is_null()).then(pl.col("strike") - left)
    out = out.with_columns(width=width.otherwise((right - left) / 2))
    years = pl.col("days").first() / YEAR_DAYS
    return (
        out.group_by(keys)
        .agg(
            days=pl.col("days").first(),
            strikes=pl.len(),
            variance=2.0 / years * (pl.col("width") / pl.col("strike") ** 2 * pl.col("growth") * pl.col("price")).sum()
            - (pl.col("forward").first() / pl.col("k0").first() - 1.0) ** 2 / years,
        )
        .sort(keys)
    )


def thirty_day_volatility(strips: pl.DataFrame) -> pl.DataFrame:
    """The 30-day model-free volatility of each snapshot: total variance linear between the two expiries around 30 days.

    Shapes: `strips` as `strip_variance` gives them; the result has `snapshot`, `volatility` (a fraction)
    """
    usable = strips.filter(pl.col("days") >= LEAST_DAYS).with_columns(total=pl.col("variance") * pl.col("days"))
    near = usable.filter(pl.col("days") <= TARGET_DAYS).group_by("snapshot").agg(pl.all().sort_by("days").last())
    far = usable.filter(pl.col("days") > TARGET_DAYS).group_by("snapshot").agg(pl.all().sort_by("days").first())
    share = (TARGET_DAYS - pl.col("days")) / (pl.col("days_far") - pl.col("days"))
    return (
        near.join(far, on="snapshot", suffix="_far")
        .select(
            "snapshot",
            volatility=((pl.col("total") + share * (pl.col("total_far") - pl.col("total"))) / TARGET_DAYS).sqrt(),
        )
        .sort("snapshot")
    )
