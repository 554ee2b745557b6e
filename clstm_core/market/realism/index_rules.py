"""The option-selling indices that Cboe publishes, by their rules, on a market's own quotes at mid.

An index rolls on the day its option settles: the old one is paid out at the close and the next is sold there and then,
in fractions of contracts, at mid, without costs. The published ones settle at the opening (AM) and sell before noon.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from clstm_core.market.clock import DAY_YEARS, weekday
from clstm_core.options import black_scholes
from clstm_core.options.implied_vol import implied_vol

FRIDAY = 4
CONDOR_COVER = 10.0  # bills cover the condor's largest loss this many times


class Market(NamedTuple):
    """The path that the indices live on, one value per session [T]."""

    date: np.ndarray  # datetime64[D]
    spot: np.ndarray
    rate: np.ndarray  # continuous a year, from this session to the next
    dividend_yield: np.ndarray


class Leg(NamedTuple):
    """One option held from roll to settlement, `quantity` of it per unit."""

    right: int  # +1 call, -1 put
    strike: float
    quantity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """The options of one expiry that are quoted at a roll.

    Shapes: [n], sorted by strike; delta is signed, NaN where the mid has no implied volatility
    """

    spot: float
    right: np.ndarray
    strike: np.ndarray
    mid: np.ndarray
    delta: np.ndarray

    def nearest_delta(self, right: int, delta: float) -> float:
        """Strike whose delta is nearest."""
        side = (self.right == right) & np.isfinite(self.delta)
        self._require(side)
        return float(self.strike[side][np.abs(np.abs(self.delta[side]) - delta).argmin()])

    def first_above(self) -> float:
        """First strike above the spot."""
        self._require(self.strike > self.spot)
        return float(self.strike[self.strike > self.spot].min())

    def first_below(self) -> float:
        """First strike at or below the spot."""
        self._require(self.strike <= self.spot)
        return float(self.strike[self.strike <= self.spot].max())

    def _require(self, chosen: np.ndarray) -> None:
        """Raise LookupError where a rule finds nothing to choose from."""
        if not chosen.any():
            raise LookupError("no such strike is quoted")


Rule = Callable[[Chain], Sequence[Leg]]


def put(chain: Chain) -> list[Leg]:
    """PUT: one put just below the money."""
    return [Leg(-1, chain.first_below(), -1.0)]


def bxm(chain: Chain) -> list[Leg]:
    """BXM: one call just above the money on the index held."""
    return [Leg(1, chain.first_above(), -1.0)]


def bxmd(chain: Chain) -> list[Leg]:
    """BXMD: one 30-delta call on the index held."""
    return [Leg(1, chain.nearest_delta(1, 0.30), -1.0)]


def cndr(chain: Chain) -> list[Leg]:
    """CNDR: 20-delta put and call sold, 5-delta put and call bought."""
    return [
        Leg(right, chain.nearest_delta(right, delta), sign)
        for right in (-1, 1)
        for delta, sign in ((0.20, -1.0), (0.05, 1.0))
    ]


RULES: dict[str, Rule] = {"PUT": put, "BXM": bxm, "BXMD": bxmd, "CNDR": cndr}
ON_STOCK = ("BXM", "BXMD")


def index_levels(market: Market, quotes: pl.DataFrame) -> dict[str, np.ndarray]:
    """Level of every index of `RULES` at every session [T], 1 at the first roll, NaN where it is not alive.

    An index whose rule finds no strike at a roll, or no quote of what it holds, ends there.

    Shapes:  quotes: `date`, `expiry` (dates), `strike`, `right` ("C", "P"), `mid`; those of monthly expiries suffice
    Source:  Cboe's descriptions of BXM, PUT, BXMD and CNDR
    """
    rolls = _rolls(market.date, quotes)
    levels = {name: np.full(len(market.date), np.nan) for name in RULES}
    if len(rolls) < 2:
        return levels
    by_expiry = {key[0]: part for key, part in quotes.partition_by("expiry", as_dict=True).items()}
    for start, stop in zip(rolls[:-1].tolist(), rolls[1:].tolist(), strict=True):
        mids = _mids(by_expiry[market.date[stop].item()], market, start, stop)
        chain = _chain_at(mids, market, start, stop)
        for name, level in levels.items():
            try:
                legs = RULES[name](chain)
            except LookupError:
                continue
            value = np.sum([leg.quantity * mids.of(leg) for leg in legs], axis=0)
            walk = _covered if name in ON_STOCK else _secured
            first = 1.0 if start == rolls[0] else level[start]
            level[start : stop + 1] = first * walk(name, market, legs, value, start, stop)
    return levels


def monthly_expiries(expiries: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """Third Fridays among the expiries, or where that is no session, the listed session before it."""
    if len(expiries) == 0:
        return expiries
    months = np.arange(expiries.min().astype("datetime64[M]"), expiries.max().astype("datetime64[M]") + 1)
    first = months.astype("datetime64[D]")
    third = first + (FRIDAY - weekday(first)) % 7 + 14
    held = sessions[np.maximum(np.searchsorted(sessions, third, side="right") - 1, 0)]
    return np.intersect1d(held[(third - held).astype(np.int64) <= 3], expiries)


def _rolls(sessions: np.ndarray, quotes: pl.DataFrame) -> np.ndarray:
    """Sessions at which a monthly option settles, from the first one that quotes the next month's."""
    expiries = monthly_expiries(quotes["expiry"].unique().sort().to_numpy().astype("datetime64[D]"), sessions)
    if len(expiries) == 0:
        return np.zeros(0, dtype=np.int64)
    first = quotes["date"].to_numpy().min()
    expiries = expiries[(expiries >= first) & (expiries <= sessions[-1])]
    return np.searchsorted(sessions, expiries)


