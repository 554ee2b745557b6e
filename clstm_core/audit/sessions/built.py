"""Whether tensors say what their tables say: terms, settlement, quotes, what may be traded, marks, and the way on."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

import torch

from clstm_core.audit.reference.plain import Listed, listed_contracts, settle_index
from clstm_core.audit.reference.terms import Tables
from clstm_core.audit.result import Finding
from clstm_core.market.tensors import MarketTensors

ROUNDING = 1e-9
"""Of a price: what two orders of the same arithmetic may differ by."""


class Gaps:
    """The largest gap of each quantity, and the contract and snapshot where it was."""

    def __init__(self) -> None:
        self.worst: dict[str, tuple[float, str]] = {}

    def number(self, name: str, found: float, expected: float, where: str) -> None:
        """Two numbers that must agree to rounding; a NaN agrees with a NaN."""
        if found == expected or (found != found and expected != expected):
            gap = 0.0
        else:
            gap = abs(found - expected) / (1.0 + abs(expected))
            gap = gap if math.isfinite(gap) else math.inf
        if gap >= self.worst.get(name, (-1.0, ""))[0]:
            self.worst[name] = (gap, f"{where}: tensors {found:.10g}, tables {expected:.10g}" if gap else "")

    def findings(self, label: str) -> list[Finding]:
        """One per quantity."""
        return [
            Finding(check=f"{label} {name} of the tables", statistic=gap, threshold=ROUNDING, detail=detail)
            for name, (gap, detail) in self.worst.items()
        ]


def built_as_listed(label: str, market: MarketTensors, listed: Listed) -> list[Finding]:
    """Every column of the tensors that money depends on, beside what the tables say."""
    gaps, plain = Gaps(), listed.market
    column = {name: tensor.tolist() for name, tensor in market.tensors().items() if name != "contract_id_KB"}
    length = market.n_snapshots
    gaps.number("unknown contracts", len(listed.unknown), 0, ", ".join(listed.unknown[:3]))
    for t, now in enumerate(plain.snapshots):
        where = f"snapshot {t}"
        gaps.number("spot", column["spot_T"][t], now.spot, where)
        gaps.number("rate", column["rate_T"][t], now.rate, where)
        gaps.number("dividend yield", column["dividend_yield_T"][t], now.dividend_yield, where)
        years = (now.time_ns - plain.snapshots[0].time_ns) / (365 * 86_400 * 1e9)
        gaps.number("clock", column["time_years_T"][t] - column["time_years_T"][0], years, where)
    settles = [settle_index(plain, k) for k in range(len(plain.contracts))]
    for k, terms in enumerate(plain.contracts):
        name = market.contract_id(k)
        gaps.number("strike", column["strike_K"][k], terms.strike, name)
        gaps.number("right", column["right_K"][k], terms.right, name)
        gaps.number("multiplier", column["multiplier_K"][k], terms.multiplier, name)
        gaps.number("expiration", column["expiration_K"][k], terms.expiration_ns, name)
        gaps.number("settlement snapshot", column["settle_index_K"][k], min(settles[k], length), name)
        gaps.number("settlement value", column["settle_value_K"][k], terms.settle_value, name)
    contract_of, snapshot_of = column["row_contract_Q"], column["row_snapshot_Q"]
    for t, now in enumerate(plain.snapshots):
        rows = range(column["row_offset_T1"][t], column["row_offset_T1"][t + 1])
        found = {contract_of[row] for row in rows}
        gaps.number("rows", len(found ^ now.quotes.keys()) + len(rows) - len(found), 0, f"snapshot {t}")
        for row in rows:
            k = contract_of[row]
            if k not in now.quotes:
                continue
            quote, where = now.quotes[k], f"{market.contract_id(k)} at snapshot {t}"
            gaps.number("row's snapshot", snapshot_of[row], t, where)
            gaps.number("staleness", column["stale_Q"][row], not quote.quoted, where)
            gaps.number("bid", column["bid_Q"][row], quote.bid, where)
            gaps.number("ask", column["ask_Q"][row], quote.ask, where)
            gaps.number("leave to buy", column["can_buy_Q"][row], quote.trades(1.0), where)
            gaps.number("leave to sell", column["can_sell_Q"][row], quote.trades(-1.0), where)
            gaps.number("mark", column["mark_Q"][row], quote.mark, where)
            gaps.number("volatility", column["implied_vol_Q"][row], quote.vol, where)
            years = (plain.contracts[k].expiration_ns - now.time_ns) / (365 * 86_400 * 1e9)
            gaps.number("time to expiry", column["tte_years_Q"][row], years, where)
            after = column["next_row_Q"][row]
            leads = (contract_of[after], snapshot_of[after]) if after >= 0 else (-1, -1)
            ends = column["segment_end_T"][t] or t == length - 1 or settles[k] <= t + 1
            expected = (-1, -1) if ends else (k, t + 1)
            gaps.number("next row", leads != expected, 0, where)
        for cell in column["grid_row_TG"][t]:
            lost = cell >= 0 and not (cell in rows and column["can_sell_Q"][cell] and column["can_buy_Q"][cell])
            gaps.number("grid", lost, 0, f"snapshot {t}")
    return gaps.findings(label)


def settled_as_listed(label: str, market: MarketTensors, tables: Tables, roots: Mapping[str, str]) -> list[Finding]:
    """Terms and settlement of every contract of a market beside what its tables say, whatever is quoted of it."""
    gaps, times = Gaps(), market.snapshot_T.tolist()
    column = {
        name: getattr(market, f"{name}_K").tolist()
        for name in ("strike", "right", "multiplier", "expiration", "settle_index", "settle_value")
    }
    for k, (terms, _) in enumerate(listed_contracts(market, tables, roots)):
        name = f"contract {k}"
        index = bisect_left(times, terms.expiration_ns)
        gaps.number("strike", column["strike"][k], terms.strike, name)
        gaps.number("right", column["right"][k], terms.right, name)
        gaps.number("multiplier", column["multiplier"][k], terms.multiplier, name)
        gaps.number("expiration", column["expiration"][k], terms.expiration_ns, name)
        gaps.number("settlement snapshot", column["settle_index"][k], index, name)
        gaps.number("settlement value", column["settle_value"][k], terms.settle_value, name)
    return gaps.findings(label)


def settlements_of(listed: Listed) -> Counter[str]:
    """What kinds of settlement the tables hold, within the market's time."""
    met: Counter[str] = Counter()
    length = len(listed.market.snapshots)
    for k, paid in enumerate(listed.paid):
        if settle_index(listed.market, k) < length:
            met[f"{paid.settles} settlement"] += 1
            met["settlement on a day without a session"] += not paid.on_its_date
    return met


