"""What a market's smile and spreads look like about a month out, for comparison with real chains."""

from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from clstm_core.market.clock import DAYS_YEAR
from clstm_core.options import black_scholes
from clstm_core.options.implied_vol import implied_vol

FIRST_DAY, LAST_DAY = 24.0, 38.0
FEWEST_STRIKES = 10


class Shape(NamedTuple):
    """Medians over the chains looked at; None where no chain has the quotes.

    Units: volatility multiples of the volatility at the money; spread in volatility points; share of rows
    """

    chains: int
    put_over_money: dict[float, float | None]  # by delta
    money_spread: float | None
    calls_without_bid: float | None


def shape_of(quotes: pl.DataFrame, carry: pl.DataFrame, deltas: tuple[float, ...] = (0.05, 0.10)) -> Shape:
    """The shape of chains that expire in 24 to 38 days.

    Shapes: quotes as `schema.QUOTES`; carry: `snapshot`, `spot`, `rate`, `dividend_yield`
    """
    days = (pl.col("expiration") - pl.col("snapshot")).dt.total_seconds() / 86_400.0
    rows = (
        quotes.with_columns(days=days)
        .filter(pl.col("days").is_between(FIRST_DAY, LAST_DAY) & (pl.col("ask") > pl.col("bid")))
        .join(carry, on="snapshot")
        .sort("snapshot", "expiration", "strike", "right")
    )
    if rows.is_empty():
        return Shape(0, dict.fromkeys(deltas), None, None)
    rows = _solved(rows)
    smiles = [_smile(chain, deltas) for chain in rows.partition_by("snapshot", "expiration")]
    found = [smile for smile in smiles if smile is not None]
    far = rows.filter((pl.col("right") == "C") & pl.col("delta").is_between(0.0, 0.03, closed="none"))
    without_bid = None if far.is_empty() else float((far["bid"] <= 0).mean())  # type: ignore[arg-type]
    return Shape(
        chains=len(found),
        put_over_money={delta: _median([smile[1][delta] for smile in found]) for delta in deltas},
        money_spread=_median([smile[0] for smile in found]),
        calls_without_bid=without_bid,
    )


def _solved(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with implied volatility, delta and vega at mid."""
    side = np.where(rows["right"].to_numpy() == "C", 1.0, -1.0)
    s, k, t, r, q, w, mid = (
        torch.from_numpy(np.array(x, dtype=np.float64))
        for x in (
            rows["spot"].to_numpy(),
            rows["strike"].to_numpy(),
            rows["days"].to_numpy() / DAYS_YEAR,
            rows["rate"].to_numpy(),
            rows["dividend_yield"].to_numpy(),
            side,
            0.5 * (rows["bid"] + rows["ask"]).to_numpy(),
        )
    )
    vol = implied_vol(mid, s, k, t, r, q, w)
    greeks = black_scholes.greeks(s, k, t, vol, r, q, w)
    return rows.with_columns(
        vol=pl.Series(vol.numpy()),
        delta=pl.Series(greeks.delta.numpy()),
        vega=pl.Series(greeks.vega.numpy()),
        moneyness=pl.Series(torch.log(k / s).numpy() - ((r - q) * t).numpy()),
    )


def _smile(chain: pl.DataFrame, deltas: tuple[float, ...]) -> tuple[float, dict[float, float | None]] | None:
    """Spread at the money in volatility points, and the put's volatility over the money's by delta."""
    out = chain.filter(
        pl.col("vol").is_finite() & (pl.col("bid") > 0) & ((pl.col("right") == "C") == (pl.col("moneyness") >= 0))
    ).sort("moneyness")
    puts = out.filter(pl.col("right") == "P")
    if out.height < FEWEST_STRIKES or puts.height < FEWEST_STRIKES // 2:
        return None
    x = out["moneyness"].to_numpy()
    money = float(np.interp(0.0, x, out["vol"].to_numpy()))
    spread = 100.0 * float(np.interp(0.0, x, ((out["ask"] - out["bid"]) / out["vega"]).to_numpy()))
    delta, vol = -puts["delta"].to_numpy(), puts["vol"].to_numpy()
    reached = {wanted: bool(delta.min() <= wanted <= delta.max()) for wanted in deltas}
    at = {wanted: float(np.interp(wanted, delta, vol)) / money if reached[wanted] else None for wanted in deltas}
    return spread, at


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
