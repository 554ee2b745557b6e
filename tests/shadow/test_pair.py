"""A pair of snapshots is what the builder would make of the tables as they were then."""

import polars as pl
import pytest
import torch

from clstm_core.errors import MarketDataError
from clstm_core.shadow.pair import pair_of, snapshots_of


def until(tables, snapshot):
    """The canonical tables without what came after a snapshot."""
    at = pl.from_epoch(pl.lit(snapshot), "ns").dt.replace_time_zone("UTC")
    kept = {name: tables[name].filter(pl.col("snapshot") <= at) for name in ("quotes", "underlyings")}
    return kept | {"rates": tables["rates"].filter(pl.col("date") <= at.dt.date())}


@pytest.mark.parametrize("now", [1, 13, 40])
def test_a_pair_holds_what_was_known_then_and_no_more(market, tables, build, now):
    then = build.market(until(tables, int(market.snapshot_T[now])))
    mine, theirs = pair_of(market, now - 1, now), pair_of(then, now - 1, now)
    known = len(theirs.strike_K)
    for name, tensor in theirs.tensors().items():
        ours = mine.tensors()[name]
        ours = ours[:known] if name.endswith(("_K", "_KB")) else ours
        assert torch.equal(ours.nan_to_num(-1.0), tensor.nan_to_num(-1.0)), name
    # the contracts that are known today and were not then are in no row
    assert int(mine.row_contract_Q.max()) < known


def test_all_snapshots_of_a_market_are_the_market(market):
    same = snapshots_of(market, range(market.n_snapshots))
    for name, tensor in market.tensors().items():
        assert torch.equal(same.tensors()[name].nan_to_num(-1.0), tensor.nan_to_num(-1.0)), name


def test_what_settles_at_a_session_that_is_left_out_settles_at_the_next(market):
    at = int(market.settle_index_K[market.settle_index_K < market.n_snapshots].min())
    contract = int((market.settle_index_K == at).nonzero()[0])
    pair = pair_of(market, at - 1, at + 1)
    assert int(pair.settle_index_K[contract]) == 1
    assert float(pair.settle_value_K[contract]) == float(market.settle_value_K[contract])


def test_snapshots_out_of_order_or_across_a_gap_are_a_sentence(market):
    with pytest.raises(MarketDataError, match="ascending"):
        pair_of(market, 5, 5)
    broken = market.segment_end_T.clone()
    broken[7] = True
    import dataclasses

    with pytest.raises(MarketDataError, match="no history leads from snapshot 7 to 8"):
        pair_of(dataclasses.replace(market, segment_end_T=broken), 7, 8)
