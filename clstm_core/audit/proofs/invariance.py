"""Proof 6: who else is in the batch, in what order, and at what precision, changes no account's story."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.agreement import MOST_FELT
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, SETTLEMENTS, TRADES, count_events, every_event
from clstm_core.audit.sessions.orders import modest_orders, random_actions, wild_orders
from clstm_core.audit.sessions.records import done_step
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.config import EnvConfig
from clstm_core.market.tensors import MarketTensors

ROUNDING_USD = 1e-5
"""Sums may be taken in another order in another batch; money may differ by this, decisions by nothing."""

FLOAT32_TOLERANCE = 1e-5
"""Of the capital: what float32 money may drift by over a session (50 dollars of 5,000,000)."""

FLOAT32_FLOW = 1e-3
"""Of a cost or a carry: what one step in float32 may round away (a spread is the difference of two rounded prices)."""

FLOAT32_ROUNDING = 1e-5
"""Of what the account is made of: what one step's sums may round away in float32."""

UNDECIDED = 0.02
"""Share of steps that may trade otherwise in float32: an order within rounding of its margin limit goes either way."""

_EXACT = ("snapshot_N", "fill_quantity_NX", "fill_contract_NX", "leg_contract_NL", "leg_quantity_NL", "episode_N")
_MONEY = ("equity_N", "cash_N", "fees_N", "slippage_N", "interest_N", "margin_N", "settlement_N")


EVENTS = (
    *TRADES,
    *SETTLEMENTS,
    ALL_MULTIPLIERS,
    "liquidation",
    "stale mark",
    "short option",
    "short shares",
    "rejected",
    "unfilled",
    "horizon",
    "ruin",
)
"""What the accounts in the listed world must have met."""

EARLY_RUIN = 0.97
"""Share of the entry equity below which accounts end here: a few days' losses."""


def invariance(scene: Scene, listed: MarketTensors | None = None) -> list[Finding]:
    """Permute the batch, take accounts out of it one by one, walk a session again in float32, and end it early.

    Args:
        listed: a rough listed world, walked beside the scene's market
    """
    findings = _everywhere(scene, "", Counter())
    # where the market is proven wrong already, the listed world would say no more than that again
    if listed is not None and all(finding.ratio <= 1.0 for finding in findings):
        met: Counter[str] = Counter()
        place = dataclasses.replace(scene, market=listed)
        findings += [*_everywhere(place, "listed world, ", met), every_event(met, EVENTS)]
    return findings


def _everywhere(scene: Scene, label: str, met: Counter[str]) -> list[Finding]:
    findings = [*_batch(scene, met), *_precision(scene), *_float32_step(scene, met), *_endings(scene, met)]
    return [dataclasses.replace(finding, check=label + finding.check) for finding in findings]


