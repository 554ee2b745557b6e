"""Proof 2a: in a world where P = Q, one step from any account earns nothing, whatever tomorrow's spot.

    sum(w D (E' + costs')) + costs - E = 0

Tomorrow is branched over quadrature nodes, so the expectation is exact and no luck is involved: what is left is a leak.
"""

import dataclasses
import math
from collections import Counter
from typing import Any, NamedTuple

import torch

from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.accounting import stated_costs, without_costs
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, TRADES, count_events, every_event
from clstm_core.audit.sessions.orders import random_actions, wild_orders
from clstm_core.audit.sessions.records import before, done_step
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.audit.worlds.branch import branch_market, branch_row, spot_nodes
from clstm_core.audit.worlds.markets import pricing_vol
from clstm_core.env.state import Orders
from clstm_core.market.tensors import MarketTensors

TOLERANCE = 1e-6
"""Of the capital, per account and step."""

HALF_SPREAD = 0.02
"""Of the model price, per side, in the branched world."""


LEAST_BORROW = 0.003  # a year: shares sold short cost something here, whatever the account's rules

EVENTS = (
    *TRADES,
    "hedge",
    "liquidation",
    "AM settlement",
    "PM settlement",
    "settlement in the money",
    "settlement out of the money",
    ALL_MULTIPLIERS,
    "short option",
    "short shares",
    "interest",
    "dividends",
    "borrow",
    "ruin",
)
"""What the branched steps must have met."""


class Visited(NamedTuple):
    """Accounts as they stood at one snapshot of a session: the env's whole state, and the snapshot."""

    snapshot: int
    state: dict[str, torch.Tensor]


def visit(scene: Scene, snapshots: int) -> list[Visited]:
    """Walk a session and keep the accounts at some of its snapshots, all standing at the same one.

    Half of the steps take legal actions, half wild orders. Kept are moments before which most of what is held is about
    to settle, contracts of each multiplier in turn.
    """
    world, n_envs, steps = scene.market, scene.n_envs, scene.n_steps
    generator = scene.generator()
    env = scene.under(horizon=steps).env(seed=scene.seed, fixed_start=True, window=(0, steps + 1))
    _, mask = env.reset()
    kept: list[tuple[set[float], int, Visited]] = []
    for step in range(steps - 1):
        if step % 2:
            result = env.step(random_actions(mask, generator).to(scene.device))
        else:
            result = env.step_orders(on_device(wild_orders(env, world, generator), scene.device))
        mask = result.action_mask
        state = before(env)
        held = state.leg_row >= 0
        contract = world.row_contract_Q[state.leg_row.clamp(min=0)]
        settling = held & (world.settle_index_K[contract] == state.snapshot[:, None] + 1)
        together = int((state.snapshot == step + 1).sum())
        copy = {name: tensor.clone() for name, tensor in env.state_dict().items()}
        kinds = set(world.multiplier_K[contract[settling]].tolist())
        kept.append((kinds, int(settling.sum()) * n_envs + together, Visited(step + 1, copy)))
    every = sorted(set.union(*(kinds for kinds, _, _ in kept))) or [0.0]
    best: list[Visited] = []
    for number in range(min(snapshots, len(kept))):
        wanted = every[number % len(every)]
        chosen = max(range(len(kept)), key=lambda i: (wanted in kept[i][0], kept[i][1]))
        best.append(kept.pop(chosen)[2])
    return best


