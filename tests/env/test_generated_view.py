"""The generated view: the same market as the tables, asked contract by contract, and as hard to cheat."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clstm_core.audit.worlds.branch import spot_nodes
from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.generated_cells import choose_cells
from clstm_core.env.generated_standing import over
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.packed_rows import unpack
from clstm_core.env.state import Orders
from clstm_core.env.step import advance
from clstm_core.errors import ConfigError
from clstm_core.market.build.generated import generated_market
from clstm_core.market.calendars import scheduled_sessions
from clstm_core.market.sources.sp500_modelled import load_history
from clstm_core.market.worlds import paths
from clstm_core.market.worlds.generated import GeneratedWorld, given_world, simulated_world
from clstm_core.market.worlds.sp500 import slow_average
from clstm_core.market.worlds.surface import PathState, Surface
from clstm_core.specs import ACTIONS, CLOSE_ALL

N_STEPS, HORIZON = 70, 60
NUMBERS = {"contract", "snapshot"}  # of contracts and snapshots: each view has its own


def history_world() -> GeneratedWorld:
    """The real index and VIX from July 2008 on: a crash, holidays, and spreads of their time."""
    history = load_history().history
    at = slice(*np.searchsorted(history.date, np.array(["2008-07-01", "2008-12-31"], dtype="datetime64[D]")))
    slow = slow_average(history.vix**2)
    fields = (
        history.close,
        history.vix,
        slow,
        history.rate,
        history.dividend_yield,
        np.full(len(slow), 3.0),
        np.ones(len(slow)),
    )
    states = PathState(*(torch.from_numpy(np.ascontiguousarray(field[at])) for field in fields))
    return given_world(states, history.date[at], scheduled_sessions("XNYS"), surface=Surface(reversion=5.0))


WORLDS = {
    "simulated": lambda: simulated_world(n_steps=N_STEPS, n_paths=1, seed=2),
    "short tenors": lambda: simulated_world(n_steps=N_STEPS, n_paths=1, seed=5, near_days=7.0, far_days=14.0),
    "stressed": lambda: simulated_world(n_steps=N_STEPS, n_paths=1, seed=8, surface=Surface().stressed()),
    "fair": lambda: simulated_world(n_steps=N_STEPS, n_paths=1, fair=True),
    "history": history_world,
}


@pytest.fixture(scope="module", params=WORLDS)
def pair(request):
    """A world of one path, and that path as tables."""
    world = WORLDS[request.param]()
    return world, generated_market(world)


@pytest.fixture(scope="module")
def world() -> GeneratedWorld:
    return simulated_world(n_steps=80)


def both(pair, n_envs: int, **rules) -> tuple[OptionsEnv, OptionsEnv]:
    world, market = pair
    config = EnvConfig(**({"horizon": HORIZON} | rules))
    settings = {"n_envs": n_envs, "dtype": torch.float64, "fixed_start": True}
    whole = (0, market.n_snapshots)
    return OptionsEnv(market, config, window=whole, **settings), OptionsEnv(world, config, **settings)


def generated(world, n_envs=16, dtype=torch.float64, seed=0, **rules) -> OptionsEnv:
    return OptionsEnv(world, EnvConfig(**({"horizon": 21} | rules)), n_envs=n_envs, dtype=dtype, seed=seed)


def pick(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A legal action per env, seldom closing all: books live long enough to settle."""
    mask = mask.clone()
    mask[:, CLOSE_ALL] &= torch.rand(len(mask), generator=generator) < 0.05
    return torch.where(mask, torch.rand(mask.shape, generator=generator), -1.0).argmax(dim=1)


def close(one: torch.Tensor, two: torch.Tensor, name: str = "") -> None:
    if one.is_floating_point():
        torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-6, msg=lambda text: f"{name}: {text}")
    else:
        assert torch.equal(one, two), name


