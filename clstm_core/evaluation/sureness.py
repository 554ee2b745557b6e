"""How sure a comparison is, in words: the judged policy's record, the ladder's choice, and all policies at once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from clstm_core.evaluation.overfit import BY_LOT, LEVEL, MIN_SESSIONS, Overfit, overfit_probability
from clstm_core.evaluation.pairing import Series, rungs_of, series
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import CONFIDENCE, MIN_OBSERVATIONS, PERIODS_PER_YEAR
from clstm_core.evaluation.superiority import SAMPLES, ConfidenceSet, Superior, alike, confidence_set, superior
from clstm_core.evaluation.track_record import UNTOLD, TrackRecord, track_record
from clstm_core.evaluation.words import plain
from clstm_core.plural import counted

DEFINITIONS = {
    "PSR": (
        "Probabilistic Sharpe ratio: how likely the true ratio is above zero, given the length of the record, its "
        "skewness and its fat tails. Sessions count as independent. Bailey and Lopez de Prado 2012."
    ),
    "DSR": (
        "Deflated Sharpe ratio: how likely the true ratio is above the largest that N policies without skill would "
        "have shown. Bailey and Lopez de Prado 2014."
    ),
    "N": "Trials: policies (checkpoint x mode x seed x configuration x code) that ever looked at these dates.",
    "MinTRL (2012)": (
        "Minimum track record length: sessions that it takes to tell such a ratio from zero at 95%, one-sided. Bailey "
        "and Lopez de Prado 2012, equation 13."
    ),
    "PBO": (
        "Probability of backtest overfitting: of all ways to choose the ladder's best rung on half of 16 blocks of "
        "these dates, the share in which it is below the middle of the ladder on the other half. 50% is a choice by "
        "lot, as it is where all rungs are equally good. Bailey, Borwein, Lopez de Prado and Zhu 2017 (CSCV)."
    ),
}
"""What each figure is, in words; docs/metrics.md has the same."""

SPA = (
    "SPA p: how likely the best of the ladder would look as good against this benchmark where no rung is better. "
    "Hansen 2005, the consistent p-value."
)
STEPM = (
    "StepM: rungs that are ahead of it, with a chance of 5% per benchmark that any is called so that is not. Romano "
    "and Wolf 2005. Both see one history, with only the losses that happened: what is more than luck, fair worlds say."
)
MCS = (
    "Model confidence set: with a chance of 95% the best policy is in it; p is the largest level at which a policy "
    "stays. Hansen, Lunde and Nason 2011."
)


TOO_LITTLE = f"fewer than {MIN_OBSERVATIONS} returns, or none that vary"
"""Why a policy has no track record."""

CENTURY = 100
"""Years beyond which a length of record is not told in sessions: such a ratio is zero to all intents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What is known of how sure a comparison is, on the headline's dates.

    policy:         the judged policy; record: its track record, None where there is too little for one
    counted:        where the number of trials comes from
    overfit:        PBO over the ladder; overfit_why: why there is none
    superior:       the ladder against each baseline; confidence_set: ladder and baselines against each other;
                    what they come to (..._answer) and what they are (..._words)
    figures:        one row per figure: figure, value, kind, asked, how
    answers:        in words: the ladder's choice, and the judged policy's record
    """

    policy: str = ""
    sessions: int = 0
    seed: int = 0
    replications: int = SAMPLES
    counted: str = ""
    record: TrackRecord | None = None
    overfit: Overfit | None = None
    overfit_why: str = ""
    superior: list[Superior] = field(default_factory=list)
    superior_answer: str = ""
    superior_words: str = ""
    confidence_set: ConfidenceSet = field(default_factory=ConfidenceSet)
    confidence_answer: str = ""
    confidence_words: str = ""
    figures: list[dict[str, Any]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    @property
    def choice_holds(self) -> bool:
        """Whether choosing the ladder's best rung is better than a choice by lot, at `LEVEL`; False where unknown."""
        return self.overfit is not None and self.overfit.probability <= LEVEL

    @property
    def choice_words(self) -> str:
        """The same as a sentence."""
        return self.answers[0] if self.answers else ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def statistics_of(
    members: Sequence[Backtest],
    judged: Backtest | None,
    trials: int,
    counted: str = "",
    *,
    seed: int = 0,
    replications: int = SAMPLES,
) -> Statistics:
    """How sure may one be of what backtests on the same dates say.

    Args:
        judged: the policy that a verdict speaks of; None where no checkpoint was backtested
        trials, counted: how many policies looked at these dates, and where that number comes from
    """
    found = series(members)
    ladder = [rung.name for rung in rungs_of(members)]
    others = [member.name for member in members if member.manifest["policy"] != "checkpoint"]
    record = track_record(judged, members, trials) if judged is not None else None
    overfit, why = _overfit(ladder, found)
    logs = {name: found[name].log_returns for name in (*ladder, *others)}
    options = {"seed": seed, "replications": replications}
    against = [superior(name, logs[name], {rung: logs[rung] for rung in ladder}, **options) for name in others]
    best = confidence_set(logs, **options)
    drawn = f"Stationary bootstrap of dates, {replications:,} samples, seed {seed}."
    name = judged.name if judged is not None else ""
    return Statistics(
        policy=name,
        sessions=len(next(iter(found.values())).cash),
        seed=seed,
        replications=replications,
        counted=counted,
        record=record,
        overfit=overfit,
        overfit_why=why,
        superior=against,
        superior_answer=_better(against, len(ladder)),
        superior_words=f"{SPA} {STEPM} {drawn}",
        confidence_set=best,
        confidence_answer=_best(best, name),
        confidence_words=f"{MCS} {drawn}",
        figures=_figures(record, overfit, trials),
        answers=[_choice(overfit, why), *([] if judged is None else _record(record))],
    )


