"""Calendars and listed contracts of modelled markets: session closes, expiries and the strikes open for trading."""

from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

NEW_YORK = ZoneInfo("America/New_York")
DAY_NS = 86_400 * 10**9
YEAR_NS = 365 * DAY_NS
MONDAY, WEDNESDAY, FRIDAY = 0, 2, 4


def session_close_ns(dates: np.ndarray) -> np.ndarray:
    """16:00 New York of each date (datetime64[D]) as UTC nanoseconds, daylight saving included."""
    return _new_york_ns(dates, 16, 0)


def session_open_ns(dates: np.ndarray) -> np.ndarray:
    """09:30 New York of each date (datetime64[D]) as UTC nanoseconds, daylight saving included."""
    return _new_york_ns(dates, 9, 30)


def _new_york_ns(dates: np.ndarray, hour: int, minute: int) -> np.ndarray:
    days = dates.astype("datetime64[D]").tolist()
    instants = (datetime(d.year, d.month, d.day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC) for d in days)
    return np.array([int(instant.timestamp()) * 10**9 for instant in instants], dtype=np.int64)


def weekday(dates: np.ndarray) -> np.ndarray:
    """0 Monday .. 6 Sunday of each date."""
    return (dates.astype("datetime64[D]").astype(np.int64) + 3) % 7


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


def strike_step(level: float, near_days: float) -> float:
    """Distance of listed strikes near the money: about 1% of the level, 0.3% where the near tenor is short."""
    share = 0.003 if near_days < 14 else 0.01
    steps = np.array([1.0, 2.5, 5.0, 10.0, 25.0, 50.0])
    return float(steps[np.abs(np.log(steps / (share * level))).argmin()])


class Listing(NamedTuple):
    """Rows of (snapshot, expiry, strike) that are open for trading, both rights each; sorted by snapshot."""

    snapshot: np.ndarray  # int64 index
    expiry: np.ndarray  # int64 index into Expiries
    strike: np.ndarray  # float64


def list_strikes(
    snapshot_ns: np.ndarray,
    spot: np.ndarray,
    vol: np.ndarray,
    expiration_ns: np.ndarray,
    listed_days: np.ndarray,
    step: np.ndarray,
    *,
    width: float = 2.3,
) -> Listing:
    """Strikes listed at each snapshot: within `width` standard deviations of any spot since the expiry was listed.

    A strike once listed stays listed until it expires, so a held contract is never left without a quote by the spot
    moving away.

    Shapes:  snapshot_ns, spot, vol [T] (vol: a level known at the snapshot, fraction a year); expiration_ns,
             listed_days, step [E] (step: distance of strikes, currency)
    """
    years = (expiration_ns[None, :] - snapshot_ns[:, None]) / YEAR_NS
    alive = (years > 0) & (years * 365 <= listed_days[None, :])
    reach = width * vol[:, None] * np.sqrt(np.maximum(years, 0.0)) + 0.01
    low = np.where(alive, spot[:, None] * np.exp(-1.15 * reach), np.inf)
    high = np.where(alive, spot[:, None] * np.exp(reach), -np.inf)
    low, high = np.minimum.accumulate(low, axis=0), np.maximum.accumulate(high, axis=0)
    t, e = np.nonzero(alive)
    first = np.floor(low[t, e] / step[e]).astype(np.int64)
    count = np.ceil(high[t, e] / step[e]).astype(np.int64) - first + 1
    row = np.repeat(np.arange(len(t)), count)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return Listing(snapshot=t[row], expiry=e[row], strike=(first[row] + offset) * step[e[row]])


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
