"""Proof 3: whatever comes after t, what is seen, allowed and filled at t stays bit for bit the same."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.orders import random_actions, wild_orders
from clstm_core.audit.sessions.records import done_step
from clstm_core.audit.sessions.scene import Scene, on_device
from clstm_core.audit.worlds.markets import FUTURES, with_altered_future
from clstm_core.audit.worlds.tables import TABLE_FUTURES, with_other_future
from clstm_core.config import MarketConfig
from clstm_core.env.state import Orders
from clstm_core.market.tensors import MarketTensors

ROUNDING = 1e-9
"""Relative difference that vectorised arithmetic may show between arrays of other lengths; 1e-14 was met."""

_AT_DECISION = ("cash_before_N", "equity_before_N", "ordered_N")


class _Session(NamedTuple):
    """What a session saw and did; entry i belongs to snapshot i (seen) or to the step from it (done)."""

    seen: list[dict[str, torch.Tensor]]
    done: list[dict[str, torch.Tensor]]
    commands: list[torch.Tensor | Orders]


def no_look_ahead(scene: Scene, market: MarketTensors, *, n_cuts: int, table_snapshots: int) -> list[Finding]:
    """Nothing traded, fitted or built knows the future: sessions in the scene, and how `market` as a whole was made."""
    return [
        *traded_in_time(scene, n_cuts=n_cuts),
        *fitted_in_time(market),
        *built_in_time(market, n_snapshots=table_snapshots, n_cuts=n_cuts),
    ]


def traded_in_time(scene: Scene, *, n_cuts: int) -> list[Finding]:
    """Replay one session on markets whose future after a cut is another, with fills today and tomorrow.

    Up to and including the cut everything must be equal to the last bit: observation, mask, what each action would
    order, every flow and fill of completed steps, and of the step that begins at the cut whatever fills there.
    """
    findings = []
    n_steps = min(scene.n_steps, scene.market.n_snapshots - 1)
    cuts = sorted({max(1, n_steps * (i + 1) // (n_cuts + 1)) for i in range(n_cuts)})
    for lag in (0, 1):
        honest = scene.under(fill_lag=lag, horizon=n_steps)
        truth = _session(honest, n_steps, None)
        for kind in FUTURES:
            different: list[str] = []
            for cut in cuts:
                altered = dataclasses.replace(honest, market=with_altered_future(scene.market, cut, kind))
                replay = _session(altered, cut + 1, truth.commands)
                different += [f"{name} (cut {cut})" for name in _differences(truth, replay, cut, lag)]
            findings.append(_difference(f"{kind} after t, lag {lag}", different))
    return findings


def _difference(check: str, different: list[str]) -> Finding:
    """Nothing may differ; the first few that do are named."""
    return Finding(check=check, statistic=len(different), threshold=0.0, detail=", ".join(different[:4]))


def _session(scene: Scene, n_steps: int, commands: list[torch.Tensor | Orders] | None) -> _Session:
    """Walk the commands, or draw them on the way where there are none."""
    generator, n_envs, device = scene.generator(), scene.n_envs, scene.device
    env = scene.env(seed=scene.seed, fixed_start=True)
    observation, mask = env.reset()
    seen, done, given = [], [], []
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
        done.append(done_step(env)._asdict() | {"reward": result.reward.detach().cpu().clone()})
        observation, mask = result.observation, result.action_mask
    return _Session(seen, done, given)


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
        gap = float(((sample.mean(dim=0) - mean).abs() / (sample.std(dim=0) + 1e-6)).max())
        findings.append(Finding(check="scaler is not its window's mean", statistic=gap, threshold=1e-3))
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
        findings.append(_difference(f"tables {kind} after t", different))
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
    out = []
    for name, tensor in truth.tensors().items():
        axis = name.rsplit("_", 1)[1]
        other = getattr(built, name)
        if axis == "Q" and name != "next_row_Q":
            one, two = tensor[:rows_true], other[:rows_true]
            if name == "row_contract_Q":
                one, two = truth.contract_id_KB[one], built.contract_id_KB[two]
        elif axis in ("T", "TF", "TG") and name != "segment_end_T":
            one, two = tensor[: cut + 1], other[: cut + 1]
        else:
            continue
        if not alike(one, two):
            out.append(name)
    return out
