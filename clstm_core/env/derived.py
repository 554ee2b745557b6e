"""Everything a step needs that depends on the market and the configuration alone, computed once.

One wide table of rows and one of snapshots, so that a step gathers from each once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.fills import fill_prices
from clstm_core.env.margin import all_moves, option_scenarios
from clstm_core.errors import MarketDataError
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import RIGHT_CALL, RIGHT_PUT

_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """The market as one configuration sees it.

    Shapes: row_QC [Q, 20 + S] and snapshot_TC [T, 5] with the columns of `columns.py`; settle_value_Q cash per share of
            the contracts that settle at the next snapshot, else 0; move_S [1 + S] relative moves of spot in the crash
            and in each scenario. Rows outside the window's snapshots are zero.
    """

    row_QC: torch.Tensor
    settle_value_Q: torch.Tensor
    snapshot_TC: torch.Tensor
    move_S: torch.Tensor


def derive(market: MarketTensors, config: EnvConfig, window: tuple[int, int], dtype: torch.dtype) -> Derived:
    """Fill prices, growth factors and margin scenarios of every row in a window.

    Raises: MarketDataError when a row neither continues nor settles, or a settlement has no value
    """
    start, stop = window
    first, last = int(market.row_offset_T1[start]), int(market.row_offset_T1[stop])
    _check_rows(market, first, last)
    device = market.spot_T.device
    move_S = all_moves(config, dtype, device)
    table = torch.zeros(max(1, market.n_rows), col.CRASH + move_S.shape[0], dtype=dtype, device=device)
    for low in range(first, last, _CHUNK):
        rows = slice(low, min(low + _CHUNK, last))
        _fill_rows(table[rows], market, rows, config)
    settle_value = torch.zeros_like(table[:, 0])
    rows = slice(first, last)
    value = market.settle_value_K[market.row_contract_Q[rows]].to(dtype)
    settle_value[rows] = torch.where(table[rows, col.SETTLES] > 0, value, 0.0)
    return Derived(
        row_QC=table,
        settle_value_Q=settle_value,
        snapshot_TC=_snapshot_table(market, dtype),
        move_S=move_S,
    )


class Quoted(NamedTuple):
    """Contracts at snapshots, as a market states them; every field of one shape, or broadcasting to it.

    Units: as MarketTensors
    """

    spot: torch.Tensor
    rate: torch.Tensor
    dividend_yield: torch.Tensor
    strike: torch.Tensor
    right: torch.Tensor
    multiplier: torch.Tensor | float
    bid: torch.Tensor
    ask: torch.Tensor
    mark: torch.Tensor
    implied_vol: torch.Tensor
    tte: torch.Tensor
    delta: torch.Tensor
    gamma: torch.Tensor
    vega: torch.Tensor
    theta: torch.Tensor
    rho: torch.Tensor
    can_buy: torch.Tensor
    can_sell: torch.Tensor
    stale: torch.Tensor | float
    settles: torch.Tensor


def write_facts(table: torch.Tensor, quoted: Quoted, config: EnvConfig) -> None:
    """Write the facts of contracts into `table` [M, C], in its dtype: columns BID .. SCENARIOS + S of `columns.py`."""
    write_quotes(table, quoted, config)
    table[..., col.CRASH :] = scenarios(quoted, config, table.dtype).T


def write_quotes(table: torch.Tensor, quoted: Quoted, config: EnvConfig) -> None:
    """Write the columns before the crash and the scenarios alone."""
    right = quoted.right
    buy, sell = fill_prices(quoted.bid, quoted.ask, config)
    named = {
        col.BID: quoted.bid,
        col.ASK: quoted.ask,
        col.MARK: quoted.mark,
        col.BUY: buy,
        col.SELL: sell,
        col.MULTIPLIER: quoted.multiplier,
        col.IMPLIED_VOL: quoted.implied_vol,
        col.TTE: quoted.tte,
        col.DELTA: quoted.delta,
        col.GAMMA: quoted.gamma,
        col.VEGA: quoted.vega,
        col.THETA: quoted.theta,
        col.RHO: quoted.rho,
        col.CALL_STRIKE: torch.where(right == RIGHT_CALL, quoted.strike, 0.0),
        col.PUT_STRIKE: torch.where(right == RIGHT_PUT, quoted.strike, 0.0),
        col.CAN_BUY: quoted.can_buy,
        col.CAN_SELL: quoted.can_sell,
        col.STALE: quoted.stale,
        col.SETTLES: quoted.settles,
    }
    put_columns(table, [named[column] for column in range(col.CRASH)])


def put_columns(table: torch.Tensor, columns: Sequence[torch.Tensor | float]) -> None:
    """Write the first columns of a table [..., C]; in a compiled function at once, which goes through the table once.

    Shapes: columns broadcast to [...]
    """
    if torch.compiler.is_compiling():
        like = table[..., 0]
        table[..., : len(columns)] = torch.stack([_filled(like, c) for c in columns], dim=-1)
        return
    for column, values in enumerate(columns):
        table[..., column] = values


def _filled(like: torch.Tensor, value: torch.Tensor | float) -> torch.Tensor:
    return value.to(like).expand_as(like) if isinstance(value, torch.Tensor) else torch.full_like(like, value)


def scenarios(quoted: Quoted, config: EnvConfig, dtype: torch.dtype, out: torch.Tensor | None = None) -> torch.Tensor:
    """Profit of one long option on one share in the crash and each scenario [..., 1 + S, N], computed in `dtype`; in
    `out` if given."""
    terms = (
        quoted.spot,
        quoted.strike,
        quoted.tte,
        quoted.implied_vol,
        quoted.rate,
        quoted.dividend_yield,
        quoted.right,
    )
    spot, strike, tte, vol, rate, dividend_yield, right = (term.to(dtype) for term in terms)
    return option_scenarios(spot, strike, tte, vol, rate, dividend_yield, right, config, out)


def _fill_rows(table: torch.Tensor, market: MarketTensors, rows: slice, config: EnvConfig) -> None:
    snapshot, contract = market.row_snapshot_Q[rows], market.row_contract_Q[rows]
    quoted = Quoted(
        spot=market.spot_T[snapshot],
        rate=market.rate_T[snapshot],
        dividend_yield=market.dividend_yield_T[snapshot],
        strike=market.strike_K[contract],
        right=market.right_K[contract],
        multiplier=market.multiplier_K[contract],
        bid=market.bid_Q[rows],
        ask=market.ask_Q[rows],
        mark=market.mark_Q[rows],
        implied_vol=market.implied_vol_Q[rows],
        tte=market.tte_years_Q[rows],
        delta=market.delta_Q[rows],
        gamma=market.gamma_Q[rows],
        vega=market.vega_Q[rows],
        theta=market.theta_Q[rows],
        rho=market.rho_Q[rows],
        can_buy=market.can_buy_Q[rows],
        can_sell=market.can_sell_Q[rows],
        stale=market.stale_Q[rows],
        settles=market.settle_index_K[contract] == snapshot + 1,
    )
    write_facts(table, quoted, config)
    # a row whose vol could not be solved has NaN Greeks; an empty leg slot (0 x NaN) must stay 0
    torch.nan_to_num_(table)


def _snapshot_table(market: MarketTensors, dtype: torch.dtype) -> torch.Tensor:
    """Columns SPOT .. DIVIDEND_GROWTH; the last snapshot and segment ends lead nowhere, their dt is 0."""
    dt = torch.zeros_like(market.time_years_T)
    dt[:-1] = market.time_years_T.diff()
    dt = torch.where(market.segment_end_T, 0.0, dt)
    return torch.stack(
        [
            market.spot_T,
            market.rate_T,
            dt,
            torch.expm1(market.rate_T * dt),
            torch.expm1(market.dividend_yield_T * dt),
        ],
        dim=1,
    ).to(dtype)


def _check_rows(market: MarketTensors, first: int, last: int) -> None:
    rows = slice(first, last)
    snapshot, contract = market.row_snapshot_Q[rows], market.row_contract_Q[rows]
    settle_index = market.settle_index_K[contract]
    goes_on, settles_next = market.next_row_Q[rows] >= 0, settle_index == snapshot + 1
    ends = market.segment_end_T.clone()
    ends[-1] = True
    if name := _first_named(market, first, ~goes_on & ~ends[snapshot] & ~settles_next):
        raise MarketDataError(
            f"{name} has no next row and does not settle at the next snapshot: a holder would lose it. Build the "
            "market tensors again (stale rows fill such gaps)."
        )
    if name := _first_named(market, first, goes_on & settles_next):
        raise MarketDataError(
            f"{name} has a next row although its contract settles at the next snapshot: expected next_row = -1. "
            "Build the market tensors again."
        )
    unvalued = (settle_index < market.n_snapshots) & market.settle_value_K[contract].isnan()
    if name := _first_named(market, first, unvalued):
        at = int(settle_index[unvalued][0])
        raise MarketDataError(
            f"{name} is of a contract that settles at snapshot {at} without a value: expected cash per share. Add "
            "that session to the underlyings and build again."
        )


def _first_named(market: MarketTensors, first: int, wrong: torch.Tensor) -> str:
    """The first row that is wrong, counted from row `first`, with its contract and snapshot; empty where none is."""
    if not bool(wrong.any()):
        return ""
    row = first + int(wrong.nonzero()[0])
    contract, snapshot = int(market.row_contract_Q[row]), int(market.row_snapshot_Q[row])
    return f"row {row} ({market.contract_id(contract)} at snapshot {snapshot})"
