"""The condor on bills, the hedged straddle, the covered call of 0.30 delta and the early exits, by their ledgers."""

import polars as pl
import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env import trading
from clstm_core.env.step import value_account
from clstm_core.evaluation.backtest import run_backtests
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.baselines.condor import BILLS_PER_LOSS, Condor
from clstm_core.evaluation.baselines.early_exit import EarlyExit
from clstm_core.evaluation.baselines.rule import cell_rows
from clstm_core.evaluation.baselines.straddles import HedgedStraddle, ShortStraddle
from clstm_core.evaluation.baselines.writing import BuyWrite

NEW = ("buy_write_30", "condor", "hedged_straddle", "strangle_half_premium", "strangle_early")
OSI = r"^\w+(?<date>\d{6})(?<right>[CP])(?<strike>\d{8})$"


@pytest.fixture(scope="module", params=[0, 1], ids=["lag 0", "lag 1"])
def walked(request, market, tmp_path_factory):
    """The rules beyond the first six, with the unhedged straddle, over the training window, by name."""
    rules = [rule for rule in baselines(market) if rule.name in (*NEW, "short_straddle")]
    config = EnvConfig(fill_lag=request.param)
    found = run_backtests(rules, market, config, "train", out_dir=tmp_path_factory.mktemp("rules"))
    return {result.name: result for result in found}


@pytest.mark.parametrize("name", NEW)
def test_each_trades_from_end_to_end_and_nothing_is_refused(walked, name) -> None:
    result = walked[name]
    decisions = result.table("decisions")
    assert not decisions["rejected"].any()
    assert decisions["unfilled"].sum() <= 2
    assert result.manifest["notes"] == []
    # of its published size the condor outgrows a net exposure of one where a leg is tested, and is closed there
    summary = result.manifest["summary"]
    assert summary["n_liquidations"] == (summary["n_budget_breaches"] if name == "condor" else 0)
    assert summary["n_liquidations"] <= 6
    held = result.table("positions")["step"].n_unique()
    settled = result.table("fills").filter(pl.col("reason") == "expiry")["step"].n_unique()
    assert held >= result.table("equity")["step"].max() - settled - 1


@pytest.mark.parametrize("name", ["buy_write_30", "condor", "hedged_straddle"])
def test_what_is_held_to_expiry_is_rolled_on_expiry_day(walked, name) -> None:
    fills = walked[name].table("fills").filter(pl.col("kind") == "option")
    expired = set(fills.filter(pl.col("reason") == "expiry")["snapshot"])
    assert len(expired) >= 5
    assert expired <= set(fills.filter(pl.col("reason") == "open")["snapshot"])


def test_ten_times_the_condors_worst_loss_lies_in_bills(walked) -> None:
    result = walked["condor"]
    fills = result.table("fills").filter(pl.col("reason") == "open")
    equity = dict(result.table("equity").select("step", "equity_usd").iter_rows())
    parts = fills["contract_id"].str.extract_groups(OSI).struct.unnest()
    legs = fills.with_columns(parts["right"], parts["strike"].cast(pl.Float64) / 1000)
    for (step,), condor in legs.group_by("step"):
        assert condor.height == 4
        size = condor["quantity"].abs().unique().item()
        short, long = (condor.filter(pl.col("quantity") * sign > 0).sort("right") for sign in (-1, 1))
        assert short["right"].to_list() == long["right"].to_list() == ["C", "P"]
        assert long["strike"][0] > short["strike"][0] > short["strike"][1] > long["strike"][1]
        credit = -(condor["quantity"] * condor["price"] * condor["multiplier"]).sum()
        width = (long["strike"] - short["strike"]).abs().max()
        worst = size * width * 100 - credit + condor["fee_usd"].sum()
        # sized on the decision's quotes, which a lag moves a little
        before = equity[step - 1]
        assert BILLS_PER_LOSS * worst <= before * (1.25 if result.manifest["fill_lag"] else 1 + 1e-9)
        assert BILLS_PER_LOSS * worst * (size + 1) / size > before * (0.75 if result.manifest["fill_lag"] else 1)


def test_the_covered_call_of_thirty_delta_sells_that_call(account_of, decide) -> None:
    env = account_of(5e6)
    orders = decide(BuyWrite("buy_write_30", "BXMD", "near_call_30"), env)
    row = cell_rows(env, env.state, "near_call_30")
    assert orders.leg_row_NP[0, 0] == row[0, 0]
    assert 0.2 < float(env.view.facts(row)[0, 0, col.DELTA]) < 0.4
    assert int(orders.share_quantity_N) == -100 * int(orders.leg_quantity_NP[0, 0])


