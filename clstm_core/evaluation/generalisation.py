"""What a policy earns where it was trained and where it was not: the gap between the two, with its interval.

As Procgen's authors measure it: the same policy in the levels that it was trained on, and in others of the same kind.
A gap that chance does not explain is what was memorised.

Source: Cobbe et al. 2020, arXiv:1912.01588, section 3
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

from clstm_core.evaluation.statistics import CONFIDENCE
from clstm_core.evaluation.words import rung_name

TRAINING_WORLDS, TRAINING_DATES, FRESH_WORLDS = "training_worlds", "training_dates", "fresh_worlds"
VALIDATION_WORLDS, VALIDATION_DATES = "validation_worlds", "validation_dates"

KINDS: dict[str, str] = {
    TRAINING_WORLDS: "the worlds of training",
    TRAINING_DATES: "training dates",
    FRESH_WORLDS: "fresh worlds of the same families",
    "historical": "worlds of training days one by one",
    "blocks": "worlds of months of training days",
    "heston": "worlds of a square-root variance",
    "bates": "worlds with jumps",
    VALIDATION_WORLDS: "worlds of validation days",
    VALIDATION_DATES: "validation dates",
}
"""Each kind of market in words, in the order that it is shown."""

ARGMAX = "argmax"

Row = Mapping[str, Any]
GAP = ("gap_bps", "gap_error_bps", "gap_low_bps", "gap_high_bps")


class Estimate(NamedTuple):
    """A mean with its standard error and its 95% interval; error and ends None where nothing can be told.

    Units: basis points of log growth beyond cash per session
    """

    mean: float
    error: float | None
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """+1 or -1 where the interval leaves out zero on that side, else 0: not distinguishable."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def __str__(self) -> str:
        """For example `+1.20 bp (-0.31 to +2.71)`."""
        if self.low is None or self.high is None:
            why = "too few episodes for an interval" if math.isfinite(self.mean) else "no number"
            return f"{self.mean:+.2f} bp ({why})"
        return f"{self.mean:+.2f} bp ({self.low:+.2f} to {self.high:+.2f})"


def words_of(kind: str, home: str) -> str:
    """A kind of market in words, of a run that was trained in `home`."""
    if kind == FRESH_WORLDS and home == TRAINING_DATES:
        return "worlds made of training days"
    return KINDS.get(kind, kind)


def growth(row: Row) -> Estimate:
    """The growth of one row with its interval by Student's distribution: its episodes may be worth but a few."""
    return _estimate(row["growth_bps"], row["error_bps"], row["draws"] - 1.0)


def gap(home: Row, away: Row) -> Estimate:
    """Growth at home less growth away, of independent episodes; degrees of freedom by Welch.

        error^2 = e_1^2 + e_2^2,   df = error^4 / (e_1^4 / (m_1 - 1) + e_2^4 / (m_2 - 1))

    Source: Welch 1947, "The generalization of 'Student's' problem"
    """
    mean = home["growth_bps"] - away["growth_bps"]
    parts = [(row["error_bps"], row["draws"] - 1.0) for row in (home, away)]
    if not all(_tells(error, freedom) for error, freedom in parts):
        return _estimate(mean, None, 0.0)
    square = sum(error**2 for error, _ in parts)
    spent = sum(error**4 / freedom for error, freedom in parts)
    return _estimate(mean, math.sqrt(square), square**2 / spent if spent > 0 else 1.0)


def _tells(error: float | None, freedom: float) -> bool:
    """Whether an error is known, of more than one independent episode."""
    return error is not None and math.isfinite(error) and freedom > 0


def _estimate(mean: float, error: float | None, freedom: float) -> Estimate:
    if error is None or not _tells(error, freedom) or not math.isfinite(mean):
        return Estimate(mean, None, None, None)
    from scipy.stats import t

    reach = float(t.ppf(0.5 + CONFIDENCE / 2.0, freedom)) * error
    return Estimate(mean, error, mean - reach, mean + reach)


def home_of(rows: Iterable[Row]) -> str:
    """The kind of market that a run was trained in: its worlds, or else its dates."""
    return TRAINING_WORLDS if any(row["kind"] == TRAINING_WORLDS for row in rows) else TRAINING_DATES


