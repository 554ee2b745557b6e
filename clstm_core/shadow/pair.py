"""Some snapshots of a market as a market of its own: two are all that a step needs, without what came after them."""

import dataclasses
from collections.abc import Sequence

import torch

from clstm_core.errors import MarketDataError
from clstm_core.market.tensors import MarketTensors

_BY_SNAPSHOT = ("snapshot_T", "time_years_T", "spot_T", "rate_T", "dividend_yield_T", "features_TF")
_QUOTED = ("bid", "ask", "mark", "can_buy", "can_sell", "stale", "implied_vol", "tte_years", "size_zero")
_GREEKS = ("delta", "gamma", "vega", "theta", "rho")
_BY_ROW = ("row_contract_Q", *(f"{name}_Q" for name in (*_QUOTED, *_GREEKS)))


def snapshots_of(market: MarketTensors, chosen: Sequence[int]) -> MarketTensors:
    """The chosen snapshots of a market, the last of which is the newest that anybody knows.

    What settles between two of them settles at the second; what settles after the last is not known to settle at all.
    Row numbers are the new market's own; contracts keep theirs.

    Shapes: chosen [T'] indices, ascending
    Raises: MarketDataError for snapshots that do not follow each other in one history
    """
    index = list(chosen)
    if not index or index != sorted(set(index)) or not 0 <= index[0] <= index[-1] < market.n_snapshots:
        raise MarketDataError(
            f"snapshots {index[:3]}...{index[-3:]} of {market.n_snapshots}: expected some, ascending. Ask in order."
        )
    if bool(market.segment_end_T[index[0] : index[-1]].any()):
        raise MarketDataError(
            f"no history leads from snapshot {index[0]} to {index[-1]}: found a gap over which no position "
            "is carried. Begin a new shadow account after it."
        )
    first, stop = (market.row_offset_T1[torch.tensor(index) + shift] for shift in (0, 1))
    rows = torch.cat([torch.arange(int(a), int(b)) for a, b in zip(first, stop, strict=True)])
    offset = torch.cat([torch.zeros(1, dtype=torch.int64), (stop - first).cumsum(0)])
    grid = market.grid_row_TG[index]
    fields = {name: getattr(market, name)[index] for name in _BY_SNAPSHOT}
    fields |= {name: column[rows] if len(column := getattr(market, name)) else column for name in _BY_ROW}
    return dataclasses.replace(
        market,
        **fields,
        segment_end_T=torch.tensor([*[False] * (len(index) - 1), True]),
        row_offset_T1=offset,
        grid_row_TG=torch.where(grid >= 0, grid + (offset[:-1] - first)[:, None], -1),
        row_snapshot_Q=torch.repeat_interleave(torch.arange(len(index)), stop - first),
        next_row_Q=_next_rows(fields["row_contract_Q"], offset.tolist(), len(market.strike_K)),
        settle_index_K=torch.searchsorted(torch.tensor(index), market.settle_index_K),
        settle_value_K=torch.where(market.settle_index_K > index[-1], torch.nan, market.settle_value_K),
    )


def pair_of(market: MarketTensors, before: int | None, now: int) -> MarketTensors:
    """`snapshots_of` the snapshot that an account stands at and the newest one; of that alone where it begins there."""
    return snapshots_of(market, [now] if before is None else [before, now])


def _next_rows(contract: torch.Tensor, offset: Sequence[int], n_contracts: int) -> torch.Tensor:
    """The same contract's row at the next snapshot [Q]; -1 where there is none."""
    found = torch.full_like(contract, -1)
    lookup = torch.full((n_contracts,), -1, dtype=torch.int64)
    for first, middle, last in zip(offset, offset[1:], offset[2:], strict=False):
        lookup[contract[middle:last]] = torch.arange(middle, last)
        found[first:middle] = lookup[contract[first:middle]]
        lookup[contract[middle:last]] = -1
    return found
