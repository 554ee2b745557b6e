"""How often a verdict calls luck skill: seven policies in fair worlds without costs, and how much skill it finds.

    python tools/calibrate_fair_worlds.py TENSORS_FOLDER [--worlds 1000] [--sessions 454]

Prints, per policy, how often each rule would have said `beats cash` where nothing can be earned (nominal 2.5%): the
paired bootstrap's lower bound above 0 alone, and together with the fair-world test; how often any of the others would
be called beaten by a trader without skill; and the power against a planted edge. docs/fair-worlds.md keeps the figures.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation import fair_proof, luck
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, contract_facts, free_at_fill, open_units, spot_of
from clstm_core.evaluation.fair_walk import walk_fair_worlds
from clstm_core.evaluation.policies import Lanes
from clstm_core.evaluation.statistics import Floats, paired_mean
from clstm_core.market.sources.sp500_modelled import SP500Modelled
from clstm_core.market.tensors import load_market
from clstm_core.market.worlds.fair import fair_world

FREE = EnvConfig(**fair_proof.FREE)
SELLERS = {
    "30-delta put": {"near_put_30": -1},
    "20-delta strangle": {"near_call_20": -1, "near_put_20": -1},
    "bull put spread": {"near_put_30": -1, "near_put_10": 1},
    "condor": {"near_call_20": -1, "near_call_05": 1, "near_put_20": -1, "near_put_05": 1},
    "10-delta put": {"near_put_10": -1},
    "5-delta put": {"near_put_05": -1},
}
EDGES = (0.5, 1.0, 1.5, 2.0)
YEAR = 252.0


class Seller(Rule):
    """Sell one package, as many units as equity secures in full, hold it to expiry, sell the next that day."""

    def __init__(self, name: str, legs: dict[str, int]):
        self.legs = legs
        super().__init__(name, name)

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        rows, free = cell_rows(env, state, *self.legs), free_at_fill(env, state)
        strike, multiplier = contract_facts(env, torch.where(free, rows[:, 0], -1))
        size = torch.floor(state.equity_N / (strike * multiplier).clamp(min=1.0))
        distinct = (rows[:, :, None] == rows[:, None, :]).sum(dim=(1, 2)) == rows.shape[1]
        trade = self.may_open(free & distinct, rows, size)
        open_units(orders, rows, torch.where(trade, size, 0.0), *self.legs.values())


class Noise(Rule):
    """Half of the equity in the index, long or short, by the toss of a coin each week."""

    def reset(self, n_envs: int) -> None:
        super().reset(n_envs)
        self._generator, self._turn = torch.Generator().manual_seed(1), 0

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        if self._turn % 5 == 0:
            side = 2.0 * torch.randint(0, 2, (env.n_envs,), generator=self._generator) - 1.0
            wanted = torch.trunc(0.5 * side * state.equity_N / spot_of(env, state))
            orders.share_quantity_N[:] = (wanted - state.shares_N).long()
        self._turn += 1


def lower_bounds(a: Floats, b: Floats) -> Floats:
    """The paired bootstrap's lower bounds [W] of log returns of a less b [T, W]."""
    x, y = np.log1p(np.maximum(a, -0.999999)), np.log1p(np.maximum(b, -0.999999))
    return np.array([paired_mean(x[:, w], y[:, w]).low for w in range(x.shape[1])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tensors", type=Path)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=454)
    chosen = parser.parse_args()
    market = load_market(chosen.tensors)
    start, stop = market.split("test")
    surface = SP500Modelled(MarketConfig()).world.surface
    world = fair_world(market, (start, min(stop, start + chosen.sessions)), surface=surface, seed=7)
    began = time.perf_counter()
    policies = [Noise("noise", "noise"), *(Seller(name, legs) for name, legs in SELLERS.items())]
    excess = walk_fair_worlds(policies, world, FREE, n_worlds=chosen.worlds)
    print(f"{chosen.worlds} fair worlds of {world.paths.last_step} sessions, {time.perf_counter() - began:.0f} s")
    print(f"{'policy':22} {'bootstrap alone':>16} {'fair-world test':>16} {'both (verdict)':>15}")
    for policy in policies:
        mine = excess[policy.name]
        low, p = lower_bounds(mine, np.zeros_like(mine)), luck.left_out(luck.ratios(mine))
        alone, ranked = low > 0, p <= luck.HEADLINE_LEVEL
        print(f"{policy.name:22} {alone.mean():16.1%} {ranked.mean():16.1%} {(alone & ranked).mean():15.1%}")

    core = [policy for policy in baselines(market, random_episodes=1) if policy.name not in ("cash", "random")]
    against = walk_fair_worlds(core, world, EnvConfig(), n_worlds=chosen.worlds)
    trader = excess["noise"]
    p_all = {name: luck.left_out(luck.ratios(trader - other)) for name, other in against.items()}
    adjusted = [luck.holm({name: float(p[w]) for name, p in p_all.items()}) for w in range(chosen.worlds)]
    bounds = {name: lower_bounds(trader, other) for name, other in against.items()}
    alone = np.array([any(bounds[name][w] > 0 for name in bounds) for w in range(chosen.worlds)])
    both = np.array(
        [any(a[name] <= luck.FAMILY_LEVEL and bounds[name][w] > 0 for name in a) for w, a in enumerate(adjusted)]
    )
    print(f"any of {len(core)} baselines `beaten` by noise: bootstrap alone {alone.mean():.1%}, Holm {both.mean():.1%}")

    years = len(trader) / YEAR
    print(f"power of noise with a planted edge over {years:.1f} years, 200 worlds (against cash, any by Holm)")
    pool, few = luck.ratios(trader), trader[:, :200]
    for edge in EDGES:
        planted = few - few.mean() + edge / np.sqrt(YEAR) * few.std(axis=0, ddof=1)
        found = (luck.tail_share(luck.ratios(planted), pool) <= luck.HEADLINE_LEVEL) & (
            lower_bounds(planted, np.zeros_like(planted)) > 0
        )
        p_edge = {
            name: luck.tail_share(luck.ratios(planted - other[:, :200]), luck.ratios(trader - other))
            for name, other in against.items()
        }
        held = [luck.holm({name: float(p[w]) for name, p in p_edge.items()}) for w in range(few.shape[1])]
        any_found = np.array([min(found_here.values()) <= luck.FAMILY_LEVEL for found_here in held])
        print(f"  {edge:.1f}: {found.mean():.0%}, {any_found.mean():.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
