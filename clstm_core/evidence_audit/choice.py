"""Whether the champion was chosen by validation dates, and the headline is what an account could have done."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import MIN_OBSERVATIONS
from clstm_core.evaluation.words import rung_name
from clstm_core.evidence_audit.case import Case
from clstm_core.evidence_audit.finding import Finding
from clstm_core.evidence_audit.returns import excess_returns

HEADLINE_LAG = 1
UNSAID = "no rung is said to qualify, though one does"
FREE = ("fill_lag", "horizon")
"""Settings of an account that a backtest chooses for itself."""


def champion_on_validation(case: Case) -> Finding:
    """The choice made anew, by whichever rule the run is under.

    The rung with the best ratio of mean to deviation of excess return over validation dates; of a run that trains in
    generated worlds, the rung that earns in fresh ones, loses on no validation dates, and has the best ratio in both.
    """
    ladder = [result for result in case.ladder if result.manifest["mode"] == "argmax"]
    tested = sorted((r for r in ladder if _on(r, "test", HEADLINE_LAG)), key=_env_steps)
    validated = {r.name: r for r in ladder if _on(r, "validation", HEADLINE_LAG)}
    champion = case.comparison["champion"]
    if not tested or champion is None:
        return Finding(name="champion_on_validation", counted=0, wrong=[], words="")
    if (by_worlds := _by_worlds(case, tested)) is not None:
        best, why, ratios, qualified = by_worlds
        return _held(case, tested, best, why, ratios, qualified=qualified)
    best, why, ratios = tested[-1], "the last rung, for want of validation books long enough", {}
    scored = [result for result in tested if result.name in validated]
    if scored and max(len(excess_returns(validated[r.name])[0]) for r in scored) >= MIN_OBSERVATIONS:
        ratios = {result.name: _ratio(validated[result.name]) for result in scored}
        # of two that are equal the later one; a rung that never trades stands at cash's 0
        best = max(reversed(scored), key=lambda result: ratios[result.name])
        why = "the best ratio of mean to deviation on validation dates"
    return _held(case, tested, best, why, ratios)


def _held(
    case: Case, tested: list[Backtest], best: Backtest, why: str, ratios: dict[str, float], *, qualified: bool = True
) -> Finding:
    """The comparison's champion held against the one that was made anew."""
    champion, wrong = case.comparison["champion"], []
    if (champion["name"], champion["milestone"]) != (best.name, best.manifest["milestone"]):
        shown = ", ".join(f"{name} {ratio:+.3f}" for name, ratio in ratios.items()) or "no validation books"
        wrong.append(f"{champion['name']} is called champion, expected {best.name} by {why} ({shown})")
    if champion.get("qualified", False) != qualified:
        wrong.append(f"{champion['name']} is called a champion, expected none" if not qualified else UNSAID)
    wrong += [*_unwalked(case, tested), *_of_other_rungs(case)]
    if champion["backtest_id"] not in {result.id for result in tested if result.name == champion["name"]}:
        wrong.append(f"the champion's backtest {champion['backtest_id']} is none of its own on the test window")
    for world, results in case.beside.items():
        others = {result.name for result in results if result.manifest["policy"] == "checkpoint"}
        if results and champion["name"] not in others:
            wrong.append(f"another rung was traded in {world}: {', '.join(sorted(others))}")
    return Finding(
        name="champion_on_validation",
        counted=len(tested),
        wrong=wrong,
        words=f"{best.name} of {len(tested)} rungs is {why}; test dates took no part.",
    )


def _by_worlds(case: Case, tested: list[Backtest]) -> tuple[Backtest, str, dict[str, float], bool] | None:
    """The choice by what each rung earns in fresh worlds and on validation dates; None for a run under the other rule.

    Which rule it is, the run's configuration says: without figures no rung of a run in worlds qualifies. From recorded
    means, errors and numbers of independent episodes alone: both ends of a 95% interval by Student's distribution.
    """
    if not case.config.worlds.generated:
        return None
    found = _likeliest(case)
    scores: dict[str, float] = {}
    for rung in tested:
        fresh, dates = (found.get((rung.manifest["milestone"], kind)) for kind in ("fresh_worlds", "validation_dates"))
        if fresh is None or not _end(fresh, -1) > 0.0 or (dates is not None and _end(dates, +1) < 0.0):
            continue
        both = [row for row in (fresh, dates) if row is not None]
        if not all(math.isfinite(row[name]) for row in both for name in ("growth_bps", "deviation_bps")):
            continue
        ratios = [row["growth_bps"] / row["deviation_bps"] if row["deviation_bps"] else 0.0 for row in both]
        scores[rung.name] = sum(ratios) / len(ratios)
    if not scores:
        return tested[-1], "no rung qualifies: the last one is shown, unqualified", {}, False
    best = max((rung for rung in reversed(tested) if rung.name in scores), key=lambda rung: scores[rung.name])
    return best, "the best ratio of growth to deviation on fresh worlds and validation dates", scores, True


def _end(row: Mapping[str, Any], side: int) -> float:
    """One end of the interval of a row's growth; without an error nothing is known, on either side."""
    if row["error_bps"] is None or not row["draws"] > 1.0:
        return side * math.inf
    return float(row["growth_bps"] + side * stats.t.isf(0.025, row["draws"] - 1.0) * row["error_bps"])


