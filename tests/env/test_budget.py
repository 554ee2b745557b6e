"""The risk budget: at every decision kept, whatever is tried, on tables and on generated paths, in both precisions."""

import dataclasses

import pytest
import torch

from clstm_core.audit.reference.budget import shares_to_trade
from clstm_core.audit.reference.ledger import Account, Ledger, PlainMarket, Snapshot
from clstm_core.audit.reference.rules import Rules
from clstm_core.config import CAPS, WITHOUT_BUDGET, EnvConfig
from clstm_core.env import columns as col
from clstm_core.env import margin
from clstm_core.env.budget import MOST, ROUNDING, of_equity, trim
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.state import OPEN, Orders
from clstm_core.env.step import value_account
from clstm_core.errors import ConfigError
from clstm_core.market.build.generated import generated_market
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.options.black_scholes import greeks
from clstm_core.specs import ACTIONS, CLOSE_ALL, HEDGE_DELTA

N, STEPS = 200, 45
USES = ("net_exposure_N", "gross_exposure_N", "crash_loss_N")
MOST_OF = torch.tensor([getattr(EnvConfig(), name) for name in CAPS[:3]]).double()
GREEDS = {"long": 0, "short": 1, "gross": 2, "crash": 4, "vega": 5, "premium": 7}
"""Adversaries: which side of the budget the package that they choose takes most of."""


SELL = ACTIONS.index("near_cash_secured_put")


@pytest.fixture(scope="module")
def paths():
    return simulated_world(n_steps=80)


@pytest.fixture(scope="module")
def long_paths():
    return simulated_world(n_steps=140)


@pytest.fixture(scope="module")
def long_table():
    return generated_market(simulated_world(n_steps=190, n_paths=1, seed=3))


def make(world, lag: int = 1, dtype=torch.float64, n: int = N, **changes) -> OptionsEnv:
    return OptionsEnv(world, EnvConfig(horizon=63, fill_lag=lag, **changes), n_envs=n, dtype=dtype, seed=1)


def greedy(env: OptionsEnv, side: int) -> torch.Tensor:
    """The legal package that adds most to one side of the budget, or else hold."""
    standing = env._standing
    unit = env.view.offered(standing.account.snapshot_index_N).unit_NAC[..., col.UNIT_BUDGET][..., side]
    added = torch.where(standing.mask_NA[:, 3:], unit * standing.size_NA, -torch.inf)
    best, package = added.max(dim=1)
    return torch.where(best > 1e-6, package + 3, 0)


def stacking(env: OptionsEnv) -> torch.Tensor:
    """The policy that stacked shares: protective puts and covered calls, near and far, whichever is legal."""
    wanted = [ACTIONS.index(f"{t}_{n}") for t in ("near", "far") for n in ("protective_put", "covered_call")]
    mask = env.observe()[1][:, wanted]
    first = mask.to(torch.int8).argmax(dim=1)
    return torch.where(mask.any(dim=1), torch.tensor(wanted)[first], 0)


def filled_premium(env: OptionsEnv, action: torch.Tensor) -> torch.Tensor:
    """What accounts [N] are paid for the options that they sell to open in the step of an action."""
    env.step(action)
    last = env.last
    opened = (last.fill_reason_NX == OPEN) & (last.fill_multiplier_NX > 1.0)
    return (opened * (-last.fill_quantity_NX).clamp(min=0.0) * last.fill_price_NX * last.fill_multiplier_NX).sum(dim=1)


def uses(env: OptionsEnv) -> torch.Tensor:
    return torch.stack([getattr(env.last, name) for name in USES], dim=1).double()