def test_the_hedge_leaves_little_delta_and_less_risk(walked) -> None:
    found = {}
    for name in ("hedged_straddle", "short_straddle"):
        settled = walked[name].table("fills").filter(pl.col("reason") == "expiry")["step"]
        # where options settle, their part of the move is booked as settlement and the shares' part alone as delta
        equity = walked[name].table("equity")[1:].filter(~pl.col("step").is_in(settled.implode()))
        found[name] = (equity["delta_usd"].std(), walked[name].table("equity")["equity_usd"].diff().std())
    hedged, unhedged = found["hedged_straddle"], found["short_straddle"]
    assert hedged[0] < (0.001 if walked["hedged_straddle"].manifest["fill_lag"] == 0 else 0.7) * unhedged[0]
    assert hedged[1] < unhedged[1]
    reasons = walked["hedged_straddle"].table("fills").filter(pl.col("kind") == "underlying")["reason"]
    assert (reasons == "hedge").mean() > 0.85


def test_the_roll_of_the_hedged_straddle_leaves_out_what_settles_before_the_fill(account_of, decide, market) -> None:
    settles = (market.settle_index_K[market.row_contract_Q] == market.row_snapshot_Q + 1).nonzero()[:, 0]
    row = int(settles[(market.row_snapshot_Q[settles] > 30) & (market.delta_Q[settles] > 0.9)][0])
    env = account_of(5e6, snapshot=int(market.row_snapshot_Q[row]))
    env.state.leg_row_NL[0, 0], env.state.leg_quantity_NL[0, 0] = row, -10.0
    env.state.shares_N[0] = 950.0
    orders = decide(HedgedStraddle("h", "h"), env)
    facts = env.view.facts(orders.leg_row_NP[:, :2])
    opened = float((orders.leg_quantity_NP[:, :2] * facts[..., col.MULTIPLIER] * facts[..., col.DELTA]).sum())
    assert int(orders.leg_quantity_NP[0, 0]) < 0
    book = value_account(env.view, env.config, env.state)
    decision = trading.decide(orders, book, env.view.quotes(orders.leg_row_NP), env.config)
    assert int(decision.hedge_shares[0]) == -round(opened + 950)


def test_the_hedged_straddle_sells_what_the_unhedged_one_does(account_of, decide) -> None:
    env = account_of(5e6)
    hedged, plain = decide(HedgedStraddle("h", "h"), env), decide(ShortStraddle("s", "s"), env)
    assert torch.equal(hedged.leg_row_NP, plain.leg_row_NP)
    assert torch.equal(hedged.leg_quantity_NP, plain.leg_quantity_NP)
    assert bool(hedged.hedge_N[0])
    assert not plain.hedge_N[0]


def sold_strangle(account_of, market, *, premium: float, snapshot: int = 320):
    """An account that is short one strangle sold for `premium` times what it costs to buy back now."""
    env = account_of(5e6, snapshot=snapshot)
    rows = cell_rows(env, env.state, "near_call_20", "near_put_20")
    env.state.leg_row_NL[:, :2], env.state.leg_quantity_NL[:, :2] = rows, -3.0
    env.state.leg_entry_price_NL[:, :2] = premium * env.view.facts(rows)[..., col.BUY]
    return env


@pytest.mark.parametrize(("premium", "closes"), [(1.0, False), (1.99, False), (2.01, True), (5.0, True)])
def test_half_the_premium_closes_and_sells_the_next_in_one_order(
    account_of, decide, market, premium: float, closes: bool
) -> None:
    orders = decide(EarlyExit("e", "e", left=0.5), sold_strangle(account_of, market, premium=premium))
    assert bool(orders.close_all_N[0]) is closes
    assert bool((orders.leg_quantity_NP[0, :2] < 0).all()) is closes


def test_days_close_what_is_near_its_expiry_and_never_open_such_a_one(account_of, decide, market) -> None:
    env = sold_strangle(account_of, market, premium=1.0)
    days = float(env.view.facts(env.state.leg_row_NL)[0, :2, col.TTE].max()) * 365.0
    early, late = (EarlyExit("e", "e", days=days + change) for change in (-1.0, 1.0))
    assert not decide(early, env).close_all_N[0]
    orders = decide(late, env)
    assert orders.close_all_N[0]
    assert not orders.leg_quantity_NP.any()
    assert late.notes() == ["e: no contract listed for the rule on 1 snapshot; it waited."]


def test_a_strangle_that_cannot_be_bought_back_is_kept(account_of, decide, market) -> None:
    env = sold_strangle(account_of, market, premium=5.0)
    env.view.derived.row_QC[env.state.leg_row_NL[0, 0], col.CAN_BUY] = 0.0
    orders = decide(EarlyExit("e", "e", left=0.5), env)
    assert not orders.close_all_N[0]
    assert not orders.leg_quantity_NP.any()


def test_the_condor_waits_where_a_wing_is_missing(account_of, decide) -> None:
    env = account_of(5e6)
    assert (decide(Condor("c", "c"), env).leg_quantity_NP != 0).all()
    env.view.packages.unit_TAC[320, :, col.AVAILABLE] = 0.0
    policy = Condor("c", "c")
    assert not decide(policy, env).leg_quantity_NP.any()
    assert policy.notes() == ["c: no contract listed for the rule on 1 snapshot; it waited."]
