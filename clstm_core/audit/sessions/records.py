"""What the environment says: an account before a step, and what the step did, as copies and in plain Python."""

from typing import Any, NamedTuple

import torch

from clstm_core.audit.reference.ledger import Fill, Order
from clstm_core.audit.sessions.scene import AuditedEnv
from clstm_core.env.state import FILL_REASONS, Orders, StepLedger
from clstm_core.market.tensors import MarketTensors

_QUOTE = ("contract", "snapshot", "bid", "ask", "multiplier")


class Before(NamedTuple):
    """An account as it stood when a step began; copies, so that a step in place changes nothing here."""

    snapshot: torch.Tensor
    cash: torch.Tensor
    shares: torch.Tensor
    leg_row: torch.Tensor
    leg_quantity: torch.Tensor
    entry_equity: torch.Tensor
    equity: torch.Tensor


def before(env: AuditedEnv) -> Before:
    """Copy what the env holds now."""
    s = env.state
    fields = (s.snapshot_index_N, s.cash_N, s.shares_N, s.leg_row_NL, s.leg_quantity_NL, s.entry_equity_N, s.equity_N)
    return Before(*(tensor.detach().cpu().clone() for tensor in fields))


def done_step(env: AuditedEnv) -> StepLedger:
    """The record of the last step, on the CPU and safe from the next one."""
    if env.last is None:
        raise RuntimeError("the environment kept no record of its step: expected `last` to be a StepLedger")
    return StepLedger(*(tensor.detach().cpu().clone() for tensor in env.last))


def plain_orders(orders: Orders, market: MarketTensors) -> list[Order]:
    """One plain order per env; rows become contracts, legs of quantity 0 vanish."""
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
    """One record per env: scalars by name without their suffix; fills, their quotes, legs and their marks as lists."""
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
