"""Listed contracts of modelled markets: expiries and the strikes open for trading."""

from typing import NamedTuple

import numpy as np

from clstm_core.market.clock import DAY_NS, DAYS_YEAR, YEAR_NS, close_ns, weekday

MONDAY, WEDNESDAY, FRIDAY = 0, 2, 4


class Expiries(NamedTuple):
    """Expiry dates of a market, ascending, and how many days before expiry each is first listed."""

    date: np.ndarray  # datetime64[D]
    listed_days: np.ndarray  # float64, calendar days


def listed_expiries(
    first: np.datetime64, last: np.datetime64, *, near_days: float, far_days: float, tolerance: float
) -> Expiries:
    """Expiries an index lists: third Fridays, other Fridays up to ~6 weeks, and Mon/Wed up to 3 weeks for short tenors.

    Nothing further out than the far tenor can use is listed: that bounds the table, not the market.

    Units: near_days and far_days in calendar days; tolerance as in MarketConfig
    """
    reach = (1.0 + tolerance) * far_days
    dates = np.arange(first, last + np.timedelta64(int(reach) + 8, "D"), dtype="datetime64[D]")
    kind = weekday(dates)
    day_of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    monthly = (kind == FRIDAY) & (day_of_month >= 15) & (day_of_month <= 21)
    weekly = (kind == FRIDAY) & ~monthly
    short = ((kind == MONDAY) | (kind == WEDNESDAY)) & (near_days < 14)
    days = np.select([monthly, weekly, short], [125.0, 45.0, 22.0], default=0.0)
    keep = days > 0
    return Expiries(date=dates[keep], listed_days=np.minimum(days[keep], reach + 7.0))


STEPS = np.array([1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0])


def strike_step(level: np.ndarray, vol: np.ndarray, near_days: float) -> np.ndarray:
    """Distance of listed strikes near the money: about a fifth of the near tenor's standard deviation.

    Shapes: level (currency) and vol (fraction a year) as known when each expiry is listed, [E] -> [E] currency
    """
    wanted = 0.2 * level * vol * np.sqrt(near_days / DAYS_YEAR)
    return STEPS[np.abs(np.log(STEPS[None, :] / wanted[:, None])).argmin(axis=1)]


class Listing(NamedTuple):
    """Rows of (snapshot, expiry, strike) that are open for trading, both rights each; sorted by snapshot."""

    snapshot: np.ndarray  # int64 index
    expiry: np.ndarray  # int64 index into Expiries
    strike: np.ndarray  # float64


def list_strikes(
    snapshot_ns: np.ndarray,
    spot: np.ndarray,
    vol: np.ndarray,
    expiries: Expiries,
    near_days: float,
    *,
    inner: float = 1.3,
    outer: float = 2.3,
    wings: tuple[float, float] | None = None,
) -> Listing:
    """Strikes listed at each snapshot: all within `inner`, every other one within `outer` standard deviations.

    `wings` are the standard deviations below and above the money within which every fourth strike is listed besides.

    A strike once listed stays listed until it expires, so a held contract is never left without a quote by the spot
    moving away.

    Shapes:  snapshot_ns, spot, vol [T] (vol: a level known at the snapshot, fraction a year)
    Assumes: the distance of an expiry's strikes is fixed by spot and vol when it is first listed
    """
    at, alive, years = _while_listed(snapshot_ns, expiries)
    first = at[np.arange(len(at)), alive.argmax(axis=1)]
    step = strike_step(spot[first], vol[first], near_days)
    spot, deviation = spot[at], vol[at] * np.sqrt(np.maximum(years, 0.0))
    bounds = [
        (_range(spot, alive, inner * deviation), 2, 1),
        (_range(spot, alive, outer * deviation + 0.01), 2, 0),
    ]
    if wings is not None:
        bounds.append((_range(spot, alive, wings[1] * deviation, wings[0] / wings[1]), 4, 0))
    e, day = np.nonzero(alive)
    found = [
        _multiples(at[e, day], e, low[e, day], high[e, day], step[e], every, shift)
        for (low, high), every, shift in bounds
    ]
    t, e, k = (np.concatenate(part) for part in zip(*found, strict=True))
    key = np.sort(((t * len(step) + e) << 24) + k)  # np.unique would hash them first: four times the time
    key = key[np.diff(key, prepend=-1) != 0]
    te, k = key >> 24, key & ((1 << 24) - 1)
    t, e = te // len(step), te % len(step)
    return Listing(snapshot=t, expiry=e, strike=k * step[e])


def _while_listed(snapshot_ns: np.ndarray, expiries: Expiries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Snapshots in a row around each expiry's listing, whether it is listed then, and the years to it; each [E, D].

    A market has some hundred snapshots an expiry, of thousands: D is what the longest listed one needs.
    """
    expiration_ns = close_ns(expiries.date)
    earliest = expiration_ns - np.ceil(expiries.listed_days * DAY_NS).astype(np.int64)
    start = np.maximum(np.searchsorted(snapshot_ns, earliest) - 1, 0)
    stop = np.searchsorted(snapshot_ns, expiration_ns)
    at = start[:, None] + np.arange(max((stop - start).max(), 1))
    within = at < stop[:, None]
    at = np.minimum(at, len(snapshot_ns) - 1)
    years = (expiration_ns[:, None] - snapshot_ns[at]) / YEAR_NS
    return at, within & (years * DAYS_YEAR <= expiries.listed_days[:, None]), years


def _range(
    spot: np.ndarray, alive: np.ndarray, reach: np.ndarray, below: float = 1.15
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest strike wanted at any snapshot so far; puts reach `below` times as far as calls."""
    low = np.where(alive, spot * np.exp(-below * reach), np.inf)
    high = np.where(alive, spot * np.exp(reach), -np.inf)
    return np.minimum.accumulate(low, axis=1), np.maximum.accumulate(high, axis=1)


def _multiples(
    t: np.ndarray, e: np.ndarray, low: np.ndarray, high: np.ndarray, step: np.ndarray, every: int, shift: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Snapshot, expiry and k of the strikes k x step around the bounds, k = shift + a multiple of `every`, positive."""
    first = np.floor((low / step - shift) / every).astype(np.int64)
    last = np.ceil((high / step - shift) / every).astype(np.int64)
    first = np.maximum(first, 0 if shift else 1)
    count = last - first + 1
    row = np.repeat(np.arange(len(t)), count)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return t[row], e[row], every * (first[row] + offset) + shift


def contract_names(root: str, dates: np.ndarray, strike: np.ndarray, right: np.ndarray) -> np.ndarray:
    """OSI symbols (root, yymmdd, C or P, strike in thousandths) as an object array; right is +1 or -1."""
    days = np.char.replace(np.datetime_as_string(dates.astype("datetime64[D]")), "-", "")
    thousandths = np.round(1000 * strike).astype(np.int64)
    return np.array(
        [
            f"{root}{day[2:]}{'C' if side > 0 else 'P'}{k:08d}"
            for day, side, k in zip(days.tolist(), right.tolist(), thousandths.tolist(), strict=True)
        ],
        dtype=object,
    )


def number_contracts(listing: Listing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of each listed row's (expiry, strike) pair, and the expiry and strike of every pair."""
    thousandths = np.round(1000 * listing.strike).astype(np.int64)
    key = (listing.expiry << 40) + thousandths
    pairs, index = np.unique(key, return_inverse=True)
    return index.reshape(-1), pairs >> 40, (pairs & ((1 << 40) - 1)) / 1000.0
