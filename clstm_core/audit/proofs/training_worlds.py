"""Proof 7: worlds that are generated to train in conserve money, show no future, give nothing away, and pay fairly.

    reward less its surprise:   E[surprise | what is held] = 0,   whatever is held, near expiry and at a breach

They are made of the market's training days, every family of them; a market too short for that trains in none. The
surprise of a reward is what two equal accounts are paid differently, one of them by `expected_reward`.
"""

import dataclasses
import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import torch

from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.accounting import without_costs
from clstm_core.audit.sessions.orders import random_actions
from clstm_core.audit.sessions.scene import Scene
from clstm_core.config import FEWEST_SESSIONS, EnvConfig, WorldsConfig
from clstm_core.env.state import EXPIRY, Orders, StepLedger
from clstm_core.errors import MarketDataError
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.families import FAMILIES, RAW, FamilyPaths
from clstm_core.market.worlds.generated import GeneratedWorld, simulated_world
from clstm_core.market.worlds.paths import PathPoint, Surprise, path_of, step_of
from clstm_core.market.worlds.training import world_of
from clstm_core.specs import ACTIONS, CLOSE_ALL, HOLD

ROUNDING = 1e-9
"""Of the capital, per account and step; a surprise's own expectation, of its size."""

NEXT_TO_NOTHING = 1e-12
"""Size up to which surprises are what rounding leaves of none at all."""

SIGNIFICANCE = 1e-3
"""Chance that an honest world fails for the mean of some action's surprises, Bonferroni over the groups looked at."""

FEWEST = 40
"""Surprises of a group of which a mean is asked."""

NEARLY = 0.95
"""Share of a cap of the risk budget above which it is nearly used: a breach is a day's move away."""

BRIM_EVERY, BRIM = 9, (11.0, 0.98)
"""How often accounts order shares for so many times their equity: as much as margin allows, as much as the budget."""

PATIENCE = 25
"""Steps between two orders of accounts that hold what they opened until it settles."""

HORIZON, CUT = 60, 12
SWEPT = 64
"""Paths whose expected surprise is summed over every training day."""


def training_worlds(scene: Scene, market: MarketTensors) -> list[Finding]:
    """All of it, in worlds of every family made of the training days of `market`.

    Args:
        scene: the account's rules, and how many accounts walk for how long
    """
    worlds = WorldsConfig(historical=3.0, heston=3.0, bates=3.0, blocks=1.0, history=1.0)
    try:
        world = world_of(market, worlds, HORIZON)
    except MarketDataError:
        return [
            Finding(
                check="worlds made",
                statistic=0.0,
                threshold=1.0,
                detail=f"none: fewer than {FEWEST_SESSIONS} training days in a row, so that none is trained in",
            )
        ]
    config = dataclasses.replace(scene.config, horizon=HORIZON, expected_reward=False)
    return [
        *_walked(scene, world, config),
        *_future(scene, world, config),
        _free(scene, config),
        _expected(world),
    ]


def _walked(scene: Scene, world: GeneratedWorld, config: EnvConfig) -> list[Finding]:
    """Random accounts: every change of equity is a flow of the record, and surprises expect nothing."""
    paths, groups, worst = _family_paths(world), _Groups(config), 0.0
    opened = torch.zeros(scene.n_envs, dtype=torch.int64)
    raw, less = (_env(scene, world, dataclasses.replace(config, expected_reward=e)) for e in (False, True))
    mask, generator = raw.observe()[1], scene.generator()
    told: Any = None
    last: StepLedger | None = None
    for turn in range(scene.n_steps):
        action = _varied_actions(mask, turn, generator)
        index, point = raw.state.snapshot_index_N, raw.view.now.point
        orders = _to_the_brim(raw, raw.orders_for(action), turn, last, told)
        before, told, other = last, raw.step_orders(orders), less.step_orders(orders)
        ended, last = told.terminated | told.truncated, raw.last
        worst = max(worst, float(_unexplained(last).max()) / config.capital_usd)
        family, surprise = paths.traits(path_of(index)).family, paths.surprise(point, index)
        groups.add((told.reward - other.reward).double(), opened, before, last, family)
        groups.add_parts(surprise, family, point.state.vix)
        opened = torch.where(ended, HOLD, torch.where(action == HOLD, opened, action))
        mask = told.action_mask
    missing = groups.missing()
    return [
        Finding(check="flows add up", statistic=worst, threshold=ROUNDING),
        groups.finding(),
        Finding(
            check="kinds of steps met",
            statistic=float(len(missing)),
            threshold=0.0,
            detail=f"missing: {', '.join(missing)}" if missing else "",
        ),
    ]