def seen(env: OptionsEnv) -> torch.Tensor:
    """Net, gross exposure and crash loss [N, 3] of accounts where they stand, from quotes and model prices alone."""
    view, state = env.view, env.state
    facts, now = view.facts(state.leg_row_NL).double(), view.snapshot(state.snapshot_index_N).double()
    spot, held = now[:, None, col.SPOT], state.leg_quantity_NL != 0
    right = torch.where(facts[..., col.CALL_STRIKE] > 0, 1.0, -1.0)
    strike = torch.where(held, facts[..., col.CALL_STRIKE] + facts[..., col.PUT_STRIKE], spot)
    vol, tte = (torch.where(held, facts[..., column], 0.2) for column in (col.IMPLIED_VOL, col.TTE))
    rate = now[:, None, col.RATE]
    if isinstance(env.market, MarketTensors):
        dividend = env.market.dividend_yield_T[state.snapshot_index_N][:, None].double()
    else:
        dividend = view.now.point.state.dividend_yield[:, None].double()
    today = greeks(spot, strike, tte, vol, rate, dividend, right)
    crash = greeks(0.8 * spot, strike, tte, 2.0 * vol, rate, dividend, right)
    weight = torch.where(held, state.leg_quantity_NL * facts[..., col.MULTIPLIER], 0.0).double()
    shares, spot = state.shares_N.double(), spot[:, 0]
    net = (shares + (weight * today.delta).sum(dim=1)) * spot
    gross = (shares.abs() + (weight * today.delta).abs().sum(dim=1)) * spot
    loss = 0.2 * shares * spot - (weight * (crash.price - today.price)).sum(dim=1)
    mark = state.cash_N + shares * spot + (weight * facts[..., col.MARK]).sum(dim=1)
    return torch.stack([net.abs(), gross, loss.clamp(min=0.0)], dim=1) / mark[:, None]


@pytest.mark.parametrize("where", ["tables", "paths"])
@pytest.mark.parametrize("how", ["random", "stacking", *GREEDS])
def test_no_decision_stands_above_its_budget(world, paths, where, how):
    """Random walks, and adversaries that always take the package with most of one use."""
    generator = torch.Generator().manual_seed(4)
    breached = 0
    env = make(world if where == "tables" else paths, lag=int(how != "gross"))
    for _ in range(STEPS):
        if how == "random":
            mask = env.observe()[1].clone()
            mask[:, CLOSE_ALL] &= torch.rand(N, generator=generator) < 0.1
            action = torch.multinomial(mask.float(), 1, generator=generator).squeeze(1)
        else:
            action = stacking(env) if how == "stacking" else greedy(env, GREEDS[how])
        env.step(action)
        assert not bool(env.last.budget_breached_N.any())  # everything trades in these worlds
        for found in (uses(env), seen(env)):
            assert bool((found <= MOST_OF * (1.0 + 2.0 * ROUNDING)).all()), found.amax(dim=0)
        breached += int(env.last.over_budget_N.sum())
    assert breached > 0 or how in ("vega", "premium")


@pytest.mark.parametrize("lag", [0, 1])
def test_the_fault_of_the_past_stacks_no_shares_any_more(world, lag):
    """Protective puts and covered calls, over and over: a dozen times equity in shares without the budget.

    With it never more than net and gross exposure together allow, (1 + 2) / 2, and what is not offset never above 1.
    """
    most = {}
    for label, changes in (("budget", {}), ("none", WITHOUT_BUDGET)):
        env, worst = make(world, lag, n=32, **changes), 0.0
        for _ in range(STEPS):
            env.step(stacking(env))
            worst = max(worst, float((env.last.shares_N * env.last.spot_N / env.last.equity_N).max()))
        most[label] = worst
        if label == "budget":
            assert bool((uses(env) <= MOST_OF * (1.0 + 2.0 * ROUNDING)).all())
    assert most["none"] > 5.0
    assert 0.9 < most["budget"] <= 1.5


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("leverage", [8.0, -8.0, 1.3, -1.3])
def test_orders_for_more_shares_than_the_equity_are_rejected(world, lag, leverage):
    env = make(world, lag, n=8)
    orders = Orders.none(8)
    shares = (leverage * env.state.equity_N / env.market.spot_T[env.state.snapshot_index_N]).long()
    env.step_orders(orders._replace(share_quantity_N=shares))
    assert bool(env.last.rejected_N.all())
    assert bool((env.state.shares_N == 0).all())