def with_gaps(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with their gap: what the same rung earned in the same mode where it was trained, less this."""
    home = home_of(rows)
    trained = {(row["milestone"], row["mode"]): row for row in rows if row["kind"] == home}
    told = []
    for row in rows:
        at_home = trained.get((row["milestone"], row["mode"]))
        known = at_home is not None and row["kind"] != home
        found = tuple(gap(at_home, row)) if known and at_home is not None else (None,) * len(GAP)
        told.append({**row, **dict(zip(GAP, found, strict=True))})
    return told


class Generalises(NamedTuple):
    """Whether the last rung earns elsewhere what it earns where it was trained, and what to say of it."""

    passed: bool
    words: str
    gap: Estimate | None


def generalises(rows: Sequence[Row]) -> Generalises:
    """Whether the last rung's gap to fresh worlds is told apart from zero: the likeliest action, at 95%."""
    last = last_rung(rows)
    where = home_of(rows)
    home, fresh = last.get(where), last.get(FRESH_WORLDS)
    if home is None or fresh is None:
        return Generalises(False, "Not measured: this market is too short to make worlds of its training days.", None)
    found = gap(home, fresh)
    if found.low is None:
        return Generalises(False, f"Not told, a gap of {found}.", found)
    answer = {
        1: "It earns more where it was trained: memorised",
        0: "Nothing memorised that is told from chance",
        -1: "It earns less where it was trained than elsewhere",
    }[found.sign]
    others = "; ".join(
        f"{words_of(kind, where)} {growth(row)}, gap {gap(home, row).mean:+.2f}"
        for kind, row in last.items()
        if row not in (home, fresh)
    )
    words = (
        f"{answer}: {rung_name(home['milestone'])} grows {home['growth_bps']:+.2f} bp per session beyond cash in "
        f"{words_of(where, where)} and {fresh['growth_bps']:+.2f} in {words_of(FRESH_WORLDS, where)}, a gap of {found}."
    )
    return Generalises(found.sign == 0, f"{words} Beside it: {others}." if others else words, found)


def share_of_rule(rows: Sequence[Row], rules: Sequence[Row], milestone: str | None = None) -> str:
    """In words, how much of the best fixed rule's growth per unit of risk a rung earns on fresh worlds.

    Args:
        rows: of the gap
        rules: the best fixed rules, the best first
        milestone: the rung; the last one when left out
    """
    mine = [row for row in rows if (row["kind"], row["mode"]) == (FRESH_WORLDS, ARGMAX)]
    wanted = milestone or max((row["milestone"] for row in mine), default=None)
    found = next((row for row in mine if row["milestone"] == wanted), None)
    if found is None or not rules:
        return ""
    best = rules[0]
    beside = (
        f"The best of the fixed rules that were tried there, {best['rule']}, grows {best['growth_bps']:+.2f} bp per "
        f"session, {best['per_risk']:.3f} per unit of risk"
    )
    share = ratio(found, best)
    return f"{beside}; {rung_name(wanted)} earns {found['per_risk']:.3f}" + (f", {share}." if share else ".")


def ratio(mine: Row, best: Row) -> str:
    """Growth per unit of risk as a share of another's, with a 95% interval by the delta method; empty where none is.

    Assumes: the deviations are known so well that the means' errors are all that counts
    """
    if not (mine["error_bps"] and best["error_bps"] and best["per_risk"] > 0 and mine["deviation_bps"] > 0):
        return ""
    share = mine["per_risk"] / best["per_risk"]
    own, other = mine["error_bps"] / mine["deviation_bps"], best["error_bps"] / best["deviation_bps"]
    error = math.hypot(own, share * other) / best["per_risk"]
    reach = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2.0) * error
    return f"{share:.0%} of it ({share - reach:.0%} to {share + reach:.0%})"


def last_rung(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows of the last rung's likeliest actions, by kind."""
    likeliest = [row for row in rows if row["mode"] == ARGMAX]
    last = max((row["milestone"] for row in likeliest), default="")
    return {row["kind"]: row for row in likeliest if row["milestone"] == last}