def agree(tables: OptionsEnv, view: OptionsEnv, results) -> None:
    """The two envs after the same step: what the policy sees, may do and would open, and everything that was booked."""
    for name, one, two in zip(results[0]._fields, *results, strict=True):
        close(one, two, name)
    for name, one in tables.last._asdict().items():
        two = getattr(view.last, name)
        if name.split("_")[0] in NUMBERS or name.split("_")[1] in NUMBERS:
            assert torch.equal(one >= 0, two >= 0), name
        else:
            close(one, two, name)
    mine, theirs = tables._standing.offered, view._standing.offered
    available = mine.unit_NAC[..., col.AVAILABLE] > 0
    assert torch.equal(available, theirs.unit_NAC[..., col.AVAILABLE] > 0)
    close(mine.unit_NAC[available], theirs.unit_NAC[available], "units")
    close(tables._standing.size_NA[available], view._standing.size_NA[available], "sizes")
    strike = tables.market.strike_K[tables.market.row_contract_Q[mine.row_NAP.clamp(min=0)]]
    step = view.view.now.point.strike_step[:, None, None]
    used = available[..., None] & (mine.row_NAP >= 0)
    close(strike[used], (unpack(theirs.row_NAP.clamp(min=0)).strike * step)[used], "strikes")


@pytest.mark.parametrize("lag", [0, 1])
def test_random_sessions_are_those_of_the_tables(pair, lag):
    """Through expiries, shares on credit that breach the margin, rejected orders and resets."""
    tables, view = both(pair, 32, fill_lag=lag)
    generator, met = torch.Generator().manual_seed(lag), torch.zeros(4, dtype=torch.int64)
    mask = tables.observe()[1]
    for one, two in zip(tables.observe(), view.observe(), strict=True):
        close(one, two)
    for _ in range(HORIZON + 15):
        action = pick(mask, generator)
        wild = torch.rand(32, generator=generator) < 0.1
        spot = tables.market.spot_T[tables.state.snapshot_index_N]
        shares = torch.where(wild, 12.0 * torch.rand(32, generator=generator) * tables.state.equity_N / spot, 0.0)
        results = []
        for env in (tables, view):
            orders = env.orders_for(action)
            results.append(env.step_orders(orders._replace(share_quantity_N=orders.share_quantity_N + shares.floor())))
        agree(tables, view, results)
        mask, last = results[0].action_mask, tables.last
        flags = (last.settlement_N != 0, last.liquidated_N, last.rejected_N, last.truncated_N | last.terminated_N)
        met += torch.stack([flag.sum() for flag in flags])
    assert (met > 0).all(), met


@pytest.mark.parametrize("lag", [0, 1])
def test_every_action_does_what_it_does_on_the_tables(pair, lag):
    """Each account insists on one action and closes all when nothing else is left."""
    tables, view = both(pair, len(ACTIONS), fill_lag=lag)
    wanted, done = torch.arange(len(ACTIONS)), torch.zeros(len(ACTIONS), dtype=torch.bool)
    mask = tables.observe()[1]
    for step in range(HORIZON - 1):
        turn = wanted if step % 6 else torch.where(wanted == 2, 3, wanted)  # a hedge needs something to hedge
        legal = mask.gather(1, turn[:, None])[:, 0]
        free = torch.full_like(turn, CLOSE_ALL if step % 6 == 5 else 0)
        action = torch.where(legal & (step % 6 != 5), turn, torch.where(mask.gather(1, free[:, None])[:, 0], free, 0))
        results = tables.step(action), view.step(action)
        agree(tables, view, results)
        mask = results[0].action_mask
        done |= (action == wanted) & (tables.last.ordered_N | (wanted == 0))
    done[CLOSE_ALL] |= True  # every account closes all, the one that wants nothing else never holds anything
    assert bool(done.all()), [ACTIONS[int(i)] for i in (~done).nonzero()]


def test_cells_are_those_that_the_grid_chooses_from_a_whole_chain():
    for seed in range(4):
        world = simulated_world(n_steps=40, n_paths=1, seed=100 + seed, near_days=[30.0, 9.0][seed % 2], far_days=60.0)
        market = generated_market(world)
        point = world.paths.at(torch.arange(40))
        cells = choose_cells(world, point, torch.float64)
        assert torch.equal(cells.listed.T, market.grid_row_TG >= 0)
        contract = market.row_contract_Q[market.grid_row_TG.clamp(min=0)]
        strike = (cells.contract.strike * point.strike_step).T
        assert torch.equal(strike[cells.listed.T], market.strike_K[contract][cells.listed.T])
        expiration = world.paths.listing.expiration_E[cells.contract.expiry].T
        assert torch.equal(expiration[cells.listed.T], market.expiration_K[contract][cells.listed.T])


