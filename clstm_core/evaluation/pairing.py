"""Backtests grouped by what may be compared, and their returns on the same dates."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.protocol import Backtest, require_clean
from clstm_core.evaluation.statistics import Floats, log_returns, simple_returns


class Key(NamedTuple):
    """Backtests that may be compared: the same dates, lag and fill rule."""

    window: str
    fill_lag: int
    fill_rule: str
    fill_fraction: float


class Series(NamedTuple):
    """One backtest's returns on a group's dates: mean log return of its episodes [T], excess returns [T, E]."""

    log_returns: Floats
    excess: Floats
    cash: Floats


def group(results: Sequence[Backtest]) -> dict[Key, list[Backtest]]:
    """Backtests by window, lag and fill rule.

    Raises: EvaluationError for none at all, a policy twice in one group, or one that was not traded cleanly
    """
    require_clean(results)
    if not results:
        raise EvaluationError("nothing to compare: expected backtests of checkpoints and baselines. Run them first.")
    groups: dict[Key, list[Backtest]] = {}
    for result in results:
        m = result.manifest
        key = Key(m["window"]["name"], m["fill_lag"], m["fill_rule"], m["fill_fraction"])
        members = groups.setdefault(key, [])
        if result.name in {other.name for other in members}:
            raise EvaluationError(
                f"two backtests of {result.name} on the {key.window} window with fill lag {key.fill_lag}: expected "
                "one. Compare one run at a time."
            )
        members.append(result)
    return groups


def rungs_of(members: Sequence[Backtest]) -> list[Backtest]:
    """Checkpoints playing their likeliest action, earliest first."""
    rungs = [r for r in members if r.manifest["policy"] == "checkpoint" and r.manifest["mode"] == "argmax"]
    return sorted(rungs, key=lambda r: (r.manifest["trader"]["checkpoint"].get("env_steps") or 0, r.name))


def counterpart(members: Sequence[Backtest], wanted: Backtest | None) -> Backtest | None:
    """The backtest among `members` of the policy of `wanted`, if any."""
    return next((member for member in members if wanted is not None and member.name == wanted.name), None)


def series(members: Sequence[Backtest]) -> dict[str, Series]:
    """Returns of backtests of one window on the same dates, by policy name.

    An account that ended early (ruin) keeps its last equity to the window's end, outside the market and unpaid.

    Raises: EvaluationError when the dates of two backtests disagree
    """
    loaded = {member.name: member.curves() for member in members}
    _, cash, dates = max(loaded.values(), key=lambda item: len(item[2]))
    found = {}
    for name, (curves, _, own_dates) in loaded.items():
        if not own_dates.equals(dates.head(len(own_dates))):
            raise EvaluationError(
                f"{name} was backtested on other dates than the rest of its window. Backtest all on the same market."
            )
        missing = len(dates) - len(own_dates)
        whole = np.concatenate([curves, np.repeat(curves[-1:], missing, axis=0)])
        logs = np.mean([log_returns(curve) for curve in whole.T], axis=0)
        excess = np.stack([simple_returns(curve) - cash for curve in whole.T], axis=1)
        found[name] = Series(log_returns=logs, excess=excess, cash=cash)
    return found