def test_an_order_that_a_move_carried_past_its_cap_is_trimmed_in_the_step_that_fills_it(world):
    """Shares for all of the equity, decided a session before they fill: where the price rose, some are sold at once."""
    env = make(world, n=64)
    shares = (env.state.equity_N / env.market.spot_T[env.state.snapshot_index_N]).long()
    env.step_orders(Orders.none(64)._replace(share_quantity_N=shares))
    assert not bool(env.last.rejected_N.any())
    rose = env.last.spot_N * shares > env.last.equity_N * (1.0 + 1e-5)
    assert bool(rose.any())
    assert torch.equal(env.last.over_budget_N, rose)
    assert bool((env.last.shares_N[rose] < shares[rose]).all())
    # fewest: one share more would be too many
    one_more = (env.last.shares_N + 1.0) * env.last.spot_N / env.last.equity_N
    assert bool((one_more[rose] > 1.0).all())
    assert not bool(env.last.liquidated_N.any())


@pytest.mark.parametrize("fee", [0.005, 60.0, 80.0, 120.0])
@pytest.mark.parametrize("spread", [1.0, 16_000.0])
def test_the_fewest_shares_are_the_references_however_dear_a_share_is_to_sell(tiny_market, tiny_config, fee, spread):
    """A share sold takes a quarter of its price off what is too much, or more, commission and spread counted."""
    config = dataclasses.replace(
        tiny_config, max_net_exposure=1.0, commission_per_share_usd=fee, share_spread_bps=spread
    )
    env = OptionsEnv(tiny_market, config, n_envs=1, dtype=torch.float64, fixed_start=True)
    state = env.state_dict()
    state["shares_N"], state["cash_N"] = state["shares_N"] + 10_000.0, 0.0 * state["cash_N"] - 100_000.0
    env.load_state_dict(state)
    spot = env.view.snapshot(env.state.snapshot_index_N)[:, col.SPOT]
    found = trim(value_account(env.view, config, env.state), env.state.shares_N, config).shares
    plain = PlainMarket([Snapshot(0, float(spot), 0.0, 0.0, {})], [], [[]])
    account = Account(-100_000.0, shares=10_000.0)
    assert float(found) == shares_to_trade(Ledger(plain, Rules.of(config)), account, 0) < 0.0


def test_orders_that_make_room_are_let_through_whatever_stands(tiny_market, tiny_config):
    """An account above its net cap may sell shares, and may not buy more."""
    config = dataclasses.replace(tiny_config, max_net_exposure=0.5, max_gross_exposure=0.5)
    for shares, rejected in ((-1_000, False), (1_000, True)):
        env = OptionsEnv(tiny_market, config, n_envs=1, dtype=torch.float64, fixed_start=True)
        state = env.state_dict()
        state["shares_N"], state["cash_N"] = state["shares_N"] + 8_000, state["cash_N"] - 800_000
        env.load_state_dict(state)
        env.step_orders(Orders.none(1)._replace(share_quantity_N=torch.tensor([shares])))
        assert bool(env.last.rejected_N) == rejected


def test_what_cannot_be_traded_keeps_the_account_flagged_until_it_can(tiny_market, tiny_config, unquote):
    """Short puts that outgrow the budget while nobody quotes them: shares go at once, the puts once they trade."""
    market = tiny_market
    for snapshot in (1, 2):
        market = unquote(market, 6 * snapshot + 3)
    config = dataclasses.replace(tiny_config, max_net_exposure=0.04, max_gross_exposure=0.10, max_crash_loss=0.30)
    env = OptionsEnv(market, config, n_envs=1, dtype=torch.float64, fixed_start=True)
    state = env.state_dict()
    state["leg_row_NL"][0, 0], state["leg_quantity_NL"][0, 0] = 3, -40.0
    state["shares_N"] = state["shares_N"] + 100
    env.load_state_dict(state)
    flags = []
    for _ in range(3):
        env.step(torch.zeros(1, dtype=torch.int64))
        flags.append((bool(env.last.over_budget_N), bool(env.last.budget_breached_N)))
        assert float(env.state.shares_N) == 0.0
    assert flags == [(True, True), (True, True), (True, False)]
    assert bool((env.state.leg_quantity_NL == 0).all())


