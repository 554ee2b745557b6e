"""A listed world in which everything that a market can do to a contract happens within weeks, as canonical tables.

Three roots settle on three weekdays: one at the open, two at the close, each with a multiplier of its own. Sessions are
missed, foreseen or not, and some close early. The rough world has rounded, missing, locked and one-sided quotes, an
index that is not its proxy, and rates, yields and volatility of each day; in the fair one P = Q.
"""

from typing import NamedTuple

import numpy as np
import torch

from clstm_core.audit.reference.terms import Tables
from clstm_core.config import MarketConfig
from clstm_core.market.clock import DAY_NS, DAYS_YEAR, NEW_YORK, YEAR_NS, instant_ns, weekday
from clstm_core.market.tensors import MarketTensors
from clstm_core.options.black_scholes import price

NAME = "AUD"
NEAR_DAYS, FAR_DAYS = 7.0, 14.0
FIRST_DATE = np.datetime64("2001-01-02")
LISTED_DAYS = 23.0
LOOKBACK = 22  # sessions before the first quote
SPOT, VOL, RATE, DIVIDEND_YIELD = 4000.0, 0.18, 0.03, 0.015
STEP = 25.0
HALF_SPREAD = 0.02  # of the price, fair world
LEAST_PRICE = 1e-9  # keeps a quote alive where the model price underflows, fair world
TICK = 0.05
EARLY_CLOSE_MINUTES = 13 * 60
SHOCK, SHOCK_EVERY = 0.07, 13  # log return overnight, sessions; rough world
HOLIDAY_EVERY, EARLY_EVERY = 11, 6  # weekdays: prime to five, so that every weekday meets each


class Root(NamedTuple):
    """One root's contracts: when in the day they settle, what one is worth a point, and the weekday they expire on."""

    settles: str  # AM or PM
    multiplier: float
    weekday: int


ROOTS = {"AUM": Root("PM", 10.0, 0), "AUA": Root("AM", 100.0, 2), "AUP": Root("PM", 50.0, 4)}

SETTLES = {name: root.settles for name, root in ROOTS.items()}
"""AM or PM by root."""


class Days(NamedTuple):
    """Weekdays [D]: whether a session is held, whether everybody knew that none would be, and if it closes early."""

    date: np.ndarray
    held: np.ndarray
    foreseen: np.ndarray
    early: np.ndarray


