"""Rules and checkpoints on their own: what they order from what an account holds, and what they refuse."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from clstm_core.config import EnvConfig, ModelConfig
from clstm_core.env.state import AccountState, Orders
from clstm_core.errors import CheckpointError, EvaluationError
from clstm_core.evaluation.policies import (
    BuyAndHold,
    BuyWrite,
    CheckpointPolicy,
    PutWrite,
    RandomPolicy,
    Rule,
    baselines,
    cell_rows,
    flat,
    load_checkpoint,
)
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, MAX_LEGS, OBSERVATION


@pytest.fixture
def account_of(market):
    """Accounts of given equities, all in cash, at one snapshot of the simulated market."""

    def build(*equities: float, snapshot: int = 320) -> SimpleNamespace:
        n = len(equities)
        equity = torch.tensor(equities, dtype=torch.float64)
        zero = torch.zeros(n, dtype=torch.int64)
        legs = torch.zeros(n, MAX_LEGS, dtype=torch.float64)
        state = AccountState(
            cash_N=equity.clone(),
            shares_N=torch.zeros(n, dtype=torch.float64),
            leg_row_NL=torch.full((n, MAX_LEGS), -1),
            leg_quantity_NL=legs,
            leg_entry_price_NL=legs.clone(),
            entry_equity_N=equity.clone(),
            equity_N=equity,
            snapshot_index_N=torch.full((n,), snapshot),
            age_N=zero,
            episode_N=zero,
            seed_N=zero,
        )

        def orders_for(action):
            return Orders.none(n)._replace(share_quantity_N=action)

        return SimpleNamespace(n_envs=n, market=market, config=EnvConfig(), state=state, orders_for=orders_for)

    return build


def decide(policy, env, mask=None) -> Orders:
    policy.reset(env.n_envs)
    obs = torch.zeros(env.n_envs, len(OBSERVATION))
    return policy.decide(env, obs, torch.ones(env.n_envs, len(ACTIONS), dtype=torch.bool) if mask is None else mask)


def test_cash_orders_nothing(account_of) -> None:
    orders = decide(Rule("cash", "Cash"), account_of(1e6, 5e6))
    assert (orders.leg_row_NP == -1).all()
    assert not orders.share_quantity_N.any()
    assert not orders.close_all_N.any()


def test_buy_and_hold_spends_the_equity_once(account_of, market) -> None:
    env = account_of(5e6)
    bought = int(decide(BuyAndHold("b", "b"), env).share_quantity_N)
    price = float(market.spot_T[320]) * (1 + 0.5e-4) + env.config.commission_per_share_usd
    assert bought * price <= 5e6 < (bought + 1) * price
    env.state.shares_N[:] = bought
    assert int(decide(BuyAndHold("b", "b"), env).share_quantity_N) == 0


def test_put_write_sells_whole_secured_contracts(account_of, market) -> None:
    env = account_of(5e6, 100_000.0)
    policy = PutWrite("put_write", "PUT")
    orders = decide(policy, env)
    row = int(cell_rows(env, env.state, "near_put_atm")[0, 0])
    strike = float(market.strike_K[market.row_contract_Q[row]])
    assert orders.leg_row_NP[0].tolist() == [row, -1, -1, -1]
    assert orders.leg_quantity_NP[0].tolist() == [-int(5e6 // (strike * 100)), 0, 0, 0]
    assert orders.leg_quantity_NP[1].tolist() == [0, 0, 0, 0]
    assert policy.notes() == ["put_write: equity below one whole contract on 1 snapshots; it could not trade."]


def test_a_rule_waits_while_it_holds_options(account_of) -> None:
    env = account_of(5e6)
    env.state.leg_quantity_NL[0, 3] = -1.0
    assert not flat(env.state).any()
    for policy in (PutWrite("p", "p"), BuyWrite("b", "b")):
        orders = decide(policy, env)
        assert not orders.leg_quantity_NP.any()
        assert not orders.share_quantity_N.any()
        assert policy.notes() == []


def test_a_rule_waits_where_nothing_is_listed_and_says_so(account_of, market) -> None:
    env = account_of(5e6)
    env.market = dataclasses.replace(market, grid_row_TG=torch.full_like(market.grid_row_TG, -1))
    policy = PutWrite("put_write", "PUT")
    assert not decide(policy, env).leg_quantity_NP.any()
    assert policy.notes() == ["put_write: no contract listed for the rule on 1 snapshots; it waited."]


def test_buy_write_adjusts_its_shares_to_the_calls(account_of, market) -> None:
    env = account_of(5e6)
    orders = decide(BuyWrite("buy_write", "BXM"), env)
    contracts = -int(orders.leg_quantity_NP[0, 0])
    assert contracts == int(5e6 // (float(market.spot_T[320]) * 1.00005 * 100))
    assert int(orders.share_quantity_N) == contracts * 100
    env.state.shares_N[:] = contracts * 100 + 200
    assert int(decide(BuyWrite("buy_write", "BXM"), env).share_quantity_N) == -200


def test_labels_say_when_the_near_tenor_is_no_month(market) -> None:
    monthly = {policy.name: policy.label for policy in baselines(market)}
    assert list(monthly) == ["cash", "buy_and_hold", "put_write", "buy_write", "short_straddle", "random"]
    assert "1-month" in monthly["put_write"]
    weekly = baselines(dataclasses.replace(market, info=market.info | {"near_days": 5.0}))
    assert "5-day (the nearest listed tenor, not a month)" in weekly[2].label


def test_random_draws_legal_actions_alike_often_and_from_its_seed(account_of) -> None:
    env = account_of(*[1e6] * 3000)
    mask = torch.zeros(3000, len(ACTIONS), dtype=torch.bool)
    mask[:, [0, 5, 30]] = True
    actions = decide(RandomPolicy(seed=1), env, mask).share_quantity_N
    counts = torch.bincount(actions, minlength=len(ACTIONS))
    assert int(counts[[0, 5, 30]].sum()) == 3000
    assert (counts[[0, 5, 30]] > 850).all()
    assert torch.equal(actions, decide(RandomPolicy(seed=1), env, mask).share_quantity_N)
    assert not torch.equal(actions, decide(RandomPolicy(seed=2), env, mask).share_quantity_N)


def test_a_checkpoint_plays_legal_actions_in_both_modes(account_of, ladder) -> None:
    env = account_of(*[1e6] * 64)
    mask = torch.zeros(64, len(ACTIONS), dtype=torch.bool)
    mask[:, [0, 7]] = True
    for policy in load_checkpoint(ladder[1]):
        actions = decide(policy, env, mask).share_quantity_N
        assert set(actions.tolist()) <= {0, 7}
        assert torch.equal(policy.last.action_N, actions)
        assert policy.last.value_N.isfinite().all()
    facts = load_checkpoint(ladder[1])[0].describe()["checkpoint"]
    assert (facts["milestone"], facts["env_steps"], facts["run"]) == ("100", 1280, "tiny")
    assert (facts["trained_on"], facts["trained_label"]) == ("simulated", "simulated quotes")


def test_a_checkpoint_remembers_within_an_account_and_forgets_at_a_reset(account_of, ladder) -> None:
    env = account_of(1e6)
    policy = load_checkpoint(ladder[1], modes=("argmax",))[0]
    mask = torch.ones(1, len(ACTIONS), dtype=torch.bool)
    obs = torch.ones(1, len(OBSERVATION))
    policy.reset(1)
    values = []
    for _ in range(2):
        policy.decide(env, obs, mask)
        values.append(float(policy.last.value_N))
    assert values[0] != values[1]
    policy.reset(1)
    policy.decide(env, obs, mask)
    assert float(policy.last.value_N) == values[0]


def test_a_checkpoint_brings_its_own_scaler(ladder) -> None:
    size = len(OBSERVATION)
    torch.manual_seed(0)
    plain = CLSTM(size, len(ACTIONS), ModelConfig(hidden_dim=16))
    scaled = CLSTM(size, len(ACTIONS), ModelConfig(hidden_dim=16), torch.full((size,), 2.0), torch.full((size,), 4.0))
    weights = plain.state_dict() | {k: v for k, v in scaled.state_dict().items() if k.startswith("encoder.obs_")}
    scaled.load_state_dict(weights)
    env = SimpleNamespace(orders_for=lambda action: action)
    mask = torch.ones(1, len(ACTIONS), dtype=torch.bool)
    one, other = (CheckpointPolicy(model, name=name) for model, name in ((plain, "a"), (scaled, "b")))
    one.decide(env, torch.full((1, size), 0.5), mask)
    other.decide(env, torch.full((1, size), 4.0), mask)
    assert float(one.last.value_N) == pytest.approx(float(other.last.value_N), abs=1e-6)


def test_what_cannot_be_played_is_refused(ladder, tmp_path) -> None:
    model = CLSTM(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=16))
    with pytest.raises(EvaluationError, match="unknown policy mode 'greedy'"):
        CheckpointPolicy(model, name="a", mode="greedy")
    with pytest.raises(EvaluationError, match="reads 3 features and has 2 actions"):
        CheckpointPolicy(CLSTM(3, 2, ModelConfig(hidden_dim=16)), name="a")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "nowhere")
