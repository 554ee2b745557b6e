"""The market's part of an observation, made anew from canonical tables as they were known at a snapshot.

Whatever is later than the snapshot is cut off before anything is computed. One snapshot at a time, in plain NumPy: slow
and short, and apart from the market's builder. See `clstm_core/market/build/features.py` for what the columns mean.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from clstm_core.evaluation.recomputed.market import spots, with_rates
from clstm_core.evidence_audit.case import MarketFiles
from clstm_core.evidence_audit.options import sensitivities, volatility
from clstm_core.specs import MARKET_FEATURES

DAY_NS = 86_400 * 10**9
YEAR_NS = 365 * DAY_NS
NEUTRAL_VOL = 0.20
BACK = 30
"""Snapshots before a wanted one that are read too: a volatility that is unknown now is the last one known."""

Floats = npt.NDArray[np.float64]


class Chain(NamedTuple):
    """Two-sided quotes of one expiration at one snapshot, with their volatilities and deltas."""

    years: float
    forward: float
    strike: Floats
    side: Floats  # +1 call, -1 put
    vol: Floats
    delta: Floats


class Surface(NamedTuple):
    """Volatilities at the money, skews and tenors of both targets; NaN where unknown."""

    near_vol: float
    far_vol: float
    near_skew: float
    far_skew: float
    near_years: float
    far_years: float


class Past:
    """Canonical tables around some snapshots, each of which is asked as if nothing later were known.

    Args:
        wanted: indices into the market's snapshots
    """

    def __init__(self, market: MarketFiles, wanted: list[int], near_days: float, far_days: float, tolerance: float):
        self.targets, self.tolerance = (near_days, far_days), tolerance
        self.market = market
        self.snapshots = market.snapshots
        read = sorted({index for t in wanted for index in range(max(0, t - BACK), t + 1)})
        kept = self.snapshots.gather(read)
        columns = ("snapshot", "expiration", "strike", "right", "bid", "ask")
        quotes = (
            market.quotes.filter(pl.col("snapshot").is_in(kept.implode()))
            .filter((pl.col("bid") > 0) & (pl.col("ask") > pl.col("bid")) & (pl.col("expiration") > pl.col("snapshot")))
            .select(columns)
            .collect()
        )
        self._quotes = {key[0]: part for key, part in quotes.partition_by("snapshot", as_dict=True).items()}
        self._surfaces: dict[int, Surface] = {}
        underlyings = pl.read_parquet(market.tables / "underlyings.parquet")
        self._close = underlyings.select("snapshot", "close").sort("snapshot")
        facts = pl.DataFrame({"snapshot": self.snapshots}).join(spots(underlyings), on="snapshot", how="left")
        self._facts = with_rates(facts, pl.read_parquet(market.tables / "rates.parquet"), near_days)

    def features(self, t: int) -> Floats:
        """Features [F] at snapshot index t, in the order of specs.MARKET_FEATURES, as float64."""
        closes = self._close.filter(pl.col("snapshot") <= self.snapshots[t])
        close = np.log(closes["close"].to_numpy())
        clock = closes["snapshot"].dt.epoch("ns").to_numpy() / YEAR_NS
        realised_21 = _realised(close, clock, 21, NEUTRAL_VOL)
        surface, before = self._known(t), self._known(t - 1) if t else None
        near = surface.near_vol if np.isfinite(surface.near_vol) else realised_21
        far = surface.far_vol if np.isfinite(surface.far_vol) else near
        earlier = near
        if before is not None:
            earlier = before.near_vol
            if not np.isfinite(earlier):
                n = self._close.filter(pl.col("snapshot") <= self.snapshots[t - 1]).height
                earlier = _realised(close[:n], clock[:n], 21, NEUTRAL_VOL)
        now = self._surface(t)
        weekday = self.snapshots[t].weekday()  # 0 Monday
        values = {
            **{f"return_{n}d": float(close[-1] - close[-1 - n]) if len(close) > n else 0.0 for n in (1, 5, 21)},
            "realised_vol_5d": _realised(close, clock, 5, realised_21),
            "realised_vol_21d": realised_21,
            "near_atm_vol": near,
            "far_atm_vol": far,
            "near_skew": np.nan_to_num(surface.near_skew),
            "far_skew": np.nan_to_num(surface.far_skew),
            "term_slope": far - near,
            "variance_premium": near**2 - realised_21**2,
            "near_atm_vol_change_1d": near - earlier,
            "rate": self.fact(t, "rate"),
            "near_tenor_years": now.near_years if np.isfinite(now.near_years) else self.targets[0] / 365.0,
            "far_tenor_years": now.far_years if np.isfinite(now.far_years) else self.targets[1] / 365.0,
            "days_to_next_snapshot": 7.0 - weekday if weekday >= 4 else 1.0,
        }
        return np.array([values[name] for name in MARKET_FEATURES])

    def fact(self, t: int, name: str) -> float:
        """`market_spot`, `rate` or `dividend_yield` at a snapshot."""
        return float(self._facts[name][t])

    def _known(self, t: int) -> Surface:
        """The surface with what is unknown at t taken from the last snapshot that knew it."""
        now = self._surface(t)
        values = list(now[:4])
        for back in range(t - 1, max(t - BACK, -1), -1):
            if np.isfinite(values).all():
                break
            earlier = self._surface(back)
            values = [new if np.isfinite(new) else old for new, old in zip(values, earlier[:4], strict=True)]
        return Surface(values[0], values[1], values[2], values[3], now.near_years, now.far_years)

    def _surface(self, t: int) -> Surface:
        if t not in self._surfaces:
            near, far = (self._tenor(t, target) for target in self.targets)
            self._surfaces[t] = Surface(near[0], far[0], near[1], far[1], near[2], far[2])
        return self._surfaces[t]

    def _tenor(self, t: int, target: float) -> tuple[float, float, float]:
        """Volatility at the money, skew (20-delta put less call) and years of the expiration nearest a target."""
        chain = self._chain(t, target)
        if chain is None:
            return np.nan, np.nan, np.nan
        calls, puts = chain.side > 0, chain.side < 0
        both = np.intersect1d(chain.strike[calls & (np.abs(chain.delta - 0.5) <= 0.15)], chain.strike[puts])
        if not len(both):
            at_money, years, strike = np.nan, np.nan, np.nan
        else:
            strike = both[np.lexsort((both, np.abs(both - chain.forward)))[0]]
            here = chain.strike == strike
            at_money, years = 0.5 * (chain.vol[here & calls][0] + chain.vol[here & puts][0]), chain.years
        wings = []
        for side in (calls, puts):
            thirty = _nearest(chain, side, 0.30)
            twenty = _nearest(chain, side, 0.20)
            # a contract stands in one cell of its side: that nearer the money
            first = None if thirty is not None and chain.strike[thirty] == strike else thirty
            taken = twenty is not None and (twenty == first or chain.strike[twenty] == strike)
            wings.append(np.nan if twenty is None or taken else chain.vol[twenty])
        return at_money, wings[1] - wings[0], years

    def _chain(self, t: int, target: float) -> Chain | None:
        """The two-sided quotes of the expiration nearest `target` days that has calls and puts."""
        quotes = self._quotes.get(self.snapshots[t])
        if quotes is None:
            return None
        sides = quotes.group_by("expiration").agg(pl.col("right").n_unique())
        listed = sides.filter(pl.col("right") == 2)["expiration"].sort()
        # divided as the market's clock divides: of two equally near, rounding decides there
        years = (listed - self.snapshots[t]).dt.total_nanoseconds().to_numpy() / YEAR_NS
        days = years / (1.0 / 365.0)
        distance = np.abs(days - target)
        close = np.flatnonzero((days > 0.5) & (distance <= self.tolerance * target))
        if not len(close):
            return None
        chosen = int(close[np.argmin(distance[close])])
        mine, tenor = quotes.filter(pl.col("expiration") == listed[chosen]), float(years[chosen])
        spot, rate, carry = (self.fact(t, name) for name in ("market_spot", "rate", "dividend_yield"))
        strike, side = mine["strike"].to_numpy(), np.where(mine["right"].to_numpy() == "C", 1.0, -1.0)
        paid = 0.5 * (mine["bid"].to_numpy() + mine["ask"].to_numpy())
        s, y, r, q = (np.full_like(strike, value) for value in (spot, tenor, rate, carry))
        vol = volatility(paid, s, strike, y, r, q, side)
        known = np.isfinite(vol)
        strike, side, vol, s, y, r, q = (column[known] for column in (strike, side, vol, s, y, r, q))
        delta = sensitivities(s, strike, y, vol, r, q, side).delta
        return Chain(tenor, spot * float(np.exp((rate - carry) * tenor)), strike, side, vol, delta)


def _nearest(chain: Chain, side: npt.NDArray[np.bool_], delta: float) -> int | None:
    """Index of the contract of a side nearest an unsigned delta, within four tenths of it and a hundredth."""
    at = np.flatnonzero(side)
    distance = np.abs(np.abs(chain.delta[at]) - delta)
    at, distance = at[distance <= 0.4 * delta + 0.01], distance[distance <= 0.4 * delta + 0.01]
    return int(at[np.lexsort((chain.strike[at], distance))[0]]) if len(at) else None


def _realised(close: Floats, clock: Floats, n: int, unknown: float) -> float:
    """Root of the last n squared log returns over the calendar time they took."""
    since = max(len(close) - 1 - n, 0)
    elapsed = clock[-1] - clock[since]
    if not elapsed > 0:
        return unknown
    return float(np.sqrt((np.diff(close[since:]) ** 2).sum() / elapsed))
