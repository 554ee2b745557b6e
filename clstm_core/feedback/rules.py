"""The rules of a promotion: each a pure function that says by which figure, against which limit, it was passed or not.

A figure that was not measured passes nothing. NumPy; the bootstrap through arch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from clstm_core.evaluation.e_process import ENOUGH, Evidence, harm
from clstm_core.evaluation.regimes import TERCILES
from clstm_core.evaluation.statistics import Floats, bootstrap_counts, paired_mean
from clstm_core.feedback.promotion_plan import PromotionPlan

BPS = 1e4
MOST = 1e6  # wealth beyond it is said as this
WORST = 0.05
"""Share of sessions, the worst ones, whose mean is the expected shortfall."""

REPLICATIONS = 20_000
"""Bootstrap samples of a look: at 5% shared by 52 looks some twenty of them lie below the bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """What one rule said. figure and limit are in `unit`; None where there is no number, or it was not measured."""

    name: str
    passed: bool
    figure: float | None
    limit: float | None
    unit: str
    words: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


class Superiority(NamedTuple):
    """How a challenger's growth compares with the champion's on the same days.

    Units: mean, lower: basis points per session; level: one-sided, of `lower`; wealth: at the last day, highest until
           then: `most`
    """

    mean: float
    lower: float
    level: float
    block: float
    wealth: float
    most: float


def superiority(difference: Floats, plan: PromotionPlan, *, seed: int = 0) -> Superiority:
    """The paired stationary bootstrap's lower bound at the level of one look, and the wealth of who bet on superiority.

    Two answers, because the bootstrap sees only losses that happened: of years of fair sellers of insurance it called
    one better in up to 97% (docs/feedback.md). The bettor's wealth holds for them too, as far as a day loses less than
    his stated bound; the bootstrap's level is the year's, shared by its looks.

    Shapes:  difference [T] log growth of the challenger less the champion's
    """
    d = np.asarray(difference, dtype=np.float64)
    counts, block = bootstrap_counts(d, seed=seed, replications=REPLICATIONS)
    means = counts @ d / d.size
    evidence = harm(-d)  # who does worse is the champion, beside the challenger
    return Superiority(
        mean=BPS * float(d.mean()),
        lower=BPS * float(np.quantile(means, plan.look_level)),
        level=plan.look_level,
        block=block,
        wealth=float(evidence.wealth[-1]),
        most=float(evidence.wealth.max()),
    )


def qualified(outcome: str, standing: str, bundle_qualified: bool) -> Ruling:
    """Whether its stages and its ladder let it be more than looked at."""
    good = outcome == "challenger" and bundle_qualified
    words = f"Its stages ended with {outcome!r}; its bundle says: {standing}."
    return Ruling(name="qualified", passed=good, figure=None, limit=None, unit="", words=words)


def own_champion(against: str, champion: str) -> Ruling:
    """Whether what it was held against is what stands; identities, "" for cash."""
    names = [identity[:12] or "cash" for identity in (against, champion)]
    words = f"It was held against {names[0]}; {names[1]} stands."
    return Ruling(name="own_champion", passed=against == champion, figure=None, limit=None, unit="", words=words)


def unseen_days(first: str, known_until: Mapping[str, str | None]) -> Ruling:
    """Whether its days begin after all days that each policy was trained or chosen on (ISO dates by run)."""
    if unknown := sorted(run for run, until in known_until.items() if not until):
        words = f"Nothing says until when {' and '.join(unknown)} was trained: its days may be known to it."
        return Ruling(name="unseen_days", passed=False, figure=None, limit=None, unit="", words=words)
    late = {run: until for run, until in known_until.items() if until and until >= first}
    ends = ", ".join(f"{run} knows days until {until}" for run, until in sorted(known_until.items()))
    words = f"Its days begin on {first}; {ends}."
    return Ruling(name="unseen_days", passed=not late, figure=None, limit=None, unit="", words=words)


def enough_days(sessions: int, plan: PromotionPlan) -> Ruling:
    """Whether as many sessions were seen as the plan registered."""
    words = f"{sessions} sessions; {plan.sessions} were registered."
    good = sessions >= plan.sessions
    return Ruling(name="enough_days", passed=good, figure=sessions, limit=plan.sessions, unit="sessions", words=words)


