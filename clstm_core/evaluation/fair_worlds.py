"""The fair-world test of a run: the champion's test window placed among what luck gave it in many worlds of its own.

One pool of worlds serves all comparisons: the champion walks all of them, the baselines the first of them, on the same
paths. Against cash one test was registered; against the other baselines p-values are adjusted together.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.errors import EvaluationError
from clstm_core.evaluation import luck
from clstm_core.evaluation.fair_walk import walk_fair_worlds
from clstm_core.evaluation.headline import champion_of, headline_of
from clstm_core.evaluation.pairing import group, series
from clstm_core.evaluation.policies import Policy
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import MIN_OBSERVATIONS, PERIODS_PER_YEAR, YEAR_OF_RETURNS, Floats
from clstm_core.market.clock import DAY_NS
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.surface import Surface
from clstm_core.plural import counted
from clstm_core.process import beside

Progress = Callable[[int, int], None]

WORLDS, BASELINE_WORLDS = 1000, 300
"""Worlds that the champion walks, and how many of them the baselines do: enough for the family's smallest p-value."""

CASH = "cash"
WORLDS_FILE = "excess.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """One comparison's place among luck.

    Units: observed and the luck_ figures are ratios as `span_ratios` has them; p and p_adjusted in 0..1
    """

    policy: str
    against: str
    observed: float
    luck_median: float
    luck_high: float  # what luck exceeds once in forty worlds
    worlds: int
    p: float
    p_adjusted: float
    level: float

    @property
    def beyond_luck(self) -> bool:
        """Whether it is held to be more than luck."""
        return self.p_adjusted <= self.level


@dataclass(frozen=True, kw_only=True, slots=True)
class Luck:
    """What a comparison takes from the fair worlds.

    ratios: the champion's own as `span_ratios` has them, one per world, for a picture
    """

    policy: str
    placed: list[Placed]
    ratios: list[float]
    sessions: int

    def of(self, against: str) -> Placed | None:
        """The champion's place against a baseline."""
        return next((item for item in self.placed if item.against == against), None)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def untested(cls, policy: str) -> "Luck":
        """Of a champion whose window cannot be judged: it is nowhere held to be more than luck."""
        return cls(policy=policy, placed=[], ratios=[], sessions=0)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Luck":
        """The inverse of `to_dict`."""
        return cls(**{**facts, "placed": [Placed(**item) for item in facts["placed"]]})


