"""Whether what was fitted saw training dates alone: the scaler made anew, and quotes modelled again without later data.

A figure that was fitted on test dates leaves its trace in every quote that was priced with it: a session's quotes,
modelled again from a history that ends there, must be those that were traded.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.numpy import load_file

from clstm_core.config import MarketConfig
from clstm_core.evaluation.words import rung_name
from clstm_core.evidence_audit.case import MODEL, Case, MarketFiles
from clstm_core.evidence_audit.finding import Finding
from clstm_core.market.calendars import scheduled_sessions
from clstm_core.market.clock import YEAR_NS, sessions_between
from clstm_core.market.instrument import SPX_MODELLED
from clstm_core.market.sources.sp500_modelled import SPEC, SP500Modelled
from clstm_core.market.worlds.sp500 import History, SP500World
from clstm_core.market.worlds.surface import VIX_YEARS
from clstm_core.specs import MARKET_FEATURES

CONSTANT = 1e-4
"""A feature that varies less over training dates is left unscaled."""

SESSIONS = 6
"""Sessions of the test window whose quotes are modelled again, per world."""

EXACT = 1e-9
"""Currency that a quote may differ by: quotes are whole ticks."""

FITTED = ("reversion", "fair", "surface")
"""What a modelled world fits, or prices with."""


def fits_on_training_dates(case: Case) -> Finding:
    """The scaler of tensors and checkpoints, and the modelled surface of every world that was traded."""
    wrong = [*_scalers(case)]
    counted = len(case.rungs) + 1
    modelled = 0
    for market in _markets(case):
        if market.info["source"] == SPEC.name:
            found, sessions = _modelled(case, market)
            wrong += found
            modelled += sessions
    surface = f"; quotes of {modelled} sessions modelled again from histories that end there" if modelled else ""
    start, stop = case.training.splits.get("train", (0, 0))
    return Finding(
        name="fits_on_training_dates",
        counted=counted if stop > start else 0,
        wrong=wrong,
        words=f"Mean and standard deviation of {len(MARKET_FEATURES)} features recomputed on {stop - start} training "
        f"sessions, as in the tensors and in {len(case.rungs)} checkpoints{surface}.",
    )


def _scalers(case: Case) -> Iterator[str]:
    """What is wrong with the scaler: in the training tensors, and in the policy's own buffers."""
    market = case.training
    start, stop = market.splits.get("train", (0, 0))
    scaler = market.info.get("scaler")
    if scaler is None or stop <= start:
        yield f"the training tensors of {market.info['source']} hold no scaler or no training window"
        return
    sample = market.tensors["features_TF"][start:stop].astype(np.float64)
    mean, deviation = sample.mean(axis=0), sample.std(axis=0)
    own = {"mean": mean, "std": np.where(deviation > CONSTANT, deviation, 1.0)}
    if list(scaler["fitted_on"]) != [start, stop]:
        yield f"the scaler was fitted on snapshots {scaler['fitted_on']}, expected the training window {[start, stop]}"
    for name, values in own.items():
        if (odd := np.flatnonzero(~np.isclose(scaler[name], values, rtol=1e-9, atol=1e-12))).size:
            yield (
                f"the scaler's {name} of {', '.join(MARKET_FEATURES[i] for i in odd[:3])} is not that of the training "
                f"dates: found {scaler[name][odd[0]]:.6g}, expected {values[odd[0]]:.6g}"
            )
    width = len(MARKET_FEATURES)
    for rung, folder in case.rungs.items():
        weights = load_file(folder / MODEL)
        for name, neutral in (("mean", 0.0), ("std", 1.0)):
            kept = weights[f"encoder.obs_{name}"]
            expected = np.concatenate([own[name], np.full(len(kept) - width, neutral)]).astype(np.float32)
            if not np.allclose(kept, expected, rtol=1e-6, atol=1e-9):
                yield f"{rung_name(rung)} standardises with another {name} than that of the training dates"


def _markets(case: Case) -> list[MarketFiles]:
    """Every market that was trained in or traded."""
    found = {market.identity: market for market in (case.evaluation, case.training)}
    for result in case.everything:
        identity = result.manifest["data_sha256"]
        if identity not in found:
            found[identity] = MarketFiles(case.places, identity)
    return list(found.values())


