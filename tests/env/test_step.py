"""`advance` alone: by hand over a whole market, over one live pair of snapshots, pure, and without a look at data."""

import dataclasses

import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.derived import Derived, derive
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.record import write_ledger
from clstm_core.env.state import EXPIRY, AccountState, Orders, choose
from clstm_core.env.step import advance, value_account
from clstm_core.env.table_view import TableView
from clstm_core.market.tensors import SIZE_ZERO_ASK, SIZE_ZERO_BID, MarketTensors
from clstm_core.specs import CLOSE_ALL

N_ENVS, STEPS, WINDOW = 12, 60, (0, 160)
CONFIG = EnvConfig(horizon=30)


def make(world, lag: int, dtype=torch.float64) -> OptionsEnv:
    return OptionsEnv(world, dataclasses.replace(CONFIG, fill_lag=lag), n_envs=N_ENVS, dtype=dtype, seed=5)


def some_orders(env: OptionsEnv, generator: torch.Generator, *, orders_too_much: bool = False) -> Orders:
    """A legal action per account; now and then shares on credit, so that orders are rejected and budgets breached."""
    mask = env.observe()[1].clone()
    mask[:, CLOSE_ALL] &= torch.rand(N_ENVS, generator=generator) < 0.1
    rank = (torch.rand(N_ENVS, generator=generator) * mask.sum(dim=1)).long()
    orders = env.orders_for((mask.cumsum(dim=1) > rank[:, None]).long().argmax(dim=1))
    if orders_too_much:
        spot = env.market.spot_T[env.state.snapshot_index_N]
        wild = torch.rand(N_ENVS, generator=generator) < 0.2
        lots = torch.where(wild, (2.0 * torch.rand(N_ENVS, generator=generator) * env.state.equity_N / spot).floor(), 0)
        orders = orders._replace(share_quantity_N=orders.share_quantity_N + lots)
    return orders


def equal(left: tuple, right: tuple) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def leaves(value) -> list[torch.Tensor]:
    """Every tensor inside nested tuples."""
    return [value] if isinstance(value, torch.Tensor) else [leaf for part in value for leaf in leaves(part)]