def _batch(scene: Scene, met: Counter[str]) -> list[Finding]:
    """Accounts alone, among fewer, and in another order.

    Episodes are short, so that resets happen on the way and must agree too.
    """
    n_envs, device = scene.n_envs, scene.device
    short = scene.under(horizon=max(1, min(6, scene.market.n_snapshots - 1)))
    generator = scene.generator()
    env = short.env(seed=scene.seed, stagger=True)
    _, mask = env.reset()
    births = env.state_dict()
    for _ in range(3):
        mask = env.step(random_actions(mask, generator).to(device)).action_mask
    began = {name: tensor.clone() for name, tensor in env.state_dict().items()}
    actions, truth = [], []
    for _ in range(scene.n_steps):
        actions.append(random_actions(mask, generator))
        result = env.step(actions[-1].to(device))
        mask = result.action_mask
        truth.append(_outcome(env, result))
        met += count_events(done_step(env), scene.market)

    order = torch.randperm(n_envs, generator=generator)
    findings = _agree("permuted", short, began, order, actions, truth)
    for n in range(0, n_envs, max(1, n_envs // 3)):
        findings += _agree("alone", short, began, torch.tensor([n]), actions, truth)
    few = max(1, n_envs // 4)
    smaller = short.env(few, seed=scene.seed, stagger=True)
    smaller.reset()
    young = smaller.state_dict()
    unequal = sum(
        int((young[name] != births[name][:few]).sum()) for name in ("snapshot_index_N", "age_N", "seed_N", "episode_N")
    )
    return [*findings, Finding(check="episodes depend on the batch", statistic=unequal, threshold=0.0)]


def _endings(scene: Scene, met: Counter[str]) -> list[Finding]:
    """The end of an episode, by its horizon or by ruin, changes nothing of what is seen there: the same accounts walk
    on beside, with a longer horizon and no ruin, and see the same."""
    most = scene.market.n_snapshots - 1
    longer = max(1, min(12, most))
    ending = scene.under(horizon=max(1, longer - 2), ruin_fraction=max(EARLY_RUIN, scene.config.ruin_fraction))
    walking = scene.under(horizon=longer, ruin_fraction=-math.inf)
    short, long = (place.env(seed=scene.seed, fixed_start=True) for place in (ending, walking))
    short.reset()
    long.reset()
    generator = scene.generator()
    first = torch.ones(scene.n_envs, dtype=torch.bool)  # accounts still in the episode that both began
    other, rewards, ended = 0, 0, 0
    for _ in range(ending.config.horizon):
        orders = wild_orders(long, scene.market, generator)
        orders.leg_row_NP[~first], orders.leg_quantity_NP[~first] = -1, 0
        one = short.step_orders(on_device(orders, scene.device))
        two = long.step_orders(on_device(orders, scene.device))
        met += count_events(done_step(short), scene.market)
        differs = (one.final_observation != two.final_observation).any(dim=1).cpu()
        differs |= (two.final_observation != two.observation).any(dim=1).cpu() & ~(two.terminated | two.truncated).cpu()
        other += int((differs & first).sum())
        rewards += int(((one.reward != two.reward).cpu() & first).sum())
        done = (one.terminated | one.truncated).cpu()
        ended += int((done & first).sum())
        first &= ~done
    return [
        Finding(check="final observation is not what was there at the end", statistic=other, threshold=0.0),
        Finding(check="reward of a last step", statistic=rewards, threshold=0.0),
        Finding(check="no episode ended", statistic=float(ended == 0), threshold=0.0),
    ]


def _outcome(env, result) -> dict[str, torch.Tensor]:
    last = done_step(env)._asdict()
    chosen = {name: last[name] for name in (*_EXACT, *_MONEY)}
    extra = {"observation": result.observation, "reward": result.reward, "mask": result.action_mask}
    return chosen | {name: tensor.detach().cpu().clone() for name, tensor in extra.items()}


def _agree(label: str, scene: Scene, began, order, actions, truth) -> list[Finding]:
    """Replay the accounts `order` from the same beginning; every outcome must be that of the whole batch."""
    env = scene.env(len(order))
    env.reset()
    state = {
        name: tensor[order.to(tensor.device)] if tensor.dim() and tensor.shape[0] == scene.n_envs else tensor
        for name, tensor in began.items()
    }
    env.load_state_dict(state)
    money, decisions, seen = 0.0, 0, 0.0
    for action, expected in zip(actions, truth, strict=True):
        result = env.step(action[order].to(scene.device))
        found = _outcome(env, result)
        for name, tensor in found.items():
            reference = expected[name][order]
            if name in _MONEY:
                money = max(money, float((tensor - reference).abs().max()))
            elif name in _EXACT or name == "mask":
                decisions += int((tensor != reference).sum())
            else:
                scale = 1.0 + reference.abs()
                seen = max(seen, float(((tensor - reference).abs() / scale).max()))
    return [
        Finding(check=f"{label}: money", statistic=money, threshold=ROUNDING_USD),
        Finding(check=f"{label}: decisions", statistic=decisions, threshold=0.0),
        Finding(check=f"{label}: observation and reward", statistic=seen, threshold=1e-5),
    ]


def _pair(scene: Scene, most_steps: int) -> tuple[Any, Any, int]:
    """The same accounts in float64 and in float32, and the steps that they walk."""
    n_steps = max(1, min(most_steps, scene.market.n_snapshots - 1))
    walk = partial(scene.under(horizon=n_steps).env, seed=scene.seed, fixed_start=True)
    exact, rough = walk(dtype=torch.float64), walk(dtype=torch.float32)
    exact.reset()
    rough.reset()
    return exact, rough, n_steps


def _precision(scene: Scene) -> list[Finding]:
    """The same modest orders in float64 and float32."""
    exact, rough, n_steps = _pair(scene, 20)
    generator = scene.generator()
    drift, other = 0.0, 0
    for _ in range(n_steps):
        orders = on_device(modest_orders(exact, scene.market, generator), scene.device)
        exact.step_orders(orders)
        rough.step_orders(orders)
        one, two = done_step(exact), done_step(rough)
        drift = max(drift, float((one.equity_N - two.equity_N.double()).abs().max()))
        other += int((one.fill_quantity_NX != two.fill_quantity_NX.double()).sum())
    return [
        Finding(check="float32: money", statistic=drift, threshold=FLOAT32_TOLERANCE * scene.config.capital_usd),
        Finding(check="float32: fills", statistic=other, threshold=0.0),
    ]


_COSTS = ("fees_N", "slippage_N", "interest_N", "dividends_N", "borrow_N")
_SUMS = ("cash_N", "equity_N", "settlement_N", "option_mark_change_N", "share_mark_change_N")


def _felt(step: Mapping[str, torch.Tensor], config: EnvConfig) -> torch.Tensor:
    """How many times a rounded dollar of the entry's capital is felt in a reward that minds risk [N]; 1 for profit."""
    if config.reward == "profit":
        return torch.ones_like(step["equity_N"])
    before = step["equity_before_N"].abs().clamp(min=1.0)
    growth = step["equity_N"] / before
    if config.reward == "mean_variance":
        slope = (1.0 - config.risk_aversion * (growth - 1.0)).abs()
    else:
        slope = growth.clamp(min=MOST_FELT ** (-1.0 / config.risk_aversion)) ** -config.risk_aversion
    return slope.clamp(min=1.0) * (config.capital_usd / before).clamp(min=1.0)


def _float32_step(scene: Scene, met: Counter[str]) -> list[Finding]:
    """Wild orders, each step from one and the same account: what rounding may not hide over a session.

    A session's drift tolerates more than the fees of its fills; here every flow stands beside its own float64 value.
    """
    exact, rough, n_steps = _pair(scene, 40)
    config, generator = scene.config, scene.generator()
    worst = dict.fromkeys((*_COSTS, *_SUMS, "reward", "observation"), 0.0)
    other = 0
    for _ in range(n_steps):
        state = {name: t.float() if t.is_floating_point() else t for name, t in exact.state_dict().items()}
        rough.load_state_dict(state)
        orders = on_device(wild_orders(exact, scene.market, generator), scene.device)
        result_one, result_two = exact.step_orders(orders), rough.step_orders(orders)
        met += count_events(done_step(exact), scene.market)
        one, two = done_step(exact)._asdict(), done_step(rough)._asdict()
        same = (one["fill_quantity_NX"] == two["fill_quantity_NX"].double()).all(dim=1)
        other += int((~same).sum())
        gross = config.capital_usd + sum(one[name].abs() for name in ("cash_N", "equity_N", "option_mark_N"))
        for name in (*_COSTS, *_SUMS):
            scale = 1.0 + one[name].abs() if name in _COSTS else gross
            gap = (one[name] - two[name].double()).abs() / scale
            worst[name] = max(worst[name], float(torch.where(same, gap, 0.0).max()))
        # a reward is money over entry equity, in scaled basis points
        unit = config.reward_scale * 1e4 * gross / config.capital_usd * _felt(one, config)
        reward = (result_one.reward - result_two.reward).double().cpu().abs() / unit
        worst["reward"] = max(worst["reward"], float(torch.where(same, reward, 0.0).max()))
        seen = (result_one.final_observation - result_two.final_observation).double().cpu().abs()
        seen = (seen / (1.0 + result_one.final_observation.double().cpu().abs())).amax(dim=1)
        seen = seen * config.capital_usd / gross
        worst["observation"] = max(worst["observation"], float(torch.where(same, seen, 0.0).max()))
    findings = [
        Finding(
            check=f"float32 step: {name.removesuffix('_N')}",
            statistic=gap,
            threshold=FLOAT32_FLOW if name in _COSTS else FLOAT32_ROUNDING,
        )
        for name, gap in worst.items()
    ]
    share = other / (n_steps * scene.n_envs)
    return [*findings, Finding(check="float32 step: other fills", statistic=share, threshold=UNDECIDED)]
