"""Properties of whole random sessions: money conserved, nothing foreseen, no env touching another."""

import dataclasses

import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env.actions import is_defined_risk
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.state import Orders
from clstm_core.errors import CheckpointError, ConfigError, MarketDataError
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import ACTIONS, MAX_LEGS, TEMPLATES

CONFIG = EnvConfig(horizon=21)


def make(market, lag=1, n_envs=16, dtype=torch.float64, **changes) -> OptionsEnv:
    kwargs = {key: changes.pop(key) for key in ("seed", "window", "stagger", "fixed_start") if key in changes}
    return OptionsEnv(
        market, dataclasses.replace(CONFIG, fill_lag=lag, **changes), n_envs=n_envs, dtype=dtype, **kwargs
    )


def pick(mask: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
    """A legal action per env from a draw in 0..1."""
    rank = (draw * mask.sum(dim=1)).long()
    return (mask.cumsum(dim=1) > rank[:, None]).long().argmax(dim=1)


@pytest.mark.parametrize("lag", [0, 1])
def test_money_is_conserved(world, lag):
    env = make(world, lag, horizon=60)
    generator = torch.Generator().manual_seed(lag)
    seen = torch.zeros(6, dtype=torch.int64)
    for step in range(80):
        mask = env.observe()[1].clone()
        mask[:, 1] &= step % 40 == 39  # books live long enough to settle
        env.step(pick(mask, torch.rand(16, generator=generator)))
        x = env.last
        spent = (x.fill_quantity_NX * x.fill_price_NX * x.fill_multiplier_NX).sum(1) + x.fill_fee_NX.sum(1)
        flows = x.interest_N + x.dividends_N - x.borrow_N
        torch.testing.assert_close(x.cash_before_N + flows - spent, x.cash_N, rtol=0, atol=1e-6)
        marked = (x.leg_quantity_NL * x.leg_multiplier_NL * x.leg_mark_NL).sum(1)
        torch.testing.assert_close(x.cash_N + x.shares_N * x.spot_N + marked, x.equity_N, rtol=0, atol=1e-6)
        profit = x.equity_N - x.equity_before_N
        costs = x.fees_N + x.slippage_N
        moved = x.option_mark_change_N + x.share_mark_change_N + flows - costs + x.settlement_N
        torch.testing.assert_close(moved, profit, rtol=0, atol=1e-6)
        greeks = x.attribution_delta_N + x.attribution_gamma_N + x.attribution_vega_N + x.attribution_theta_N
        explained = greeks + x.attribution_carry_N + x.settlement_N - costs + x.attribution_residual_N
        torch.testing.assert_close(explained, profit, rtol=0, atol=1e-6)
        seen += torch.bincount(x.fill_reason_NX.flatten(), minlength=6)
    assert (seen[[1, 2, 3, 5]] > 0).all(), seen


@pytest.mark.parametrize("lag", [0, 1])
def test_a_legal_action_fills_in_a_market_that_is_quoted(world, lag):
    env = make(world, lag)
    generator = torch.Generator().manual_seed(7)
    acted = 0
    for _ in range(60):
        action = pick(env.observe()[1], torch.rand(16, generator=generator))
        held = (env.state.leg_quantity_NL != 0).any(1) | (env.state.shares_N != 0)
        rows = env.orders_for(action).leg_row_NP
        survives = ((rows < 0) | (world.next_row_Q[rows.clamp(min=0)] >= 0)).all(1)
        env.step(action)
        x = env.last
        real = (action > 1) | ((action == 1) & held & (x.fill_reason_NX != 5).all(1))
        assert (x.ordered_N | ~real).all()
        refused = (x.unfilled_N | x.rejected_N) & survives
        assert not (refused & (lag == 0)).any()
        unquoted = x.unfilled_N & survives
        assert not unquoted.any() or bool((~world.can_sell_Q).any())  # a bid of zero at the fill
        acted += int((x.ordered_N & ~refused).sum())
    assert acted > 300


def test_one_env_and_many_live_the_same_episodes(world):
    many, few = make(world, n_envs=12), make(world, n_envs=3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        action = pick(many.observe()[1], torch.rand(12, generator=generator))
        a, b = many.step(action), few.step(action[:3])
        for left, right in zip(a, b, strict=True):
            torch.testing.assert_close(left[:3], right, rtol=0, atol=0)


def test_permuting_envs_permutes_results(world):
    first, second = make(world, n_envs=8), make(world, n_envs=8)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    second.load_state_dict({name: tensor[order] for name, tensor in first.state_dict().items()})
    generator = torch.Generator().manual_seed(2)
    for _ in range(50):
        action = pick(first.observe()[1], torch.rand(8, generator=generator))
        a, b = first.step(action), second.step(action[order])
        for left, right in zip(a, b, strict=True):
            assert torch.equal(left[order], right)


def test_a_saved_state_continues_bit_identically(world):
    env, other = make(world, dtype=torch.float32), make(world, dtype=torch.float32, seed=9)
    draws = torch.rand(60, 16, generator=torch.Generator().manual_seed(3))
    for draw in draws[:30]:
        env.step(pick(env.observe()[1], draw))
    other.load_state_dict(env.state_dict())
    for draw in draws[30:]:
        action = pick(env.observe()[1], draw)
        for left, right in zip(env.step(action), other.step(action), strict=True):
            assert torch.equal(left, right)
    with pytest.raises(CheckpointError, match=r"expected torch\.float32"):
        env.load_state_dict(make(world).state_dict())


def test_float32_and_float64_agree_for_equal_orders(world):
    exact = make(world, n_envs=8, stagger=False)
    rough = make(world, n_envs=8, stagger=False, dtype=torch.float32)
    generator = torch.Generator().manual_seed(4)
    for _ in range(20):
        orders = exact.orders_for(pick(exact.observe()[1], torch.rand(8, generator=generator)))
        exact.step_orders(orders)
        rough.step_orders(Orders(*orders))
        gap = (exact.last.equity_N - rough.last.equity_N.double()).abs().max()
        assert gap < 1e-6 * CONFIG.capital_usd * 21


@pytest.mark.parametrize("lag", [0, 1])
def test_the_future_changes_neither_observation_nor_mask_nor_fill(world, lag):
    cut = 60
    tensors = {name: tensor.clone() for name, tensor in world.tensors().items()}
    later = world.row_snapshot_Q > cut
    for name in ("bid_Q", "ask_Q", "mark_Q", "delta_Q", "implied_vol_Q"):
        tensors[name][later] = tensors[name][later] * 7.0 + 1.0
    tensors["spot_T"][cut + 1 :] *= 3.0
    tensors["features_TF"][cut + 1 :] += 1e6
    tensors["grid_row_TG"][cut + 1 :] = -1
    tensors["settle_value_K"][world.settle_index_K > cut] += 1e4
    changed = MarketTensors(**tensors, info=world.info)
    a, b = (make(m, lag, fixed_start=True, window=(40, 160)) for m in (world, changed))
    generator = torch.Generator().manual_seed(5)
    for _ in range(cut - 40):
        (left_obs, left_mask), (right_obs, right_mask) = a.observe(), b.observe()
        assert torch.equal(left_obs, right_obs)
        assert torch.equal(left_mask, right_mask)
        action = pick(left_mask, torch.rand(16, generator=generator))
        a.step(action)
        b.step(action)
        if int(a.last.snapshot_N.max()) <= cut:
            assert all(torch.equal(left, right) for left, right in zip(a.last, b.last, strict=True))
    assert int(a.state.snapshot_index_N.max()) == cut
    assert torch.equal(a.observe()[0], b.observe()[0])
    assert torch.equal(a.observe()[1], b.observe()[1])


def test_episodes_end_at_the_horizon_and_keep_the_final_observation(world):
    env = make(world, stagger=False)
    for step in range(1, 22):
        out = env.step(torch.zeros(16, dtype=torch.int64))
        assert bool(out.truncated.all()) == (step == 21)
    assert not bool(out.terminated.any())
    at = env.last.snapshot_N
    assert torch.equal(out.final_observation[:, : world.features_TF.shape[1]], world.features_TF[at])
    assert (env.state.episode_N == 1).all()
    assert (env.state.age_N == 0).all()


def test_staggered_ages_spread_over_the_horizon(world):
    ages = make(world, n_envs=256).state.age_N
    assert int(ages.min()) == 0
    assert int(ages.max()) == 20
    assert ages.unique().numel() == 21


def test_sizes_respect_risk_and_assignable_notional(world):
    env = make(world)
    mask = env.observe()[1]
    for action in range(3, len(ACTIONS)):
        orders = env.orders_for(torch.full((16,), action))
        short = orders.leg_quantity_NP.clamp(max=0).abs()
        strike = world.strike_K[world.row_contract_Q[orders.leg_row_NP.clamp(min=0)]]
        right = world.right_K[world.row_contract_Q[orders.leg_row_NP.clamp(min=0)]]
        for side in (1, -1):
            notional = (short * strike * 100 * (right == side)).sum(1)
            assert (notional <= 0.25 * CONFIG.capital_usd).all()
        assert torch.equal((orders.leg_quantity_NP != 0).any(1), mask[:, action])
    long_call = env.orders_for(torch.full((16,), 3))
    ask = world.ask_Q[long_call.leg_row_NP[:, 0].clamp(min=0)]
    expected = torch.floor(0.02 * CONFIG.capital_usd / (100 * ask + 0.65))
    legal = mask[:, 3]
    assert legal.any()
    assert torch.equal(long_call.leg_quantity_NP[legal, 0], expected[legal])


def test_defined_risk_by_payoff():
    undefined = {"cash_secured_put", "covered_call", "short_strangle", "risk_reversal", "calendar"}
    for template in TEMPLATES:
        kind = template.name.split("_", 1)[1]
        assert is_defined_risk(template) == (kind not in undefined), template.name


def test_the_mask_forbids_what_has_no_free_legs(world):
    env = make(world, n_envs=64, stagger=False)
    generator = torch.Generator().manual_seed(6)
    fullest = 0
    for _ in range(20):
        _, mask = env.observe()
        held = (env.state.leg_quantity_NL != 0).sum(1)
        for index, template in enumerate(TEMPLATES):
            assert not (mask[:, 3 + index] & (held + len(template.legs) > MAX_LEGS)).any()
        fullest = max(fullest, int(held.max()))
        env.step(pick(mask, torch.rand(64, generator=generator)))
    assert fullest >= MAX_LEGS - 1


def test_mistakes_are_named(world):
    with pytest.raises(ConfigError, match="horizon=500 does not fit"):
        make(world, horizon=500)
    with pytest.raises(ConfigError, match="does not lie in"):
        make(world, window=(0, 10_000))
    with pytest.raises(ConfigError, match="n_envs=0"):
        make(world, n_envs=0)
    tensors = {name: tensor.clone() for name, tensor in world.tensors().items()}
    tensors["next_row_Q"][0] = -1
    with pytest.raises(MarketDataError, match="has no next row"):
        make(MarketTensors(**tensors, info=world.info))


def test_a_market_that_would_lose_money_or_misread_is_refused_by_row(world):
    def altered(**changes) -> MarketTensors:
        tensors = {name: tensor.clone() for name, tensor in world.tensors().items()}
        for name, (index, value) in changes.items():
            tensors[name][index] = value
        return MarketTensors(**tensors, info=world.info)

    settling = int((world.settle_index_K[world.row_contract_Q] == world.row_snapshot_Q + 1).nonzero()[0])
    contract = int(world.row_contract_Q[settling])
    named = rf"row {settling} \({world.contract_id(contract)} at snapshot {int(world.row_snapshot_Q[settling])}\)"
    with pytest.raises(MarketDataError, match=f"{named} has a next row although its contract settles"):
        make(altered(next_row_Q=(settling, settling + 1)))
    at = int(world.settle_index_K[contract])
    with pytest.raises(MarketDataError, match=f"is of a contract that settles at snapshot {at} without a value"):
        make(altered(settle_value_K=(contract, torch.nan)))
    short = {"mean": world.info["scaler"]["mean"][:-1], "std": world.info["scaler"]["std"]}
    with pytest.raises(MarketDataError, match=r"means and \d+ deviations: expected \d+ of each, one per"):
        make(dataclasses.replace(world, info=world.info | {"scaler": short}))
