"""Reading canonical columns into arrays by snapshot, by row and by contract, with every refusal said in a sentence."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.clock import AM_BEFORE_CLOSE_NS, DAY_NS
from clstm_core.market.tensors import SIZE_ZERO_ASK, SIZE_ZERO_BID
from clstm_core.plural import counted

DATES_SHOWN = 5
SETTLEMENT_GAP_DAYS = 5  # a settlement session farther than this from the expiration date is missing data

Columns = Mapping[str, np.ndarray]


class PerSnapshot(NamedTuple):
    """Facts of each snapshot with quotes [T], and the sessions of the underlying [sessions]."""

    snapshot: np.ndarray  # int64, UTC nanoseconds, ascending
    spot: np.ndarray
    rate: np.ndarray
    dividend_yield: np.ndarray
    session: np.ndarray  # index of the snapshot's session
    session_ns: np.ndarray
    session_close: np.ndarray


class Rows(NamedTuple):
    """Quotes before their settlement, in the order given."""

    snapshot: np.ndarray  # index of the snapshot
    contract: np.ndarray  # index of the contract
    bid: np.ndarray
    ask: np.ndarray
    size_zero: np.ndarray  # int8, bits of `tensors.SIZE_ZERO_BID` and SIZE_ZERO_ASK
    model_vol: np.ndarray | None  # of a world that states its volatilities; else they are solved from mids


class Contracts(NamedTuple):
    """Every contract quoted."""

    name: np.ndarray  # object
    expiration: np.ndarray  # int64, UTC nanoseconds
    strike: np.ndarray
    right: np.ndarray  # int64, +1 call, -1 put
    multiplier: np.ndarray
    settle_index: np.ndarray  # int64
    settle_value: np.ndarray


def read_columns(
    quotes: Columns, underlyings: Columns, rates: Columns, config: MarketConfig
) -> tuple[PerSnapshot, Rows, Contracts]:
    """Check and index the canonical columns; raises MarketDataError as `build_market_tensors` states."""
    snapshot_ns = nanoseconds(quotes["snapshot"])
    if len(snapshot_ns) == 0:
        raise MarketDataError("no quotes at all: expected at least one snapshot. Check the source and its filters.")
    for column, expected in (("exercise", "european"), ("settlement", "cash")):
        found = sorted(set(_distinct(quotes[column])) - {expected})
        if found:
            raise MarketDataError(
                f"{column} {', '.join(map(str, found))} in the quotes: this release trades {expected} contracts only. "
                "Drop those contracts in the source, or use an index such as SPX."
            )
    for column in ("underlying", "currency"):
        if len(found := sorted(_distinct(quotes[column]))) != 1:
            raise MarketDataError(
                f"{len(found)} values of {column} in the quotes ({', '.join(found[:5])}): expected one. "
                "Build one market per underlying."
            )
    snapshot = np.unique(snapshot_ns)
    per = _per_snapshot(snapshot, underlyings, rates, config, str(quotes["underlying"][0]))
    expiration_ns = nanoseconds(quotes["expiration"])
    alive = np.flatnonzero(expiration_ns > snapshot_ns)
    contract, first = _factorise(quotes["contract_id"], alive)
    rows = Rows(
        snapshot=np.searchsorted(snapshot, snapshot_ns[alive]),
        contract=contract,
        bid=_floats(quotes["bid"])[alive],
        ask=_floats(quotes["ask"])[alive],
        size_zero=_size_zero(quotes, alive),
        model_vol=_floats(quotes["model_vol"])[alive] if "model_vol" in quotes else None,
    )
    at = alive[first]
    right = np.where(np.asarray(quotes["right"])[at] == "C", 1, -1).astype(np.int64)
    expiration, strike = expiration_ns[at], _floats(quotes["strike"])[at]
    if (expiration_ns[alive] != expiration[contract]).any() or (
        _floats(quotes["strike"])[alive] != strike[contract]
    ).any():
        raise MarketDataError(
            "a contract_id names two expirations or strikes: expected one contract an id. Make the ids unique in the "
            "source (an adjusted contract needs an id of its own)."
        )
    key = np.sort(rows.snapshot * len(at) + contract)
    if (repeats := int((key[1:] == key[:-1]).sum())) > 0:
        raise MarketDataError(
            f"{repeats} duplicate rows (same snapshot and contract_id): expected one quote each. "
            "Run quality.inspect, which quarantines them."
        )
    settle_index, settle_value = _settlement(per, expiration, strike, right, underlyings)
    return (
        per,
        rows,
        Contracts(
            name=np.asarray(quotes["contract_id"])[at],
            expiration=expiration,
            strike=strike,
            right=right,
            multiplier=_floats(quotes["multiplier"])[at],
            settle_index=settle_index,
            settle_value=settle_value,
        ),
    )


def settlement_notes(per: PerSnapshot, contracts: Contracts) -> list[str]:
    """Contracts that were settled on a day without a session of the underlying, in a sentence; none without any.

    A holiday or a closure that nobody foresaw has no price of its own; whether a price is missing that should be there
    is for `tables.checks` to say, which knows the exchange's calendar.
    """
    sessions = per.session_ns // DAY_NS
    day = contracts.expiration // DAY_NS
    without = (contracts.settle_index < len(per.snapshot)) & ~np.isin(day, sessions)
    said = []
    for date in np.unique(day[without]).tolist():
        at = np.flatnonzero(without & (day == date))
        others = f" and {len(at) - 1} more" if len(at) > 1 else ""
        before = int(np.searchsorted(sessions, date)) - 1
        last, close = np.datetime64(int(sessions[before]), "D"), per.session_close[before]
        said.append(
            f"{contracts.name[at[0]]}{others} on {np.datetime64(date, 'D')} by the session of {last} "
            f"(close {close:.2f}; AM contracts by its open)"
        )
    if not said:
        return []
    more = f"; and {len(said) - DATES_SHOWN} more dates" if len(said) > DATES_SHOWN else ""
    return [f"Settled on a day without a session: {'; '.join(said[:DATES_SHOWN])}{more}."]


def nanoseconds(times: np.ndarray) -> np.ndarray:
    """UTC nanoseconds as int64, from int64 or any datetime64."""
    times = np.asarray(times)
    return times.astype("datetime64[ns]").astype(np.int64) if times.dtype.kind == "M" else times.astype(np.int64)


def _floats(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _size_zero(quotes: Columns, rows: np.ndarray) -> np.ndarray:
    out = np.zeros(len(rows), dtype=np.int8)
    for side, bit in (("bid", SIZE_ZERO_BID), ("ask", SIZE_ZERO_ASK)):
        if f"{side}_size" in quotes:
            out[(_floats(quotes[f"{side}_size"])[rows] == 0) & (_floats(quotes[side])[rows] > 0)] |= bit
    return out


def _distinct(values: np.ndarray) -> set:
    values = np.asarray(values)
    return set(values[:1].tolist()) if values.strides == (0,) else set(values.tolist())


def _factorise(names: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Code of each row's name, in order of appearance, and the position of each code's first row."""
    chosen = np.asarray(names)[rows].tolist()
    # rows of a contract mostly share one string: a million addresses are sorted sooner than a million strings hashed
    address = np.fromiter(map(id, chosen), np.int64, len(chosen))
    _, first, which = np.unique(address, return_index=True, return_inverse=True)
    order = np.argsort(first)
    codes: dict[str, int] = {}
    code_of = np.empty(len(first), np.int64)
    code_of[order] = [codes.setdefault(chosen[row], len(codes)) for row in first[order].tolist()]
    code = code_of[which.reshape(-1)]
    start = np.full(len(codes), len(chosen), np.int64)
    np.minimum.at(start, code_of, first)
    return code, start