def fresh_look(number: int, plan: PromotionPlan, decided: int | None) -> Ruling:
    """Whether this look is one that the year's level was shared for.

    Args:
        number: of the look within 365 days, this one included
        decided: number of the decision that decided on the same bundle and some of the same days before
    """
    words = f"Look {number} of {plan.looks_per_year} that the year's level of {plan.year_level:.0%} is shared by."
    if decided is not None:
        words = f"Decision {decided} decided on it and some of these days already: more days have to come first."
    good = decided is None and number <= plan.looks_per_year
    return Ruling(name="fresh_look", passed=good, figure=number, limit=plan.looks_per_year, unit="looks", words=words)


def not_rolled_back(decision: int | None, reason: str) -> Ruling:
    """Whether a person once took it out of the champion's place."""
    words = "It was never rolled back." if decision is None else f"Decision {decision} rolled it back: {reason}"
    return Ruling(name="not_rolled_back", passed=decision is None, figure=None, limit=None, unit="", words=words)


def not_luck(p: Any, plan: PromotionPlan) -> Ruling:
    """Whether luck seldom does as well in fair worlds."""
    figure = _measured(p, least=0.0, most=1.0)
    words = "Its place among fair worlds was not measured."
    if figure is not None:
        words = f"Luck does as well in {figure:.1%} of fair worlds; at most {plan.luck_level:.1%} is asked."
    good = figure is not None and figure <= plan.luck_level
    return Ruling(name="not_luck", passed=good, figure=figure, limit=plan.luck_level, unit="probability", words=words)


def superior(found: Superiority, sessions: int) -> Ruling:
    """Whether the lower bound at the look's level is above zero."""
    words = (
        f"{found.mean:+.2f} bp per session over {sessions} sessions, lower bound {found.lower:+.2f} bp at "
        f"{found.level:.2%} one-sided; above 0 is asked."
    )
    return Ruling(
        name="superior", passed=found.lower > 0.0, figure=found.lower, limit=0.0, unit="bp per session", words=words
    )


def evidence(found: Superiority) -> Ruling:
    """Whether who bet on it, day by day and without knowing what came, came to enough at some day."""
    last, most = (f"{min(wealth, MOST):,.2f}" for wealth in (found.wealth, found.most))
    words = f"Wealth {last} at the last session, {most} at its highest; {ENOUGH:.0f} is enough."
    return Ruling(
        name="evidence", passed=found.most >= ENOUGH, figure=found.most, limit=ENOUGH, unit="wealth", words=words
    )


def drawdown(challenger: Floats, champion: Floats | None, plan: PromotionPlan) -> Ruling:
    """Whether it falls little farther than the champion did, or no farther than is never refused.

    Shapes: log growth per session [T]; None where no champion stands
    """
    mine, theirs = _fall(challenger), _fall(champion) if champion is not None else None
    limit = plan.first_drawdown if theirs is None else max(theirs + plan.drawdown_margin, plan.drawdown_floor)
    return _within("drawdown", "Largest fall", mine, theirs, limit)


def tails(challenger: Floats, champion: Floats | None, plan: PromotionPlan) -> Ruling:
    """Whether its worst sessions cost little more than the champion's, or a first one's no more than is allowed."""
    mine, theirs = shortfall(challenger), shortfall(champion) if champion is not None else None
    limit = plan.first_shortfall if theirs is None else max(theirs + plan.shortfall_margin, plan.shortfall_floor)
    return _within("tails", f"Mean loss of the worst {WORST:.0%} of sessions", mine, theirs, limit)


def regimes(challenger: Floats, champion: Floats, regime: Sequence[str]) -> Ruling:
    """Whether in no tercile the paired interval at 95% lies below zero; a tercile of few sessions says nothing.

    Shapes: log growth per session [T], regime [T] of `TERCILES`
    """
    names, said, worst = np.asarray(regime), [], None
    bad = []
    for name in TERCILES:
        at = names == name
        if not at.any():
            said.append(f"{name}: no session")
            continue
        found = paired_mean(challenger[at], champion[at], scale=BPS)
        interval = "too few to tell" if found.too_short else f"{found.low:+.2f} to {found.high:+.2f}"
        said.append(f"{name}: {found.estimate:+.2f} bp per session in {found.n_returns} ({interval})")
        if found.high is not None:
            worst = found.high if worst is None else min(worst, found.high)
        if found.sign == -1:
            bad.append(name)
    words = f"{'; '.join(said)}. {'Worse in ' + ', '.join(bad) if bad else 'In none is it told to be worse'}."
    return Ruling(name="regimes", passed=not bad, figure=worst, limit=0.0, unit="bp per session", words=words)