def _overfit(ladder: Sequence[str], found: dict[str, Series]) -> tuple[Overfit | None, str]:
    """PBO over rungs that did different things, or why there is none."""
    excess = {name: found[name].excess.mean(axis=1) for name in ladder}
    different = [excess[names[0]] for names in alike(excess)]
    if len(different) < 2:
        return None, "no two rungs of the ladder did different things"
    if (n := different[0].size) < MIN_SESSIONS:
        return None, f"{counted(n, 'return is', 'returns are')} too few, {MIN_SESSIONS} are asked"
    return overfit_probability(np.stack(different, axis=1)), ""


def _figures(record: TrackRecord | None, overfit: Overfit | None, trials: int) -> list[dict[str, Any]]:
    """The table of the statistics, in the order of `DEFINITIONS`."""
    known = {
        "PSR": (record.psr if record else None, "percent", f"{CONFIDENCE:.0%} or more"),
        "DSR": (record.dsr if record else None, "percent", f"{CONFIDENCE:.0%} or more"),
        "N": (trials, "count", ""),
        "MinTRL (2012)": (
            record.min_sessions if record else None,
            "count",
            f"{record.sessions:,} or fewer" if record else "",
        ),
        "PBO": (overfit.probability if overfit else None, "percent", f"{LEVEL:.0%} or less"),
    }
    return [
        {"figure": name, "value": known[name][0], "kind": known[name][1], "asked": known[name][2], "how": how}
        for name, how in DEFINITIONS.items()
    ]


def _choice(overfit: Overfit | None, why: str) -> str:
    if overfit is None:
        return f"Whether the ladder's best rung is chosen better than by lot is not known: {why}."
    said = "no better than by lot"
    if overfit.probability < BY_LOT:
        said = "better than by lot, but not surely" if overfit.probability > LEVEL else "better than by lot"
    return (
        f"The ladder's best rung is chosen {said}: PBO {overfit.probability:.0%} of {overfit.halves:,} halves of these "
        f"dates ({LEVEL:.0%} or less is asked, {BY_LOT:.0%} is a choice by lot)."
    )


def _record(record: TrackRecord | None) -> list[str]:
    if record is None:
        return [f"No probability of its Sharpe ratio: {TOO_LITTLE}."]
    above = f"With a probability of {record.psr:.0%} the judged policy's Sharpe ratio is above zero"
    if record.dsr is None:
        deflated = (
            f"{above} ({CONFIDENCE:.0%} is asked). What is left of that after {record.trials} trials is not known: "
            f"{UNTOLD}."
        )
    else:
        deflated = (
            f"{above}, and with one of {record.dsr:.0%} above the largest that {record.trials} policies without skill "
            f"would have shown ({CONFIDENCE:.0%} is asked)."
        )
    if record.min_sessions is None:
        return [
            deflated,
            "Its ratio is not above zero: no longer record of the same kind would show that it is.",
        ]
    years = record.min_sessions / PERIODS_PER_YEAR
    takes = f"{record.min_sessions:,.0f} sessions ({years:.1f} years)" if years <= CENTURY else "more than a century"
    return [f"{deflated} To tell such a ratio from zero takes {takes}; there are {record.sessions:,} sessions."]


def _better(against: Sequence[Superior], rungs: int) -> str:
    asked = [row for row in against if row.p is not None]
    if not asked:
        return "Whether the ladder is ahead of a benchmark, all rungs taken together, could be asked of none."
    ahead = [plain(row.against) for row in asked if row.better]
    rest = len(asked) - len(ahead)
    if not ahead:
        return f"All {rungs} rungs taken together, none is ahead of any of {rest} benchmarks (StepM)."
    others = f", and none of {rest} other benchmarks" if rest else ""
    return f"All {rungs} rungs taken together, one or more are ahead of {', '.join(ahead)}{others} (StepM)."


def _best(best: ConfidenceSet, name: str) -> str:
    if not best.rows:
        return f"Which policies may be the best is not known: {best.why}."
    kept = [row["name"] for row in best.rows if row["included"]]
    mine = f", the judged one {'among them' if name in kept else 'not'}" if name else ""
    return f"{len(kept)} of {len(best.rows)} policies may be the best (model confidence set, {CONFIDENCE:.0%}){mine}."