def _varied_actions(mask: torch.Tensor, turn: int, generator: torch.Generator) -> torch.Tensor:
    """Legal actions [N]: a third of the accounts at random, a third one action after the other, each closed again, and
    a third one now and then, held until it settles."""
    drawn, account = random_actions(mask, generator), torch.arange(len(mask))
    one = (account // 3 + turn // 3) % len(ACTIONS)
    brief = (torch.full_like(one, CLOSE_ALL), one, torch.zeros_like(one))[turn % 3]
    patient = torch.where((account + turn) % PATIENCE == 0, one, 0)
    wanted = torch.stack([drawn, brief, patient]).gather(0, (account % 3)[None])[0]
    return torch.where(mask.gather(1, wanted[:, None])[:, 0], wanted, 0)


def _to_the_brim(env: Any, orders: Orders, turn: int, last: StepLedger | None, told: Any) -> Orders:
    """Orders of some accounts with shares to the brim, now and then; of none that has just begun."""
    if last is None:
        return orders
    account = torch.arange(env.n_envs)
    times = last.spot_N.new_tensor(BRIM)[account % len(BRIM)]
    shares = torch.floor(times * env.state.equity_N / last.spot_N).clamp(min=0.0)
    wanted = (account % 5 < len(BRIM)) & ((account + turn) % BRIM_EVERY == 0) & ~(told.terminated | told.truncated)
    return orders._replace(share_quantity_N=orders.share_quantity_N + torch.where(wanted, shares, 0.0))


def _env(scene: Scene, world: GeneratedWorld, config: EnvConfig, n_envs: int | None = None, **options: Any) -> Any:
    """Accounts in float64 in a world."""
    settings = {"seed": scene.seed, "dtype": torch.float64, "device": "cpu"}
    return scene.factory(world, config, n_envs=n_envs or scene.n_envs, **(settings | options))


def _unexplained(last: Any) -> torch.Tensor:
    """What of a step's change of cash and of equity [N] no flow of the record explains, in currency."""
    spent = (last.fill_quantity_NX * last.fill_price_NX * last.fill_multiplier_NX).sum(1) + last.fill_fee_NX.sum(1)
    flows = last.interest_N + last.dividends_N - last.borrow_N
    cash = (last.cash_before_N + flows - spent - last.cash_N).abs()
    gain = last.option_mark_change_N + last.share_mark_change_N + flows + last.settlement_N
    equity = (gain - last.fees_N - last.slippage_N - (last.equity_N - last.equity_before_N)).abs()
    return torch.maximum(cash, equity)


_PARTS = ("the return's surprise", "its square's surprise", "the VIX's surprise")


def _moments(values: torch.Tensor) -> torch.Tensor:
    """Count, sum and sum of squares as rows [3, M], to be added up."""
    return torch.stack([torch.ones_like(values), values, values.square()])


class _Groups:
    """Sums of surprises by what was done and by what was met."""

    def __init__(self, config: EnvConfig) -> None:
        self._caps = (config.max_net_exposure, config.max_gross_exposure, config.max_crash_loss)
        names = [*ACTIONS, "legs that settle next", "budget nearly used", *FAMILIES, *_PARTS]
        self.names, self.sums = names, torch.zeros(len(names), 3, dtype=torch.float64)

    def add(
        self,
        news: torch.Tensor,
        opened: torch.Tensor,
        before: StepLedger | None,
        last: StepLedger,
        family: torch.Tensor,
    ) -> None:
        """One step [N] by each account's last action before it; where nothing was held nothing could surprise.

        Of what is known before the move alone: who is liquidated after it has been surprised.
        """
        settles = ((last.fill_reason_NX == EXPIRY) & (last.fill_quantity_NX != 0)).any(dim=1)
        close = torch.zeros_like(settles)
        if before is not None:
            use = torch.stack([before.net_exposure_N, before.gross_exposure_N, before.crash_loss_N], dim=1)
            close = (use > NEARLY * use.new_tensor(self._caps)).any(dim=1) & (opened != HOLD)
        of = (
            torch.cat(
                [
                    torch.nn.functional.one_hot(opened, len(ACTIONS)).bool(),
                    torch.stack([settles, close], dim=1),
                    torch.nn.functional.one_hot(family, len(FAMILIES)).bool(),
                ],
                dim=1,
            )
            & (news != 0.0)[:, None]
        )
        self.sums[: -len(_PARTS)] += (_moments(news) @ of.double()).T

    def add_parts(self, surprise: Surprise, family: torch.Tensor, vix: torch.Tensor) -> None:
        """The surprises themselves [N], whatever was held, in units of the VIX."""
        known = torch.stack([family != raw for raw in RAW]).all(dim=0)
        for place, (part, power) in enumerate(zip(surprise, (1, 2, 1), strict=True), start=-len(_PARTS)):
            self.sums[place] += _moments((part / vix**power)[known]).sum(dim=1)

    def missing(self) -> list[str]:
        """Kinds of steps of which too few were met; families of known days have no surprises, nor who only held."""
        none = {ACTIONS[HOLD], *(FAMILIES[family] for family in RAW)}
        counts = self.sums[:, 0].tolist()
        return [name for name, n in zip(self.names, counts, strict=True) if n < FEWEST and name not in none]

    def finding(self) -> Finding:
        """The mean furthest from zero, in standard errors; what never surprises expects nothing."""
        count, total, square = self.sums[self.sums[:, 0] >= FEWEST].T
        error = ((square - total**2 / count).clamp(min=0.0)).sqrt()
        score = torch.where(square <= NEXT_TO_NOTHING**2 * count, 0.0, (total / error).abs())
        limit = NormalDist().inv_cdf(1 - SIGNIFICANCE / (2 * max(1, len(score))))
        far = int(score.argmax()) if len(score) else 0
        named = [name for name, n in zip(self.names, self.sums[:, 0].tolist(), strict=True) if n >= FEWEST]
        return Finding(
            check="surprises expect nothing",
            statistic=float(score.max()) if len(score) else math.inf,
            threshold=limit,
            detail=f"standard errors of the mean, at {named[far]}, of {int(self.sums[:, 0].max()):,} steps"
            if named
            else "no surprise was met",
        )


def _family_paths(world: GeneratedWorld) -> FamilyPaths:
    assert isinstance(world.paths, FamilyPaths)
    return world.paths


def _future(scene: Scene, world: GeneratedWorld, config: EnvConfig) -> Iterator[Finding]:
    """The same accounts on paths that go another way after a step: until then everything is the same."""
    other = dataclasses.replace(world, paths=_OtherFuture.of(world.paths))
    made = [_env(scene, each, config, 32, stagger=False) for each in (world, other)]
    generator, differ, parted = scene.generator(), 0, 0
    for step in range(CUT + 2):
        (seen, mask), other_seen = made[0].observe(), made[1].observe()
        if step <= CUT:
            differ += int((seen != other_seen[0]).sum()) + int((mask != other_seen[1]).sum())
        action = random_actions(mask, generator)
        for env in made:
            env.step(action)
        one, two = (env.last for env in made)
        if step < CUT:
            differ += int((one.fill_price_NX != two.fill_price_NX).sum() + (one.equity_N != two.equity_N).sum())
        else:
            parted += int((one.spot_N != two.spot_N).sum())
    yield Finding(check="seen before it came", statistic=float(differ), threshold=0.0)
    yield Finding(check="another future that is the same", statistic=float(parted == 0), threshold=0.0)


class _OtherFuture(FamilyPaths):
    """Paths that part from what they were after `CUT`."""

    __slots__ = ()

    @classmethod
    def of(cls, paths: Any) -> "_OtherFuture":
        """The same until then."""
        return cls(**{item.name: getattr(paths, item.name) for item in dataclasses.fields(FamilyPaths)})

    def after(self, point: PathPoint, index: torch.Tensor) -> PathPoint:
        """A third of the level and twice the VIX from there on."""
        then = FamilyPaths.after(self, point, index)
        state, later = then.state, step_of(index) >= CUT
        spot, vix = torch.where(later, state.spot / 3.0, state.spot), torch.where(later, 2.0 * state.vix, state.vix)
        close = torch.cat([then.log_close[:-1], torch.log(spot)[None]])
        return then._replace(state=state._replace(spot=spot, vix=vix), log_close=close)


def _free(scene: Scene, config: EnvConfig) -> Finding:
    """Where P = Q and trading is free, what whole episodes earn less their surprises is nothing."""
    free = dataclasses.replace(without_costs(config), reward="profit", risk_penalty=0.0, expected_reward=True)
    world = simulated_world(n_steps=HORIZON + 2, fair=True)
    env = _env(scene, world, free, stagger=False)
    mask, generator, total = env.observe()[1], scene.generator(), torch.zeros(env.n_envs, dtype=torch.float64)
    for turn in range(HORIZON):
        told = env.step(_varied_actions(mask, turn, generator))
        mask, total = told.action_mask, total + told.reward.double()
    score = abs(float(total.mean() / (total.std() / math.sqrt(len(total)))))
    return Finding(
        check="free where P = Q",
        statistic=score,
        threshold=NormalDist().inv_cdf(1 - SIGNIFICANCE / 2),
        detail="standard errors of the mean episode",
    )


def _off_balance(part: torch.Tensor) -> torch.Tensor:
    """How far surprises [days, ...] are from adding up to nothing [...], as a share of their size; 0 of none at all."""
    size = part.abs().mean(dim=0)
    return torch.where(size < NEXT_TO_NOTHING, 0.0, part.mean(dim=0).abs() / size)


def _expected(world: GeneratedWorld) -> Finding:
    """Over all days that a resampled path may draw next, each surprise adds up to nothing."""
    paths = _family_paths(world)
    index = paths.begin(torch.arange(SWEPT), torch.zeros(SWEPT, dtype=torch.int64), HORIZON, fixed=False)
    point = paths.start(index)
    count = len(paths.days.gain)
    surprise = paths.resampled_surprise(point, index, torch.arange(count)[:, None])
    worst = float(torch.stack([_off_balance(part).max() for part in surprise]).max())
    return Finding(
        check="expected surprise", statistic=worst, threshold=ROUNDING, detail=f"of its size, over {count:,} days"
    )
