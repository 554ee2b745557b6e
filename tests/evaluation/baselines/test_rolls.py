"""Rules that hold options to expiry sell the next ones on expiry day, as the indices do, at both fill lags."""

import dataclasses

import polars as pl
import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.evaluation.backtest import run_backtests
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.baselines.rule import cell_rows, held_at_fill
from clstm_core.evaluation.baselines.writing import PutWrite

WRITERS = ("put_write", "buy_write", "short_straddle")


@pytest.fixture(scope="module", params=[0, 1], ids=["lag 0", "lag 1"])
def walked(request, market, tmp_path_factory):
    """Every rule that lets its options expire, over the training window, by name."""
    rules = [rule for rule in baselines(market) if rule.name in WRITERS]
    config = EnvConfig(fill_lag=request.param)
    found = run_backtests(rules, market, config, "train", out_dir=tmp_path_factory.mktemp("rolls"))
    return {result.name: result for result in found}


@pytest.mark.parametrize("name", WRITERS)
def test_the_next_options_are_sold_at_the_snapshot_at_which_the_old_ones_settle(walked, name) -> None:
    fills = walked[name].table("fills").filter(pl.col("kind") == "option")
    expired = fills.filter(pl.col("reason") == "expiry")["snapshot"].unique().to_list()
    opened = fills.filter(pl.col("reason") == "open")["snapshot"].unique().to_list()
    assert len(expired) >= 5
    assert set(expired) <= set(opened)


@pytest.mark.parametrize("name", WRITERS)
def test_no_session_passes_without_options(walked, name) -> None:
    result = walked[name]
    lag = result.manifest["fill_lag"]
    held = result.table("positions")["step"].unique().sort().to_list()
    last = result.table("equity")["step"].max()
    # with no lag, a step in which options settle ends without any: they are sold at that same snapshot's next order
    settled = result.table("fills").filter(pl.col("reason") == "expiry")["step"].unique().to_list() if lag == 0 else []
    assert held == [step for step in range(1, last + 1) if step not in settled]


def test_the_rule_of_covered_calls_stays_covered_through_its_rolls(walked) -> None:
    result = walked["buy_write"]
    short = result.table("positions").group_by("step").agg((-pl.col("quantity") * pl.col("multiplier")).sum())
    both = result.table("equity").join(short, on="step")
    assert both.height > 150
    assert (both["shares"] == both["quantity"]).all()


def test_a_settlement_ahead_frees_the_leg_with_a_lag_and_not_without(account_of, market) -> None:
    """A leg is gone at the fill only where it settles at the next snapshot and the fill waits for it."""
    settles = (market.settle_index_K[market.row_contract_Q] == market.row_snapshot_Q + 1).nonzero()[:, 0]
    row = int(settles[market.row_snapshot_Q[settles] > 30][0])
    snapshot = int(market.row_snapshot_Q[row])
    for lag, still in ((1, False), (0, True)):
        env = account_of(5e6, snapshot=snapshot, config=EnvConfig(fill_lag=lag))
        assert float(env.view.facts(torch.tensor([row]))[0, col.SETTLES]) == 1.0
        env.state.leg_row_NL[0, 2], env.state.leg_quantity_NL[0, 2] = row, -1.0
        assert bool(held_at_fill(env, env.state)[0, 2]) is still
        assert not held_at_fill(env, env.state)[0, [0, 1, 3]].any()


def test_one_leg_that_stays_keeps_the_rule_waiting(account_of, decide, market) -> None:
    settles = (market.settle_index_K[market.row_contract_Q] == market.row_snapshot_Q + 1).nonzero()[:, 0]
    row = int(settles[market.row_snapshot_Q[settles] > 30][0])
    snapshot = int(market.row_snapshot_Q[row])
    env = account_of(5e6, 5e6, snapshot=snapshot)
    stays = int(cell_rows(env, env.state, "near_call_atm")[0, 0])
    env.state.leg_row_NL[:, 0], env.state.leg_quantity_NL[:, 0] = row, -1.0
    env.state.leg_row_NL[1, 1], env.state.leg_quantity_NL[1, 1] = stays, -1.0
    quantity = decide(PutWrite("p", "p"), env).leg_quantity_NP
    assert (quantity[0, 0] < 0, quantity[1, 0] == 0) == (True, True)


def test_what_settles_before_the_fill_is_never_sold(account_of, decide, market) -> None:
    """With a lag, the contract that the grid offers on its last day would be gone: the rule waits and says so."""
    at = 320
    settling = dataclasses.replace(market, next_row_Q=torch.where(market.row_snapshot_Q == at, -1, market.next_row_Q))
    index = market.settle_index_K.clone()
    index[market.row_contract_Q[market.row_snapshot_Q == at]] = at + 1
    settling = dataclasses.replace(
        settling, settle_index_K=index, settle_value_K=market.settle_value_K.nan_to_num(nan=0.0)
    )
    for lag in (1, 0):
        env = account_of(5e6, snapshot=at, config=EnvConfig(fill_lag=lag), market=settling)
        policy = PutWrite("p", "p")
        sold = int(decide(policy, env).leg_quantity_NP[0, 0])
        assert (sold == 0) == (lag == 1)
        assert bool(policy.notes()) == (lag == 1)