def on(device: str, value):
    """Nested tuples with every tensor on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return type(value)(*(on(device, part) for part in value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lag", [0, 1])
def test_driven_by_hand_it_gives_the_accounts_of_the_env(world, lag, dtype):
    env, generator = make(world, lag, dtype), torch.Generator().manual_seed(lag)
    view, config, account = TableView.build(world, env.config, WINDOW, dtype), env.config, env.state
    met = torch.zeros(5, dtype=torch.int64)
    for _ in range(STEPS):
        orders = some_orders(env, generator, orders_too_much=True)
        out, by_hand = env.step_orders(orders), advance(view, config, account, orders)
        assert torch.equal(out.reward, by_hand.reward.float())
        assert torch.equal(out.terminated, by_hand.terminated)
        assert torch.equal(out.truncated, by_hand.truncated)
        ledger = write_ledger(by_hand, view.contract, config, world.size_zero_Q)
        assert equal(ledger, env.last)
        assert torch.equal(ledger.equity_N, by_hand.account.equity_N)
        account = choose(by_hand.done, env.state, by_hand.account)
        assert equal(account, env.state)
        flags = (ledger.ordered_N, ledger.rejected_N, ledger.over_budget_N, ledger.settlement_N != 0, out.truncated)
        met += torch.stack([flag.sum() for flag in flags])
    assert (met > 0).all(), met


@pytest.mark.parametrize("lag", [0, 1])
def test_the_same_arguments_give_the_same_step_and_are_left_alone(world, lag):
    env, generator = make(world, lag), torch.Generator().manual_seed(lag)
    for _ in range(10):
        env.step_orders(some_orders(env, generator))
    account, orders = env.state, some_orders(env, generator)
    before = [leaf.clone() for leaf in leaves((account, orders))]
    first = advance(env.view, env.config, account, orders)
    again = advance(env.view, env.config, account, orders, value_account(env.view, env.config, account))
    assert equal(leaves(first), leaves(again))
    assert equal(leaves((account, orders)), before)


class LivePair:
    """A market view of what a live session has: one snapshot, and the one that followed it. Indices are 0 and 1."""

    def __init__(self, pair: MarketTensors, config: EnvConfig):
        self._told: Derived = derive(pair, config, (0, 2), torch.float64)
        self._next = {row: int(later) for row, later in enumerate(pair.next_row_Q.tolist())}
        self.move_S = self._told.move_S

    def snapshot(self, index_N):
        return self._told.snapshot_TC[index_N]

    def facts(self, row):
        return self._told.row_QC[row.clamp(min=0)]

    def quotes(self, row):
        return self._told.row_QC[row.clamp(min=0)][..., : col.SCENARIOS]

    def settle_value(self, row):
        return self._told.settle_value_Q[row.clamp(min=0)]

    def next_row(self, row):
        return torch.tensor([[self._next.get(r, -1) for r in legs] for legs in row.tolist()])

    def compensation(self, held, mark_NL):
        return None  # a real market hands nothing back

    def cell_rows(self, index_N):
        raise AssertionError("a step asks for no cells")

    def ends_after(self, index_N):
        return torch.zeros_like(index_N, dtype=torch.bool)  # tomorrow there will be another pair

    def offered(self, index_N):
        raise AssertionError("a step asks for no packages")

    def features(self, index_N):
        raise AssertionError("a step asks for no features")


def two_snapshots(market: MarketTensors, t: int) -> MarketTensors:
    """Snapshots t and t + 1 alone: what came before and after is not there."""
    rows = slice(int(market.row_offset_T1[t]), int(market.row_offset_T1[t + 2]))
    tensors = {}
    for name, tensor in market.tensors().items():
        axis = name.rpartition("_")[2]
        cut = {"Q": rows, "T": slice(t, t + 2), "TF": slice(t, t + 2), "TG": slice(t, t + 2), "T1": slice(t, t + 3)}
        tensors[name] = tensor[cut[axis]].clone() if axis in cut else tensor.clone()
    tensors["row_offset_T1"] -= rows.start
    tensors["row_snapshot_Q"] -= t
    tensors["settle_index_K"] -= t
    tensors["grid_row_TG"] = torch.full_like(tensors["grid_row_TG"], -1)
    inside = (tensors["next_row_Q"] >= 0) & (tensors["next_row_Q"] < rows.stop)
    tensors["next_row_Q"] = torch.where(inside, tensors["next_row_Q"] - rows.start, -1)
    unknown = tensors["settle_index_K"] > 1
    tensors["settle_value_K"][unknown] = torch.nan
    return MarketTensors(**tensors, info={})


def shifted(row: torch.Tensor, by: int) -> torch.Tensor:
    return torch.where(row >= 0, row + by, -1)


@pytest.mark.parametrize("lag", [0, 1])
def test_one_live_pair_of_snapshots_is_market_enough(world, lag):
    config = dataclasses.replace(CONFIG, fill_lag=lag, horizon=60)
    env = OptionsEnv(world, config, n_envs=N_ENVS, dtype=torch.float64, window=(20, 100), fixed_start=True)
    generator, settled = torch.Generator().manual_seed(lag), 0
    for t in range(20, 20 + config.horizon - 1):
        first = int(world.row_offset_T1[t])
        view = LivePair(two_snapshots(world, t), config)
        orders, start = some_orders(env, generator, orders_too_much=True), env.state
        account = start._replace(
            leg_row_NL=shifted(start.leg_row_NL, -first), snapshot_index_N=torch.zeros_like(start.snapshot_index_N)
        )
        step = advance(view, config, account, orders._replace(leg_row_NP=shifted(orders.leg_row_NP, -first)))
        env.step_orders(orders)
        live = step.account._replace(
            leg_row_NL=shifted(step.account.leg_row_NL, first), snapshot_index_N=start.snapshot_index_N + 1
        )
        assert equal(live, env.state)
        settled += int((env.last.settlement_N != 0).sum())
    assert settled > 0


@pytest.mark.parametrize("lag", [0, 1])
def test_no_branch_and_no_sync_looks_at_data(world, lag):
    """Meta tensors have shapes and no values: whatever asks for a value (`if`, `.item()`, a boolean index) raises."""
    env, generator = make(world, lag), torch.Generator().manual_seed(lag)
    orders = some_orders(env, generator)
    tables = env.view
    told = {field.name: getattr(tables.derived, field.name).to("meta") for field in dataclasses.fields(Derived)}
    view = TableView(
        derived=Derived(**told),
        packages=tables.packages,
        next_row_Q=tables.next_row_Q.to("meta"),
        row_contract_Q=tables.row_contract_Q.to("meta"),
        last_snapshot_T=tables.last_snapshot_T.to("meta"),
        features_TF=tables.features_TF.to("meta"),
        grid_row_TG=tables.grid_row_TG.to("meta"),
    )
    empty = advance(view, env.config, on("meta", env.state), on("meta", orders))
    full = advance(tables, env.config, env.state, orders)
    for shape, value in zip(leaves(empty), leaves(full), strict=True):
        assert shape.device.type == "meta"
        assert (shape.shape, shape.dtype) == (value.shape, value.dtype)
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool((empty.account.equity_N > 0).any())


@pytest.mark.parametrize("lag", [0, 1])
def test_a_step_is_traced_whole(world, lag):
    env, generator = make(world, lag), torch.Generator().manual_seed(lag)
    orders = some_orders(env, generator)
    torch.compiler.reset()
    whole = torch.compile(advance, fullgraph=True, backend="eager")  # a graph break raises
    assert equal(
        leaves(whole(env.view, env.config, env.state, orders)),
        leaves(advance(env.view, env.config, env.state, orders)),
    )


@pytest.mark.gpu
@pytest.mark.parametrize("lag", [0, 1])
def test_a_step_is_captured_as_a_graph(world, lag):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    env = OptionsEnv(world, dataclasses.replace(CONFIG, fill_lag=lag), n_envs=N_ENVS, device="cuda", seed=5)
    orders = env.orders_for(env.observe()[1].long().argmax(dim=1))
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        eager = advance(env.view, env.config, env.state, orders)
    stream.synchronize()
    with torch.cuda.graph(graph):
        captured = advance(env.view, env.config, env.state, orders)
    graph.replay()
    torch.cuda.synchronize()
    assert equal(leaves(captured), leaves(eager))


def test_settled_legs_and_lost_rows_leave_empty_slots(tiny_market, tiny_config):
    view = TableView.build(tiny_market, tiny_config, (0, 6), torch.float64)
    one = torch.zeros(1, dtype=torch.int64)
    account = AccountState.fresh(
        1_000_000.0, snapshot_index_N=one + 3, seed_N=one, episode_N=one, age_N=one, dtype=torch.float64
    )
    orders = Orders.none(1)
    orders.leg_row_NP[0, 0], orders.leg_quantity_NP[0, 0] = 18, 2  # the call of strike 100, at its last snapshot
    step = advance(view, tiny_config, account, orders)
    assert step.facts.interval.settles[0, 0]
    assert (step.account.leg_row_NL == -1).all()
    assert (step.account.leg_quantity_NL == 0).all()
    ask = float(view.facts(torch.tensor(18))[col.ASK])
    paid = 200 * ask + 2 * 0.65
    growth = 1.0 + float(view.snapshot(torch.tensor(3))[col.INTEREST_GROWTH])
    assert float(step.account.cash_N) == pytest.approx((1_000_000 - paid) * growth + 200 * 3.0, abs=1e-6)


@pytest.mark.parametrize("lag", [0, 1])
def test_a_fill_against_size_zero_is_flagged_on_the_side_it_met(world, lag):
    """Half of the rows have no size on one side or the other; shares and expiries never meet any."""
    draw = torch.randint(0, 4, world.size_zero_Q.shape, generator=torch.Generator().manual_seed(5)).to(torch.int8)
    market = dataclasses.replace(world, size_zero_Q=draw)
    row_at = {
        (int(t), int(k)): q
        for q, (t, k) in enumerate(zip(market.row_snapshot_Q.tolist(), market.row_contract_Q.tolist(), strict=True))
    }
    env, generator = make(market, lag, torch.float64), torch.Generator().manual_seed(lag)
    flagged = plain = 0
    for _ in range(STEPS):
        env.step_orders(some_orders(env, generator, orders_too_much=True))
        last = env.last
        for n, x in (last.fill_quantity_NX != 0).nonzero().tolist():
            contract, reason = int(last.fill_contract_NX[n, x]), int(last.fill_reason_NX[n, x])
            if contract < 0 or reason == EXPIRY:
                assert not last.fill_size_zero_NX[n, x]
                continue
            bit = SIZE_ZERO_ASK if last.fill_quantity_NX[n, x] > 0 else SIZE_ZERO_BID
            met = bool(int(draw[row_at[int(last.fill_snapshot_NX[n, x]), contract]]) & bit)
            assert bool(last.fill_size_zero_NX[n, x]) == met
            flagged, plain = flagged + met, plain + (not met)
        assert not last.fill_size_zero_NX[last.fill_quantity_NX == 0].any()
    assert flagged > 10
    assert plain > 10
