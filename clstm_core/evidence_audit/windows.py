"""Whether the windows, read off tensors and ledgers, lie an embargo apart, and every account stayed in its own."""

import itertools
from datetime import date, timedelta

import polars as pl
from safetensors.numpy import load_file

from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.words import rung_name
from clstm_core.evidence_audit.case import STATE, Case, MarketFiles
from clstm_core.evidence_audit.finding import Finding

HISTORY_GAP = timedelta(days=10)
"""Snapshots farther apart belong to two histories; no account goes on from one to the next."""

PATH_STEPS = 1 << 16
"""An account on a generated path stands at path x PATH_STEPS + step."""

ORDER = ("train", "validation", "test")
INSIDE = {"in_sample": "train"}
"""Windows of backtests that are part of a split of another name."""


def windows_disjoint(case: Case) -> Finding:
    """Splits of both markets and the dates that were traded: in order, an embargo apart, none in another's window."""
    wrong: list[str] = []
    markets = {market.identity: market for market in (case.evaluation, case.training)}
    for market in markets.values():
        wrong += _splits(market, case.embargo)
    place = {at: index for index, at in enumerate(case.evaluation.snapshots)}
    splits = case.evaluation.splits
    spans: dict[str, tuple[int, int]] = {}
    for result in case.everything:
        name, at = result.manifest["window"]["name"], _traded(result)
        found = [place.get(snapshot, -1) for snapshot in at]
        if min(found) < 0:
            wrong.append(f"{result.name} ({result.id}) traded on dates that its market does not have")
            continue
        low, high = spans.get(name, (found[0], found[-1]))
        spans[name] = (min(low, *found), max(high, *found))
        start, stop = splits.get(INSIDE.get(name, name), (0, -1))
        if not start <= min(found) <= max(found) < stop:
            first, last = at[0].date(), at[-1].date()
            wrong.append(f"{result.name} ({result.id}) was traded {first} to {last}, outside its {name} window")
        elif found != list(range(found[0], found[-1] + 1)) or _cut(result, case, found, name):
            wrong.append(
                f"{result.name} ({result.id}) was traded on {len(found)} sessions from {at[0].date()} to "
                f"{at[-1].date()}, expected every session of its {name} window"
            )
    for one, other in itertools.combinations(sorted(spans, key=lambda name: spans[name]), 2):
        if (apart := spans[other][0] - spans[one][1] - 1) < case.embargo:
            wrong.append(f"{one} and {other} as traded lie {apart} sessions apart, expected at least {case.embargo}")
    wrong += _said(case)
    shown = ", ".join(f"{name} {stop - start}" for name, (start, stop) in splits.items())
    return Finding(
        name="windows_disjoint",
        counted=len(case.everything),
        wrong=wrong,
        words=f"{len(case.everything)} accounts stayed in their windows (sessions: {shown}), which lie at least "
        f"{case.embargo} sessions apart.",
    )


def training_dates(case: Case) -> Finding:
    """Where the accounts of training stood when each checkpoint was written, and those of the held-out envs.

    Accounts of a run that trains in generated worlds stand on paths, no further on than an episode is long; that paths
    are made of training dates alone is a proof of the environment audit.
    """
    splits, wrong, counted = case.training.splits, [], 0
    days = case.training.snapshots.dt.date()
    for rung, folder in case.rungs.items():
        state = load_file(folder / STATE)
        for role, split in (("env", "train"), ("heldout", "validation")):
            index = state.get(f"{role}.snapshot_index_N")
            if index is None:
                continue
            counted += len(index)
            if role == "env" and case.config.worlds.generated:
                if strays := int(((index < 0) | (index % PATH_STEPS > case.config.env.horizon)).sum()):
                    wrong.append(f"{strays} of {len(index)} accounts of {rung_name(rung)} stand on no generated path")
                continue
            start, stop = splits.get(split, (0, 0))
            outside = (index >= stop) | (index < start)
            if outside.any():
                furthest = _day(days, int(index[outside].max()))
                wrong.append(
                    f"{int(outside.sum())} of {len(index)} {role} accounts of {rung_name(rung)} stand outside the "
                    f"{split} window, one on {furthest}"
                )
    start, stop = splits.get("train", (0, 0))
    return Finding(
        name="training_dates",
        counted=counted,
        wrong=wrong,
        words=f"{counted} accounts of {len(case.rungs)} checkpoints stand on {_on_dates(case, days, start, stop)}."
        if counted
        else "",
    )


