"""Proof 2b: over preset episodes in a world where P = Q, every adapted policy earns exactly what its costs were.

    mean over episodes of  D_T E_T + sum(D_s costs_s) - E_0 - control = 0   within its standard error

The control variate is what the book should have gained by fair prices, settlements of the tables included: its
expectation is zero by construction, so it takes the luck out and leaves a leak in.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from statistics import NormalDist

import torch

from clstm_core.audit.reference.plain import listed_contracts
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.accounting import fair_move, stated_costs, without_costs
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, CALENDAR, SETTLEMENTS, TRADES, count_events, every_event
from clstm_core.audit.sessions.orders import random_actions
from clstm_core.audit.sessions.records import before, done_step
from clstm_core.audit.sessions.scene import Scene
from clstm_core.audit.worlds.listed import SETTLES, build_listed, listed_tables
from clstm_core.audit.worlds.markets import pricing_vol, whole
from clstm_core.specs import ACTIONS, CLOSE_ALL, HEDGE_DELTA, OBSERVATION

TOLERANCE = 1e-6
"""Of the capital: what any one episode may earn beyond what fair prices did to its book."""

SIGNIFICANCE = 1e-3
"""Chance that any honest policy fails, Bonferroni over policies and cost cases."""

EVENTS = (
    *TRADES,
    "close",
    "hedge",
    *SETTLEMENTS,
    ALL_MULTIPLIERS,
    "short option",
    "interest",
    "dividends",
    *CALENDAR,
    "horizon",
)
"""What the episodes must have met."""

Decide = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Actions [M] from observations [M, F], masks [M, A] and the step's number; state is the callee's own."""


def preset_policies(seed: int) -> dict[str, Decide]:
    """Adapted policies that each trade something else; all of them must trade."""
    index = {name: i for i, name in enumerate(ACTIONS)}
    generator = torch.Generator().manual_seed(seed)
    trend = OBSERVATION.index("return_1d")

    def first_legal(mask: torch.Tensor, *wanted: torch.Tensor | int) -> torch.Tensor:
        action = torch.zeros(mask.shape[0], dtype=torch.int64)
        for choice in reversed(wanted):
            choice = torch.as_tensor(choice).expand(mask.shape[0])
            action = torch.where(mask.gather(1, choice[:, None]).squeeze(1), choice, action)
        return action

    def opener(*names: str, hedged: bool = False) -> Decide:
        """Open these in turn, hedging between where asked to."""
        wanted = [index[name] for name in names]

        def decide(_: torch.Tensor, mask: torch.Tensor, step: int) -> torch.Tensor:
            if hedged and step % 2:
                return first_legal(mask, HEDGE_DELTA)
            return first_legal(mask, wanted[step % len(wanted)], *wanted)

        return decide

    def follower(observation: torch.Tensor, mask: torch.Tensor, step: int) -> torch.Tensor:
        up = observation[:, trend] > 0
        bull = torch.where(up, index["near_bull_call_spread"], index["near_bear_put_spread"])
        return first_legal(mask, bull) if step % 3 else first_legal(mask, CLOSE_ALL, bull)

    def churner(_: torch.Tensor, mask: torch.Tensor, step: int) -> torch.Tensor:
        return first_legal(mask, CLOSE_ALL) if step % 2 else random_actions(mask, generator)

    return {
        "random": lambda _, mask, __: random_actions(mask, generator),
        "long_options": opener("near_long_call", "near_long_put", "far_long_straddle"),
        "short_options": opener("near_cash_secured_put", "near_short_strangle", "far_cash_secured_put"),
        "stock_and_options": opener("near_covered_call", "near_protective_put", "far_covered_call"),
        "spreads": opener("near_bull_put_spread", "near_bear_call_spread", "far_iron_condor"),
        "calendars": opener("call_calendar", "put_calendar", "near_risk_reversal"),
        "hedged_strangle": opener("near_short_strangle", "near_long_straddle", hedged=True),
        "follower": follower,
        "churner": churner,
    }


