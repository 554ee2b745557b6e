"""Whether every figure of the comparison follows from `equity.parquet` alone, by code apart from what printed it.

Returns, ratios and drawdowns are exact. Intervals of paired differences are drawn again (`draws`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import MIN_OBSERVATIONS, YEAR_OF_RETURNS
from clstm_core.evaluation.trial_ledger import known_to, tried
from clstm_core.evidence_audit.case import Case
from clstm_core.evidence_audit.draws import SEED, YEAR, close, ends, samples, sharpes, without_rounding
from clstm_core.evidence_audit.finding import Finding
from clstm_core.evidence_audit.returns import Floats, curves, drawdown, paired

BPS = 1e4
ALWAYS = ("total_return", "max_drawdown")
"""Figures of a backtest that are never left out."""

MEAN, SHARPE = "mean_daily_excess_bps", "sharpe"
COMPARED = ("test", "validation")
"""Windows in which every checkpoint is compared with every baseline."""


def figures_recomputed(case: Case) -> Finding:
    """Rows, paired differences, their intervals, the gaps of the ladder, and the verdict's own numbers."""
    wrong: list[str] = []
    counted = 0
    for subject in (_rows, _pairs, _gaps, _verdict, _trials):
        for found in subject(case):
            counted += 1
            if found:
                wrong.append(found)
    return Finding(
        name="figures_recomputed",
        counted=counted,
        wrong=wrong,
        words=f"{counted} figures of the comparison follow from equity alone, intervals drawn again with seed {SEED}.",
    )


def _rows(case: Case) -> Iterator[str]:
    """Each figure of each backtest's row: what is wrong with it, or nothing."""
    books = {result.id: result for result in case.judged}
    for row in case.comparison["rows"]:
        result = books.get(row["backtest_id"])
        if result is None:
            yield f"{row['name']} has no books"
            continue
        for name, value in _performance(result).items():
            said = row.get(name)
            # a backtest of before a figure was added has none; no other may leave out what its equity gives
            older = said is None and name not in ALWAYS and name not in result.manifest["summary"]
            right = older or (said is value if said is None or value is None else close(said, value))
            yield "" if right else f"{name} of {row['name']} ({row['backtest_id']}) is {said}, its equity says {value}"
    if missing_books := set(books) - {row["backtest_id"] for row in case.comparison["rows"]}:
        yield f"backtests {', '.join(sorted(missing_books)[:3])} are left out of the comparison"


def _performance(result: Backtest) -> dict[str, float | None]:
    """A backtest's figures as its rows name them: means over episodes, the drawdown that of the worst one.

    An account that ended early keeps its last equity; in less than a year nothing is yearly.
    """
    each = [curve for curve, _ in curves(result)]
    _, excess = paired([result])[result.name]
    n = len(excess)
    totals = [float(curve[-1] / curve[0] - 1.0) for curve in each]
    growth = [max(1.0 + total, 0.0) ** (YEAR / n) - 1.0 for total in totals]
    spread = [float(part.std(ddof=1)) if n > 1 else 0.0 for part in excess.T]
    ratios = [float(part.mean()) / s for part, s in zip(excess.T, spread, strict=True) if s > 1e-12]
    ratio = float(np.mean(ratios)) if ratios else None
    whole = n >= YEAR_OF_RETURNS
    return {
        "total_return": float(np.mean(totals)),
        "annual_return": float(np.mean(growth)) if whole else None,
        "annual_volatility": float(np.mean(spread)) * math.sqrt(YEAR) if whole else None,
        "sharpe": None if ratio is None or not whole else ratio * math.sqrt(YEAR),
        "ratio": ratio,
        "max_drawdown": min(drawdown(curve) for curve in each),
        "final_equity_usd": float(np.mean([curve[-1] for curve in each])),
    }


def _pairs(case: Case) -> Iterator[str]:
    """Each paired difference and its interval, in the market itself and in the stressed world beside it."""
    groups = _groups(case.judged)
    series = {key: paired(members) for key, members in groups.items()}
    stressed = _groups(case.beside.get("stressed_backtests", case.beside.get("stressed", [])))
    beside = {name: values for members in stressed.values() for name, values in paired(members).items()}
    told = {(pair["window"], pair["policy_name"], pair["against"], *_of(pair)) for pair in case.comparison["pairs"]}
    for (window, lag, rule), members in groups.items():
        for one, other in product(members, members):
            if window in COMPARED and _trained(one) and not _trained(other):
                there = (window, one.name, other.name, lag, rule, MEAN) in told
                yield "" if there else f"{one.name} less {other.name} ({window}, lag {lag}, {rule}) is left out"
    for pair in case.comparison["pairs"]:
        found = series.get((pair["window"], pair["fill_lag"], pair["fill_rule"]), {})
        yield from _pair(pair, found, "")
        if "stressed_estimate" in pair:
            yield from _pair(pair, beside, "stressed_")


def _of(pair: Mapping[str, Any]) -> tuple[int, str, str]:
    return pair["fill_lag"], pair["fill_rule"], pair["metric"]


def _trained(result: Backtest) -> bool:
    return bool(result.manifest["policy"] == "checkpoint")


def _pair(pair: Mapping[str, Any], found: Mapping[str, tuple[Floats, Floats]], prefix: str) -> Iterator[str]:
    what = (
        f"{prefix.replace('_', ' ')}{pair['metric']} of {pair['policy_name']} less {pair['against']} ({pair['window']})"
    )
    if pair["policy_name"] not in found or pair["against"] not in found:
        yield f"{what} is of no backtests"
        return
    a, b = found[pair["policy_name"]], found[pair["against"]]
    draw = _mean_difference(a[0], b[0]) if pair["metric"] == MEAN else _sharpe_difference(a[1], b[1])
    yield from _interval(what, [pair[f"{prefix}{name}"] for name in ("estimate", "ci_low", "ci_high")], draw, len(a[0]))