def settled_on_its_spots(market: MarketTensors) -> list[Finding]:
    """Where no tables are at hand: contracts settle at the spot of the last snapshot on or before their date.

    For worlds whose index is its own proxy and whose contracts all settle at the close, as the modelled and simulated
    ones do. A real market's tables are asked for.
    """
    day = 86_400 * 10**9
    dates = torch.div(market.snapshot_T, day, rounding_mode="floor")
    dated = torch.div(market.expiration_K, day, rounding_mode="floor")
    at = torch.searchsorted(dates, dated, right=True) - 1
    arrived = torch.searchsorted(market.snapshot_T, market.expiration_K)
    within = (arrived < market.n_snapshots) & (at >= 0)
    level = market.spot_T[at.clamp(min=0)]
    value = torch.clamp(market.right_K * (level - market.strike_K), min=0.0)
    gap = torch.where(within, (market.settle_value_K - value).abs() / (1.0 + value), 0.0)
    late = (market.settle_index_K != arrived.clamp(max=market.n_snapshots)) & (arrived > 0)
    worst = int(gap.nan_to_num(torch.inf).argmax()) if len(gap) else 0
    detail = (
        f"{market.contract_id(worst)}: {float(market.settle_value_K[worst]):.6g}, by the spot {float(value[worst]):.6g}"
    )
    return [
        Finding(
            check="market settlement value by the spot",
            statistic=float(gap.nan_to_num(torch.inf).max()) if len(gap) else 0.0,
            threshold=ROUNDING,
            detail=detail,
        ),
        Finding(check="market settlement on another snapshot", statistic=float(late.sum()), threshold=0.0),
    ]
