"""A market as the plain Python that the reference ledger reads: from its tensors, or from the tables behind them."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from clstm_core.audit.reference.ledger import YEAR_NS, Contract, PlainMarket, Quote, Snapshot
from clstm_core.audit.reference.rules import black_scholes
from clstm_core.audit.reference.terms import (
    DAY_NS,
    Columns,
    Paid,
    Session,
    Tables,
    Terms,
    floats,
    nanoseconds,
    read_sessions,
    read_terms,
    settlement,
)
from clstm_core.market.tensors import MarketTensors

SEGMENT_GAP_NS = 10 * DAY_NS
EXPLAINED = 1e-6
"""Of the spot: how near the price at a volatility lies to the mid that it explains."""

NOTHING = Terms("", 0, math.nan, 0, math.nan)
"""Of a contract that the tables do not hold."""


def plain_market(market: MarketTensors) -> PlainMarket:
    """The same market as lists and dictionaries, settlement values included."""
    column = {name: tensor.tolist() for name, tensor in market.tensors().items() if name != "contract_id_KB"}
    snapshots = []
    for t in range(market.n_snapshots):
        first, last = column["row_offset_T1"][t], column["row_offset_T1"][t + 1]
        quotes = {
            column["row_contract_Q"][row]: Quote(
                bid=column["bid_Q"][row],
                ask=column["ask_Q"][row],
                quoted=not column["stale_Q"][row],
                model_mark=column["mark_Q"][row],
                vol=column["implied_vol_Q"][row],
                delta=_number(column["delta_Q"][row]),
            )
            for row in range(first, last)
        }
        snapshots.append(
            Snapshot(
                time_ns=column["snapshot_T"][t],
                spot=column["spot_T"][t],
                rate=column["rate_T"][t],
                dividend_yield=column["dividend_yield_T"][t],
                quotes=quotes,
            )
        )
    terms = ("strike_K", "right_K", "multiplier_K", "expiration_K", "settle_value_K")
    contracts = [Contract(*values) for values in zip(*(column[name] for name in terms), strict=True)]
    return PlainMarket(snapshots, contracts, _grid(market))


class Listed(NamedTuple):
    """A market read from tables: what the ledger trades, and how each contract settles (by contract index)."""

    market: PlainMarket
    paid: list[Paid]
    unknown: list[str]  # contracts of the tensors that the tables do not hold


def listed_market(market: MarketTensors, tables: Tables, roots: Mapping[str, str]) -> Listed:
    """The market that `market` should be, read from the tables by other code than the builder's.

    Contracts keep their index and stand under their name; which contracts the grid follows, their volatilities and
    deltas are the tensors'. A volatility counts where it explains the mid; elsewhere, and while a contract is not
    quoted, the last one that did is carried, and marks it.

    Args:
        tables: columns of at least the market's snapshots; rows of one session before say what is carried into it
        roots: AM or PM by root
    """
    quotes, underlyings, rates = tables
    sessions = read_sessions(underlyings)
    terms = read_terms(quotes)
    times = market.snapshot_T.tolist()
    names = _names(market)
    listed = [terms.get(name, NOTHING) for name in names]
    paid = _paid(listed, sessions, roots)
    contracts = [_contract(one, how, times[-1]) for one, how in zip(listed, paid, strict=True)]
    facts = _facts(times, sessions, rates, float(market.info.get("near_days", 30.0)))
    books = _books(market, contracts, names, facts, _two_sided(quotes, set(names), times))
    snapshots = [
        Snapshot(fact.time_ns, fact.spot, fact.rate, fact.dividend_yield, book)
        for fact, book in zip(facts, books, strict=True)
    ]
    unknown = [name for name in names if name not in terms]
    return Listed(PlainMarket(snapshots, contracts, _grid(market)), paid, unknown)


def listed_contracts(market: MarketTensors, tables: Tables, roots: Mapping[str, str]) -> list[tuple[Contract, Paid]]:
    """Terms and settlement of each contract of the tensors by what the tables say of its name, by contract index."""
    terms = read_terms(tables[0])
    listed = [terms.get(name, NOTHING) for name in _names(market)]
    last = int(market.snapshot_T[-1])
    paid = _paid(listed, read_sessions(tables[1]), roots)
    return [(_contract(one, how, last), how) for one, how in zip(listed, paid, strict=True)]


def _names(market: MarketTensors) -> list[str]:
    return [bytes(raw).rstrip(b"\0").decode() for raw in market.contract_id_KB.tolist()]


def _paid(listed: list[Terms], sessions: Mapping[int, Session], roots: Mapping[str, str]) -> list[Paid]:
    days = sorted(sessions)
    return [settlement(one, sessions, days, roots) for one in listed]


def _contract(terms: Terms, paid: Paid, last_ns: int) -> Contract:
    """Cash per share is the intrinsic value at the price that settles it; unknown beyond the data."""
    value = max(0.0, terms.right * (paid.price - terms.strike)) if terms.expiration_ns <= last_ns else math.nan
    value = math.nan if math.isnan(paid.price) else value
    return Contract(terms.strike, terms.right, terms.multiplier, terms.expiration_ns, value)


class _Fact(NamedTuple):
    time_ns: int
    spot: float
    rate: float
    dividend_yield: float


def _facts(times: list[int], sessions: Mapping[int, Session], rates: Columns, near_days: float) -> list[_Fact]:
    """Spot of each snapshot's session, and the rates of the last day on or before it, nearest the near tenor."""
    by_day: dict[int, tuple[float, float, float]] = {}
    rows = zip(
        nanoseconds(rates["date"]),
        floats(rates["tenor_days"]),
        floats(rates["rate"]),
        floats(rates["dividend_yield"]),
        strict=True,
    )
    for ns, tenor, rate, dividend_yield in rows:
        row = (abs(tenor - near_days), rate, dividend_yield)
        if ns // DAY_NS not in by_day or row[0] < by_day[ns // DAY_NS][0]:
            by_day[ns // DAY_NS] = row
    known = sorted(by_day)
    facts = []
    for ns in times:
        session = sessions.get(ns // DAY_NS)
        at = bisect_right(known, ns // DAY_NS) - 1
        _, rate, dividend_yield = by_day[known[at]] if at >= 0 else (0.0, math.nan, math.nan)
        facts.append(_Fact(ns, session.spot if session else math.nan, rate, dividend_yield))
    return facts


def _two_sided(quotes: Columns, names: set[str], times: list[int]) -> dict[tuple[int, str], tuple[float, float]]:
    """Bid and ask by snapshot and name, of rows that are a quote: both sides finite, neither negative nor crossed."""
    wanted = set(times)
    rows = zip(
        nanoseconds(quotes["snapshot"]),
        quotes["contract_id"].tolist(),
        floats(quotes["bid"]),
        floats(quotes["ask"]),
        strict=True,
    )
    return {
        (ns, name): (bid, ask)
        for ns, name, bid, ask in rows
        if ns in wanted and name in names and 0.0 <= bid <= ask < math.inf and ask > 0.0
    }


def _books(
    market: MarketTensors,
    contracts: list[Contract],
    names: list[str],
    facts: list[_Fact],
    quoted: Mapping[tuple[int, str], tuple[float, float]],
) -> list[dict[int, Quote]]:
    """What each contract is worth at each snapshot, from the first row that the tensors have of it until it settles."""
    column = {
        name: getattr(market, name).tolist() for name in ("row_offset_T1", "row_contract_Q", "implied_vol_Q", "delta_Q")
    }
    carried: dict[int, float] = {}
    books: list[dict[int, Quote]] = []
    for t, now in enumerate(facts):
        if t and now.time_ns - facts[t - 1].time_ns > SEGMENT_GAP_NS:
            carried = {}  # another history: nothing is held across
        rows = range(column["row_offset_T1"][t], column["row_offset_T1"][t + 1])
        here = {column["row_contract_Q"][row]: row for row in rows}
        book: dict[int, Quote] = {}
        for k in sorted({*carried, *here}):
            terms = contracts[k]
            if terms.expiration_ns <= now.time_ns or terms.right == 0:
                carried.pop(k, None)
                continue
            sides = quoted.get((now.time_ns, names[k]))
            row = here.get(k)
            vol = math.nan if row is None else column["implied_vol_Q"][row]
            years = (terms.expiration_ns - now.time_ns) / YEAR_NS

            def value(sigma: float, terms=terms, years=years, now=now) -> float:
                return black_scholes(now.spot, terms.strike, years, sigma, now.rate, now.dividend_yield, terms.right)

            if k not in carried:
                carried[k] = vol  # what was carried into the market is the tensors' word
            elif sides is not None and abs(value(vol) - 0.5 * sum(sides)) <= EXPLAINED * now.spot:
                carried[k] = vol
            bid, ask = sides if sides is not None else (0.0, 0.0)
            book[k] = Quote(
                bid=bid,
                ask=ask,
                quoted=sides is not None,
                model_mark=value(carried[k]) if sides is None else 0.5 * (bid + ask),
                vol=carried[k],
                delta=_number(column["delta_Q"][row]) if row is not None else 0.0,
            )
        books.append(book)
    return books


def settle_index(market: PlainMarket, contract: int) -> int:
    """The first snapshot at or after a contract's expiration; the number of snapshots where it lies beyond."""
    return bisect_left([now.time_ns for now in market.snapshots], market.contracts[contract].expiration_ns)


def _grid(market: MarketTensors) -> list[list[int]]:
    """The contract of each cell by snapshot, -1 = none."""
    contract_of = [*market.row_contract_Q.tolist(), -1]
    return [[contract_of[row] for row in cells] for cells in market.grid_row_TG.tolist()]


def _number(value: float) -> float:
    """Greeks of a vol that could not be solved count as zero."""
    return value if math.isfinite(value) else 0.0
