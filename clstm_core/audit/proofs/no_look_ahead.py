"""Proof 3: whatever comes after t, what is seen, allowed and filled at t stays bit for bit the same."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from clstm_core.audit.reference.terms import Tables
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, TRADES, count_events, every_event
from clstm_core.audit.sessions.orders import random_actions, wild_orders
from clstm_core.audit.sessions.records import done_step
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.audit.worlds.listed import build_listed
from clstm_core.audit.worlds.markets import FUTURES, whole, with_altered_future
from clstm_core.audit.worlds.modelled import (
    HISTORY_FUTURES,
    PUBLICATION_FUTURES,
    modelled_config,
    modelled_history,
    published_series,
    with_other_publications,
    with_other_sessions,
)
from clstm_core.audit.worlds.tables import TABLE_FUTURES, with_other_future
from clstm_core.config import MarketConfig
from clstm_core.env.state import EXPIRY, Orders, StepLedger
from clstm_core.market.tensors import MarketTensors

ROUNDING = 1e-9
"""Relative difference that vectorised arithmetic may show between arrays of other lengths; 1e-14 was met."""

FITTED = 1e-6
"""Of a feature's standard deviation: what sums in another order may round away."""

CONSTANT = 1e-4

_AT_DECISION = ("cash_before_N", "equity_before_N", "ordered_N")


class _Session(NamedTuple):
    """What a session saw and did; entry i belongs to snapshot i (seen) or to the step from it (done)."""

    seen: list[dict[str, torch.Tensor]]
    done: list[dict[str, torch.Tensor]]
    commands: list[torch.Tensor | Orders]
    steps: list[StepLedger]


EVENTS = (
    *TRADES,
    "close",
    "hedge",
    "unfilled",
    "AM settlement",
    "PM settlement",
    "settlement in the money",
    ALL_MULTIPLIERS,
    "stale mark",
    "settlement after a cut",
    "option traded after a cut",
)
"""What the sessions in the listed world must have met before a cut, or in the step that begins at one."""


def no_look_ahead(
    scene: Scene, market: MarketTensors, *, n_cuts: int, table_snapshots: int, listed: Tables | None = None
) -> list[Finding]:
    """Nothing traded, fitted, built or modelled knows the future: sessions in the scene, and how `market` was made.

    Args:
        listed: tables of a rough listed world, walked, built and fitted beside the market
    """
    findings = [
        *traded_in_time(scene, n_cuts=n_cuts),
        *fitted_in_time(market),
        *built_in_time(market, n_snapshots=table_snapshots, n_cuts=n_cuts),
        *modelled_in_time(),
        *published_in_time(),
    ]
    if listed is not None:
        place = dataclasses.replace(scene, market=whole(build_listed(listed)), n_envs=2 * scene.n_envs)
        met: Counter[str] = Counter()
        findings += traded_in_time(place, n_cuts=n_cuts, label="listed world, ", met=met)
        findings += [*within_its_window(place), *listed_in_time(listed), every_event(met, EVENTS)]
    return findings


def traded_in_time(scene: Scene, *, n_cuts: int, label: str = "", met: Counter[str] | None = None) -> list[Finding]:
    """Replay one session on markets whose future after a cut is another, with fills today and tomorrow.

    Up to and including the cut everything must be equal to the last bit: observation, mask, what each action would
    order, every flow and fill of completed steps, and of the step that begins at the cut whatever fills there. The cuts
    are spread evenly, each at the step of its part in which most contracts settle.

    Args:
        met: gets what the sessions met before their cuts, and in the steps that begin at them
    """
    findings = []
    n_steps = min(scene.n_steps, scene.market.n_snapshots - 1)
    for lag in (0, 1):
        honest = scene.under(fill_lag=lag, horizon=n_steps)
        truth = _session(honest, n_steps, None)
        cuts = _cuts(truth, n_steps, n_cuts)
        if met is not None:
            met += _met_by(truth, cuts, scene.market)
        for kind in FUTURES:
            different: list[str] = []
            for cut in cuts:
                altered = dataclasses.replace(honest, market=with_altered_future(scene.market, cut, kind))
                replay = _session(altered, cut + 1, truth.commands)
                different += [f"{name} (cut {cut})" for name in _differences(truth, replay, cut, lag)]
            findings.append(_difference(f"{label}{kind} after t, lag {lag}", different))
    return findings


