"""Whether SPA, StepM and the model confidence set follow from equity, by code apart from what printed them.

The samples of dates are arch's stationary bootstrap with the registered seed, as the printed ones were; the tests made
of them are written out here from their papers. Where many samples tie with what happened (an account that traded once),
rounding decides on which side they count: what is said must lie between the two.

Source: Hansen 2005 (SPA, consistent); Romano and Wolf 2005 (StepM); Hansen, Lunde and Nason 2011 (range statistic)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from clstm_core.evaluation.statistics import CONFIDENCE, MIN_OBSERVATIONS
from clstm_core.evaluation.words import plain
from clstm_core.evidence_audit.case import Case
from clstm_core.evidence_audit.draws import SAMPLES, SEED, block_of, close, times_drawn, without_rounding
from clstm_core.evidence_audit.finding import Finding
from clstm_core.evidence_audit.returns import Floats, paired

STILL = 1e-12
TIED = 1e-9
"""Statistics that lie closer than this, relative to themselves, are tied."""

Between = tuple[float, float]


def superiority_recomputed(case: Case) -> Finding:
    """The ladder against each benchmark, and all policies against each other, drawn and tested again."""
    wrong: list[str] = []
    counted = 0
    for found in _all(case):
        counted += 1
        if found:
            wrong.append(found)
    return Finding(
        name="superiority_recomputed",
        counted=counted,
        wrong=wrong,
        words=f"{counted} figures of who may be better follow from equity, dates drawn again with seed {SEED}.",
    )


def _all(case: Case) -> Iterator[str]:
    said, members = case.comparison["statistics"], case.headline()
    drawn = int(said["replications"])
    if said["seed"] != SEED or not 1 <= drawn <= SAMPLES:
        yield f"dates were drawn {drawn} times with seed {said['seed']}, expected up to {SAMPLES} with seed {SEED}"
        return
    logs = {name: values for name, (values, _) in paired(members).items()}
    kinds = {member.name: member.manifest["policy"] == "checkpoint" for member in members}
    rungs = [m.name for m in members if kinds[m.name] and m.manifest["mode"] == "argmax"]
    others = [name for name, checkpoint in kinds.items() if not checkpoint]
    rows = {row["against"]: row for row in said["superior"]}
    if missing := sorted(set(others) ^ set(rows)):
        yield f"the ladder against {', '.join(missing)} is missing or of no benchmark"
    ahead, asked = [], 0
    for name in (name for name in others if name in rows):
        own = _superior(logs[name], {rung: logs[rung] for rung in rungs}, drawn)
        asked += own["p"] is not None
        ahead += [plain(name)] if rows[name]["better"] else []
        yield from _one(rows[name], own)
    if asked and not ahead:
        phrase = f"none is ahead of any of {asked} benchmarks"
        yield "" if phrase in said["superior_answer"] else f'the answer does not say "{phrase}", as equity does'
    for name in ahead:
        yield "" if name in said["superior_answer"] else f"the answer does not say that a rung is ahead of {name}"
    yield from _set(said, {name: logs[name] for name in (*rungs, *others)}, drawn)


def _one(row: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    """One benchmark's row."""
    what = f"of the ladder against {row['against']}"
    for name in ("policies", "block"):
        yield "" if row[name] == own[name] else f"{name} {what} is {row[name]}, equity says {own[name]}"
    yield _within(f"p {what}", row["p"], own["p"])
    least, most = own["better"]
    right = set(least) <= set(row["better"]) <= set(most)
    yield "" if right else f"better {what} are {', '.join(row['better']) or 'none'}, equity says {least or 'none'}"


def _superior(benchmark: Floats, rungs: Mapping[str, Floats], drawn: int) -> dict[str, Any]:
    """What may be said of some rungs against a benchmark; p and who is better as the least and the most of them."""
    gains = {name: without_rounding(values - benchmark) for name, values in rungs.items()}
    groups = [names for names in _alike(gains) if gains[names[0]].any()]
    told: dict[str, Any] = {"policies": len(groups), "block": None, "p": None, "better": ([], [])}
    gain = np.stack([gains[names[0]] for names in groups], axis=1) if groups else np.zeros((len(benchmark), 0))
    if not groups or len(gain) < MIN_OBSERVATIONS or (gain.std(axis=0) <= STILL).any():
        return told
    block = max(block_of(column) for column in gain.T)
    times = times_drawn(len(gain), block, SEED)[:drawn] / len(gain)
    gain = gain / (times @ gain).std(axis=0)
    seen, samples = gain.mean(axis=0), times @ gain
    # a policy so far behind that it cannot be the best counts with its own mean, which no sample brings near
    hopeless = seen < -np.sqrt(_variance(gain, block) / len(gain) * 2.0 * math.log(math.log(len(gain))))
    around = samples - np.where(hopeless, 0.0, seen)
    p = _share_above(around.max(axis=1), float(seen.max()))
    better = [
        [name for k in _steps(around, seen, edge) for name in groups[k]] for edge in (TIED, -TIED)
    ]  # the fewest, the most
    return {
        "policies": len(groups),
        "block": block,
        "p": p,
        "better": (better[0], better[1]),
    }


