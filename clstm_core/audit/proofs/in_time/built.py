"""Tensors built from tables with another future, and what was fitted: the same up to the cut."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from clstm_core.audit.proofs.in_time.differences import difference, same
from clstm_core.audit.reference.terms import Tables
from clstm_core.audit.result import Finding
from clstm_core.audit.worlds.listed import build_listed
from clstm_core.audit.worlds.tables import TABLE_FUTURES, with_other_future
from clstm_core.config import MarketConfig
from clstm_core.market.tensors import MarketTensors

ROUNDING = 1e-9
"""Relative difference that vectorised arithmetic may show between arrays of other lengths; 1e-14 was met."""

FITTED = 1e-6
"""Of a feature's standard deviation: what sums in another order may round away."""

CONSTANT = 1e-4


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
        findings.append(difference(f"tables {kind} after t", different))
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
        findings.append(difference(f"listed tables {kind} after t", different))
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
