"""Whether the judged account's tear sheet, years, months and falls follow from its equity alone, by other code."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from clstm_core.evaluation.statistics import MIN_OBSERVATIONS, YEAR_OF_RETURNS
from clstm_core.evidence_audit.case import Case
from clstm_core.evidence_audit.draws import SEED, YEAR, close, ends, samples, sharpes, without_rounding
from clstm_core.evidence_audit.finding import Finding
from clstm_core.evidence_audit.returns import RUINED, Floats

FALLS = 5
NO_ENDS = (None, None)
Value = float | None


@dataclass(frozen=True)
class _Books:
    """One account as its ledger says: dates, equity and spot [T + 1], cash's returns [T]."""

    dates: list[str]
    equity: Floats
    spot: Floats
    cash: Floats

    @cached_property
    def solvent(self) -> Floats:
        return np.maximum(self.equity, RUINED * self.equity[0])

    @cached_property
    def returns(self) -> Floats:
        return self.solvent[1:] / self.solvent[:-1] - 1.0

    @cached_property
    def excess(self) -> Floats:
        return without_rounding(self.returns - self.cash)


def account_recomputed(case: Case) -> Finding:
    """Every figure, date and interval of the judged account that the report shows as a table."""
    champion, said = case.comparison["champion"], case.comparison["account"]
    books = None if champion is None else _books(case, str(champion["backtest_id"]))
    wrong: list[str] = []
    counted = 0
    if books is not None:
        subjects = (
            _tear_sheet(said.get("tear_sheet", []), books),
            _table("years", said.get("years", []), _periods(books, 4), "period"),
            _table("months", said.get("months", []), _periods(books, 7), "period"),
            _table("drawdowns", said.get("drawdowns", []), _falls(books)[:FALLS], "peak"),
        )
        for subject in subjects:
            for found in subject:
                counted += 1
                if found:
                    wrong.append(found)
    return Finding(
        name="account_recomputed",
        counted=counted,
        wrong=wrong,
        words=f"{counted} figures of the judged account follow from its equity alone.",
    )


def _books(case: Case, identity: str) -> _Books | None:
    """The first account of the judged backtest; None of one that has no two snapshots."""
    result = next((result for result in case.headline() if result.id == identity), None)
    if result is None:
        raise ValueError(f"the judged backtest {identity} is not of the headline")
    rows = result.table("equity").filter(pl.col("episode") == pl.col("episode").min()).sort("step")
    if rows.height < 2:
        return None
    return _Books(
        dates=[snapshot.date().isoformat() for snapshot in rows["snapshot"].to_list()],
        equity=rows["equity_usd"].to_numpy(),
        spot=rows["spot"].to_numpy(),
        cash=rows["cash_return"].to_numpy()[1:],
    )


def _tear_sheet(said: Sequence[Mapping[str, Any]], books: _Books) -> Iterator[str]:
    """Each figure by its name: value, ends of its interval and date; none missing, none that nobody knows."""
    own, rows = _figures(books), {row["figure"]: row for row in said}
    if missing := sorted(set(own) ^ set(rows)):
        yield f"the tear sheet's {', '.join(missing)} is missing or unknown"
    for name in own.keys() & rows.keys():
        row, (value, low, high, when) = rows[name], own[name]
        for what, found, right in (
            ("", row["value"], value),
            ("lower end", row["low"], low),
            ("upper end", row["high"], high),
        ):
            yield "" if _same(found, right) else f"{name} {what} is said to be {found}, its equity says {right}"
        if when is not None:
            yield "" if row["when"] == when else f"{name} is dated {row['when']}, its equity says {when}"


