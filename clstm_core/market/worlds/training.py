"""The world that a run trains in, made of a market's training dates; and others, to see what it learned hold there."""

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from clstm_core.config import WorldsConfig
from clstm_core.errors import ConfigError
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.days import days_of
from clstm_core.market.worlds.families import FAMILIES, UNLIMITED, FamilyPaths
from clstm_core.market.worlds.generated import GeneratedWorld, weekday_listing
from clstm_core.market.worlds.paths import SESSIONS_YEAR
from clstm_core.market.worlds.surface import Surface

LEVELS = (1000.0, 10_000.0)
"""Index points at the training days' end, for which ticks, strikes and the multiplier of worlds are made."""

CLOSED_EVERY = 29
"""Weekdays per holiday: as many sessions per year as an exchange has, or a month's options would cover one more move
than those of history did."""


def world_of(
    market: MarketTensors, worlds: WorldsConfig, horizon: int, *, window: str = "train", surface: Surface | None = None
) -> GeneratedWorld:
    """Worlds for episodes of `horizon` snapshots, fitted to a window of a market.

    Args:
        window: "train" for worlds to train in; another one's days make worlds that training has not seen
        surface: the default market's when left out

    Raises: ConfigError for no family at all or a horizon that the window is too short for, MarketDataError for a window
            that is too short to fit
    """
    if not worlds.generated:
        raise ConfigError("no family of worlds has a share: expected at least one above 0, e.g. worlds.historical=1.")
    surface = surface or Surface()
    near, far = (float(market.info.get(key, days)) for key, days in (("near_days", 30.0), ("far_days", 60.0)))
    n_steps = horizon + 1
    tolerance = float(market.info.get("tenor_tolerance", 0.5))
    listing = weekday_listing(n_steps, near_days=near, far_days=far, tolerance=tolerance, closed_every=CLOSED_EVERY)
    days, fit = days_of(market, market.split(window), surface)
    shares = np.array(list(worlds.shares.values()))
    edges = np.cumsum(shares)
    paths = FamilyPaths(
        days=days,
        fit=fit,
        edges=torch.from_numpy(edges / edges[-1]),  # by the last of them, so that none of no share is ever drawn
        listing=listing.to(days.vix.device),
        n_steps=n_steps,
        n_paths=UNLIMITED if worlds.years is None else max(1, round(worlds.years * SESSIONS_YEAR / horizon)),
        seed=worlds.seed,
        varied=worlds.varied,
        level_shift=_level_shift(float(days.log_close[-1])),
    )
    named = ", ".join(
        f"{name} {share:.0%}" for name, share in zip(FAMILIES, shares / shares.sum(), strict=True) if share
    )
    return GeneratedWorld(
        paths=paths,
        surface=surface,
        identity=market.identity,
        info={
            **{key: market.info[key] for key in ("scaler",) if key in market.info},
            "source": "worlds",
            "label": "simulated quotes",
            "spread": "modelled",
            "near_days": near,
            "far_days": far,
            "notes": [
                f"Generated worlds ({named}), made of the days of the {window} window of "
                f"{market.info.get('source', 'a market')}; options priced by a modelled surface in closed form."
            ],
        },
    )


def _level_shift(log_close: float) -> float:
    """What moves a market whose last training close is out of `LEVELS` to their nearer bound."""
    low, high = map(math.log, LEVELS)
    return min(max(log_close, low), high) - log_close


def only(worlds: WorldsConfig, family: str) -> WorldsConfig:
    """The same worlds, all of one family."""
    shares: dict[str, Any] = {name: float(name == family) for name in worlds.shares}
    return dataclasses.replace(worlds, **shares)