def place_champion(
    results: Sequence[Backtest],
    champion: Policy,
    others: Sequence[Policy],
    world: GeneratedWorld,
    env_config: EnvConfig,
    *,
    walked: Mapping[str, Floats] | None = None,
    worlds: int = WORLDS,
    baseline_worlds: int = BASELINE_WORLDS,
    measured: Sequence[Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
) -> Luck:
    """Walk the champion and others through fair worlds, and place what it did on the test window among them.

    Args:
        results: the run's backtests, the headline's among them
        champion, others: the same policies, ready to trade again; one without a backtest is left out
        world: fair worlds over the headline's window
        measured: as `headline.champion_of` takes it
        walked: baselines that walked the first of these worlds before: returns in excess of cash [T, W] by name

    Raises: EvaluationError when the champion that was backtested is another, or the worlds are of another length
    """
    groups = group(results)
    headline = headline_of(groups)
    chosen = champion_of(groups, headline, measured).judged
    if chosen is None or chosen.name != champion.name:
        raise EvaluationError(
            f"the backtests' champion is {chosen.name if chosen else 'nobody'}: expected {champion.name}. Place the "
            "policy that is judged."
        )
    found = {name: made.excess[:, 0] for name, made in series(groups[headline]).items()}
    sessions = len(found[champion.name])
    if sessions != world.paths.last_step:
        raise EvaluationError(
            f"{sessions} returns beside worlds of {world.paths.last_step} steps: expected as many. Make the worlds of "
            "the window that was backtested."
        )
    others = [policy for policy in others if policy.name in found and policy.name != CASH]
    mine, chance = walk_both(champion, others, world, env_config, (worlds, baseline_worlds), progress)
    theirs = {name: excess for name, excess in (walked or {}).items() if name in found} | chance
    few = mine[:, :baseline_worlds]
    placed = [_place(champion.name, CASH, found[champion.name], mine, luck.HEADLINE_LEVEL)]
    family = [
        _place(champion.name, name, found[champion.name] - found[name], few - walked, luck.FAMILY_LEVEL)
        for name, walked in theirs.items()
    ]
    return Luck(
        policy=champion.name,
        placed=placed + _adjusted(family),
        ratios=[float(ratio) for ratio in span_ratios(mine)],
        sessions=sessions,
    )


def span_ratios(excess: Floats) -> Floats:
    """Ratios of mean to deviation [W] of returns [T, W]: per year, or over the window where it is shorter than one.

    What `words.percent_of` says of percentages: a window under a year is not annualised.
    """
    return luck.ratios(excess) * np.sqrt(PERIODS_PER_YEAR if len(excess) >= YEAR_OF_RETURNS else len(excess))


def usual_luck(excess: Floats) -> tuple[float, float]:
    """The median of `span_ratios` over worlds [T, W], and what luck exceeds once in forty."""
    pool = span_ratios(excess)
    return float(np.median(pool)), float(np.quantile(pool, 1.0 - luck.HEADLINE_LEVEL))


def why_not(market: MarketTensors, window: tuple[int, int]) -> str:
    """Why a window is not judged by fair worlds; empty where it is."""
    returns = window[1] - window[0] - 1
    if returns < MIN_OBSERVATIONS:
        found = counted(returns, "return is", "returns are")
        return f"{found} too few to tell skill from luck: {MIN_OBSERVATIONS} are asked for."
    dates = market.snapshot_T // DAY_NS
    if bool((dates.diff() <= 0).any()):
        return "several snapshots per date: fair worlds take one. Nothing is called better than luck here."
    return ""


def surface_for(config: MarketConfig) -> Surface:
    """The surface that fair worlds quote: the run's own where it is modelled, the default market's elsewhere."""
    from clstm_core.market.sources.sp500_modelled import SPEC, SP500Modelled

    return SP500Modelled(config if config.source == SPEC.name else MarketConfig()).world.surface


def walk_both(
    champion: Policy,
    others: Sequence[Policy],
    world: GeneratedWorld,
    env_config: EnvConfig,
    worlds: tuple[int, int],
    progress: Progress | None,
) -> tuple[Floats, dict[str, Floats]]:
    """The champion in `worlds[0]` of them, the others in `worlds[1]`: as much of it here as in a process beside."""
    here = min(worlds[0], (worlds[0] + len(others) * worlds[1] + 1) // 2)
    with beside() as pool:

        def walk(policies: Sequence[Policy], first: int, count: int) -> Future[dict[str, Floats]] | None:
            if not policies or not count:
                return None
            return pool.submit(walk_fair_worlds, policies, world, env_config, n_worlds=count, first_world=first)

        theirs, rest = walk(others, 0, worlds[1]), walk([champion], here, worlds[0] - here)
        mine = walk_fair_worlds([champion], world, env_config, n_worlds=here, progress=progress)[champion.name]
        if rest is not None:
            mine = np.concatenate([mine, rest.result()[champion.name]], axis=1)
        return mine, theirs.result() if theirs is not None else {}


def _place(policy: str, against: str, observed: Floats, worlds: Floats, level: float) -> Placed:
    median, high = usual_luck(worlds)
    p = luck.p_value(observed, worlds)
    return Placed(
        policy=policy,
        against=against,
        observed=float(span_ratios(observed[:, None])[0]),
        luck_median=median,
        luck_high=high,
        worlds=worlds.shape[1],
        p=p,
        p_adjusted=p,
        level=level,
    )


def _adjusted(family: Sequence[Placed]) -> list[Placed]:
    """The same with p-values adjusted for the whole family."""
    held = luck.holm({item.against: item.p for item in family})
    return [Placed(**{**asdict(item), "p_adjusted": held[item.against]}) for item in family]
