"""The market's tensors as the plain Python that the reference ledger reads."""

import math

from clstm_core.audit.reference.ledger import Contract, PlainMarket, Quote, Snapshot
from clstm_core.market.tensors import MarketTensors


def plain_market(market: MarketTensors) -> PlainMarket:
    """The same market as lists and dictionaries."""
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
    contract_of = [*column["row_contract_Q"], -1]
    grid = [[contract_of[row] for row in cells] for cells in column["grid_row_TG"]]
    return PlainMarket(snapshots, contracts, grid)


def _number(value: float) -> float:
    """Greeks of a vol that could not be solved count as zero."""
    return value if math.isfinite(value) else 0.0
