"""Fair worlds: whatever an account does, what it makes beyond interest is expected to be nothing before costs."""

import dataclasses

import numpy as np
import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import orders_of, sizes_and_mask
from clstm_core.env.fair_view import FairView
from clstm_core.env.generated_standing import over
from clstm_core.env.packed_rows import unpack
from clstm_core.env.state import AccountState
from clstm_core.env.step import advance, value_account
from clstm_core.market.build.generated import generated_market
from clstm_core.market.worlds import fair
from clstm_core.market.worlds.fair import atoms_of, fair_world
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.market.worlds.paths import FittedDynamics, Shocks, index_of
from clstm_core.specs import ACTIONS

FREE = {
    "commission_per_contract_usd": 0.0,
    "commission_per_share_usd": 0.0,
    "share_spread_bps": 0.0,
    "borrow_rate": 0.0,
    "fill_rule": "fraction",
    "fill_fraction": 0.0,
}


@pytest.fixture(scope="module")
def market():
    return generated_market(simulated_world(n_steps=90, n_paths=1, seed=4, near_days=7.0, far_days=14.0))


@pytest.fixture(scope="module")
def world(market):
    return fair_world(market, (0, 80))


class Accounts:
    """N accounts on N paths, stepped by actions."""

    def __init__(self, world, config, n, dtype=torch.float64):
        self.config = dataclasses.replace(config, horizon=10_000)
        self.view = FairView.build(world, self.config, index_of(torch.arange(n), 0), dtype)
        zeros = torch.zeros(n, dtype=torch.int64)
        self.state = AccountState.fresh(
            self.config.capital_usd,
            snapshot_index_N=self.view.index_N,
            seed_N=zeros,
            episode_N=zeros,
            age_N=zeros,
            dtype=dtype,
        )
        self.book = value_account(self.view, self.config, self.state)

    def orders(self, generator, only=None):
        offered = self.view.offered(self.view.index_N)
        size, mask = sizes_and_mask(offered, self.state.holdings, self.book, self.view.move_S, self.config)
        action = torch.where(mask, torch.rand(mask.shape, generator=generator), -1.0).argmax(dim=1)
        if only is not None:
            action = torch.where(mask.gather(1, only[:, None])[:, 0], only, action)
        return action, orders_of(action, offered, size, mask)

    def step(self, orders):
        step = advance(self.view, self.config, self.state, orders, self.book)
        self.state, self.book = step.account, step.book
        self.view = self.view.moved_to(self.view.index_N + 1)
        return step


def expected_excess(accounts, orders):
    """What each account [N] expects to make beyond interest by its orders and one step, over all atoms."""
    view, state = accounts.view, accounts.state
    paths, n = view.world.paths, len(state.cash_N)
    atoms = paths.atoms
    k = len(atoms.weight)
    many = torch.arange(n).repeat_interleave(k)
    shocks = Shocks(*(field.repeat(n) for field in atoms.shocks))
    now = view.now.at(many)
    point = paths.following(now.point, shocks)
    then = view.then.at(many)._replace(point=point)
    branched = dataclasses.replace(view, index_N=view.index_N[many], now=now, then=then)
    each = over(lambda x: x[many], orders)
    step = advance(branched, accounts.config, AccountState(*(f[many] for f in state)), each)
    growth = view.snapshot(view.index_N)[:, col.INTEREST_GROWTH]
    expected = step.account.equity_N.view(n, k) @ atoms.weight
    return expected - state.equity_N * (1.0 + growth), step


@pytest.mark.parametrize("lag", [0, 1])
def test_nothing_is_expected_of_any_action_at_mid(world, lag):
    """Random and insistent accounts, through expiries and breaches of the margin: exact, not sampled."""
    accounts = Accounts(world, EnvConfig(fill_lag=lag, **FREE), 2 * len(ACTIONS))
    generator, seen = torch.Generator().manual_seed(lag), torch.zeros(len(ACTIONS), dtype=torch.bool)
    insist = torch.arange(len(ACTIONS)).repeat(2)
    settled = liquidated = near = 0
    for turn in range(60):
        action, orders = accounts.orders(generator, insist if turn % 3 else None)
        if turn % 7 == 3:  # shares on credit, twelve times the equity: breaches
            spot = accounts.view.snapshot(accounts.view.index_N)[:, col.SPOT]
            wild = torch.floor(11.0 * accounts.state.equity_N / spot) * (torch.arange(len(action)) % 9 == 0)
            orders = orders._replace(share_quantity_N=orders.share_quantity_N + wild)
        excess, branches = expected_excess(accounts, orders)
        assert excess.abs().max() < 1e-9 * accounts.config.capital_usd, ACTIONS[int(action[excess.abs().argmax()])]
        settled += int(branches.facts.interval.settles.any(dim=1).sum())
        liquidated += int((branches.facts.liquidation.liquidated).sum())
        held = accounts.state.leg_quantity_NL != 0
        near += int((held & (accounts.book.facts[..., col.TTE] < 3 / 365)).sum())
        seen[action] = True
        accounts.step(orders)
    assert settled > 100
    assert liquidated > 10
    assert near > 50
    assert bool(seen.all()), [ACTIONS[int(i)] for i in (~seen).nonzero()]