def within_its_window(scene: Scene) -> list[Finding]:
    """Accounts of a window never stand outside it, and what scales their observations is what was fitted.

    Episodes are short, so that many begin and end within the walk.
    """
    length = scene.market.n_snapshots
    start, stop = length // 4, length // 2
    env = scene.under(horizon=max(1, min(5, stop - start - 1))).env(seed=scene.seed, window=(start, stop), stagger=True)
    env.reset()
    outside = 0
    hold = torch.zeros(scene.n_envs, dtype=torch.int64, device=scene.device)
    for _ in range(scene.n_steps):
        at = [env.state.snapshot_index_N.cpu()]
        env.step(hold)
        at.append(done_step(env).snapshot_N)
        outside += sum(int(((index < start) | (index >= stop)).sum()) for index in at)
    findings = [Finding(check="snapshots outside the window", statistic=outside, threshold=0.0)]
    scaler = scene.market.info.get("scaler")
    if scaler:
        for name, field in (("mean", "observation_mean"), ("std", "observation_std")):
            stated = torch.tensor(scaler[name], dtype=torch.float32)
            used = getattr(env, field).cpu()[: len(stated)]
            other = float((used != stated).sum())
            findings.append(Finding(check=f"{field} is not the fitted one", statistic=other, threshold=0.0))
    return findings