def _figures(books: _Books) -> dict[str, tuple[Value, Value, Value, str | None]]:
    """Value, ends and date of each figure of the tear sheet; yearly ones are None in less than a year."""
    returns, excess, market = books.returns, books.excess, books.spot[1:] / books.spot[:-1] - 1.0
    n, whole = len(returns), len(returns) >= YEAR_OF_RETURNS
    total = float(books.equity[-1] / books.equity[0] - 1.0)
    beyond = without_rounding(np.log(books.solvent[1:] / books.solvent[:-1]) - np.log1p(books.cash))
    falls, months = _falls(books), _periods(books, 7)
    deepest = falls[0]["depth"] if falls else 0.0
    longest: dict[str, Any] = max(falls, key=lambda fall: fall["days"]) if falls else {"days": 0, "peak": ""}
    growth = max(1.0 + total, 0.0) ** (YEAR / n) - 1.0 if whole else None
    deviation = float((returns - books.cash).std(ddof=1))
    lost = float(np.sqrt((excess[excess < 0.0] ** 2).sum() / n))
    losses, gains = -float(excess[excess < 0.0].sum()), float(excess[excess > 0.0].sum())
    ranked = sorted(returns.tolist())
    high, low = _quantile(ranked, 0.95), _quantile(ranked, 0.05)
    beta = float(np.cov(returns, market)[0, 1] / market.var(ddof=1)) if market.std() > 0.0 else None
    left = None if beta is None else float(np.mean(returns - books.cash - beta * (market - books.cash)))
    varies, moves = returns.std() > 1e-12, market.std() > 1e-12
    sharpe, sharpe_ends = _sharpe(returns - books.cash, excess)
    by_return = sorted(months, key=lambda row: row["return"])
    month = {"Best month": by_return[-1]["return"], "Worst month": by_return[0]["return"]}
    day = {"Best day": max(ranked), "Worst day": min(ranked)}

    def yearly(value: Value, ends: tuple[Value, Value] = NO_ENDS) -> tuple[Value, Value, Value, None]:
        return (value, *ends, None) if whole else (None, None, None, None)

    def plain(value: Value, when: str | None = None) -> tuple[Value, Value, Value, str | None]:
        return value, None, None, when

    return {
        "Start capital": plain(float(books.equity[0]), books.dates[0]),
        "Final equity": plain(float(books.equity[-1]), books.dates[-1]),
        "Total return": plain(total),
        "Cash over the same time": plain(float(np.prod(1.0 + books.cash) - 1.0)),
        "Excess over cash": (math.expm1(float(beyond.sum())), *_band(beyond), None),
        "Return per year": yearly(growth),
        "Volatility per year": yearly(deviation * math.sqrt(YEAR)),
        "Sharpe ratio": yearly(sharpe, sharpe_ends),
        "Sortino ratio": yearly(float(excess.mean()) / lost * math.sqrt(YEAR) if lost else None),
        "Calmar ratio": yearly(None if growth is None or deepest >= 0.0 else growth / -deepest),
        "Omega ratio": plain(gains / losses if losses else None),
        "VaR 95, one day": plain(low),
        "CVaR 95, one day": plain(math.fsum(ranked[: int(0.05 * (n - 1)) + 1]) / (int(0.05 * (n - 1)) + 1)),
        "Skewness": plain(_moment(returns, 3) if varies else None),
        "Excess kurtosis": plain(_moment(returns, 4) - 3.0 if varies else None),
        "Tail ratio": plain(abs(high) / abs(low) if low else None),
        **{name: plain(value, books.dates[returns.tolist().index(value) + 1]) for name, value in day.items()},
        **{
            name: plain(value, next(row["period"] for row in months if row["return"] == value))
            for name, value in month.items()
        },
        "Winning days": plain(_wins(returns)),
        "Days ahead of cash": plain(_wins(excess)),
        "Largest drawdown": plain(deepest, falls[0]["trough"] if falls else ""),
        "Recovery factor": plain(total / -deepest if deepest < 0.0 else None),
        "Longest time under water": plain(float(longest["days"]), longest["peak"]),
        "Beta to the underlying": plain(beta),
        "Alpha per year": yearly(None if left is None else (1.0 + left) ** YEAR - 1.0),
        "Correlation to the underlying": plain(
            float(np.cov(returns, market)[0, 1] / (returns.std(ddof=1) * market.std(ddof=1)))
            if varies and moves
            else None
        ),
    }


