"""Whether every figure of the comparison follows from `equity.parquet` alone, by code apart from what printed it.

Returns, ratios and drawdowns are exact. Intervals are drawn again with the registered seed: the stationary bootstrap of
`arch` on paired differences, a mean block as long as Politis and White's rule says for them.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import CONFIDENCE, MIN_OBSERVATIONS
from clstm_core.evaluation.trial_ledger import known_to, tried
from clstm_core.evidence_audit.case import Case
from clstm_core.evidence_audit.finding import Finding
from clstm_core.evidence_audit.returns import Floats, curves, drawdown, excess_returns, paired

SEED, SAMPLES = 0, 2000
"""Of the bootstrap, as registered: a lucky seed is none of the run's choices."""

YEAR = 252
BPS = 1e4
TOLERANCE = 1e-9
"""What a figure may differ by, relative to itself where beyond 1."""

ALWAYS = ("total_return", "max_drawdown")
"""Figures of a backtest that are never left out."""

MEAN, SHARPE = "mean_daily_excess_bps", "sharpe"


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
            missing = said is None and (name not in ALWAYS or value is None)
            right = missing or (value is not None and said is not None and _close(said, value))
            yield "" if right else f"{name} of {row['name']} ({row['backtest_id']}) is {said}, its equity says {value}"
    if missing_books := set(books) - {row["backtest_id"] for row in case.comparison["rows"]}:
        yield f"backtests {', '.join(sorted(missing_books)[:3])} are left out of the comparison"


def _performance(result: Backtest) -> dict[str, float | None]:
    """A backtest's figures as its rows name them: means over episodes, the drawdown that of the worst one."""
    each = curves(result)
    excess = excess_returns(result)
    totals = [float(curve[-1] / curve[0] - 1.0) for curve, _ in each]
    growth = [max(1.0 + total, 0.0) ** (YEAR / len(cash)) - 1.0 for total, (_, cash) in zip(totals, each, strict=True)]
    spread = [float(part.std(ddof=1)) if len(part) > 1 else 0.0 for part in excess]
    ratios = [float(part.mean()) / s for part, s in zip(excess, spread, strict=True) if s > 1e-12]
    ratio = float(np.mean(ratios)) if ratios else None
    return {
        "total_return": float(np.mean(totals)),
        "annual_return": float(np.mean(growth)),
        "annual_volatility": float(np.mean(spread)) * math.sqrt(YEAR),
        "sharpe": None if ratio is None else ratio * math.sqrt(YEAR),
        "ratio": ratio,
        "max_drawdown": min(drawdown(curve) for curve, _ in each),
        "final_equity_usd": float(np.mean([curve[-1] for curve, _ in each])),
    }


def _pairs(case: Case) -> Iterator[str]:
    """Each paired difference and its interval, in the market itself and in the stressed world beside it."""
    groups = _groups(case.judged)
    series = {key: paired(members) for key, members in groups.items()}
    stressed = _groups(case.beside.get("stressed_backtests", case.beside.get("stressed", [])))
    beside = {name: values for members in stressed.values() for name, values in paired(members).items()}
    for pair in case.comparison["pairs"]:
        found = series.get((pair["window"], pair["fill_lag"], pair["fill_rule"]), {})
        yield from _pair(pair, found, "")
        if "stressed_estimate" in pair:
            yield from _pair(pair, beside, "stressed_")


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
        good = value is not None and _close(value, right)
        yield "" if good else f"the {name} of {what} is {value}, its equity says {right:.6g}"


def _mean_difference(a: Floats, b: Floats) -> Callable[[bool], list[float]]:
    d = _without_rounding(a - b)

    def draw(with_interval: bool) -> list[float]:
        estimate = float(d.mean()) * BPS
        return [estimate, *_ends(_samples(d, SEED) @ d / len(d) * BPS)] if with_interval else [estimate]

    return draw


def _sharpe_difference(a: Floats, b: Floats) -> Callable[[bool], list[float]]:
    d = _without_rounding(a.mean(axis=1) - b.mean(axis=1))

    def draw(with_interval: bool) -> list[float]:
        if not d.any():
            return [0.0, 0.0, 0.0] if with_interval else [0.0]
        once = np.ones((1, len(d)))
        estimate = float(_sharpes(a, once)[0] - _sharpes(b, once)[0])
        if not with_interval:
            return [estimate]
        times = _samples(d, SEED)
        return [estimate, *_ends(_sharpes(a, times) - _sharpes(b, times))]

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
            yield "" if _close(row[key], value) else f"{key} of {name} is {row[key]}, its equity says {value}"
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
        draws = _samples(a, SEED) @ a / len(a) - _samples(b, SEED + 1) @ b / len(b)
        return [estimate, *_ends(draws * BPS)]

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


def _sharpes(returns: Floats, times: Floats) -> Floats:
    """Annualised ratio of each sample: of each episode's returns [T, E], drawn `times` [R, T], then their mean."""
    n = len(returns)
    mean = times @ returns / n
    variance = (times @ (returns * returns) - n * mean * mean) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(np.maximum(variance, 0.0))
        ratio = mean / np.where(deviation > 1e-12, deviation, np.nan)
    return ratio.mean(axis=1) * math.sqrt(YEAR)


def _ends(draws: Floats) -> list[float]:
    tail = (1.0 - CONFIDENCE) / 2.0
    known = draws[np.isfinite(draws)]
    return [float(end) for end in np.quantile(known, (tail, 1.0 - tail))] if len(known) else [math.nan, math.nan]


def _without_rounding(d: Floats) -> Floats:
    return np.where(np.abs(d) < 1e-12, 0.0, d)


def _samples(series: Floats, seed: int) -> Floats:
    """How often each date comes in each stationary-bootstrap sample [R, T]; the rule's mean block for `series`."""
    from arch.bootstrap import optimal_block_length

    length = 1.0
    if float(series.std()) > 1e-12:
        found = float(optimal_block_length(series)["stationary"].iloc[0])
        length = min(max(found, 1.0), len(series) / 3.0) if math.isfinite(found) else 1.0
    return _drawn(len(series), max(1, math.ceil(length)), seed).astype(np.float64)


@lru_cache(maxsize=96)
def _drawn(n: int, block: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    from arch.bootstrap import StationaryBootstrap

    samples = StationaryBootstrap(block, np.arange(n), seed=seed).bootstrap(SAMPLES)
    return np.stack([np.bincount(sample[0][0], minlength=n) for sample in samples]).astype(np.uint16)


def _close(said: float, own: float) -> bool:
    return abs(said - own) <= TOLERANCE * max(1.0, abs(own))