def test_money_is_conserved(world):
    env, generator = generated(world, horizon=60), torch.Generator().manual_seed(3)
    mask, reasons = env.observe()[1], torch.zeros(6, dtype=torch.int64)
    for _ in range(80):
        mask = env.step(pick(mask, generator)).action_mask
        x = env.last
        spent = (x.fill_quantity_NX * x.fill_price_NX * x.fill_multiplier_NX).sum(1) + x.fill_fee_NX.sum(1)
        flows = x.interest_N + x.dividends_N - x.borrow_N
        torch.testing.assert_close(x.cash_before_N + flows - spent, x.cash_N, rtol=0, atol=1e-6)
        moved = x.option_mark_change_N + x.share_mark_change_N + flows - x.fees_N - x.slippage_N + x.settlement_N
        torch.testing.assert_close(moved, x.equity_N - x.equity_before_N, rtol=0, atol=1e-6)
        reasons += torch.bincount(x.fill_reason_NX.flatten(), minlength=6)
    assert (reasons[[1, 2, 3, 5]] > 0).all(), reasons


def test_higher_costs_make_nobody_richer(world):
    base = {"horizon": 40, "capital_usd": 1e8, "fill_rule": "fraction", "fill_fraction": 1.0}
    raised = {"commission_per_contract_usd": 1.3, "share_spread_bps": 2.0, "borrow_rate": 0.006, "fill_fraction": 1.5}
    cheap, generator = generated(world, **base), torch.Generator().manual_seed(4)
    dear = {name: generated(world, **(base | {name: value})) for name, value in raised.items()}
    paid = dict.fromkeys(raised, False)
    for step in range(39):
        orders = cheap.orders_for(pick(cheap.observe()[1], generator))
        few = orders._replace(
            leg_quantity_NP=orders.leg_quantity_NP.sign(), share_quantity_N=torch.full((16,), -5.0 if step % 3 else 9.0)
        )
        cheap.step_orders(few)
        for name, env in dear.items():
            env.step_orders(few)
            assert torch.equal(env.last.fill_quantity_NX, cheap.last.fill_quantity_NX)
            gap = cheap.last.equity_N - env.last.equity_N
            assert float(gap.min()) > -1e-5, name
            paid[name] |= float(gap.max()) > 1e-5
    assert all(paid.values()), paid