def parity(passed: Any) -> Ruling:
    """Whether every runtime decides alike."""
    words = "Every runtime decides alike." if passed is True else "Not every runtime was found to decide alike."
    return Ruling(name="parity", passed=passed is True, figure=None, limit=None, unit="", words=words)


def latency(p50_us: Any, plan: PromotionPlan) -> Ruling:
    """Whether a decision is quick."""
    figure = _measured(p50_us, least=math.ulp(0.0))  # nothing takes no time
    words = "Its latency was not measured."
    if figure is not None:
        words = f"Half of all decisions take at most {figure:.0f} us; {plan.latency_us:.0f} us is the limit."
    good = figure is not None and figure <= plan.latency_us
    return Ruling(name="latency", passed=good, figure=figure, limit=plan.latency_us, unit="us", words=words)


def regression(stages: Sequence[Mapping[str, Any]]) -> Ruling:
    """Whether the regression stage was gone through and passed."""
    found = [stage for stage in stages if isinstance(stage, Mapping) and stage.get("name") == "regression"]
    good = bool(found) and all(stage.get("passed") is True for stage in found)
    words = " ".join(str(stage.get("words") or "") for stage in found) or "No regression stage was gone through."
    return Ruling(name="regression", passed=good, figure=None, limit=None, unit="", words=words)


def shadow_harm(seen: Evidence | None, sessions: int, left_out: Sequence[str] = ()) -> Ruling:
    """Whether evidence of harm beside the champion was never enough; asked wherever both have shadow accounts.

    Args:
        left_out: of damaged accounts of other policies, each a sentence
    """
    most = None if seen is None else float(seen.wealth.max())
    words = "Not both have shadow accounts on common sessions: not asked."
    if seen is not None:
        words = f"Evidence of harm came to {most:,.2f} at most in {sessions} sessions; {ENOUGH:.0f} would refuse it."
    words = " ".join([words, *left_out])
    good = seen is None or seen.reached is None
    return Ruling(name="shadow_harm", passed=good, figure=most, limit=ENOUGH, unit="wealth", words=words)


def shadow_no_worse(seen: Evidence | None, sessions: int, plan: PromotionPlan) -> Ruling:
    """Whether, over the registered sessions, it was found to be no worse by more than the margin; where it is asked."""
    most = None if seen is None else float(seen.wealth.max())
    asked = f"{ENOUGH:.0f} over at least {plan.shadow_sessions} sessions is asked"
    words = f"No shadow accounts of both on common sessions; {asked}."
    if seen is not None:
        words = (
            f"Evidence that it is no worse by more than {plan.shadow_margin_bps:g} bp per session came to {most:,.2f} "
            f"in {sessions} sessions; {asked}."
        )
    good = seen is not None and seen.reached is not None and sessions >= plan.shadow_sessions
    if not plan.shadow:
        good, words = True, "The plan does not ask for it."
    return Ruling(name="shadow_no_worse", passed=good, figure=most, limit=ENOUGH, unit="wealth", words=words)


def shortfall(growth: Floats) -> float:
    """Mean loss of the worst sessions, a positive share of equity."""
    worst = np.sort(growth)[: max(1, round(WORST * growth.size))]
    return -float(np.expm1(worst).mean())


def _fall(growth: Floats) -> float:
    """Largest fall, a share of equity; of logarithms, which no gain is too large for."""
    level = np.concatenate([[0.0], np.cumsum(growth)])
    return -float(np.expm1((level - np.maximum.accumulate(level)).min()))


def _within(name: str, what: str, mine: float, theirs: float | None, limit: float) -> Ruling:
    beside = "no champion stands" if theirs is None else f"the champion's {theirs:.2%}"
    words = f"{what} {mine:.2%}, {beside}; at most {limit:.2%} is allowed."
    return Ruling(name=name, passed=mine <= limit, figure=mine, limit=limit, unit="of equity", words=words)


def _measured(value: Any, *, least: float, most: float = math.inf) -> float | None:
    """A finite number that can be what was measured; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