def martingale_sampled(scene: Scene, policies: Mapping[str, Decide] | None = None) -> list[Finding]:
    """Play every policy over the same preset, non-overlapping episodes, with costs off and on.

    The scene's accounts are the episodes of each policy, its steps their length; the world is a fair listed one, whose
    contracts settle within an episode. `policies` (trained ones, say) are played beside the preset ones.
    """
    episodes, capital = scene.n_envs, scene.config.capital_usd
    tables = listed_tables(episodes * (scene.n_steps + 1), fair=True, seed=scene.seed + 1)
    world = whole(build_listed(tables))
    paid = [how.price for _, how in listed_contracts(world, tables, SETTLES)]
    settlement_K = torch.tensor(paid, dtype=torch.float64)
    findings, total = [], Counter[str]()
    names = [*preset_policies(scene.seed), *(policies or {})]
    threshold = NormalDist().inv_cdf(1 - SIGNIFICANCE / (2 * 2 * len(names)))
    for costs, config in (("off", without_costs(scene.config)), ("on", scene.config)):
        players = {**preset_policies(scene.seed), **(policies or {})}
        gain, fills, met = play(dataclasses.replace(scene, market=world, config=config), players, settlement_K)
        total += met
        for name, mine, count in zip(names, gain, fills.tolist(), strict=True):
            error = float(mine.std()) / math.sqrt(episodes) + 1e-9 * capital
            mean = float(mine.mean())
            bps = 1e4 / capital
            findings.append(
                Finding(
                    check=f"{name} costs {costs}",
                    statistic=abs(mean) / error,
                    threshold=threshold,
                    detail=f"standard errors: {mean * bps:+.3f} +- {error * bps:.3f} bps, {count} fills",
                )
            )
            findings.append(
                Finding(
                    check=f"{name} costs {costs} beyond fair prices",
                    statistic=float(mine.abs().max()),
                    threshold=TOLERANCE * capital,
                    detail=f"in episode {int(mine.abs().argmax())}",
                )
            )
            least = max(1, episodes // 2)
            findings.append(
                Finding(
                    check=f"{name} costs {costs} fills missing",
                    statistic=max(0, least - count),
                    threshold=0.0,
                    detail=f"{count} fills, expected {least} or more",
                )
            )
    return [*findings, every_event(total, EVENTS)]


def play(
    scene: Scene, players: Mapping[str, Decide], settlement_K: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, Counter[str]]:
    """Discounted gain net of luck, costs added back [policies, episodes], fills of each policy, and what was met."""
    world, config, device = scene.market, scene.config, scene.device
    episodes, horizon, n_players = scene.n_envs, scene.n_steps, len(players)
    n = n_players * episodes
    env = scene.under(horizon=horizon).env(n)
    env.reset()
    state = env.state_dict()
    start = (torch.arange(episodes) * (horizon + 1)).repeat(n_players)
    state["snapshot_index_N"] = start.to(device)
    state["age_N"] = torch.zeros_like(state["age_N"])
    env.load_state_dict(state)
    observation, mask = env.observe()

    vol = pricing_vol(world)
    clock = world.time_years_T
    log_discount = torch.zeros(n, dtype=torch.float64)
    gain = torch.full((n,), -config.capital_usd, dtype=torch.float64)
    final = torch.zeros(n, dtype=torch.float64)
    alive = torch.ones(n, dtype=torch.bool)
    fills, met = torch.zeros(n, dtype=torch.int64), Counter[str]()
    for step in range(horizon):
        action = torch.cat(
            [
                decide(part, legal, step)
                for decide, part, legal in zip(
                    players.values(), observation.cpu().split(episodes), mask.cpu().split(episodes), strict=True
                )
            ]
        )
        begun = before(env)
        result = env.step(action.to(device))
        observation, mask = result.observation, result.action_mask
        last = done_step(env)
        met += count_events(last, world)
        t, then = last.snapshot_from_N, last.snapshot_N
        dt = clock[then] - clock[t]
        today = log_discount.exp()
        log_discount = log_discount - world.rate_T[t] * dt
        tomorrow = log_discount.exp()
        now, later = stated_costs(last, world, config)
        luck = fair_move(begun, last, world, vol, settlement_K)
        gain = gain + torch.where(alive, today * now + tomorrow * (later - luck), 0.0)
        final = torch.where(alive, tomorrow * last.equity_N, final)
        traded = (last.fill_quantity_NX != 0) & (last.fill_reason_NX > 0) & (last.fill_reason_NX < 5)
        fills = fills + torch.where(alive, traded.sum(dim=1), 0)
        alive = alive & ~(last.terminated_N | last.truncated_N)
    return (gain + final).view(n_players, episodes), fills.view(n_players, episodes).sum(dim=1), met
