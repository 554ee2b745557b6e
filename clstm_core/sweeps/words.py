"""What may be said of a sweep: the best of many looks better than it is, and the words say so."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from clstm_core.artifacts.manifests import TrialManifest
from clstm_core.plural import counted
from clstm_core.sweeps.plan import SweepPlan

UNIT = "growth beyond cash per unit of risk"


def answer(
    plan: SweepPlan,
    trials: Sequence[TrialManifest],
    best: TrialManifest | None,
    confirmed: Sequence[Mapping[str, Any]],
) -> str:
    """The answer first: which settings, by how much, and whether seeds that chose nothing agree."""
    if best is None or trials[0].score is None:
        return "No trial came to its end: nothing is chosen."
    if best.trial == 0:
        return f"The recipe as it is ({trials[0].score:+.4f} {UNIT}) is the best of {counted(len(trials), 'trial')}."
    said = ", ".join(
        f"{name} {plain(value)}" for name, value in best.settings.items() if value != trials[0].settings[name]
    )
    lead = (
        f"Trial {best.trial} of {len(trials)} ({said}) scored {best.score:+.4f} {UNIT}, the recipe "
        f"{trials[0].score:+.4f}. The best of many looks better than it is"
    )
    return f"{lead}. {confirmation(plan, best.trial, confirmed)}"


def confirmation(plan: SweepPlan, best: int | None, confirmed: Sequence[Mapping[str, Any]]) -> str:
    """What seeds that chose nothing say of the best settings against the recipe, those that broke down included."""
    broken = broke_down(plan, best, confirmed)
    if not confirmed and not broken:
        return "The best was not trained again with other seeds."
    words = f"With {counted(broken, 'seed')} that chose nothing a training broke down: that confirms nothing."
    said = ([_difference_words(confirmed)] if confirmed else []) + ([words] if broken else [])
    return " ".join(said)


def broke_down(plan: SweepPlan, best: int | None, confirmed: Sequence[Mapping[str, Any]]) -> int:
    """Seeds that were to confirm and have no score, since a training with them broke down."""
    return max(0, plan.confirm - len(confirmed)) if best else 0


def _difference_words(confirmed: Sequence[Mapping[str, Any]]) -> str:
    middle, ends = difference(confirmed)
    n = len(confirmed)
    seeds = f"{counted(n, 'seed')} that chose nothing"
    if ends is None:
        return f"With {seeds} the difference is {middle:+.4f}: too few to tell it from chance."
    told = "it is better" if ends[0] > 0 else "it is worse" if ends[1] < 0 else "it is not told from the recipe"
    return f"With {seeds} the difference is {middle:+.4f} ({ends[0]:+.4f} to {ends[1]:+.4f}): {told}."


def is_better(plan: SweepPlan, best: int | None, confirmed: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the interval of the difference lies above zero, and no training broke down: those left are the lucky."""
    if not confirmed or broke_down(plan, best, confirmed):
        return False
    _, ends = difference(confirmed)
    return ends is not None and ends[0] > 0


def difference(confirmed: Sequence[Mapping[str, Any]]) -> tuple[float, tuple[float, float] | None]:
    """Mean of the seeds' differences and its 95% interval by Student's t; no interval of one seed."""
    from scipy.stats import t

    found = [row["best"] - row["recipe"] for row in confirmed]
    middle, n = mean(found), len(found)
    if n < 2:
        return middle, None
    half = float(t.ppf(0.975, n - 1)) * stdev(found) / n**0.5
    return middle, (middle - half, middle + half)


def plain(value: Any) -> str:
    """A setting's value as a person writes it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
