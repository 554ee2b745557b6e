"""Whether PSR, DSR, MinTRL and PBO follow from equity and the count of trials, by code apart from what printed them."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np

from clstm_core.evaluation.overfit import BLOCKS, MIN_SESSIONS
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import CONFIDENCE, MIN_OBSERVATIONS
from clstm_core.evidence_audit.case import Case
from clstm_core.evidence_audit.draws import YEAR, close, without_rounding
from clstm_core.evidence_audit.finding import Finding
from clstm_core.evidence_audit.returns import Floats, paired

NORMAL = NormalDist()
SHOWN_AS = {"PSR": "psr", "DSR": "dsr", "N": "trials", "MinTRL (2012)": "min_sessions"}


def statistics_recomputed(case: Case) -> Finding:
    """The judged policy's track record, the ladder's probability of overfitting, and what is said of both."""
    wrong: list[str] = []
    counted = 0
    for found in _all(case):
        counted += 1
        if found:
            wrong.append(found)
    return Finding(
        name="statistics_recomputed",
        counted=counted,
        wrong=wrong,
        words=f"{counted} figures of how sure one may be follow from equity and {case.comparison['trials']} trials.",
    )


def _all(case: Case) -> Iterator[str]:
    said, champion = case.comparison["statistics"], case.comparison["champion"]
    if champion is None:
        return
    returns = {name: excess.mean(axis=1) for name, (_, excess) in paired(case.headline()).items()}
    ladder = [returns[rung.name] for rung in _rungs(case)]
    record = _record(returns[champion["name"]], ladder, case.comparison["trials"])
    overfit = _overfit(ladder)
    yield "" if said["policy"] == champion["name"] else f"the track record is {said['policy']}'s, not the judged one's"
    yield from _part("track record", said["record"], record)
    yield from _part("probability of overfitting", said["overfit"], overfit)
    known = {**(record or {}), "trials": case.comparison["trials"]}
    table = {name: known.get(key) for name, key in SHOWN_AS.items()} | {"PBO": (overfit or {}).get("probability")}
    rows = {row["figure"]: row["value"] for row in said["figures"]}
    for name, value in table.items():
        yield "" if _same(rows.get(name), value) else f"the table's {name} is {rows.get(name)}, equity says {value}"
    words = " ".join(said["answers"])
    for phrase in _phrases(record, overfit):
        yield "" if phrase in words else f'the answer does not say "{phrase}", as equity does'


def _phrases(record: Mapping[str, Any] | None, overfit: Mapping[str, Any] | None) -> Iterator[str]:
    """Numbers that the answer must give, each with the words beside it: 5% alone stands within 95%."""
    if overfit is not None:
        yield f"PBO {overfit['probability']:.0%} of"
    if record is not None:
        yield f"With a probability of {record['psr']:.0%} the judged"
        yield (
            f"after {record['trials']} trials is not known"
            if record["dsr"] is None
            else f"with one of {record['dsr']:.0%} above the largest that {record['trials']} policies"
        )
        if record["min_sessions"] is not None:
            told = record["min_sessions"] <= 100 * YEAR
            yield f"takes {record['min_sessions']:,.0f} sessions" if told else "takes more than a century"


def _part(what: str, said: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> Iterator[str]:
    """Each figure of a part; there where there is enough for it, and only there."""
    if said is None or own is None:
        yield "" if said is own else f"the {what} is {'missing' if said is None else 'of too little to have one'}"
        return
    for name, value in own.items():
        yield "" if _same(said.get(name), value) else f"{name} of the {what} is {said.get(name)}, equity says {value}"


def _rungs(case: Case) -> list[Backtest]:
    """The ladder's likeliest actions in the headline, earliest first."""
    rungs = [r for r in case.headline() if (r.manifest["policy"], r.manifest["mode"]) == ("checkpoint", "argmax")]
    return sorted(rungs, key=lambda r: (r.manifest["trader"]["checkpoint"].get("env_steps") or 0, r.name))


