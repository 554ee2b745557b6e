"""Several policies against one, and against each other, at once: SPA, StepM and the model confidence set, through arch.

An interval of its own for each of many pairs calls one of them better by luck alone. These three tests ask of all of
them together. Their inputs are losses: log returns with their sign turned.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from clstm_core.evaluation.statistics import (
    CONFIDENCE,
    MIN_OBSERVATIONS,
    NO_VARIATION,
    Floats,
    block_length,
    bootstrap_counts,
)
from clstm_core.evaluation.words import plain
from clstm_core.plural import counted

SIZE = 1.0 - CONFIDENCE
"""Chance that any policy is called better that is not, and that the best one is left out of the confidence set."""

SAMPLES = 1000
"""Bootstrap samples, as many as arch itself takes: p is known to about a hundredth."""

ALONE = 1e6
"""A loss that no policy comes near, in deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Superior:
    """Some policies against one benchmark.

    p:      SPA's, consistent: how likely the best of them looks as good where none is better; None where it cannot be
            asked
    better: those that StepM holds to be better
    why:    why there is no p
    """

    against: str
    policies: int
    p: float | None = None
    better: list[str] = field(default_factory=list)
    block: int | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceSet:
    """Policies that may be the best of all.

    rows: one per policy: `name`, `p` (the largest size of the test that leaves it in), `included`; policies that did
          the same are one row, named together
    why:  why there are none
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    block: int | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def superior(
    against: str,
    benchmark: Floats,
    policies: Mapping[str, Floats],
    *,
    seed: int = 0,
    replications: int = SAMPLES,
) -> Superior:
    """SPA and StepM of some policies against a benchmark on the same dates.

    Each difference is divided by the deviation of its mean over the samples, as Hansen's statistic is: arch takes
    `studentize` and does not (as of 8.0), so that the policy with the largest positions would decide alone. Policies
    that did what the benchmark did, and those that did what another did, are left out.

    Shapes: benchmark [T], and [T] each of the policies: log returns per session
    Source: Hansen 2005 (SPA, consistent p-value); Romano and Wolf 2005 (StepM); stationary bootstrap, its mean block
            the longest of those that `block_length` finds for the differences
    """
    gains = {name: _without_rounding(values - benchmark) for name, values in policies.items()}
    groups = [names for names in alike(gains) if gains[names[0]].any()]
    told = {names[0]: gains[names[0]] for names in groups}
    why = _too_little(benchmark.size, len(told), 1, f"no policy did anything else than {plain(against)}")
    if not why and (same := [name for name, gain in told.items() if float(gain.std()) <= NO_VARIATION]):
        why = f"{', '.join(map(plain, same))} differs from {plain(against)} by the same amount in every session"
    if why:
        return Superior(against=against, policies=len(told), why=why)
    from arch.bootstrap import StepM

    block = max(block_length(gain) for gain in told.values())
    apart = np.stack(list(told.values()), axis=1)
    counts, _ = bootstrap_counts(apart, seed=seed, replications=replications, block=block)
    losses = -apart / (counts @ apart / len(apart)).std(axis=0)
    # of policies that are all better by and by, arch 8.0 asks once more of none (bashtage/arch#862): one never is
    losses = np.column_stack([losses, np.full(len(losses), ALONE)])
    step = StepM(np.zeros(len(losses)), losses, SIZE, block, replications, "stationary", seed=seed)
    step.compute()
    better = [names for number, names in enumerate(groups) if number in step.superior_models]
    step.spa.compute()  # of all policies again: the steps asked of ever fewer
    return Superior(
        against=against,
        policies=len(told),
        p=_with_what_happened(float(step.spa.pvalues["consistent"]), replications),
        better=[name for names in better for name in names],
        block=block,
    )


def confidence_set(policies: Mapping[str, Floats], *, seed: int = 0, replications: int = SAMPLES) -> ConfidenceSet:
    """The model confidence set: with a chance of `CONFIDENCE` the best policy is in it.

    Shapes: [T] each: log returns per session on the same dates
    Source: Hansen, Lunde and Nason 2011 (range statistic) through arch; stationary bootstrap, its mean block the
            longest of those that `block_length` finds for the policies' distances from their mean
    """
    groups = alike(policies)
    dates = len(next(iter(policies.values()), ()))
    if why := _too_little(dates, len(groups), 2, "no policy did anything else than the others"):
        return ConfidenceSet(why=why)
    returns = np.stack([policies[names[0]] for names in groups], axis=1)
    if any(
        float((returns[:, i] - returns[:, j]).std()) <= NO_VARIATION for i, j in combinations(range(len(groups)), 2)
    ):
        return ConfidenceSet(why="two policies differ by the same amount in every session")
    apart = returns - returns.mean(axis=1, keepdims=True)
    from arch.bootstrap import MCS

    block = max(block_length(apart[:, number]) for number in range(len(groups)))
    found = MCS(-returns, SIZE, replications, block, "R", "stationary", seed=seed)
    found.compute()
    by_policy = {number: _with_what_happened(float(p), replications) for number, p in found.pvalues["Pvalue"].items()}
    rows = [
        {"name": name, "p": by_policy[number], "included": by_policy[number] > SIZE}
        for number, names in enumerate(groups)
        for name in names
    ]
    return ConfidenceSet(rows=sorted(rows, key=lambda row: -row["p"]), block=block)


def alike(series: Mapping[str, Floats]) -> list[list[str]]:
    """Names of policies that did the same, together; in the order in which they come."""
    groups: list[list[str]] = []
    for name, values in series.items():
        same = next((names for names in groups if not _without_rounding(values - series[names[0]]).any()), None)
        if same is None:
            groups.append([name])
        else:
            same.append(name)
    return groups


def _with_what_happened(share: float, samples: int) -> float:
    """The p-value of a share of samples; what happened is one of the draws, so that it is never 0.

    Source: Davison and Hinkley 1997, section 4.2; `luck.p_value` counts fair worlds in the same way
    """
    return (1.0 + samples * share) / (1.0 + samples)


def _too_little(dates: int, policies: int, least: int, otherwise: str) -> str:
    """Why nothing can be asked of so many dates and different policies; empty where it can."""
    if policies < least:
        return otherwise
    found = counted(dates, "return is", "returns are")
    return f"{found} too few, {MIN_OBSERVATIONS} are asked" if dates < MIN_OBSERVATIONS else ""


def _without_rounding(difference: Floats) -> Floats:
    """Two accounts that did the same differ by rounding, which is no gain."""
    return np.where(np.abs(difference) < NO_VARIATION, 0.0, difference)