def _interval(what: str, said: list[float | None], own: Callable[[bool], list[float]], n: int) -> Iterator[str]:
    """An estimate with its ends: left out where there are too few dates for an interval, and only there."""
    if said[1] is None and said[2] is None:
        yield "" if n < MIN_OBSERVATIONS else f"{what} has no interval, though it has {n} dates"
        expected = own(False)
    else:
        expected = own(True)
    for name, value, right in zip(("estimate", "lower end", "upper end"), said, expected, strict=False):
        good = value is not None and close(value, right)
        yield "" if good else f"the {name} of {what} is {value}, its equity says {right:.6g}"


def _mean_difference(a: Floats, b: Floats) -> Callable[[bool], list[float]]:
    d = without_rounding(a - b)

    def draw(with_interval: bool) -> list[float]:
        estimate = float(d.mean()) * BPS
        return [estimate, *ends(samples(d, SEED) @ d / len(d) * BPS)] if with_interval else [estimate]

    return draw


def _sharpe_difference(a: Floats, b: Floats) -> Callable[[bool], list[float]]:
    d = without_rounding(a.mean(axis=1) - b.mean(axis=1))

    def draw(with_interval: bool) -> list[float]:
        if not d.any():
            return [0.0, 0.0, 0.0] if with_interval else [0.0]
        once = np.ones((1, len(d)))
        estimate = float(sharpes(a, once)[0] - sharpes(b, once)[0])
        if not with_interval:
            return [estimate]
        times = samples(d, SEED)
        return [estimate, *ends(sharpes(a, times) - sharpes(b, times))]

    return draw


def _gaps(case: Case) -> Iterator[str]:
    """In-sample less held-out of each rung, and against the last rung's."""
    rows = case.comparison["overfitting"]["rows"]
    if not rows:
        return
    headline = {result.name: result for result in case.headline()}
    lag, rule = next((r["fill_lag"], r["fill_rule"]) for r in case.comparison["rows"] if r["headline"])
    inside = _groups(case.judged).get(("in_sample", lag, rule), [])
    seen, held = paired(inside), paired(list(headline.values()))
    cash = {"in": _cash(inside), "out": _cash(list(headline.values()))}
    last = rows[-1]["name"]
    for row in rows:
        name = row["name"]
        a, b = seen[name][0] - np.log1p(cash["in"]), held[name][0] - np.log1p(cash["out"])
        for key, own in (("in_sample_bps", a), ("held_out_bps", b)):
            value = float(own.mean()) * BPS
            yield "" if close(row[key], value) else f"{key} of {name} is {row[key]}, its equity says {value}"
        said = [row["gap"][end] for end in ("estimate", "low", "high")]
        yield from _interval(f"the gap of {name}", said, _separate(a, b), min(len(a), len(b)))
        if row["gap_less_last"]:
            x, y = seen[name][0] - seen[last][0], held[name][0] - held[last][0]
            said = [row["gap_less_last"][end] for end in ("estimate", "low", "high")]
            yield from _interval(f"the gap of {name} less the last", said, _separate(x, y), min(len(x), len(y)))


def _separate(a: Floats, b: Floats) -> Callable[[bool], list[float]]:
    def draw(with_interval: bool) -> list[float]:
        estimate = float(a.mean() - b.mean()) * BPS
        if not with_interval:
            return [estimate]
        draws = samples(a, SEED) @ a / len(a) - samples(b, SEED + 1) @ b / len(b)
        return [estimate, *ends(draws * BPS)]

    return draw


def _verdict(case: Case) -> Iterator[str]:
    """The verdict's first sentence speaks of the champion's and cash's own returns on the test dates."""
    champion = case.comparison["champion"]
    if champion is None:
        return
    headline = {result.name: result for result in case.headline()}
    for name in (champion["name"], "cash"):
        if name in headline:
            value = _performance(headline[name])["total_return"]
            yield (
                ""
                if f"{value:+.1%}" in case.comparison["verdict"]
                else (f"the verdict does not speak of the {value:+.1%} that {name} returned")
            )


def _trials(case: Case) -> Iterator[str]:
    """The count of policies that looked at the test dates: at least what shipped and the run's own, as registered."""
    tested = [result for result in case.ladder if result.manifest["window"]["name"] == "test"]
    own, registered, said = tried(case.places, tested), known_to(case.places, tested), case.comparison["trials"]
    right = registered.base + own <= said <= registered.total
    yield (
        ""
        if right
        else (
            f"{said} policies are said to have looked at the test dates, expected {registered.total} as registered "
            f"({registered.base} of them before this package was installed, {own} of this run)"
        )
    )


def _groups(results: "list[Backtest] | Any") -> dict[tuple[str, int, str], list[Backtest]]:
    """Backtests of the same window, lag and fill rule."""
    groups: dict[tuple[str, int, str], list[Backtest]] = {}
    for result in results:
        m = result.manifest
        rule = "touch" if m["fill_rule"] == "touch" else f"fraction {m['fill_fraction']:g}"
        groups.setdefault((m["window"]["name"], m["fill_lag"], rule), []).append(result)
    return groups


def _cash(results: list[Backtest]) -> Floats:
    return max((cash for result in results for _, cash in curves(result)), key=len)
