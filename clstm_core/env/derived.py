"""Everything a step needs that depends on the market and the configuration alone, computed once.

One wide table a row and one a snapshot, so that a step gathers each once.
"""

from dataclasses import dataclass

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.fills import fill_prices
from clstm_core.env.margin import option_scenarios, scenario_shocks
from clstm_core.errors import MarketDataError
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import RIGHT_CALL, RIGHT_PUT

(
    BID,
    ASK,
    MARK,
    BUY,
    SELL,
    MULTIPLIER,
    IMPLIED_VOL,
    TTE,
    DELTA,
    GAMMA,
    VEGA,
    THETA,
    RHO,
    CALL_STRIKE,  # the strike of a call, 0 of a put
    PUT_STRIKE,
    CAN_BUY,
    CAN_SELL,
    STALE,
    SETTLES,  # 1 when the contract settles at the next snapshot
    SETTLE_VALUE,  # its cash a share then, else 0
    SCENARIOS,  # first of the S scenario columns
) = range(21)

SPOT, RATE, DT, INTEREST_GROWTH, DIVIDEND_GROWTH = range(5)

_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """The market as one configuration sees it.

    Shapes: row_QC [Q, 20 + S], columns above, prices a share; snapshot_TC [T, 5]; move_S [S] relative moves of spot.
            Rows outside the window's snapshots are zero.
    """

    row_QC: torch.Tensor
    snapshot_TC: torch.Tensor
    move_S: torch.Tensor


def derive(market: MarketTensors, config: EnvConfig, window: tuple[int, int], dtype: torch.dtype) -> Derived:
    """Fill prices, carry factors and margin scenarios of every row in a window.

    Raises: MarketDataError when a row neither continues nor settles, or a settlement has no value
    """
    start, stop = window
    first, last = int(market.row_offset_T1[start]), int(market.row_offset_T1[stop])
    _check_rows(market, first, last)
    move_S, _ = scenario_shocks(config)
    device = market.spot_T.device
    table = torch.zeros(max(1, market.n_rows), SCENARIOS + move_S.shape[0], dtype=dtype, device=device)
    for low in range(first, last, _CHUNK):
        rows = slice(low, min(low + _CHUNK, last))
        _fill_rows(table[rows], market, rows, config)
    return Derived(row_QC=table, snapshot_TC=_snapshot_table(market, dtype), move_S=move_S.to(device, dtype))


def _fill_rows(table: torch.Tensor, market: MarketTensors, rows: slice, config: EnvConfig) -> None:
    snapshot, contract = market.row_snapshot_Q[rows], market.row_contract_Q[rows]
    strike, right = market.strike_K[contract], market.right_K[contract]
    buy, sell = fill_prices(market.bid_Q[rows], market.ask_Q[rows], config)
    settles = market.settle_index_K[contract] == snapshot + 1
    columns = {
        BID: market.bid_Q[rows],
        ASK: market.ask_Q[rows],
        MARK: market.mark_Q[rows],
        BUY: buy,
        SELL: sell,
        MULTIPLIER: market.multiplier_K[contract],
        IMPLIED_VOL: market.implied_vol_Q[rows],
        TTE: market.tte_years_Q[rows],
        DELTA: market.delta_Q[rows],
        GAMMA: market.gamma_Q[rows],
        VEGA: market.vega_Q[rows],
        THETA: market.theta_Q[rows],
        RHO: market.rho_Q[rows],
        CALL_STRIKE: torch.where(right == RIGHT_CALL, strike, 0.0),
        PUT_STRIKE: torch.where(right == RIGHT_PUT, strike, 0.0),
        CAN_BUY: market.can_buy_Q[rows],
        CAN_SELL: market.can_sell_Q[rows],
        STALE: market.stale_Q[rows],
        SETTLES: settles,
        SETTLE_VALUE: torch.where(settles, market.settle_value_K[contract], 0.0),
    }
    for column, values in columns.items():
        table[:, column] = values
    dtype = table.dtype
    table[:, SCENARIOS:] = option_scenarios(
        market.spot_T[snapshot].to(dtype),
        strike.to(dtype),
        market.tte_years_Q[rows].to(dtype),
        market.implied_vol_Q[rows].to(dtype),
        market.rate_T[snapshot].to(dtype),
        market.dividend_yield_T[snapshot].to(dtype),
        right.to(dtype),
        config,
    )
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
    ends = market.segment_end_T.clone()
    ends[-1] = True
    lost = (market.next_row_Q[rows] < 0) & ~ends[snapshot] & (settle_index != snapshot + 1)
    if bool(lost.any()):
        row = first + int(lost.nonzero()[0])
        raise MarketDataError(
            f"row {row} ({market.contract_id(int(market.row_contract_Q[row]))} at snapshot "
            f"{int(market.row_snapshot_Q[row])}) has no next row and does not settle at the next snapshot: a holder "
            "would lose it. Build the market tensors again (stale rows fill such gaps)."
        )
    both = (market.next_row_Q[rows] >= 0) & (settle_index == snapshot + 1)
    if bool(both.any()):
        row = first + int(both.nonzero()[0])
        raise MarketDataError(
            f"row {row} ({market.contract_id(int(market.row_contract_Q[row]))}) has a next row although its contract "
            "settles at the next snapshot: expected next_row = -1. Build the market tensors again."
        )
    unvalued = (settle_index < market.n_snapshots) & market.settle_value_K[contract].isnan()
    if bool(unvalued.any()):
        row = first + int(unvalued.nonzero()[0])
        raise MarketDataError(
            f"contract {market.contract_id(int(market.row_contract_Q[row]))} settles at snapshot "
            f"{int(market.settle_index_K[market.row_contract_Q[row]])} without a value: expected cash a share. "
            "Add that session to the underlyings and build again."
        )