@pytest.mark.parametrize("lag", [0, 1])
def test_costs_are_all_that_is_expected(world, lag):
    accounts = Accounts(world, EnvConfig(fill_lag=lag, borrow_rate=0.01), 62)
    generator, paid = torch.Generator().manual_seed(3), 0.0
    for _ in range(40):
        _, orders = accounts.orders(generator)
        excess, branches = expected_excess(accounts, orders)
        facts, growth = branches.facts, accounts.view.snapshot(accounts.view.index_N)[:, col.INTEREST_GROWTH]
        ordered = facts.execution.fees + facts.execution.slippage
        if lag == 0:  # paid before the step, so that they earn no interest over it
            ordered = ordered * (1.0 + growth.repeat_interleave(len(ordered) // 62))
        costs = ordered + facts.interval.flows.borrow + facts.liquidation.fees + facts.liquidation.slippage
        expected = costs.view(62, -1) @ accounts.view.world.paths.atoms.weight
        assert (excess + expected).abs().max() < 1e-9 * accounts.config.capital_usd
        paid += float(expected.sum())
        accounts.step(orders)
    assert paid > 1000.0


def test_an_unfair_world_fails_the_same_test(world, monkeypatch):
    monkeypatch.setattr(FairView, "compensation", lambda self, held, mark: None)
    accounts = Accounts(world, EnvConfig(fill_lag=0, **FREE), 31)
    generator, worst = torch.Generator().manual_seed(1), 0.0
    for _ in range(6):
        _, orders = accounts.orders(generator, torch.arange(31))
        excess, _ = expected_excess(accounts, orders)
        worst = max(worst, float(excess.abs().max()))
        accounts.step(orders)
    assert worst > 1e-6 * accounts.config.capital_usd


def test_atoms_keep_the_moments_of_what_they_stand_for():
    dynamics = FittedDynamics()
    atoms = atoms_of(dynamics)
    weight, shocks = atoms.weight, atoms.shocks
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-14)
    size = dynamics.jump_mean + dynamics.jump_deviation * shocks.third
    jump = torch.where(shocks.uniform < dynamics.jump_chance, size, 0.0)
    move = dynamics.scale * shocks.first + jump
    p, mean, sd = dynamics.jump_chance, dynamics.jump_mean, dynamics.jump_deviation
    second = dynamics.scale**2 + p * (mean**2 + sd**2)
    third = p * (mean**3 + 3 * mean * sd**2 + 3 * mean * dynamics.scale**2)
    assert float(weight @ move) == pytest.approx(p * mean)
    assert float(weight @ move**2) == pytest.approx(second)
    assert float(weight @ move**3) == pytest.approx(third, rel=1e-6)
    calm = shocks.uniform >= dynamics.jump_chance
    assert float((weight * shocks.second**2)[calm].sum()) == pytest.approx(1.0 - p)
    assert float(weight @ (shocks.first * shocks.second)) == pytest.approx(0.0, abs=1e-12)


def test_paths_draw_their_atoms_as_often_as_they_weigh(world):
    paths = world.paths
    n = 20_000
    point = paths.start(index_of(torch.arange(n), 0))
    after = paths.after(point, index_of(torch.arange(n), 0))
    outcomes = paths.outcomes(point).spot[:, 0]
    which = (after.state.spot[:, None] - outcomes).abs().argmin(dim=1)
    spots = outcomes.unique()
    share = torch.stack([(outcomes[which] == spot).float().mean() for spot in spots]).double()
    weight = torch.stack([paths.atoms.weight[outcomes == spot].sum() for spot in spots])
    assert (share - weight).abs().max() < 4.0 * float((weight * (1 - weight) / n).sqrt().max())


def test_every_path_begins_where_the_window_does(market, world):
    point = world.paths.start(index_of(torch.arange(3), 0))
    assert torch.equal(point.state.spot, market.spot_T[:1].expand(3))
    later = fair_world(market, (40, 80))
    point = later.paths.start(index_of(torch.arange(2), 0))
    assert torch.equal(point.state.spot, market.spot_T[40:41].expand(2))
    np.testing.assert_allclose(point.log_close[:, 0], torch.log(market.spot_T[19:41]))
    assert int(later.paths.listing.session_ns_C[fair.PAST - 1]) == int(market.snapshot_T[40])
    assert later.paths.last_step == 39


def test_several_accounts_of_one_path_get_what_one_alone_gets(world):
    accounts = Accounts(world, EnvConfig(), 8)
    generator = torch.Generator().manual_seed(5)
    for _ in range(12):
        accounts.step(accounts.orders(generator)[1])
    held, mark = accounts.state.holdings, accounts.book.facts[..., col.MARK]
    alone = accounts.view.compensation(held, mark)
    twice = accounts.view.repeated(2).compensation(over(lambda x: torch.cat([x, x]), held), torch.cat([mark, mark]))
    assert bool((alone != 0).any())
    torch.testing.assert_close(twice, torch.cat([alone, alone]), rtol=0, atol=1e-9)
    assert bool((unpack(held.row[held.row >= 0]).strike > 0).all())
