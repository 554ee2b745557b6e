"""What is made to look ahead looks ahead by what it says, and nothing else differs."""

import dataclasses

import pytest
import torch

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.conventions.hindsight import (
    HALF_WINDOW,
    centred_volatility,
    hindsight_grid,
    scaled_by_window,
)
from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.specs import CELLS, MARKET_FEATURES

AHEAD = 2


def test_a_grid_that_looks_no_session_ahead_is_the_markets_own(market):
    found = hindsight_grid(market, (0, market.n_snapshots), ahead=0)
    assert torch.equal(found.grid_row_TG, market.grid_row_TG)


def test_hindsight_changes_the_windows_grid_and_nothing_else(market):
    start, stop = market.split("test")
    found = hindsight_grid(market, (start, stop), ahead=AHEAD)
    for name, values in market.tensors().items():
        if name != "grid_row_TG":
            assert torch.equal(getattr(found, name).nan_to_num(), values.nan_to_num()), name
    changed = found.grid_row_TG != market.grid_row_TG
    assert not changed[:start].any()
    assert not changed[stop:].any()
    assert changed[start:stop].float().mean() > 0.05
    assert found.identity == ""


def test_each_cell_holds_a_listed_contract_whose_delta_will_be_nearer_its_target(market):
    start, stop = market.split("test")
    found = hindsight_grid(market, (start, stop), ahead=AHEAD)
    honest, hindsight = market.grid_row_TG[start:stop], found.grid_row_TG[start:stop]

    def missed(row, target):
        for _ in range(AHEAD):
            following = market.next_row_Q[row]
            row = torch.where(following >= 0, following, row)
        return (market.delta_Q[row].abs() - target).abs()

    chosen = hindsight[hindsight >= 0]
    snapshots = torch.arange(start, stop)[:, None].expand_as(hindsight)[hindsight >= 0]
    assert torch.equal(market.row_snapshot_Q[chosen], snapshots)
    assert bool((market.can_buy_Q[chosen] & market.can_sell_Q[chosen]).all())
    for column, cell in enumerate(CELLS):
        if cell.delta is None:
            continue
        other = (hindsight[:, column] != honest[:, column]) & (honest[:, column] >= 0) & (hindsight[:, column] >= 0)
        better = missed(hindsight[other, column], cell.delta) <= missed(honest[other, column], cell.delta)
        assert better.float().mean() > 0.9, cell.name  # a contract nearer the money is not given to two cells
        rights = market.right_K[market.row_contract_Q[hindsight[other, column]]]
        assert bool((rights == cell.right).all())


def test_a_centred_volatility_is_tomorrows_and_what_is_made_of_it_follows(market):
    column = {name: index for index, name in enumerate(MARKET_FEATURES)}
    found = centred_volatility(market)
    realised, premium = column["realised_vol_21d"], column["variance_premium"]
    others = [index for index in range(len(MARKET_FEATURES)) if index not in (realised, premium)]
    assert torch.equal(found[:, others], market.features_TF[:, others])
    assert torch.equal(found[:-HALF_WINDOW, realised], market.features_TF[HALF_WINDOW:, realised])
    assert torch.equal(found[-HALF_WINDOW:, realised], market.features_TF[-1:, realised].expand(HALF_WINDOW))
    made = market.features_TF[:, column["near_atm_vol"]] ** 2 - found[:, realised] ** 2
    assert torch.equal(found[:, premium], made)


def test_no_feature_is_read_beyond_the_end_of_a_history(market):
    ends = torch.zeros_like(market.segment_end_T)
    ends[[199, -1]] = True
    found = centred_volatility(dataclasses.replace(market, segment_end_T=ends))
    column = MARKET_FEATURES.index("realised_vol_21d")
    assert torch.equal(found[195:200, column], market.features_TF[199, column].expand(5))
    assert found[200, column] == market.features_TF[200 + HALF_WINDOW, column]


def test_a_scaler_of_the_window_standardises_the_window(market, ladder):
    policy = load_checkpoint(ladder[1], modes=("argmax",))[0]
    start, stop = market.split("test")
    seen = scaled_by_window(market, (start, stop), policy)[start:stop].double()
    buffers = dict(policy.model.named_buffers())
    mean, std = (next(b for n, b in buffers.items() if n.endswith(end)) for end in ("obs_mean", "obs_std"))
    width = len(MARKET_FEATURES)
    standard = (seen - mean[:width]) / std[:width]
    varies = market.features_TF[start:stop].double().std(dim=0, unbiased=False) > 1e-3
    assert varies.sum() > 5
    assert standard[:, varies].mean(dim=0).abs().max() < 1e-4
    assert (standard[:, varies].std(dim=0, unbiased=False) - 1).abs().max() < 1e-3


def test_a_rule_has_no_scaler_to_replace(market):
    with pytest.raises(EvaluationError, match="standardises nothing"):
        scaled_by_window(market, market.split("test"), Rule("cash", "Cash"))
