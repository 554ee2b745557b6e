"""Tensors as plain Python: the market, the orders and the step records that the reference ledger reads."""

import math
from typing import Any

import torch

from clstm_core.audit.reference.ledger import Contract, Fill, Order, PlainMarket, Quote, Snapshot
from clstm_core.env.state import FILL_REASONS, Orders, StepLedger
from clstm_core.market.tensors import MarketTensors

_QUOTE = ("contract", "snapshot", "bid", "ask", "multiplier")


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


def plain_orders(orders: Orders, market: MarketTensors) -> list[Order]:
    """One plain order an env; rows become contracts, legs of quantity 0 vanish."""
    contract = torch.where(
        orders.leg_row_NP >= 0, market.row_contract_Q[orders.leg_row_NP.clamp(min=0).cpu()], -1
    ).tolist()
    return [
        Order(
            legs=[(c, float(q)) for c, q in zip(contracts, quantities, strict=True) if c >= 0 and q != 0],
            shares=float(shares),
            close_all=bool(close),
            hedge=bool(hedge),
        )
        for contracts, quantities, shares, close, hedge in zip(
            contract,
            orders.leg_quantity_NP.tolist(),
            orders.share_quantity_N.tolist(),
            orders.close_all_N.tolist(),
            orders.hedge_N.tolist(),
            strict=True,
        )
    ]


def plain_steps(last: StepLedger) -> list[dict[str, Any]]:
    """One record an env: scalars by name without their suffix; fills, their quotes, legs and their marks as lists."""
    column = {name: tensor.tolist() for name, tensor in last._asdict().items()}
    names = [name for name in column if name.endswith("_N")]
    steps: list[dict[str, Any]] = []
    for n in range(len(column["equity_N"])):
        record: dict[str, Any] = {name.removesuffix("_N"): column[name][n] for name in names}
        fills = zip(
            column["fill_reason_NX"][n],
            column["fill_contract_NX"][n],
            column["fill_quantity_NX"][n],
            column["fill_price_NX"][n],
            column["fill_fee_NX"][n],
            strict=True,
        )
        record["fills"] = sorted(Fill(FILL_REASONS[r], c, q, p, f) for r, c, q, p, f in fills if q != 0)
        record["fill_quotes"] = [
            (FILL_REASONS[column["fill_reason_NX"][n][x]], *(column[f"fill_{name}_NX"][n][x] for name in _QUOTE))
            for x, quantity in enumerate(column["fill_quantity_NX"][n])
            if quantity != 0
        ]
        legs = zip(column["leg_contract_NL"][n], column["leg_quantity_NL"][n], strict=True)
        marks = zip(column["leg_contract_NL"][n], column["leg_mark_NL"][n], column["leg_stale_NL"][n], strict=True)
        record["leg_marks"] = [(c, mark, stale) for c, mark, stale in marks if c >= 0]
        record["legs"] = sorted((c, q) for c, q in legs if c >= 0)
        steps.append(record)
    return steps


def _number(value: float) -> float:
    """Greeks of a vol that could not be solved count as zero."""
    return value if math.isfinite(value) else 0.0
