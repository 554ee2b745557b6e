"""What a reader is shown first: the headline's backtests, the policy that is judged, and how it differs from baselines.

The headline is the test window at the later fill; the champion is chosen on other dates, or in worlds made of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.figures import MEAN_METRIC
from clstm_core.evaluation.pairing import Key, counterpart, group, rungs_of
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.qualification import BEST, NONE, champion_milestone
from clstm_core.evaluation.statistics import MIN_OBSERVATIONS

WINDOWS = ("test", "validation", "in_sample")
"""From the one that counts to the one that counts least."""


def window_rank(window: str) -> int:
    """Place of a window among `WINDOWS`; others come last."""
    return WINDOWS.index(window) if window in WINDOWS else len(WINDOWS)


def headline_of(groups: Mapping[Key, Sequence[Backtest]]) -> Key:
    """The test window with the later fill, at touch rather than inside the spread.

    Without a test window it is the next of `WINDOWS`, so that a report has something to show.

    Assumes: at least one group
    """
    return max(
        groups, key=lambda key: (-window_rank(key.window), key.fill_lag, key.fill_rule == "touch", len(groups[key]))
    )


class Choice(NamedTuple):
    """The rung that is judged, and why; `qualified` is False where none qualifies: it is then no champion."""

    judged: Backtest | None
    reason: str
    qualified: bool = True


def champion_of(
    groups: Mapping[Key, Sequence[Backtest]], headline: Key, measured: Sequence[Mapping[str, Any]] | None = None
) -> Choice:
    """The champion's backtest in the headline, and why it is the champion.

    Of a run that trains in generated worlds it is chosen by what the rungs earn in others (`qualification`); where none
    qualifies, the last rung is judged and is no champion. Else it is the rung (likeliest action) with the best ratio
    of mean to deviation (a Sharpe ratio, not annualised) on the validation window, cash's being 0; the last rung where
    there is no validation window long enough. The headline's own dates take no part in the choice.

    Args:
        measured: what each rung earns in each kind of market, of a run that trains in generated worlds: without rows
            of fresh ones no rung qualifies; None of a run that trains on dates
    """
    tested = rungs_of(groups[headline])
    if not tested:
        return Choice(None, "no checkpoint was backtested")
    if measured is not None:
        chosen = champion_milestone(measured, [rung.manifest["milestone"] for rung in tested])
        if chosen is None:
            return Choice(tested[-1], NONE, qualified=False)
        return Choice(next(rung for rung in tested if rung.manifest["milestone"] == chosen), BEST)
    validation = groups.get(headline._replace(window="validation"), [])
    validated = [rung for rung in rungs_of(validation) if counterpart(tested, rung)]
    last = tested[-1]
    if not validated:
        return Choice(last, "the last rung, for want of a validation window")
    # the window's length is that of the longest account: a rung that was ruined in it ends early
    if max(rung.manifest["summary"]["n_returns"] for rung in validated) < MIN_OBSERVATIONS:
        return Choice(last, "the last rung, the validation window being too short to choose on")
    # cash has no such ratio; a rung that never traded stands at cash's 0
    best = max(reversed(validated), key=lambda rung: rung.manifest["summary"]["ratio"] or 0.0)
    return Choice(counterpart(tested, best), "the best Sharpe ratio on the validation window")


def champion_among(results: Sequence[Backtest], measured: Sequence[Mapping[str, Any]] | None = None) -> Backtest:
    """The champion of a ladder's backtests, or the rung that is judged in its place; baselines would change nothing.

    Args:
        measured: as `champion_of` takes it

    Raises: EvaluationError when no checkpoint is among them
    """
    groups = group(results)
    choice = champion_of(groups, headline_of(groups), measured)
    if choice.judged is None:
        raise EvaluationError(f"no champion: {choice.reason}. Materialize policy_backtests for this run first.")
    return choice.judged


def judged_of(members: Sequence[Backtest], champion: Mapping[str, Any] | None) -> Backtest | None:
    """The backtest that a comparison's champion stands for among the headline's; None where there is no champion.

    Raises: EvaluationError when the champion's backtest is not among them: they are not what was compared
    """
    if champion is None:
        return None
    found = next((member for member in members if member.id == champion["backtest_id"]), None)
    if found is None:
        raise EvaluationError(
            f"the comparison judges {champion['name']} by backtest {champion['backtest_id']}: found none such among "
            f"{len(members)} of the headline, expected the backtests that were compared. Compare the checkpoints again."
        )
    return found


def judged_pairs(pairs: Iterable[Mapping[str, Any]], champion: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The champion's mean difference from each baseline in the headline: what the verdict claims and a check asks."""
    name = champion["name"] if champion else None
    return [
        dict(pair)
        for pair in pairs
        if pair["policy_name"] == name and pair["headline"] and pair["baseline"] and pair["metric"] == MEAN_METRIC
    ]