def test_permuted_and_lonely_accounts_live_the_same_lives(world):
    many, generator = generated(world, 12), torch.Generator().manual_seed(5)
    for _ in range(15):
        many.step(pick(many.observe()[1], generator))
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4, 11, 9, 10, 8])
    state = many.state_dict()
    permuted, alone = generated(world, 12), generated(world, 1)
    permuted.load_state_dict({name: tensor[order] for name, tensor in state.items()})
    alone.load_state_dict({name: tensor[4:5] for name, tensor in state.items()})
    for _ in range(30):  # resets lie on the way
        action = pick(many.observe()[1], generator)
        whole = many.step(action)
        for one, two in zip(whole, permuted.step(action[order]), strict=True):
            torch.testing.assert_close(one[order], two, rtol=0, atol=1e-6)
        for one, two in zip(whole, alone.step(action[4:5]), strict=True):
            torch.testing.assert_close(one[4:5], two, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_state_continues_where_it_was(world, dtype):
    env, other = generated(world, dtype=dtype), generated(world, dtype=dtype, seed=9)
    generator = torch.Generator().manual_seed(6)
    for _ in range(30):
        env.step(pick(env.observe()[1], generator))
    other.load_state_dict(env.state_dict())
    for _ in range(30):
        action = pick(env.observe()[1], generator)
        for one, two in zip(env.step(action), other.step(action), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("lag", [0, 1])
def test_the_future_of_a_path_changes_nothing_before_it(world, lag, monkeypatch):
    cut, honest = 12, paths.draw

    def other_future(seed, path, step):
        shocks = honest(seed, path, step)
        later = step >= cut
        return paths.Shocks(*(torch.where(later, 0.9 * shock - 2.0, shock) for shock in shocks[:3]), shocks.uniform)

    truth = generated(world, horizon=40, fill_lag=lag)
    monkeypatch.setattr(paths, "draw", other_future)
    changed = generated(world, horizon=40, fill_lag=lag)
    state = truth.state_dict() | {"age_N": torch.zeros_like(truth.state.age_N)}
    for env in (truth, changed):
        env.load_state_dict(state)
    generator, parted = torch.Generator().manual_seed(7), False
    for step in range(cut + 3):
        monkeypatch.setattr(paths, "draw", honest)
        seen = truth.observe()
        action = pick(seen[1], generator)
        monkeypatch.setattr(paths, "draw", other_future)
        if step <= cut:
            for one, two in zip(seen, changed.observe(), strict=True):
                assert torch.equal(one, two), step
            assert torch.equal(truth._standing.size_NA, changed._standing.size_NA)
        changed.step(action)
        monkeypatch.setattr(paths, "draw", honest)
        truth.step(action)
        if step < cut:
            assert torch.equal(truth.last.fill_price_NX, changed.last.fill_price_NX)
        else:
            parted |= not torch.equal(truth.last.spot_N, changed.last.spot_N)
    assert parted


@pytest.mark.parametrize("lag", [0, 1])
def test_nothing_is_free_where_p_is_q(lag):
    """From visited accounts, one step over quadrature nodes of tomorrow's spot: discounted equity expects itself."""
    free = {
        "commission_per_contract_usd": 0.0,
        "commission_per_share_usd": 0.0,
        "share_spread_bps": 0.0,
        "borrow_rate": 0.0,
        "fill_rule": "fraction",
        "fill_fraction": 0.0,
    }
    world = simulated_world(n_steps=60, fair=True)
    env = generated(world, 24, horizon=50, fill_lag=lag, **free)
    generator, settled, traded, visited = torch.Generator().manual_seed(8), 0, 0, 0
    for turn in range(55):
        action = pick(env.observe()[1], generator)
        for n in range(24):
            kinks = settling_strikes(env, n)
            if turn < 10 or not (kinks or n == turn % 24):
                continue
            gap, ordered = expected_gain(env, n, action, kinks)
            assert abs(gap) < 1e-6 * env.config.capital_usd
            settled, traded, visited = settled + len(kinks), traded + ordered, visited + 1
        env.step(action)
    assert settled > 5
    assert traded > 0.4 * visited


def settling_strikes(env: OptionsEnv, n: int) -> list[float]:
    """Strikes held by account n that settle at the next snapshot."""
    account, point = env.state, env.view.now.point
    held = unpack(account.leg_row_NL[n][account.leg_quantity_NL[n] != 0])
    settles = env.market.paths.listing.settle_E[held.expiry] == point.session[n] + 1
    return (held.strike * point.strike_step[n])[settles].tolist()


def expected_gain(env: OptionsEnv, n: int, action: torch.Tensor, kinks: list[float]) -> tuple[float, int]:
    """What account n expects to gain, discounted, by its action and one step; and whether it ordered anything."""
    view, account, point = env.view, env.state, env.view.now.point
    rate, dividends = float(point.state.rate[n]), float(point.state.dividend_yield[n])
    dt = float(view.snapshot(account.snapshot_index_N)[n, col.DT])
    node, weight = spot_nodes(float(point.state.spot[n]), rate - dividends, float(point.state.vix[n]), dt, kinks)
    many = torch.tensor([n]).expand(len(node))
    then = view.then.at(many)
    state = then.point.state._replace(spot=torch.from_numpy(node))
    branched = dataclasses.replace(
        view,
        index_N=view.index_N[many],
        now=view.now.at(many),
        then=then._replace(point=then.point._replace(state=state)),
    )
    orders = Orders(*(field[many] for field in env.orders_for(action)))
    step = advance(branched, env.config, type(account)(*(field[many] for field in account)), orders)
    expected = float((torch.from_numpy(weight) * step.account.equity_N).sum()) * np.exp(-rate * dt)
    return expected - float(account.equity_N[n]), int(step.facts.execution.ordered.any())


def test_no_branch_and_no_sync_looks_at_data(world):
    """On meta tensors, which have no values: a step, the move to the next snapshot, and what is offered there."""
    env, generator = generated(world), torch.Generator().manual_seed(9)
    orders = env.orders_for(pick(env.observe()[1], generator))

    def empty(value):
        return over(lambda tensor: tensor.to("meta"), value)

    view = env.view
    nowhere = dataclasses.replace(
        view,
        world=world.to("meta"),
        move=view.move.to("meta"),
        templates=view.templates._replace(
            **{name: getattr(view.templates, name).to("meta") for name in view.templates._fields if name != "defined"},
            defined=tuple(group._replace(template=group.template.to("meta")) for group in view.templates.defined),
        ),
        lots=view.lots._replace(
            **{name: getattr(view.lots, name).to("meta") for name in view.lots._fields if name != "groups"},
            groups=tuple(empty(group) for group in view.lots.groups),
        ),
        index_N=view.index_N.to("meta"),
        now=empty(view.now),
        then=empty(view.then),
    )
    step = advance(nowhere, env.config, empty(env.state), empty(orders))
    index = step.account.snapshot_index_N
    moved = nowhere.moved_to(index)
    truth = advance(view, env.config, env.state, orders)
    known = truth.account.snapshot_index_N
    offered, expected = moved.offered(index), view.moved_to(known).offered(known)
    for one, two in zip(offered, expected, strict=True):
        assert (one.device.type, one.shape) == ("meta", two.shape)
    assert moved.features(index).shape == (16, 16)
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool((step.account.equity_N > 0).any())


def test_float32_and_float64_agree_for_equal_orders(world):
    exact, rough = generated(world, 8), generated(world, 8, dtype=torch.float32)
    generator, same = torch.Generator().manual_seed(10), 0
    rough.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in exact.state_dict().items()})
    for _ in range(20):
        orders = exact.orders_for(pick(exact.observe()[1], generator))
        exact.step_orders(orders)
        rough.step_orders(orders)
        gap = (exact.last.equity_N - rough.last.equity_N.double()).abs().max()
        assert gap < 1e-5 * exact.config.capital_usd
        same += int((exact.last.fill_quantity_NX == rough.last.fill_quantity_NX.double()).all())
    assert same == 20