def _steps(around: Floats, seen: Floats, edge: float) -> list[int]:
    """Romano and Wolf's steps: who is above the samples' quantile of those that are left, until nobody is."""
    left, better = list(range(len(seen))), []
    while left:
        bound = float(np.percentile(around[:, left].max(axis=1), 100.0 * CONFIDENCE))
        above = [k for k in left if seen[k] > bound + edge * max(1.0, abs(bound))]
        if not above:
            break
        better += above
        left = [k for k in left if k not in above]
    return sorted(better)


def _variance(gain: Floats, block: int) -> Floats:
    """Of the root of n times the mean [K], by the stationary bootstrap's own weights of autocovariances.

    Source: Politis and Romano 1994, equation 9, as Hansen 2005 takes it
    """
    n, stays = len(gain), 1.0 - 1.0 / block
    around = gain - gain.mean(axis=0)
    total = (around**2).sum(axis=0) / n
    for lag in range(1, n):
        share = lag / n
        weight = (1.0 - share) * stays**lag + share * stays ** (n - lag)
        total = total + 2.0 * weight * (around[: n - lag] * around[lag:]).sum(axis=0) / n
    return np.asarray(total)


def _set(said: Mapping[str, Any], logs: Mapping[str, Floats], drawn: int) -> Iterator[str]:
    """The model confidence set: block, each policy's p and whether it stays, and how many are said to."""
    rows, own = said["confidence_set"]["rows"], _kept(logs, drawn)
    block = said["confidence_set"]["block"]
    if own is None or not rows:
        yield "" if own is None and not rows else "the confidence set is missing or of too little to have one"
        return
    yield "" if block == own["block"] else f"block of the confidence set is {block}, equity says {own['block']}"
    known = {row["name"]: row for row in rows}
    if missing := sorted(set(known) ^ set(own["p"])):
        yield f"{', '.join(missing)} of the confidence set is missing or unknown"
    for name, (low, high) in own["p"].items():
        if name not in known:
            continue
        row = known[name]
        yield _within(f"p of {name} in the confidence set", row["p"], (low, high))
        right = row["included"] == (row["p"] > 1.0 - CONFIDENCE)
        yield "" if right else f"{name} with p {row['p']} is {'in' if row['included'] else 'out of'} the confidence set"
    phrase = f"{sum(row['included'] for row in rows)} of {len(rows)} policies may be the best"
    yield "" if phrase in said["confidence_answer"] else f'the answer does not say "{phrase}", as equity does'


def _kept(logs: Mapping[str, Floats], drawn: int) -> dict[str, Any] | None:
    """Each policy's p in the model confidence set as the least and the most that ties leave, and the block."""
    groups = _alike(logs)
    returns = np.stack([logs[names[0]] for names in groups], axis=1)
    n, count = returns.shape
    apart = [without_rounding(returns[:, i] - returns[:, j]).std() for i in range(count) for j in range(i)]
    if count < 2 or n < MIN_OBSERVATIONS or min(apart) <= STILL:
        return None
    block = max(block_of(column) for column in (returns - returns.mean(axis=1, keepdims=True)).T)
    means = times_drawn(n, block, SEED)[:drawn] @ returns / n
    # how much worse the first of a pair is than the second, and how far samples move that
    worse = returns.mean(axis=0)[None, :] - returns.mean(axis=0)[:, None]
    moved = (means[:, None, :] - means[:, :, None]) - worse
    deviation = np.sqrt((moved**2).mean(axis=0) + np.eye(count))
    worse, moved = worse / deviation, moved / deviation
    left, ends, found = list(range(count)), (0.0, 0.0), {}
    while len(left) > 1:
        inside = np.ix_(left, left)
        largest = float(worse[inside].max())
        share = _share_above(moved[:, left][:, :, left].max(axis=(1, 2)), largest)
        ends = (max(ends[0], share[0]), max(ends[1], share[1]))
        out = left[int(np.argmax(worse[inside].max(axis=1)))]
        found[out] = ends
        left.remove(out)
    found[left[0]] = (1.0, 1.0)
    return {"block": block, "p": {name: found[k] for k, names in enumerate(groups) for name in names}}


def _share_above(samples: Floats, seen: float) -> Between:
    """Share of samples above what was seen, itself one of them: without those that are tied with it, and with them."""
    edge, draws = TIED * max(1.0, abs(seen)), 1.0 + len(samples)
    return (1.0 + float((samples > seen + edge).sum())) / draws, (1.0 + float((samples > seen - edge).sum())) / draws


def _within(what: str, said: float | None, own: Between | None) -> str:
    if said is None or own is None:
        return "" if said is own else f"{what} is {said}, equity says {own and own[0]}"
    right = own[0] < said < own[1] or close(said, own[0]) or close(said, own[1])
    return "" if right else f"{what} is {said}, equity says {own[0]:.6g}"


def _alike(series: Mapping[str, Floats]) -> Sequence[list[str]]:
    """Policies that did the same, together."""
    groups: list[list[str]] = []
    for name, values in series.items():
        mine = next((names for names in groups if not without_rounding(values - series[names[0]]).any()), None)
        if mine is None:
            groups.append([name])
        else:
            mine.append(name)
    return groups
