"""Fair worlds: whatever an account does, what it makes beyond interest is expected to be nothing before costs."""

import numpy as np
import pytest
import torch

from clstm_core.config import WITHOUT_BUDGET, EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.fair_view import FairView
from clstm_core.env.generated_standing import over
from clstm_core.env.packed_rows import unpack
from clstm_core.evaluation.fair_proof import FREE, Accounts, prove_fair
from clstm_core.market.build.generated import generated_market
from clstm_core.market.worlds import fair
from clstm_core.market.worlds.fair import atoms_of, fair_world
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.market.worlds.paths import FittedDynamics, index_of
from clstm_core.specs import ACTIONS


@pytest.fixture(scope="module")
def market():
    return generated_market(simulated_world(n_steps=90, n_paths=1, seed=4, near_days=7.0, far_days=14.0))


@pytest.fixture(scope="module")
def world(market):
    return fair_world(market, (0, 80))


@pytest.mark.parametrize("lag", [0, 1])
def test_nothing_is_expected_of_any_action_at_mid(world, lag):
    """Random and insistent accounts, through expiries and breaches of the margin: exact, not sampled."""
    accounts = Accounts.begin(world, EnvConfig(fill_lag=lag, **FREE, **WITHOUT_BUDGET), 2 * len(ACTIONS))
    generator, seen = torch.Generator().manual_seed(lag), torch.zeros(len(ACTIONS), dtype=torch.bool)
    insist = torch.arange(len(ACTIONS)).repeat(2)
    settled = liquidated = near = 0
    for turn in range(60):
        action, orders = accounts.orders(generator, insist if turn % 3 else None)
        if turn % 7 == 3:  # shares on credit, twelve times the equity: breaches
            spot = accounts.view.snapshot(accounts.view.index_N)[:, col.SPOT]
            wild = torch.floor(11.0 * accounts.state.equity_N / spot) * (torch.arange(len(action)) % 9 == 0)
            orders = orders._replace(share_quantity_N=orders.share_quantity_N + wild)
        excess, branches = accounts.expected_excess(orders)
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
    accounts = Accounts.begin(world, EnvConfig(fill_lag=lag, borrow_rate=0.01), 62)
    generator, paid = torch.Generator().manual_seed(3), 0.0
    for _ in range(40):
        _, orders = accounts.orders(generator)
        excess, branches = accounts.expected_excess(orders)
        facts, growth = branches.facts, accounts.growth_N
        ordered = facts.execution.fees + facts.execution.slippage
        if lag == 0:  # paid before the step, so that they earn no interest over it
            ordered = ordered * (1.0 + growth.repeat_interleave(len(ordered) // 62))
        costs = ordered + facts.interval.flows.borrow + facts.liquidation.fees + facts.liquidation.slippage
        expected = costs.view(62, -1) @ accounts.view.world.paths.atoms.weight
        assert (excess + expected).abs().max() < 1e-9 * accounts.config.capital_usd
        paid += float(expected.sum())
        accounts.step(orders)
    assert paid > 1000.0


def test_the_proof_of_the_chain_meets_what_it_claims_to(world):
    proof = prove_fair(world, EnvConfig())
    assert proof.holds, proof
    assert prove_fair(world, EnvConfig(), steps=2).missing  # too short to settle anything


@pytest.mark.parametrize("part", ["options", "shares"])
def test_a_world_that_pays_for_one_thing_fails_the_proof(world, monkeypatch, part):
    honest = FairView.compensation

    def forgetful(self, held, mark):
        kept = held._replace(**({"quantity": held.quantity * 0} if part == "options" else {"shares": held.shares * 0}))
        return honest(self, kept, mark)

    monkeypatch.setattr(FairView, "compensation", forgetful)
    assert prove_fair(world, EnvConfig(), steps=12).worst > 1e-7


def test_an_unfair_world_fails_the_same_test(world, monkeypatch):
    monkeypatch.setattr(FairView, "compensation", lambda self, held, mark: None)
    accounts = Accounts.begin(world, EnvConfig(fill_lag=0, **FREE), 31)
    generator, worst = torch.Generator().manual_seed(1), 0.0
    for _ in range(6):
        _, orders = accounts.orders(generator, torch.arange(31))
        excess, _ = accounts.expected_excess(orders)
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
    accounts = Accounts.begin(world, EnvConfig(), 8)
    generator = torch.Generator().manual_seed(5)
    for _ in range(12):
        accounts.step(accounts.orders(generator)[1])
    held, mark = accounts.state.holdings, accounts.book.facts[..., col.MARK]
    alone = accounts.view.compensation(held, mark)
    twice = accounts.view.repeated(2).compensation(over(lambda x: torch.cat([x, x]), held), torch.cat([mark, mark]))
    assert bool((alone != 0).any())
    torch.testing.assert_close(twice, torch.cat([alone, alone]), rtol=0, atol=1e-9)
    assert bool((unpack(held.row[held.row >= 0]).strike > 0).all())