def _on_dates(case: Case, days: pl.Series, start: int, stop: int) -> str:
    if case.config.worlds.generated:
        return "generated paths or, held out, on validation dates"
    return f"training dates ({days[start]} to {days[stop - 1]}) or, held out, on validation dates"


def _splits(market: MarketFiles, embargo: int) -> list[str]:
    """What is wrong with a market's windows."""
    splits, days, source = market.splits, market.snapshots.dt.date(), market.info["source"]
    wrong = []
    if market.tensors["snapshot_T"].tolist() != market.snapshots.dt.epoch("ns").to_list():
        wrong.append(f"the tensors of {source} have other snapshots than its quotes")
    if market.info["embargo"] != embargo:
        wrong.append(f"{source} was split with an embargo of {market.info['embargo']}, expected {embargo}")
    found = [(name, splits[name]) for name in ORDER if name in splits]
    for (one, (_, stop)), (other, (start, _)) in itertools.pairwise(found):
        if start - stop < embargo:
            wrong.append(f"{one} and {other} of {source} lie {start - stop} sessions apart, expected {embargo}")
    if any(not 0 <= start < stop <= len(days) for _, (start, stop) in found):
        wrong.append(f"a window of {source} lies outside its {len(days)} sessions")
        return wrong
    settings = market.info.get("settings", {})
    limits = {"train": settings.get("train_until"), "validation": settings.get("validation_until")}
    until = [date.fromisoformat(limit) for limit in limits.values() if limit]
    if len(until) == len(limits) and days[0] <= until[0] and until[1] < days[-1]:
        for name, limit in zip(limits, until, strict=True):
            if name in splits and days[splits[name][1] - 1] > limit:
                wrong.append(f"{name} of {source} ends on {days[splits[name][1] - 1]}, after {limit}")
        if "test" in splits and days[splits["test"][0]] <= until[1]:
            wrong.append(f"test of {source} begins on {days[splits['test'][0]]}, not after {until[1]}")
    return wrong


def _cut(result: Backtest, case: Case, traded: list[int], name: str) -> bool:
    """Whether an account began after its window did, or ended before without ruin or an end of the history."""
    start, stop = case.evaluation.splits[INSIDE.get(name, name)]
    if name in INSIDE:  # the end of the split, as long as the test window where there is that much
        test = case.evaluation.splits.get("test", (start, stop))
        start = max(start, stop - (test[1] - test[0]))
    if traded[0] != start:
        return True
    if traded[-1] == stop - 1:
        return False
    snapshots = case.evaluation.snapshots
    goes_on = snapshots[traded[-1] + 1] - snapshots[traded[-1]] <= HISTORY_GAP
    last = result.table("equity").sort("step").unique("episode", keep="last")
    return goes_on and not bool(last["terminated"].all())


def _said(case: Case) -> list[str]:
    """Rows of the comparison whose window or dates are not those of the books."""
    books = {result.id: result for result in case.judged}
    wrong = []
    for row in case.comparison["rows"]:
        result = books.get(row["backtest_id"])
        if result is None:
            wrong.append(f"the comparison speaks of backtest {row['backtest_id']}, which is none of the run's")
            continue
        at = _traded(result)
        said = (row["window"], row["first_date"], row["last_date"])
        true = (result.manifest["window"]["name"], str(at[0].date()), str(at[-1].date()))
        if said != true:
            wrong.append(f"the comparison calls {result.name} {said}, its books say {true}")
    return wrong


def _traded(result: Backtest) -> pl.Series:
    return result.table("equity")["snapshot"].unique().sort()


def _day(days: pl.Series, index: int) -> str:
    return str(days[index]) if 0 <= index < len(days) else f"snapshot {index} of {len(days)}"