def _per_snapshot(
    snapshot: np.ndarray, underlyings: Columns, rates: Columns, config: MarketConfig, name: str
) -> PerSnapshot:
    session_ns, close = nanoseconds(underlyings["snapshot"]), _floats(underlyings["close"])
    if (np.diff(session_ns) <= 0).any():
        raise MarketDataError("underlyings are not in strictly rising order of snapshot: sort them and drop repeats.")
    session = np.searchsorted(session_ns, snapshot)
    missing = np.append(session_ns, -1)[session] != snapshot
    if missing.any():
        dates = ", ".join(str(d) for d in snapshot[missing][:5].astype("datetime64[ns]").astype("datetime64[D]"))
        raise MarketDataError(
            f"no {name} session for {int(missing.sum())} snapshots of quotes ({dates}): expected one each. "
            "Add the sessions to underlyings or drop the snapshots."
        )
    spot = close[session]
    if "parity_spot" in underlyings:
        parity = _floats(underlyings["parity_spot"])[session]
        spot = np.where(np.isfinite(parity), parity, spot)
    if not (np.isfinite(spot) & (spot > 0)).all():
        raise MarketDataError(f"{name} has sessions without a positive close: fill or drop them in the source.")
    rate, dividend_yield = _rates(snapshot, rates, config)
    return PerSnapshot(snapshot, spot, rate, dividend_yield, session, session_ns, close)


