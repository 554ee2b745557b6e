"""The kinds of market that a policy is walked through: where it was trained, and where it was not."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from clstm_core.config import FEWEST_SESSIONS, MOST_SEED, RunConfig, WorldsConfig
from clstm_core.env.episodes import last_snapshots
from clstm_core.evaluation.generalisation import (
    FRESH_WORLDS,
    TRAINING_DATES,
    TRAINING_WORLDS,
    VALIDATION_DATES,
    VALIDATION_WORLDS,
)
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.paths import PAST
from clstm_core.market.worlds.training import only, world_of

EPISODES, COMPARED = 256, 512
"""Of most kinds, and of the two whose difference is the gap: where the run trains, and fresh worlds."""

ARGMAX, STOCHASTIC = "argmax", "stochastic"
ANOTHER = 0x0F5E_5EED
"""What is added to the seed of training's worlds for worlds that training never met."""

MADE = ("historical", "blocks", "heston", "bates")
"""Families that are walked alone where training had none of them; `history` is the days as they came: the dates do."""

LABEL = "simulated quotes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of market.

    draws: distinct stretches of it that there are: infinite where every episode is another world, else as many as
           lie side by side
    """

    name: str
    market: MarketTensors | GeneratedWorld
    label: str
    draws: float = math.inf
    window: tuple[int, int] | None = None
    episodes: int = EPISODES
    modes: tuple[str, ...] = (ARGMAX,)


def kinds_of(
    market: MarketTensors, config: RunConfig, *, episodes: int = EPISODES, compared: int = COMPARED
) -> list[Kind]:
    """Every kind that this market is long enough for, where the run trains first.

    A run that trains on the market itself has no worlds: its fresh ones are made of its training days, of every family.
    """
    worlds, both = config.worlds, (ARGMAX, STOCHASTIC)
    alike: dict[str, Any] = dict.fromkeys(MADE, 1.0)
    mix = worlds if worlds.generated else dataclasses.replace(worlds, **alike)
    fresh = dataclasses.replace(mix, seed=(mix.seed + ANOTHER) % MOST_SEED, years=None)
    found: list[Kind | None] = []

    def dates(name: str, window: str, modes: tuple[str, ...] = (ARGMAX,), count: int = episodes) -> Kind | None:
        return _dates(market, config, name, window, modes, count)

    def world(
        name: str, of: WorldsConfig, window: str = "train", modes: tuple[str, ...] = (ARGMAX,), count: int = episodes
    ) -> Kind | None:
        return _world(market, config, name, of, window, modes, count)

    if worlds.generated:
        found.append(world(TRAINING_WORLDS, worlds, modes=both, count=compared))
        found.append(dates(TRAINING_DATES, "train"))
    else:
        found.append(dates(TRAINING_DATES, "train", both, compared))
    found.append(world(FRESH_WORLDS, fresh, modes=both, count=compared))
    found += [world(name, only(fresh, name)) for name in MADE if not worlds.shares[name]]
    found.append(world(VALIDATION_WORLDS, only(fresh, "historical"), "validation"))
    found.append(dates(VALIDATION_DATES, "validation"))
    return [kind for kind in found if kind is not None]


def _dates(
    market: MarketTensors, config: RunConfig, name: str, window: str, modes: tuple[str, ...], episodes: int
) -> Kind | None:
    """Dates of the market itself; None where a window is absent or none of its histories lasts an episode."""
    if window not in market.info.get("splits", {}):
        return None
    start, stop = market.split(window)
    if not (sessions := _sessions_met(market, (start, stop), config.env.horizon)):
        return None
    return Kind(
        name=name,
        market=market,
        label=str(market.info.get("label") or "quotes of unknown origin"),
        draws=sessions / config.env.horizon,
        window=(start, stop),
        episodes=episodes,
        modes=modes,
    )


def _world(
    market: MarketTensors,
    config: RunConfig,
    name: str,
    worlds: WorldsConfig,
    window: str,
    modes: tuple[str, ...],
    episodes: int,
) -> Kind | None:
    """Worlds made of a window's days; None where these are too few to be fitted to.

    Those that the run was trained in were made before: what is wrong with them now is no short window.
    """
    trained_in = config.worlds.generated and window == "train"
    if not trained_in and not _makes_worlds(market, window, config.env.horizon):
        return None
    world = world_of(market, worlds, config.env.horizon, window=window)
    start, stop = market.split(window)
    # episodes of history share its days with each other: of the mean's variance that family has the share's square
    share = worlds.history / sum(worlds.shares.values())
    days = math.inf if not share else (stop - start) / config.env.horizon / share**2
    limit = math.inf if worlds.years is None else float(getattr(world.paths, "n_paths", math.inf))
    return Kind(name=name, market=world, label=LABEL, draws=min(days, limit), episodes=episodes, modes=modes)


def _sessions_met(market: MarketTensors, window: tuple[int, int], horizon: int) -> int:
    """Sessions of a window that any episode walks: 0 where no history in it lasts one."""
    start, stop = window
    index = torch.arange(start, stop)
    first = index[last_snapshots(market.segment_end_T.cpu(), stop)[start:stop] - index >= horizon]
    return len(torch.unique(first[:, None] + torch.arange(horizon)))


def _makes_worlds(market: MarketTensors, window: str, horizon: int) -> bool:
    """Whether a window holds one unbroken history that is long enough for `world_of` to be fitted to and walked."""
    if window not in market.info.get("splits", {}):
        return False
    start, stop = market.split(window)
    broken = bool(market.segment_end_T[start : stop - 1].any())
    return not broken and stop - start >= max(FEWEST_SESSIONS, horizon + PAST + 3)