def _cuts(truth: _Session, n_steps: int, n_cuts: int) -> list[int]:
    """One step of each part of the session but its beginning, that in which most contracts settle."""
    settled = [int((done.fill_reason_NX == EXPIRY).sum()) for done in truth.steps]
    edges = [max(1, n_steps * (i + 1) // (n_cuts + 1)) for i in range(n_cuts)]
    parts = [range(low, high) for low, high in pairwise([*edges, n_steps])]
    return sorted({max(part, key=lambda step: settled[step]) for part in parts if len(part)})


def _met_by(truth: _Session, cuts: list[int], market: MarketTensors) -> Counter[str]:
    """Events before the last cut, and what happened in the steps that the cuts begin."""
    met: Counter[str] = Counter()
    for step in truth.steps[: cuts[-1] + 1]:
        met += count_events(step, market)
    for cut in cuts:
        here = count_events(truth.steps[cut], market)
        met["settlement after a cut"] += here["AM settlement"] + here["PM settlement"]
        met["option traded after a cut"] += here["option bought"] + here["option sold"]
    return met


def _difference(check: str, different: list[str]) -> Finding:
    """Nothing may differ; the first few that do are named."""
    return Finding(check=check, statistic=len(different), threshold=0.0, detail=", ".join(different[:4]))


def _session(scene: Scene, n_steps: int, commands: list[torch.Tensor | Orders] | None) -> _Session:
    """Walk the commands, or draw them on the way where there are none."""
    generator, n_envs, device = scene.generator(), scene.n_envs, scene.device
    env = scene.env(seed=scene.seed, fixed_start=True)
    observation, mask = env.reset()
    seen, done, given, steps = [], [], [], []
    for step in range(n_steps):
        probe = torch.arange(n_envs) % mask.shape[1]
        ordered = env.orders_for(probe.to(device))
        seen.append({"observation": observation, "mask": mask, **ordered._asdict()})
        if commands is not None:
            command = commands[step]
        else:
            drawn = random_actions(mask, generator)
            command = drawn if step % 2 else wild_orders(env, scene.market, generator)
        given.append(command)
        if isinstance(command, Orders):
            result = env.step_orders(on_device(command, device))
        else:
            result = env.step(command.to(device))
        seen[-1] = {name: tensor.detach().cpu().clone() for name, tensor in seen[-1].items()}
        steps.append(done_step(env))
        told = {"reward": result.reward, "final_observation": result.final_observation}
        done.append(steps[-1]._asdict() | {name: tensor.detach().cpu().clone() for name, tensor in told.items()})
        observation, mask = result.observation, result.action_mask
    return _Session(seen, done, given, steps)


def _differences(truth: _Session, replay: _Session, cut: int, lag: int) -> list[str]:
    """Names of what differs at the cut's snapshot or before it."""
    out = []
    for t in range(cut + 1):
        out += [f"{name} at {t}" for name in replay.seen[t] if not same(truth.seen[t][name], replay.seen[t][name])]
    for t in range(cut):  # the step from t to t + 1 <= cut
        out += [f"{name} of {t}" for name in replay.done[t] if not same(truth.done[t][name], replay.done[t][name])]
    last_true, last_replayed = truth.done[cut], replay.done[cut]
    out += [f"{name} of {cut}" for name in _AT_DECISION if not same(last_true[name], last_replayed[name])]
    if lag == 0:
        for name in ("fill_quantity_NX", "fill_price_NX", "fill_fee_NX"):
            now_true, now_replayed = (
                torch.where(done["fill_snapshot_NX"] == done["snapshot_from_N"][:, None], done[name], 0.0)
                for done in (last_true, last_replayed)
            )
            out += [] if same(now_true, now_replayed) else [f"{name} of {cut}"]
    return out


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal to the last bit; a NaN equals a NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    equal = one == other
    if one.is_floating_point():
        equal = equal | (one.isnan() & other.isnan())
    return bool(equal.all())


def fitted_in_time(market: MarketTensors) -> list[Finding]:
    """The scaler comes from the train window alone, and the windows keep their embargo."""
    splits = {name: (int(a), int(b)) for name, (a, b) in market.info.get("splits", {}).items()}
    scaler: dict[str, Any] | None = market.info.get("scaler")
    findings = []
    if scaler and "train" in splits:
        start, stop = scaler["fitted_on"]
        outside = max(0, splits["train"][0] - start) + max(0, stop - splits["train"][1])
        findings.append(
            Finding(
                check="scaler fitted outside the train window",
                statistic=outside,
                threshold=0.0,
                detail=f"fitted on [{start}, {stop}), train {splits['train']}",
            )
        )
        sample = market.features_TF[start:stop].double()
        mean = torch.tensor(scaler["mean"], dtype=torch.float64)[: sample.shape[1]]
        std = sample.std(dim=0, correction=0)
        gap = float(((sample.mean(dim=0) - mean).abs() / (std + CONSTANT)).max())
        findings.append(Finding(check="scaler is not its window's mean", statistic=gap, threshold=FITTED))
        stated = torch.tensor(scaler["std"], dtype=torch.float64)[: sample.shape[1]]
        unscaled = (std <= CONSTANT) & (stated == 1.0)  # a feature that hardly varies is left as it is
        gap = float(torch.where(unscaled, 0.0, (stated - std).abs() / (std + CONSTANT)).max())
        findings.append(Finding(check="scaler is not its window's standard deviation", statistic=gap, threshold=FITTED))
    order = sorted(splits.values())
    embargo = int(market.info.get("embargo", 0))
    short = sum(max(0, embargo - (b[0] - a[1])) for a, b in pairwise(order))
    findings.append(Finding(check="embargo missing between windows", statistic=short, threshold=0.0))
    return findings


def built_in_time(market: MarketTensors, *, n_snapshots: int, n_cuts: int, seed: int = 0) -> list[Finding]:
    """Canonical tables with another future build the same rows, grid and features up to the cut.

    Runs on a simulated market of the same tenor targets through the same builder that made `market`.
    """
    from clstm_core.market.build.assemble import build_market_tensors
    from clstm_core.market.worlds.black_scholes import simulated_columns, simulated_info

    config = MarketConfig(
        source="simulated",
        near_days=float(market.info.get("near_days", 30.0)),
        far_days=float(market.info.get("far_days", 60.0)),
        n_snapshots=n_snapshots,
        seed=seed,
    )
    tables = simulated_columns(config)
    info = simulated_info(config)
    truth = build_market_tensors(*tables, config, embargo=0, info=info)
    findings = []
    for kind in TABLE_FUTURES:
        different: list[str] = []
        for i in range(n_cuts):
            cut = n_snapshots * (i + 1) // (n_cuts + 1)
            altered = with_other_future(tables, int(truth.snapshot_T[cut]), kind, seed + i)
            built = build_market_tensors(*altered, config, embargo=0, info=info)
            # fewer rows end elsewhere in a vector register, and an exponential there may round its last bit otherwise
            alike = _to_rounding if kind == "ends" else same
            different += [f"{name} (cut {cut})" for name in _built_differences(truth, built, cut, alike)]
            different += [f"simulated {name} (cut {cut})" for name in _simulated_differences(tables, config, cut)]
        findings.append(_difference(f"tables {kind} after t", different))
    return findings


def _simulated_differences(tables: Tables, config: MarketConfig, cut: int) -> list[str]:
    """Columns of the simulated world's quotes that are others where the world ends after the cut."""
    from clstm_core.market.worlds.black_scholes import simulated_columns

    shorter = simulated_columns(dataclasses.replace(config, n_snapshots=cut + 1))[0]
    kept = tables[0]["snapshot"] <= shorter["snapshot"].max()
    columns = ("snapshot", "contract_id", "bid", "ask")
    return [name for name in columns if not np.array_equal(tables[0][name][kept], shorter[name])]


def listed_in_time(tables: Tables) -> list[Finding]:
    """The listed world, built with windows by date: rows, terms, settlements, features and scaler up to each cut."""
    sessions = np.unique(tables[0]["snapshot"])
    dates = sessions.astype("datetime64[ns]").astype("datetime64[D]")
    stop, length = len(dates) // 2, len(dates)
    windows = {
        "train_until": str(dates[stop - 1]),
        "validation_until": str(dates[stop + (length - stop) // 2]),
        "min_training_snapshots": 2,
    }
    truth = build_listed(tables, embargo=3, **windows)
    findings = [
        dataclasses.replace(finding, check=f"listed world: {finding.check}") for finding in fitted_in_time(truth)
    ]
    fitted = float("train" not in truth.info["splits"] or "scaler" not in truth.info)
    findings.append(Finding(check="listed world: nothing was fitted", statistic=fitted, threshold=0.0))
    settles = torch.bincount(truth.settle_index_K, minlength=length + 1)[:length]
    cuts = []
    for low, high in ((stop // 2, stop - 1), (stop + 1, length - 1)):
        # on a day of settlements they are known, on the day before them they are the first thing that is another
        busy = low + int(settles[low:high].argmax())
        cuts += [busy - 1, busy]
    for kind in TABLE_FUTURES:
        different: list[str] = []
        for cut in cuts:
            built = build_listed(with_other_future(tables, int(sessions[cut]), kind, cut), embargo=3, **windows)
            alike = _to_rounding if kind == "ends" else same
            different += [f"{name} (cut {cut})" for name in _built_differences(truth, built, cut, alike)]
            if cut >= stop and kind != "ends" and built.info.get("scaler") != truth.info.get("scaler"):
                different.append(f"scaler (cut {cut})")
        findings.append(_difference(f"listed tables {kind} after t", different))
    return findings


def modelled_in_time() -> list[Finding]:
    """The modelled S&P 500: fits, state and quotes up to a cut stay as they are when the index and VIX after it change.

    Every cut lies after the training window, so that what is fitted on it must stay as well, to the last bit.
    """
    from clstm_core.market.calendars import scheduled_sessions
    from clstm_core.market.instrument import SPX_MODELLED
    from clstm_core.market.worlds.sp500 import SP500World

    scheduled = scheduled_sessions(SPX_MODELLED.calendar)
    history = modelled_history(scheduled)
    findings = []
    for premium in (True, False):
        config = modelled_config(history, premium=premium)
        truth = SP500World(history, scheduled, config)
        stop = truth.train_stop
        for kind in HISTORY_FUTURES:
            different: list[str] = []
            for cut in (stop + 1, len(history.date) - 30):
                other = SP500World(with_other_sessions(history, cut, kind, cut), scheduled, config)
                different += [f"{name} (cut {cut})" for name in _modelled_differences(truth, other, cut)]
            name = "modelled source" if premium else "modelled twin"
            findings.append(_difference(f"{name}, sessions after t: {kind}", different))
    return findings


def _modelled_differences(truth: Any, other: Any, cut: int) -> list[str]:
    """What two modelled worlds with the same past disagree on, of that past."""
    out = [name for name in ("reversion", "surface", "train_stop") if getattr(truth, name) != getattr(other, name)]
    if not truth.config.premium and truth.fair != other.fair:
        out.append("fair variance")
    for name, one, two in zip(truth.state._fields, truth.state, other.state, strict=True):
        out += [] if same(one[: cut + 1], two[: cut + 1]) else [f"state {name}"]
    at = np.arange(cut - 2, cut + 1)
    one, two = truth.quotes(at), other.quotes(at)
    if not np.array_equal(one.strike, two.strike) or not np.array_equal(one.expiration, two.expiration):
        return [*out, "listing"]
    for side in ("call", "put"):
        names = [getattr(quotes, f"{side}_names")[quotes.pair] for quotes in (one, two)]
        out += [] if np.array_equal(*names) else [f"{side} names"]
        for column in (f"{side}_bid", f"{side}_ask"):
            out += [] if np.array_equal(getattr(one, column), getattr(two, column)) else [column]
    return out


def published_in_time() -> list[Finding]:
    """What the modelled source knew of the VIX, the bill and dividends on a day was published by then."""
    from clstm_core.market.calendars import scheduled_sessions
    from clstm_core.market.instrument import SPX_MODELLED
    from clstm_core.market.sources.sp500_modelled import known_history

    history = modelled_history(scheduled_sessions(SPX_MODELLED.calendar))
    series = published_series(history)
    truth = known_history(history.date, history.close, *series).history
    findings = []
    for kind in PUBLICATION_FUTURES:
        different: list[str] = []
        for cut in (len(history.date) // 3, 2 * len(history.date) // 3):
            day = history.date[cut]
            # a bill's month is known when it is over, dividends a quarter later at the earliest
            known = (day, day.astype("datetime64[M]") - 1, day.astype("datetime64[M]") - 4)
            altered = [with_other_publications(one, at, kind) for one, at in zip(series, known, strict=True)]
            found = known_history(history.date, history.close, *altered).history
            for name in ("vix", "rate", "dividend_yield"):
                one, two = getattr(truth, name)[: cut + 1], getattr(found, name)[: cut + 1]
                different += [] if np.array_equal(one, two) else [f"{name} (cut {cut})"]
        findings.append(_difference(f"series published after t: {kind}", different))
    return findings


def _to_rounding(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Whether floats agree to 1e-9 of themselves, and everything else exactly."""
    if not one.is_floating_point():
        return same(one, two)
    return torch.allclose(one, two, rtol=ROUNDING, atol=0.0, equal_nan=True)


def _built_differences(
    truth: MarketTensors, built: MarketTensors, cut: int, alike: Callable[[torch.Tensor, torch.Tensor], bool]
) -> list[str]:
    """Fields that differ at the cut's snapshot or before it; contracts are compared by name."""
    rows_true, rows_built = int(truth.row_offset_T1[cut + 1]), int(built.row_offset_T1[cut + 1])
    if rows_true != rows_built:
        return [f"{rows_built} rows for {rows_true}"]
    # contracts are numbered by first appearance: those that have a row by the cut come first in both
    known = int(truth.row_contract_Q[:rows_true].max()) + 1 if rows_true else 0
    out = []
    for name, tensor in truth.tensors().items():
        axis = name.rsplit("_", 1)[1]
        one, two = tensor, getattr(built, name)
        if name == "next_row_Q":
            one, two = (_way_on(market, int(market.row_offset_T1[cut])) for market in (truth, built))
        elif name in ("settle_index_K", "settle_value_K"):
            one, two = (_settled_by(market, name, known, cut) for market in (truth, built))
        elif axis == "Q":
            one, two = one[:rows_true], two[:rows_true]
        elif axis in ("K", "KB"):
            one, two = one[:known], two[:known]
        elif axis in ("T", "TF", "TG") and name != "segment_end_T":
            one, two = one[: cut + 1], two[: cut + 1]
        else:
            continue
        if not alike(one, two):
            out.append(name)
    return out


def _way_on(market: MarketTensors, stop: int) -> torch.Tensor:
    """Contract and snapshot that each row before `stop` leads to, -1 where it ends; whatever rows are numbered."""
    after = market.next_row_Q[:stop]
    leads = torch.stack([market.row_contract_Q[after.clamp(min=0)], market.row_snapshot_Q[after.clamp(min=0)]])
    return torch.where(after < 0, -1, leads)


def _settled_by(market: MarketTensors, name: str, known: int, cut: int) -> torch.Tensor:
    """Snapshot or value of settlements up to the cut among the first `known` contracts; later ones as one number."""
    settled = market.settle_index_K[:known] <= cut
    values = getattr(market, name)[:known]
    return torch.where(settled, values, torch.zeros_like(values) - 1)