def _days(count: int) -> Days:
    date = np.arange(FIRST_DATE, FIRST_DATE + np.timedelta64(2 * count + 60, "D"))
    date = date[weekday(date) < 5]
    number = np.arange(len(date))
    closed = number % HOLIDAY_EVERY == HOLIDAY_EVERY - 4
    foreseen = closed & (number // HOLIDAY_EVERY % 2 == 0)
    return Days(date, ~closed, foreseen, ~closed & (number % EARLY_EVERY == 2))


def listed_tables(n_snapshots: int, *, fair: bool, seed: int = 0) -> Tables:
    """Quotes, underlyings and rates as columns of `schema.py`.

        dS / S = (r - q) dt + vol dW, on the calendar clock, at every open and every close

    Shapes:  one-dimensional columns; times int64 UTC nanoseconds, `date` datetime64[D], strings as object arrays
    Units:   n_snapshots sessions of quotes, after LOOKBACK sessions of the index alone
    Assumes: `close` is the official close (13:00 on half days), `parity_spot` the index at 16:00; an expiry on a
             foreseen holiday is dated the session before, one on a closure that nobody foresaw keeps its date
    """
    rng = np.random.default_rng(seed)
    days = _days(n_snapshots + LOOKBACK)
    held = np.flatnonzero(days.held)[: n_snapshots + LOOKBACK]
    date, early = days.date[held], days.early[held]
    opens, closes = (instant_ns(date, minutes, NEW_YORK.zone) for minutes in (NEW_YORK.open_minutes, 16 * 60))
    official = np.where(early, instant_ns(date, EARLY_CLOSE_MINUTES, NEW_YORK.zone), closes)
    moments = np.unique(np.concatenate([opens, official, closes]))
    years = np.diff(moments) / YEAR_NS
    growth = (RATE - DIVIDEND_YIELD - 0.5 * VOL**2) * years + VOL * np.sqrt(years) * rng.standard_normal(len(years))
    if not fair:
        growth[np.searchsorted(moments, opens[SHOCK_EVERY::SHOCK_EVERY]) - 1] += SHOCK * _sign(len(date))
    path = SPOT * np.exp(np.concatenate([[0.0], np.cumsum(growth)]))
    opening, official_close, spot = (path[np.searchsorted(moments, at)] for at in (opens, official, closes))

    wave = np.sin(np.arange(len(date)))
    rate, carry, vol = np.full(len(date), RATE), np.full(len(date), DIVIDEND_YIELD), np.full(len(date), VOL)
    if not fair:
        rate, carry, vol = rate + 0.02 * wave, carry + 0.01 * wave[::-1], vol + 0.05 * np.cos(np.arange(len(date)))
        # an index proxy that is not the index, and on some days no proxy at all
        spot = np.where(np.arange(len(date)) % 9 == 4, np.nan, spot * (1.0 + 0.001 * rng.standard_normal(len(date))))
    known = np.where(np.isnan(spot), official_close, spot)
    quoted = slice(LOOKBACK, None)
    chain = _chain(days, date[quoted], closes[quoted], known[quoted], fair=fair)
    t = chain.session + LOOKBACK
    side = np.where(chain.right == "C", 1.0, -1.0)
    terms = (known[t], chain.strike, (chain.expiration - closes[t]) / YEAR_NS, vol[t], rate[t], carry[t], side)
    value = price(*(torch.from_numpy(np.ascontiguousarray(term)) for term in terms)).numpy()
    quotes = {
        "snapshot": closes[t],
        "contract_id": chain.name,
        "root": chain.root,
        "expiration": chain.expiration,
        "strike": chain.strike,
        "right": chain.right,
        "multiplier": chain.multiplier,
        **{
            name: np.broadcast_to(np.array(text, dtype=object), len(t))
            for name, text in {
                "underlying": NAME,
                "exercise": "european",
                "settlement": "cash",
                "currency": "USD",
            }.items()
        },
    }
    if fair:
        value = np.maximum(value, LEAST_PRICE)
        # the world's own volatility: solving it from mids loses digits where an option is all intrinsic value
        quotes |= {"bid": value * (1.0 - HALF_SPREAD), "ask": value * (1.0 + HALF_SPREAD), "model_vol": vol[t]}
    else:
        quotes = _rough(quotes, value, rng, t)
    count = len(date)
    underlyings = {
        "snapshot": closes,
        "underlying": np.full(count, NAME, dtype=object),
        "open": opening,
        "high": np.maximum(opening, official_close),
        "low": np.minimum(opening, official_close),
        "close": official_close,
        "volume": np.zeros(count),
        "dividend": np.zeros(count),
        "split": np.ones(count),
        "parity_spot": spot,
    }
    rates = {"date": date, "tenor_days": np.full(count, 30.0), "rate": rate, "dividend_yield": carry}
    return quotes, underlyings, rates


class _Chain(NamedTuple):
    """One entry per quote, by session and expiry."""

    session: np.ndarray
    name: np.ndarray
    root: np.ndarray
    expiration: np.ndarray
    strike: np.ndarray
    right: np.ndarray
    multiplier: np.ndarray


def _chain(days: Days, date: np.ndarray, closes: np.ndarray, spot: np.ndarray, *, fair: bool) -> _Chain:
    """What is listed at each session: every contract from LISTED_DAYS before its expiry on."""
    last = date[-1] + np.timedelta64(int(LISTED_DAYS) + 1, "D")
    session, names, roots, expirations, strikes, rights, multipliers = ([] for _ in range(7))
    taken: set[np.datetime64] = set()
    for at in np.flatnonzero((days.date > date[0]) & (days.date <= last)):
        root = next(
            (name for name, terms in ROOTS.items() if terms.weekday == weekday(days.date[at : at + 1])[0]), None
        )
        foreseen = not days.held[at] and (fair or days.foreseen[at])
        on = at - 1 if foreseen else at
        if root is None or days.date[on] in taken or (foreseen and not days.held[on]):
            continue
        taken.add(days.date[on])
        minutes = NEW_YORK.open_minutes if ROOTS[root].settles == "AM" else 16 * 60
        minutes = EARLY_CLOSE_MINUTES if days.early[on] and ROOTS[root].settles == "PM" else minutes
        expiration = int(instant_ns(days.date[on : on + 1], minutes, NEW_YORK.zone)[0])
        ahead = (expiration - closes) / DAY_NS
        open_at = np.flatnonzero((ahead > 0) & (ahead <= LISTED_DAYS))
        if not len(open_at):
            continue
        strike = _strikes(float(spot[open_at[0]]))
        text = str(days.date[on]).replace("-", "")[2:]
        for right in "CP":
            label = np.array([f"{root}{text}{right}{round(1000 * k):08d}" for k in strike], dtype=object)
            session.append(np.repeat(open_at, len(strike)))
            names.append(np.tile(label, len(open_at)))
            strikes.append(np.tile(strike, len(open_at)))
            n = len(open_at) * len(strike)
            roots.append(np.full(n, root, dtype=object))
            rights.append(np.full(n, right, dtype=object))
            expirations.append(np.full(n, expiration))
            multipliers.append(np.full(n, ROOTS[root].multiplier))
    columns = [np.concatenate(part) for part in (session, names, roots, expirations, strikes, rights, multipliers)]
    order = np.argsort(columns[0], kind="stable")
    return _Chain(*(column[order] for column in columns))


def _strikes(spot: float) -> np.ndarray:
    """Every multiple of STEP within two standard deviations of LISTED_DAYS, every second one within four."""
    reach = spot * VOL * np.sqrt(LISTED_DAYS / DAYS_YEAR)
    inner = np.arange(np.ceil((spot - 2 * reach) / STEP), np.floor((spot + 2 * reach) / STEP) + 1) * STEP
    outer = np.arange(np.ceil((spot - 4 * reach) / STEP / 2), np.floor((spot + 4 * reach) / STEP / 2) + 1) * 2 * STEP
    return np.union1d(inner, outer)


def _sign(sessions: int) -> np.ndarray:
    """Down and up in turn, for each shock among so many sessions."""
    return np.where(np.arange(len(range(SHOCK_EVERY, sessions, SHOCK_EVERY))) % 2 == 0, -1.0, 1.0)


def _rough(
    quotes: dict[str, np.ndarray], value: np.ndarray, rng: np.random.Generator, session: np.ndarray
) -> dict[str, np.ndarray]:
    """Quotes in ticks; some have no bid, some are locked or crossed, some are not there at all.

    On the day of a shock nobody quotes what it made dear: puts after a fall, calls after a rise.
    """
    half = TICK + 0.01 * value
    bid = np.floor((value - half).clip(0.0) / TICK + 1e-9) * TICK
    ask = np.ceil((value + half) / TICK - 1e-9) * TICK
    draw = rng.random(len(value))
    bid = np.where(draw < 0.02, 0.0, bid)
    ask = np.where((draw >= 0.02) & (draw < 0.03), bid, ask)  # locked, or nothing at all where the bid is zero
    crossed = (draw >= 0.03) & (draw < 0.035)
    bid, ask = np.where(crossed, ask, bid), np.where(crossed, bid, ask)
    shock, turn = session % SHOCK_EVERY == 0, session // SHOCK_EVERY % 2
    there = (draw < 0.9) & ~(shock & (quotes["right"] == np.where(turn == 1, "P", "C")))
    quotes = quotes | {"bid": bid, "ask": ask}
    return {name: column[there] for name, column in quotes.items()}


def listed_config(**changes: object) -> MarketConfig:
    """How the world is built into tensors."""
    return MarketConfig(source="simulated", near_days=NEAR_DAYS, far_days=FAR_DAYS, **changes)  # type: ignore[arg-type]


def listed_info() -> dict[str, object]:
    """What the world says about itself."""
    return {"source": "listed", "label": "simulated quotes", "spread": "modelled", "notes": []}


def build_listed(tables: Tables, *, embargo: int = 0, **changes: object) -> MarketTensors:
    """The tensors of such tables, by the builder of every market."""
    from clstm_core.market.build.assemble import build_market_tensors

    return build_market_tensors(*tables, listed_config(**changes), embargo=embargo, info=listed_info())