def _record(excess: Floats, ladder: list[Floats], trials: int) -> dict[str, Any] | None:
    n, deviation = len(excess), float(np.sqrt(((excess - excess.mean()) ** 2).sum() / (len(excess) - 1)))
    if n < MIN_OBSERVATIONS or deviation <= 1e-12:
        return None
    ratios = np.array([_ratios(values[:, None])[0] for values in ladder])
    spread = math.sqrt(float(((ratios - ratios.mean()) ** 2).sum()) / (len(ratios) - 1)) if len(ratios) > 1 else 0.0
    benchmark = 0.0 if trials <= 1 else None
    if trials > 1 and spread > 1e-12:
        euler = float(np.euler_gamma)
        first, second = NORMAL.inv_cdf(1.0 - 1.0 / trials), NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
        benchmark = spread * ((1.0 - euler) * first + euler * second)
    sharpe, around = float(excess.mean()) / deviation, excess - excess.mean()
    second_moment = float((around**2).mean())
    third, fourth = float((around**3).mean()) / second_moment**1.5, float((around**4).mean()) / second_moment**2
    unit = math.sqrt(1.0 - third * sharpe + (fourth - 1.0) / 4.0 * sharpe**2)
    least = 1.0 + (unit * NORMAL.inv_cdf(CONFIDENCE) / sharpe) ** 2 if sharpe > 0.0 else None
    return {
        "sessions": n,
        "sharpe": sharpe,
        "skewness": third,
        "kurtosis": fourth,
        "psr": NORMAL.cdf(sharpe * math.sqrt(n - 1) / unit),
        "min_sessions": least,
        "trials": trials,
        "spread": spread,
        "expected_maximum": benchmark,
        "dsr": None if benchmark is None else NORMAL.cdf((sharpe - benchmark) * math.sqrt(n - 1) / unit),
    }


def _overfit(ladder: list[Floats]) -> dict[str, Any] | None:
    """PBO the slow way: the sessions of every half put together, each half judged once as the first and the second."""
    different: list[Floats] = []
    for values in ladder:
        if all(without_rounding(values - other).any() for other in different):
            different.append(values)
    if len(different) < 2 or len(different[0]) < MIN_SESSIONS:
        return None
    parts = np.array_split(np.stack(different, axis=1), BLOCKS)
    ratios = {
        half: _ratios(np.concatenate([parts[block] for block in half]))
        for half in combinations(range(BLOCKS), BLOCKS // 2)
    }
    below, counts = 0.0, dict.fromkeys((float(rank) for rank in range(1, len(different) + 1)), 0)
    for half, seen in ratios.items():
        later = ratios[tuple(block for block in range(BLOCKS) if block not in half)]
        mine = later[seen.index(max(seen))]
        rank = 0.5 + sum(ratio < mine for ratio in later) + sum(ratio == mine for ratio in later) / 2.0
        counts[rank] = counts.get(rank, 0) + 1
        middle = (len(different) + 1) / 2.0
        below += 1.0 if rank < middle else 0.5 if rank == middle else 0.0
    return {
        "probability": below / len(ratios),
        "policies": len(different),
        "sessions": len(different[0]),
        "blocks": BLOCKS,
        "halves": len(ratios),
        "logits": [
            {"rank": rank, "logit": math.log(rank / (len(different) + 1 - rank)), "count": count}
            for rank, count in sorted(counts.items())
        ],
    }


def _ratios(values: Floats) -> list[float]:
    """Mean over sample deviation of each column; 0 of what does not move."""
    means, deviations = values.mean(axis=0).tolist(), values.std(axis=0, ddof=1).tolist()
    return [mean / each if each > 1e-12 else 0.0 for mean, each in zip(means, deviations, strict=True)]


def _same(found: Any, right: Any) -> bool:
    if isinstance(right, list):
        return isinstance(found, list) and len(found) == len(right) and all(map(_same_row, found, right))
    if found is None or right is None:
        return found is right
    return close(float(found), float(right))


def _same_row(found: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return found.keys() == right.keys() and all(_same(found[name], value) for name, value in right.items())