def test_premium_is_counted_until_the_next_multiple_of_21_snapshots(world):
    env = make(world, lag=0, n=4)
    env.load_state_dict(env.state_dict() | {"age_N": torch.tensor([0, 19, 20, 21])})
    sell = ACTIONS.index("near_cash_secured_put")
    env.step(torch.full((4,), sell))
    fill = env.last
    sold = (fill.fill_quantity_NX.clamp(max=0.0) * fill.fill_price_NX * fill.fill_multiplier_NX).sum(dim=1)
    torch.testing.assert_close(fill.premium_sold_N * fill.equity_N, -sold, rtol=0, atol=1e-6)
    assert bool((sold < 0).all())
    torch.testing.assert_close(env.state.premium_sold_N, torch.where(env.state.age_N == 21, 0.0, -sold))


@pytest.mark.parametrize("lag", [0, 1])
def test_premium_counts_in_the_stretch_in_which_it_fills(world, lag):
    """Sold at a multiple of 21 it counts for the 20 ages that follow, and what was sold before it counts no longer."""
    env = make(world, lag, n=4, max_premium_sold=0.02)
    age, before = 20 - lag + torch.arange(4), torch.full((4,), 1e6, dtype=torch.float64)
    env.load_state_dict(env.state_dict() | {"age_N": age, "premium_sold_N": before * (age + lag < 21)})
    sold = filled_premium(env, torch.full((4,), SELL))
    # the first of them has no room in the stretch that ends; the others fill where one begins, and after
    assert (sold > 0).tolist() == [False, True, True, True]
    torch.testing.assert_close(env.state.premium_sold_N, torch.where(age + lag == 20, 0.0, sold))


@pytest.mark.parametrize("where", ["tables", "paths"])
@pytest.mark.parametrize("lag", [0, 1])
def test_no_stretch_of_21_sessions_sells_more_premium_than_its_cap(long_table, long_paths, where, lag):
    """Accounts that begin to sell at one age each and then sell as much as they may at every step, as they filled."""
    cap, n = 0.01, 66
    config = EnvConfig(horizon=131, fill_lag=lag, max_premium_sold=cap, risk_fraction=0.1, assignable_fraction=1.0)
    world, fixed = (long_table, True) if where == "tables" else (long_paths, False)
    env = OptionsEnv(world, config, n_envs=n, dtype=torch.float64, stagger=False, fixed_start=fixed)
    total, most, stretches = torch.zeros(n).double(), torch.zeros(n).double(), torch.zeros(n)
    for step in range(130):
        age, mask = env.state.age_N.clone(), env.observe()[1]
        assert bool((age == step).all())
        action = greedy(env, GREEDS["premium"])
        action = torch.where((action == 0) & mask[:, CLOSE_ALL] & (step % 3 == 2), CLOSE_ALL, action)
        sold = filled_premium(env, torch.where(step >= torch.arange(n), action, 0))
        begins = (step + lag) % 21 == 0
        total = sold if begins else total + sold
        # at the fill: what is closed or trimmed later in the step has its own costs
        equity = env.last.equity_N + env.last.fees_N + env.last.slippage_N if lag else env.last.equity_before_N
        use = torch.where(sold > 0, total / equity, 0.0)
        assert bool((use <= cap * (1.0 + 2.0 * ROUNDING)).all()), (step, use.argmax(), use.max())
        most = use if begins else torch.maximum(most, use)
        stretches += (most > 0.8 * cap) if (step + lag) % 21 == 20 else 0
    assert bool((stretches >= 2).all())


def test_openings_are_sized_to_the_headroom_of_vega_and_premium(world):
    """As many units as leave a tenth of the cap, and not one more; the cost of a unit takes its share of the cap."""
    rich = WITHOUT_BUDGET | {"capital_usd": 1e8, "risk_fraction": 0.5, "assignable_fraction": 9.0}
    for name, action in (("max_vega", "far_long_straddle"), ("max_premium_sold", "near_short_strangle")):
        cap = 0.002
        env = make(world, lag=0, n=16, **(rich | {name: cap}))
        package = ACTIONS.index(action) - 3
        unit = env.view.offered(env.state.snapshot_index_N).unit_NAC[:, package]
        size, equity = env._standing.size_NA[:, package], env.state.equity_N
        rows = env.orders_for(torch.full((16,), package + 3))
        facts = env.view.facts(rows.leg_row_NP[:, :2])
        lots = rows.leg_quantity_NP[:, :2] / size[:, None] * facts[..., col.MULTIPLIER]
        of_one = {
            "max_vega": 0.01 * (lots * facts[..., col.VEGA]).sum(dim=1),
            "max_premium_sold": -(lots * facts[..., col.SELL]).sum(dim=1),
        }[name]
        for count, fits in ((size, True), (size + 1.0, False)):
            left = 0.9 * cap * (equity - count * unit[:, col.UNIT_COST]) - count * of_one
            assert bool(((left >= 0.0) == fits).all()), name
        assert bool((size > 5).all())