MEMORY = """
import torch
from pathlib import Path
from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.worlds.generated import simulated_world
env = OptionsEnv(simulated_world(), EnvConfig(), n_envs=10_000)
mask, generator = env.observe()[1], torch.Generator().manual_seed(0)
for _ in range(4):
    action = torch.where(mask, torch.rand(mask.shape, generator=generator), -1.0).argmax(dim=1)
    mask = env.step(action).action_mask
paths = env.view.index_N >> 16
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(len(paths.unique()), int(peak.split()[1]) // 1024)
"""
# ru_maxrss of a child begins with what its parent held when it was started: a large test process fails it


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of one process")
def test_ten_thousand_accounts_on_ten_thousand_paths_need_less_than_two_gigabytes():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    n_paths, mebibytes = map(int, done.stdout.split())
    assert n_paths == 10_000
    assert mebibytes < 2_000, done.stdout


def test_mistakes_are_named(world):
    with pytest.raises(ConfigError, match="a path takes 79 steps"):
        generated(world, horizon=500)
    with pytest.raises(ConfigError, match="its paths have no windows"):
        OptionsEnv(world, EnvConfig(horizon=5), n_envs=2, window=(0, 5))
    with pytest.raises(ConfigError, match="n_paths=0"):
        simulated_world(n_paths=0)
    with pytest.raises(ConfigError, match="n_steps=1"):
        simulated_world(n_steps=1)