def one_step_gaps(scene: Scene, visited: Visited, max_envs: int) -> tuple[torch.Tensor, Counter[str]]:
    """Expected discounted gain [accounts] of one step, what was paid added back, and what the step met.

    Each account is also put in distress: twelve times its legs (a margin breach) and a hundredth of the equity it
    began with (ruin), since the visited ones seldom are.
    """
    world, config, device = scene.market, scene.config, scene.device
    t = visited.snapshot
    vol = pricing_vol(world)
    dt = float(world.time_years_T[t + 1] - world.time_years_T[t])
    rate = float(world.rate_T[t])
    rows = slice(int(world.row_offset_T1[t]), int(world.row_offset_T1[t + 1]))
    contract = world.row_contract_Q[rows]
    settles = contract[world.settle_index_K[contract] == t + 1]
    kinks = world.strike_K[settles].unique().tolist()
    carry = rate - float(world.dividend_yield_T[t])
    spot_M, weight_M = spot_nodes(float(world.spot_T[t]), carry, vol, dt, kinks)
    market = branch_market(world, t, spot_M, vol, HALF_SPREAD)
    n_nodes = len(spot_M)

    here = (visited.state["snapshot_index_N"].cpu() == t).nonzero().squeeze(1)[: max(1, max_envs // (2 * n_nodes))]
    account = torch.cat([here, here])
    n_accounts = len(account)
    generator = scene.generator()
    stressed = torch.arange(n_accounts) >= len(here)
    ruined = stressed & (torch.rand(n_accounts, generator=generator) < 0.3)

    env = dataclasses.replace(scene, market=market).under(horizon=1).env(n_accounts * n_nodes)
    env.reset()
    node = torch.arange(n_nodes).repeat(n_accounts)
    which = torch.arange(n_accounts).repeat_interleave(n_nodes)
    state = _spread(visited.state, account[which].to(device), env.state_dict())
    state["snapshot_index_N"] = (2 * node).to(device)
    state["age_N"] = torch.zeros_like(state["age_N"])
    row = branch_row(world, t, node[:, None], visited.state["leg_row_NL"].cpu()[account[which]])
    state["leg_row_NL"] = row.to(device)
    state["leg_quantity_NL"] = state["leg_quantity_NL"] * torch.where(stressed[which] & ~ruined[which], 12, 1).to(
        device
    ).view(-1, 1)
    state["entry_equity_N"] = state["entry_equity_N"] * torch.where(ruined[which], 100.0, 1.0).to(device)
    held = torch.where(row >= 0, market.mark_Q[row.clamp(min=0)], 0.0)
    weight = state["leg_quantity_NL"].cpu() * market.multiplier_K[market.row_contract_Q[row.clamp(min=0)]]
    spot = market.spot_T[2 * node]
    equity = state["cash_N"].cpu() + state["shares_N"].cpu() * spot + (weight * held).sum(dim=1)
    state["equity_N"] = equity.to(state["equity_N"])
    env.load_state_dict(state)

    _, mask = env.observe()
    first = which * n_nodes == torch.arange(len(which))  # one env per account decides for all of its nodes
    if scene.seed % 2:
        action = random_actions(mask[first.to(mask.device)].cpu(), generator)
        env.step(action[which].to(device))
    else:
        orders = _one_for_all(wild_orders(env, market, generator), first, which, node, market)
        env.step_orders(on_device(orders, device))
    last = done_step(env)
    paid_now, paid_later = stated_costs(last, market, config)
    discount = math.exp(-rate * dt)
    later = torch.from_numpy(weight_M)[node] * discount * (last.equity_N + paid_later)
    expected = torch.zeros(n_accounts, dtype=torch.float64).index_add_(0, which, later)
    gap = expected + (paid_now - equity)[first]
    return gap, count_events(last, market)


def _spread(state: dict[str, torch.Tensor], index: torch.Tensor, shape_of: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Rows `index` of every per-account tensor; other entries as the receiving env has them."""
    n_old, n_new = state["cash_N"].shape[0], index.shape[0]
    spread = {}
    for name, own in shape_of.items():
        tensor = state[name]
        per_account = tensor.dim() > 0 and tensor.shape[0] == n_old and own.dim() > 0 and own.shape[0] == n_new
        spread[name] = tensor[index].clone() if per_account else own.clone()
    return spread


def _one_for_all(
    orders: Orders, first: torch.Tensor, which: torch.Tensor, node: torch.Tensor, market: MarketTensors
) -> Orders:
    """The order of each account's first node for all of its nodes, on that node's copy of the contracts."""
    mine = Orders(*(tensor[first][which] for tensor in orders))
    per_history = market.row_offset_T1[2 * node]
    row = torch.where(mine.leg_row_NP >= 0, mine.leg_row_NP + per_history[:, None], -1)
    return mine._replace(leg_row_NP=row)


def martingale_exact(scene: Scene, *, snapshots: int, max_envs: int) -> list[Finding]:
    """Every combination of costs off and on with fills today and tomorrow, from many visited states.

    The scene's market is a P = Q world. `max_envs` bounds accounts x nodes of one branching, and so the memory.
    """
    findings = []
    total = Counter[str]()
    borrow = max(scene.config.borrow_rate, LEAST_BORROW)
    for lag in (0, 1):
        lagged = dataclasses.replace(scene, seed=scene.seed + lag).under(fill_lag=lag, borrow_rate=borrow)
        moments = visit(lagged, snapshots)
        for costs, config in (("off", without_costs(lagged.config)), ("on", lagged.config)):
            worst, where = 0.0, ""
            for number, moment in enumerate(moments):
                branching = dataclasses.replace(lagged, config=config, seed=scene.seed + number)
                gap, met = one_step_gaps(branching, moment, max_envs)
                total += met
                largest = float(gap.abs().max())
                if not largest <= worst:
                    worst, where = largest, f"at snapshot {moment.snapshot}, {float(gap[gap.abs().argmax()]):+.4g}"
            check = f"costs {costs} lag {lag}"
            threshold = TOLERANCE * scene.config.capital_usd
            findings.append(Finding(check=check, statistic=worst, threshold=threshold, detail=where))
    return [*findings, every_event(total, EVENTS)]