def _likeliest(case: Case) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What each rung's likeliest actions earn, by rung and kind of market."""
    rows = case.earned.figures if case.earned is not None else []
    return {(row["milestone"], row["kind"]): row for row in rows if row["mode"] == "argmax"}


def _unwalked(case: Case, tested: list[Backtest]) -> list[str]:
    """Rungs of a run in generated worlds of which nothing says what they earn in fresh ones."""
    if not case.config.worlds.generated:
        return []
    if case.earned is None:
        return ["nothing says what the rungs earn in fresh worlds, by which they qualify"]
    found, rungs = _likeliest(case), [rung.manifest["milestone"] for rung in tested]
    missing = [rung for rung in rungs if (rung, "fresh_worlds") not in found]
    return [f"{', '.join(map(rung_name, missing))} was not walked through fresh worlds"] if missing else []


def _of_other_rungs(case: Case) -> list[str]:
    """Rungs whose figures of what they earn are those of another checkpoint."""
    if case.earned is None:
        return []
    known = {name: file_sha256(folder / FILE) for name, folder in case.rungs.items()}
    other = [name for name, identity in known.items() if case.earned.parents.get(name) != identity]
    named = ", ".join(map(rung_name, other))
    return [f"what {named} earns was measured of another checkpoint"] if other else []


def headline_fills_later(case: Case) -> Finding:
    """Orders of the headline fill at the session after their decision, and nothing else is called headline."""
    members, wrong, counted = case.headline(), [], 0
    for row in (*case.comparison["rows"], *case.comparison["pairs"]):
        if row["headline"] and (row["window"], row["fill_lag"]) != ("test", HEADLINE_LAG):
            name = row.get("name") or row["policy_name"]
            wrong.append(f"the headline holds {name} on {row['window']} dates at lag {row['fill_lag']}")
    champion = case.comparison["champion"]
    if champion is not None and champion["backtest_id"] not in {result.id for result in members}:
        wrong.append(f"the champion's backtest {champion['backtest_id']} is not of the headline")
    for result in members:
        orders = result.table("fills").filter(pl.col("reason").is_in(["open", "close", "hedge"]))
        decided = result.table("decisions").select("episode", "step", decided="snapshot")
        held = orders.join(decided, on=["episode", "step"], how="left")
        counted += held.height
        if early := held.filter(~(pl.col("snapshot") > pl.col("decided")).fill_null(value=False)).height:
            wrong.append(f"{early} of {held.height} orders of {result.name} ({result.id}) fill when they were decided")
    return Finding(
        name="headline_fills_later",
        counted=counted or len(members),
        wrong=wrong,
        words=f"{counted} orders of the headline's {len(members)} accounts fill at the session after their decision.",
    )


def costs_charged(case: Case) -> Finding:
    """Every fee recomputed from the run's configuration, and no account with other costs or limits than the run's."""
    env = case.config.env
    asked = {name: value for name, value in dataclasses.asdict(env).items() if name not in FREE}
    option, expiry = pl.col("kind") == "option", pl.col("reason") == "expiry"
    rate = pl.when(option).then(env.commission_per_contract_usd).otherwise(env.commission_per_share_usd)
    due = pl.when(expiry).then(0.0).otherwise(pl.col("quantity").abs() * rate)
    wrong, counted, total = [], 0, 0.0
    for result in case.everything:
        other = {name: value for name, value in result.manifest["env"].items() if name not in FREE}
        if other != asked:
            names = ", ".join(sorted(name for name in asked if other.get(name) != asked[name]))
            wrong.append(f"{result.name} ({result.id}) was traded with another {names} than the run's")
        fills = result.table("fills").with_columns(due=due)
        counted, total = counted + fills.height, total + float(fills["due"].sum())
        if odd := fills.filter(~((pl.col("fee_usd") - pl.col("due")).abs() <= 1e-6).fill_null(value=False)).height:
            paid, owed = fills["fee_usd"].sum(), fills["due"].sum()
            wrong.append(
                f"{odd} of {fills.height} fills of {result.name} ({result.id}) are charged other fees than the "
                f"configuration's: {paid:,.2f} USD paid, {owed:,.2f} due"
            )
        booked = float(result.table("equity")["fees_usd"].sum())
        if not abs(booked - float(fills["due"].sum())) <= 0.01:
            wrong.append(f"{result.name} ({result.id}) books {booked:,.2f} USD of fees, {fills['due'].sum():,.2f} due")
    return Finding(
        name="costs_charged",
        counted=counted,
        wrong=wrong,
        words=f"{total:,.2f} USD of commissions on {counted} fills, as the run's configuration has them.",
    )


def _on(result: Backtest, window: str, lag: int) -> bool:
    return (result.manifest["window"]["name"], result.manifest["fill_lag"]) == (window, lag)


def _env_steps(result: Backtest) -> tuple[Any, str]:
    return (result.manifest["trader"]["checkpoint"].get("env_steps") or 0, result.name)


def _ratio(result: Backtest) -> float:
    """Mean over standard deviation of a session's excess return; 0 where nothing varies."""
    excess = excess_returns(result)[0]
    deviation = float(excess.std(ddof=1))
    return float(np.mean(excess)) / deviation if deviation > 1e-12 else 0.0