class _Mids(NamedTuple):
    """Mids of one expiry [sessions from roll to settlement, contracts]; the last row is what each settles for."""

    right: np.ndarray
    strike: np.ndarray
    mid: np.ndarray

    def of(self, leg: Leg) -> np.ndarray:
        """The column of one leg."""
        return self.mid[:, np.flatnonzero((self.right == leg.right) & (self.strike == leg.strike))[0]]


def _mids(chain: pl.DataFrame, market: Market, start: int, stop: int) -> _Mids:
    """The expiry's mids from the roll on; NaN where a contract has no quote."""
    days = chain["date"].to_numpy().astype("datetime64[D]")
    at = np.searchsorted(market.date, days)
    kept = (at >= start) & (at < stop)
    key = np.stack([np.where(chain["right"].to_numpy() == "C", 1.0, -1.0), chain["strike"].to_numpy()], axis=1)[kept]
    contracts, column = np.unique(key, axis=0, return_inverse=True)
    mid = np.full((stop - start + 1, len(contracts)), np.nan)
    mid[at[kept] - start, column.reshape(-1)] = chain["mid"].to_numpy()[kept]
    right, strike = contracts.T
    mid[-1] = np.maximum(right * (market.spot[stop] - strike), 0.0)
    return _Mids(right.astype(np.int64), strike, mid)


def _chain_at(mids: _Mids, market: Market, start: int, stop: int) -> Chain:
    """The expiry's quotes at the roll, with our own deltas."""
    quoted = mids.mid[0] > 0
    right, strike, mid = mids.right[quoted], mids.strike[quoted], mids.mid[0][quoted]
    years = float((market.date[stop] - market.date[start]).astype(np.float64)) * DAY_YEARS
    facts = (market.spot[start], strike, years, market.rate[start], market.dividend_yield[start], right, mid)
    s, k, t, r, q, w, price = (torch.from_numpy(np.full(strike.shape, fact, dtype=np.float64)) for fact in facts)
    delta = black_scholes.greeks(s, k, t, implied_vol(price, s, k, t, r, q, w), r, q, w).delta.numpy()
    order = np.argsort(strike, kind="stable")
    return Chain(
        spot=float(market.spot[start]), right=right[order], strike=strike[order], mid=mid[order], delta=delta[order]
    )


def _days(market: Market, start: int, stop: int) -> np.ndarray:
    """Years between neighbouring sessions [n - 1]."""
    return np.diff(market.date[start : stop + 1]).astype(np.float64) * DAY_YEARS


def _covered(name: str, market: Market, legs: Sequence[Leg], value: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Growth of one index unit, dividends reinvested, less the call sold on it."""
    spot, years = market.spot[start : stop + 1], _days(market, start, stop)
    grown = spot[1:] * np.exp(market.dividend_yield[start:stop] * years)
    growth = (grown + value[1:]) / (spot[:-1] + value[:-1])
    return np.concatenate([[1.0], np.cumprod(growth)])


def _secured(name: str, market: Market, legs: Sequence[Leg], value: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Growth of bills that secure the options sold: the strike in full (PUT), or ten times the largest loss (CNDR)."""
    bills = np.concatenate([[0.0], np.cumsum(market.rate[start:stop] * _days(market, start, stop))])
    credit = -value[0]
    if name == "CNDR":
        widths = [abs(legs[wing].strike - legs[wing + 1].strike) for wing in (0, 2)]
        units = 1.0 / (CONDOR_COVER * (max(widths) - credit))
    else:
        # bills and premium together grow to the strike
        units = 1.0 / (legs[0].strike * np.exp(-bills[-1]) - credit)
    return (1.0 + units * credit) * np.exp(bills) + units * value


def total_return(market: Market) -> np.ndarray:
    """The index with dividends reinvested [T]."""
    years = np.diff(market.date).astype(np.float64) * DAY_YEARS
    growth = market.spot[1:] / market.spot[:-1] * np.exp(market.dividend_yield[:-1] * years)
    return np.concatenate([[1.0], np.cumprod(growth)])


def yearly_returns(dates: np.ndarray, levels: np.ndarray) -> dict[int, float]:
    """Return of each whole calendar year, percent; a year without a level at either end is left out."""
    years = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    last = {int(year): level for year, level in zip(years.tolist(), levels.tolist(), strict=True)}
    whole = {year for year in last if dates[years == year][-1] >= np.datetime64(f"{year}-12-25")}
    return {
        year: 100.0 * (level / last[year - 1] - 1.0)
        for year, level in last.items()
        if year in whole and np.isfinite(level) and np.isfinite(last.get(year - 1, np.nan))
    }


def monthly_deviation(dates: np.ndarray, levels: np.ndarray, span: tuple[int, int, int, int]) -> float:
    """Standard deviation a year of monthly log returns between two months, percent."""
    first, last = (np.datetime64(f"{year}-{month:02d}") for year, month in (span[:2], span[2:]))
    months = dates.astype("datetime64[M]")
    ends = np.append(np.flatnonzero(months[1:] != months[:-1]), len(dates) - 1)
    ends = ends[(months[ends] >= first - 1) & (months[ends] <= last)]
    returns = np.diff(np.log(levels[ends]))
    return float(100.0 * np.sqrt(12.0) * returns[np.isfinite(returns)].std(ddof=1))
