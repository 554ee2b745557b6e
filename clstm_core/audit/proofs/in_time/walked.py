"""Sessions replayed on markets with another future: what was seen, allowed and filled before it stays the same."""

import dataclasses
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import torch

from clstm_core.audit.proofs.in_time.differences import difference, same
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, TRADES, count_events
from clstm_core.audit.sessions.orders import random_actions, wild_orders
from clstm_core.audit.sessions.records import done_step
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.audit.worlds.markets import FUTURES, with_altered_future
from clstm_core.env.state import EXPIRY, Orders, StepLedger
from clstm_core.market.tensors import MarketTensors

_AT_DECISION = ("cash_before_N", "equity_before_N", "ordered_N")

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


class _Session(NamedTuple):
    """What a session saw and did; entry i belongs to snapshot i (seen) or to the step from it (done)."""

    seen: list[dict[str, torch.Tensor]]
    done: list[dict[str, torch.Tensor]]
    commands: list[torch.Tensor | Orders]
    steps: list[StepLedger]


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
            findings.append(difference(f"{label}{kind} after t, lag {lag}", different))
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