def test_a_hedge_may_always_lighten_a_book(world):
    """Random books are hedged where they stand: the mask lets through whatever lowers gross exposure and crash loss."""
    generator = torch.Generator().manual_seed(2)
    env, legal, tried = make(world), 0, 0
    for _ in range(25):
        mask = env.observe()[1]
        book, shares = env._standing.book, env.state.shares_N
        lighter = (book.delta.abs() >= 2) & (book.delta.sign() == shares.sign()) & (book.delta.abs() < shares.abs())
        lighter &= (book.delta > 0) & (book.margin < 0.5 * book.equity)
        settling = (book.facts[..., col.SETTLES] > 0).any(dim=1)
        legal, tried = (
            legal + int(mask[lighter & ~settling, HEDGE_DELTA].sum()),
            tried + int((lighter & ~settling).sum()),
        )
        env.step(torch.multinomial(mask.float(), 1, generator=generator).squeeze(1))
    assert tried > 20
    assert legal == tried


def test_the_crash_is_no_scenario_of_the_margin(world):
    wild = {"crash_move": -0.9, "crash_vol_shock": 9.0}
    calm, mad = make(world, n=16, **WITHOUT_BUDGET), make(world, n=16, **WITHOUT_BUDGET, **wild)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        action = torch.multinomial(calm.observe()[1].float(), 1, generator=generator).squeeze(1)
        calm.step(action)
        mad.step(action)
        assert torch.equal(calm.last.margin_N, mad.last.margin_N)
        assert torch.equal(calm.last.equity_N, mad.last.equity_N)
    assert bool((mad.last.crash_loss_N != calm.last.crash_loss_N).any())


def test_the_crash_of_one_option_is_two_prices_apart():
    config = EnvConfig(crash_move=-0.3, crash_vol_shock=0.5)
    spot, strike, tte, vol, rate, dividend = (
        torch.tensor([value], dtype=torch.float64) for value in (100.0, 95.0, 0.1, 0.2, 0.03, 0.01)
    )
    for right in (1.0, -1.0):
        side = torch.tensor([right], dtype=torch.float64)
        found = margin.option_scenarios(spot, strike, tte, vol, rate, dividend, side, config)[..., 0, 0]
        before = greeks(spot, strike, tte, vol, rate, dividend, side).price
        after = greeks(0.7 * spot, strike, tte, 1.5 * vol, rate, dividend, side).price
        torch.testing.assert_close(found, (after - before)[0], rtol=1e-10, atol=1e-10)


def test_a_use_without_equity_is_the_largest_that_is_written():
    use, equity = torch.tensor([1.0, 0.0, 5.0, -1.0, 1e9]), torch.tensor([0.0, -1.0, -2.0, 4.0, 1.0])
    assert of_equity(use, equity).tolist() == [MOST, 0.0, MOST, 0.0, MOST]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_net_exposure": 0.0}, "max_net_exposure=0.0: expected more than 0 and at most 100"),
        ({"max_vega": 1e9}, "max_vega=1000000000.0: expected more than 0"),
        ({"crash_move": 0.2}, "crash_move=0.2: expected a fall above -1"),
        ({"crash_vol_shock": -0.1}, "crash_vol_shock=-0.1: expected 0"),
        ({"budget_headroom": 1.5}, "budget_headroom=1.5: expected"),
    ],
)
def test_a_budget_that_is_none_is_named(changes, says):
    with pytest.raises(ConfigError, match=says):
        EnvConfig(**changes)