def _modelled(case: Case, market: MarketFiles) -> tuple[list[str], int]:
    """What differs between a modelled market's quotes and those modelled again without what came later."""
    days = market.snapshots.dt.date().to_numpy().astype("datetime64[D]")
    stops = {name: days[stop - 1] for name, (_, stop) in market.splits.items()}
    config = _config(case, market, stops)
    source = SP500Modelled(config)
    history = source.loaded.history
    scheduled = scheduled_sessions(SPX_MODELLED.calendar)
    whole = SP500World(history, scheduled, config)
    trained = stops.get("train", days[-1])
    other = SP500World(_otherwise(history, history.date > trained), scheduled, config)
    wrong = [
        f"{name} of {market.info['source']} ({_world(config)}) moves with what came after {trained}: it was fitted on "
        "later dates"
        for name in FITTED
        if repr(getattr(whole, name)) != repr(getattr(other, name))
    ]
    start, stop = market.splits.get("test", (0, 0))
    sampled = np.unique(np.linspace(start + 1, stop - 1, SESSIONS).astype(int)).tolist() if stop > start + 1 else []
    traded = market.quotes.filter(pl.col("snapshot").is_in(market.snapshots.gather(sampled).implode())).collect()
    for t in sampled:
        at = int(np.searchsorted(history.date, days[t]))
        world = SP500World(_until(history, at + 1), scheduled, config)
        mine = traded.filter(pl.col("snapshot") == market.snapshots[t])
        if odd := _repriced(world, at, mine):
            wrong.append(
                f"{odd} of {mine.height} quotes of {days[t]} are others when nothing later is known ({_world(config)})"
            )
    return wrong, len(sampled)


def _config(case: Case, market: MarketFiles, stops: dict[str, np.datetime64]) -> MarketConfig:
    """The market's configuration, its windows by date, so that a shorter history has the same ones."""
    settings: dict[str, Any] = dict(market.info.get("settings", {}))
    config = dataclasses.replace(MarketConfig(), **settings) if settings else case.config.market
    if config.train_until is None and {"train", "validation"} <= set(stops):
        config = dataclasses.replace(config, train_until=str(stops["train"]), validation_until=str(stops["validation"]))
    return config


def _until(history: History, stop: int) -> History:
    """The first `stop` sessions of a history."""
    return History(*(values[:stop] for values in history))


def _otherwise(history: History, later: np.ndarray[Any, np.dtype[np.bool_]]) -> History:
    """The same history with another path and another VIX where `later` holds."""
    return history._replace(
        close=np.where(later, history.close * np.linspace(0.8, 1.6, len(later)), history.close),
        vix=np.where(later, history.vix * 1.7, history.vix),
    )


def _repriced(world: SP500World, at: int, quotes: pl.DataFrame) -> int:
    """How many of a session's quotes differ from the world's prices of the same contracts; `at` is its last session."""
    expiry = quotes["expiration"].dt.date().to_numpy().astype("datetime64[D]")
    sessions = sessions_between(np.full(len(expiry), world.history.date[at]), expiry, world.scheduled)
    state = world.state.at(torch.full((len(expiry),), at))
    clock = torch.from_numpy(sessions / world.coming[at] * VIX_YEARS)
    theta, strength = world.surface.atm_variance(state, clock)
    years = (quotes["expiration"] - quotes["snapshot"]).dt.total_nanoseconds().to_numpy() / YEAR_NS
    sides = world.surface.quotes(
        state, torch.from_numpy(quotes["strike"].to_numpy()), torch.from_numpy(years), theta, strength
    )
    call = quotes["right"].to_numpy() == "C"
    bid = np.where(call, sides.call_bid.numpy(), sides.put_bid.numpy())
    ask = np.where(call, sides.call_ask.numpy(), sides.put_ask.numpy())
    apart = np.abs(bid - quotes["bid"].to_numpy()) + np.abs(ask - quotes["ask"].to_numpy())
    return int((~(apart <= EXACT)).sum())


def _world(config: MarketConfig) -> str:
    return "stressed world" if config.stress else "the market itself" if config.premium else "zero-premium twin"
