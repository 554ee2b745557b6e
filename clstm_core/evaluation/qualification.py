"""Which rung of a ladder that was trained in generated worlds may be believed, and whether any may.

A rung qualifies where it earns something beyond chance in worlds that training never met, and loses nothing beyond
chance on validation dates. Among those the champion has the best growth per unit of risk, the mean of both. The test
window takes no part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clstm_core.evaluation.generalisation import ARGMAX, FRESH_WORLDS, VALIDATION_DATES, Row, growth

BEST = "the best growth per unit of risk on fresh worlds and validation dates of those that qualify"
NONE = "no rung qualifies: keep the champion there was, or cash"


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Whether one rung qualifies, in words, and how well it does.

    Units: score: mean over standard deviation of a session's log growth beyond cash
    """

    milestone: str
    qualifies: bool
    score: float
    words: str


def standings(rows: Sequence[Row]) -> list[Standing]:
    """Every rung's standing, the earliest first."""
    ladder = dict.fromkeys(row["milestone"] for row in rows)
    return [_standing(milestone, rows) for milestone in sorted(ladder)]


def champion_milestone(rows: Sequence[Row], among: Sequence[str]) -> str | None:
    """The champion's milestone among some rungs; None where none qualifies. Of two that are equal, the later one."""
    found = [standing for standing in standings(rows) if standing.qualifies and standing.milestone in among]
    return max(reversed(found), key=lambda standing: standing.score).milestone if found else None


def _standing(milestone: str, rows: Sequence[Row]) -> Standing:
    mine = {row["kind"]: row for row in rows if row["milestone"] == milestone and row["mode"] == ARGMAX}
    fresh, dates = mine.get(FRESH_WORLDS), mine.get(VALIDATION_DATES)
    if fresh is None:
        return Standing(milestone=milestone, qualifies=False, score=0.0, words="was not walked through fresh worlds")
    earns = growth(fresh)
    if earns.sign != 1:
        said = "is not told from" if earns.sign == 0 else "is below"
        why = f"growth on fresh worlds {said} cash's: {earns}"
        return Standing(milestone=milestone, qualifies=False, score=_score(fresh, dates), words=why)
    if not math.isfinite(_score(fresh, dates)) or not math.isfinite((dates or fresh)["growth_bps"]):
        why = "what it earns is no number"
        return Standing(milestone=milestone, qualifies=False, score=0.0, words=why)
    if dates is not None and growth(dates).sign == -1:
        why = f"loses on validation dates: {growth(dates)}"
        return Standing(milestone=milestone, qualifies=False, score=_score(fresh, dates), words=why)
    words = f"earns {earns} on fresh worlds" + (f", {growth(dates)} on validation dates" if dates else "")
    return Standing(milestone=milestone, qualifies=True, score=_score(fresh, dates), words=words)


def _score(fresh: Row, dates: Row | None) -> float:
    found = [float(row["per_risk"]) for row in (fresh, dates) if row is not None]
    return sum(found) / len(found)