def _sharpe(every: Floats, excess: Floats) -> tuple[Value, tuple[Value, Value]]:
    """The yearly ratio and its interval."""
    deviation = float(every.std(ddof=1))
    ratio = float(every.mean()) / deviation * math.sqrt(YEAR) if deviation > 1e-12 else None
    if len(excess) < MIN_OBSERVATIONS or excess.std() <= 1e-12:
        return ratio, NO_ENDS
    low, high = ends(sharpes(excess[:, None], samples(excess, SEED)))
    return ratio, (low, high)


def _band(beyond: Floats) -> tuple[Value, Value]:
    """Ends of the excess over cash at the last date: what resampled sums leave around the one that was."""
    if len(beyond) < MIN_OBSERVATIONS:
        return NO_ENDS
    low, high = ends(samples(beyond, SEED) @ (beyond - beyond.mean()))
    return math.expm1(float(beyond.sum()) + low), math.expm1(float(beyond.sum()) + high)


def _periods(books: _Books, length: int) -> list[dict[str, Any]]:
    """Months or years by their name: what each earned from the session before it to its last one."""
    steps: dict[str, list[int]] = {}
    for at, date in enumerate(books.dates[1:], start=1):
        steps.setdefault(date[:length], []).append(at)
    rows = []
    for name, inside in steps.items():
        curve, as_cash, peak, fall = 1.0, 1.0, 1.0, 0.0
        for at in inside:
            curve *= 1.0 + float(books.returns[at - 1])
            as_cash *= 1.0 + float(books.cash[at - 1])
            peak = max(peak, curve)
            fall = min(fall, curve / peak - 1.0)
        rows.append(
            {
                "period": name,
                "first_date": books.dates[inside[0]],
                "last_date": books.dates[inside[-1]],
                "sessions": len(inside),
                "return": curve - 1.0,
                "cash": as_cash - 1.0,
                "excess": curve - as_cash,
                "underlying": float(books.spot[inside[-1]] / books.spot[inside[0] - 1] - 1.0),
                "max_drawdown": fall,
            }
        )
    return rows


def _falls(books: _Books) -> list[dict[str, Any]]:
    """Every stretch below a peak, the deepest first, by walking along the curve once."""
    rows: list[dict[str, Any]] = []
    top, trough = 0, None
    for at in range(1, len(books.equity)):
        if books.equity[at] >= books.equity[top]:
            if trough is not None:
                rows.append(_fall(books, top, trough, at, recovered=True))
            top, trough = at, None
        elif trough is None or books.equity[at] < books.equity[trough]:
            trough = at
    if trough is not None:
        rows.append(_fall(books, top, trough, len(books.equity) - 1, recovered=False))
    return sorted(rows, key=lambda row: row["depth"])


def _fall(books: _Books, top: int, trough: int, end: int, *, recovered: bool) -> dict[str, Any]:
    days = pl.Series([books.dates[top], books.dates[end]]).str.to_date()
    return {
        "depth": float(books.equity[trough] / books.equity[top] - 1.0),
        "peak": books.dates[top],
        "trough": books.dates[trough],
        "recovered": books.dates[end] if recovered else None,
        "sessions": end - top,
        "days": (days[1] - days[0]).days,
    }


def _table(what: str, said: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]], key: str) -> Iterator[str]:
    """A table's rows one by one."""
    if len(said) != len(own):
        yield f"{len(said)} {what} are said, the equity has {len(own)}"
    for row, right in zip(said, own, strict=False):
        for name, value in right.items():
            good = _same(row.get(name), value)
            yield "" if good else f"{name} of {what} {right[key]} is {row.get(name)}, its equity says {value}"


def _same(found: Any, right: Any) -> bool:
    if right is None or found is None or isinstance(right, str):
        return bool(found == right)
    return close(float(found), float(right))


def _moment(returns: Floats, order: int) -> float:
    """A standardised moment, by the population's deviation."""
    around = returns - returns.mean()
    return float((around**order).mean() / (around**2).mean() ** (order / 2))


def _quantile(ranked: list[float], share: float) -> float:
    """Between the two ranks nearest to a share."""
    place = share * (len(ranked) - 1)
    below = int(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (place - below) * (ranked[above] - ranked[below])


def _wins(values: Floats) -> float | None:
    up, down = int((values > 0.0).sum()), int((values < 0.0).sum())
    return up / (up + down) if up + down else None
