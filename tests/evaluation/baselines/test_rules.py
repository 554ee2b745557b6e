"""Rules of thumb on their own: what they order from what an account holds, and what they say when they cannot."""

import dataclasses
from pathlib import Path

import torch

from clstm_core.evaluation.baselines.catalogue import CORE, baselines
from clstm_core.evaluation.baselines.chance import RandomPolicy
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, free_at_fill
from clstm_core.evaluation.baselines.stock import BuyAndHold
from clstm_core.evaluation.baselines.writing import BuyWrite, PutWrite
from clstm_core.evaluation.words import plain
from clstm_core.specs import ACTIONS

DOCS = Path(__file__).parents[3] / "docs" / "baselines.md"


def test_cash_orders_nothing(account_of, decide) -> None:
    orders = decide(Rule("cash", "Cash"), account_of(1e6, 5e6))
    assert (orders.leg_row_NP == -1).all()
    assert not orders.share_quantity_N.any()
    assert not orders.close_all_N.any()


def test_buy_and_hold_invests_cash_beyond_a_thousandth_and_repays_such_a_debt(account_of, decide, market) -> None:
    env = account_of(5e6, 5e6, 5e6, 5e6)
    env.state.cash_N[1:] = torch.tensor([4_990.0, 15_000.0, -15_000.0])
    bought = decide(BuyAndHold("b", "b"), env).share_quantity_N.tolist()
    spot, fee = float(market.spot_T[320]), env.config.commission_per_share_usd
    price, proceeds = spot * (1 + 0.5e-4) + fee, spot * (1 - 0.5e-4) - fee
    assert bought[0] * price <= 5e6 < (bought[0] + 1) * price
    assert bought[1] == 0
    assert bought[2] * price <= 15_000 < (bought[2] + 1) * price
    assert -bought[3] * proceeds <= 15_000 < (1 - bought[3]) * proceeds


def test_put_write_sells_whole_secured_contracts(account_of, decide, market) -> None:
    env = account_of(5e6, 100_000.0)
    policy = PutWrite("put_write", "PUT")
    orders = decide(policy, env)
    row = int(cell_rows(env, env.state, "near_put_atm")[0, 0])
    strike = float(market.strike_K[market.row_contract_Q[row]])
    assert orders.leg_row_NP[0].tolist() == [row, -1, -1, -1]
    assert orders.leg_quantity_NP[0].tolist() == [-int(5e6 // (strike * 100)), 0, 0, 0]
    assert orders.leg_quantity_NP[1].tolist() == [0, 0, 0, 0]
    assert policy.notes() == ["put_write: equity below one whole contract on 1 snapshot; it could not trade."]


def test_a_rule_waits_while_it_holds_options(account_of, decide) -> None:
    env = account_of(5e6)
    row = cell_rows(env, env.state, "near_put_atm")[0, 0]
    env.state.leg_row_NL[0, 3], env.state.leg_quantity_NL[0, 3] = row, -1.0
    assert not free_at_fill(env, env.state).any()
    for policy in (PutWrite("p", "p"), BuyWrite("b", "b")):
        orders = decide(policy, env)
        assert not orders.leg_quantity_NP.any()
        assert not orders.share_quantity_N.any()
        assert policy.notes() == []


def test_a_rule_waits_where_nothing_is_listed_and_says_so(account_of, decide, market) -> None:
    env = account_of(5e6)
    env.view = dataclasses.replace(env.view, grid_row_TG=torch.full_like(market.grid_row_TG, -1))
    policy = PutWrite("put_write", "PUT")
    assert not decide(policy, env).leg_quantity_NP.any()
    assert policy.notes() == ["put_write: no contract listed for the rule on 1 snapshot; it waited."]


def test_buy_write_adjusts_its_shares_to_the_calls(account_of, decide, market) -> None:
    env = account_of(5e6)
    orders = decide(BuyWrite("buy_write", "BXM"), env)
    contracts = -int(orders.leg_quantity_NP[0, 0])
    assert contracts == int(5e6 // (float(market.spot_T[320]) * 1.00005 * 100))
    assert int(orders.share_quantity_N) == contracts * 100
    env.state.shares_N[:] = contracts * 100 + 200
    assert int(decide(BuyWrite("buy_write", "BXM"), env).share_quantity_N) == -200


def test_labels_say_when_the_near_tenor_is_no_month(market) -> None:
    monthly = {policy.name: policy.label for policy in baselines(market)}
    assert set(CORE) < set(monthly)
    assert "1-month" in monthly["put_write"]
    weekly = baselines(dataclasses.replace(market, info=market.info | {"near_days": 5.0}))
    assert "5-day (the nearest listed tenor, not a month)" in weekly[2].label


def test_random_draws_legal_actions_alike_often_and_from_its_seed(account_of, decide) -> None:
    env = account_of(*[1e6] * 3000)
    mask = torch.zeros(3000, len(ACTIONS), dtype=torch.bool)
    mask[:, [0, 5, 30]] = True
    actions = decide(RandomPolicy(seed=1), env, mask).share_quantity_N
    counts = torch.bincount(actions, minlength=len(ACTIONS))
    assert int(counts[[0, 5, 30]].sum()) == 3000
    assert (counts[[0, 5, 30]] > 850).all()
    assert torch.equal(actions, decide(RandomPolicy(seed=1), env, mask).share_quantity_N)
    assert not torch.equal(actions, decide(RandomPolicy(seed=2), env, mask).share_quantity_N)


def test_the_documentation_lists_every_baseline_with_its_name_in_the_verdict(market) -> None:
    rows = [line.split("|")[1:3] for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    told = {name.strip(" `"): verdict.strip() for name, verdict in rows}
    names = [*(policy.name for policy in baselines(market)), "matched_random"]
    assert told == {name: plain(name) for name in names}
    assert list(told) == names