def _rates(snapshot: np.ndarray, rates: Columns, config: MarketConfig) -> tuple[np.ndarray, np.ndarray]:
    """Rate and dividend yield of the latest date on or before each snapshot, at the tenor nearest the near target."""
    day = nanoseconds(rates["date"]) // DAY_NS
    distance = np.abs(_floats(rates["tenor_days"]) - config.near_days)
    order = np.lexsort((distance, day))
    days, first = np.unique(day[order], return_index=True)
    at = np.searchsorted(days, snapshot // DAY_NS, side="right") - 1
    if (at < 0).any():
        raise MarketDataError(
            f"no rate on or before the first snapshot: rates begin on {np.datetime64(int(days[0]), 'D')}. "
            "Begin the rates table earlier."
        )
    row = order[first][at]
    return _floats(rates["rate"])[row], _floats(rates["dividend_yield"])[row]


def _settlement(
    per: PerSnapshot, expiration: np.ndarray, strike: np.ndarray, right: np.ndarray, underlyings: Columns
) -> tuple[np.ndarray, np.ndarray]:
    """First snapshot at or after each expiration (T beyond the data), and the cash a share paid there.

    The value is the intrinsic at the close (PM) or the open (AM) of the last session on or before the expiration date.
    """
    index = np.searchsorted(per.snapshot, expiration, side="left").astype(np.int64)
    day = expiration // DAY_NS
    session_day = per.session_ns // DAY_NS
    session = np.searchsorted(session_day, day, side="right") - 1
    within = index < len(per.snapshot)
    gap = within & ((session < 0) | (day - session_day[np.maximum(session, 0)] > SETTLEMENT_GAP_DAYS))
    if gap.any():
        dates = ", ".join(str(np.datetime64(int(d), "D")) for d in np.unique(day[gap])[:5])
        raise MarketDataError(
            f"no session within {SETTLEMENT_GAP_DAYS} days before expirations {dates}: their settlement is unknown. "
            "Add those sessions to underlyings."
        )
    session = np.maximum(session, 0)
    opening = _floats(underlyings["open"])[session]
    # By time of day, as an expiration on a holiday has no close of its own; clocks shift by an hour at most.
    at_open = expiration % DAY_NS < per.session_ns[session] % DAY_NS - AM_BEFORE_CLOSE_NS
    level = np.where(at_open, opening, per.session_close[session])
    if (unpriced := np.flatnonzero(within & ~(level > 0))).size:
        first = unpriced[0]
        dated, settled = (np.datetime64(int(d), "D") for d in (day[first], session_day[session[first]]))
        raise MarketDataError(
            f"settlement of {counted(len(unpriced), 'contract')}, the first dated {dated}, needs the "
            f"{'open' if at_open[first] else 'close'} of {settled}: found {level[first]}, expected a positive price. "
            "Fill the underlyings table."
        )
    return index, np.where(within, np.maximum(right * (level - strike), 0.0), np.nan)
