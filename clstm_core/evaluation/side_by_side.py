"""Two runs side by side: what they were made from, what came of each, and whether the two can be told apart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clstm_core.artifacts.places import Places
from clstm_core.errors import ConfigError
from clstm_core.evaluation import words
from clstm_core.evaluation.judged_run import JudgedRun, daily_excess, read_judged
from clstm_core.evaluation.pair_sections import Section, fill_words, sections_of, window_words
from clstm_core.evaluation.statistics import Interval, paired_mean
from clstm_core.evaluation.trial_ledger import market_of

BPS = 1e4
FEWEST = 2
"""Common sessions below which there is no difference to speak of."""

_LEARNING = ("horizon", "reward", "risk_aversion", "reward_scale", "risk_penalty", "expected_reward")
"""Settings of the account that say how it is learned in, and not what it pays or may hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SideBySide:
    """Two runs as a terminal or a page shows them.

    warnings: what makes the two less comparable than they look
    labels:   what the quotes of either are
    paired:   mean difference of daily growth beyond cash, a less b, in basis points per session; None where they were
              not judged on the same dates of one market; answer: that in words
    curves:   growth of 1 in either account by date
    """

    names: tuple[str, str]
    labels: tuple[str, str]
    answer: str
    paired: Interval | None
    warnings: list[str]
    sections: list[Section]
    curves: dict[str, list[tuple[Any, float]]] = field(default_factory=dict)


def side_by_side(places: Places, a: str, b: str) -> SideBySide:
    """Lay run `a` beside run `b`, each by the account that its comparison judges.

    Raises: ConfigError for a run that is not there or was not judged yet, or for one run twice; EvaluationError for
            files that were altered
    """
    if a == b:
        raise ConfigError(f"run {a} beside itself: expected two runs. Pass another name; `clstm runs` lists them.")
    one, other = read_judged(places, a), read_judged(places, b)
    interval, common = _difference(one, other)
    return SideBySide(
        names=(a, b),
        labels=(words.data_label(one.manifest), words.data_label(other.manifest)),
        answer=_answer(one, other, interval, common),
        paired=interval,
        warnings=list(_warnings(one, other, common)),
        sections=sections_of(one, other),
        curves={side.name: side.growth for side in (one, other)},
    )


def _same_market(one: JudgedRun, other: JudgedRun) -> bool:
    """Whether two accounts traded one market by the same fills: the same day is then the same day."""
    a, b = one.manifest, other.manifest
    same = all(a[name] == b[name] for name in ("source", "fill_lag", "fill_rule", "fill_fraction"))
    return same and market_of(a) == market_of(b)  # each simulated world has dates of its own


def _difference(one: JudgedRun, other: JudgedRun) -> tuple[Interval | None, int]:
    """The paired difference over the steps that both lived, and how many these are."""
    both = daily_excess(one.equity).join(daily_excess(other.equity), on=["since", "until"], suffix="_other")
    if not _same_market(one, other) or both.height < FEWEST:
        return None, both.height
    both = both.sort("until")
    return paired_mean(both["excess"].to_numpy(), both["excess_other"].to_numpy(), scale=BPS), both.height


def _answer(one: JudgedRun, other: JudgedRun, interval: Interval | None, common: int) -> str:
    if interval is None:
        return (
            f"{one.name} and {other.name} cannot be ranked: they were not judged on the same dates of one market "
            f"({common} common sessions)."
        )
    if interval.low is None or interval.high is None:
        return f"{interval.n_returns} common sessions are too few to distinguish {one.name} from {other.name}."
    said = f"{words.relation(interval.low, interval.high)} {other.name}"
    percent, span = words.percent_of(interval.n_returns)
    low, high, mean = (value * percent for value in (interval.low, interval.high, interval.estimate))
    verb = "" if interval.sign else "is "
    return (
        f"{one.name} {verb}{said}: {mean:+.1f}% {span}, 95% CI {low:+.1f}% to {high:+.1f}% ({interval.estimate:+.2f} "
        f"basis points per session, {interval.n_returns:,} common sessions). Not corrected for other pairs looked at."
    )


def _warnings(one: JudgedRun, other: JudgedRun, common: int) -> Iterator[str]:
    a, b = one.manifest, other.manifest
    if a["source"] != b["source"]:
        yield f"Other markets: {one.name} was judged on {a['source']}, {other.name} on {b['source']}."
    elif a["data_sha256"] != b["data_sha256"]:
        yield "Other data: both were judged on the same source, but not on the same tensors."
    if a["label"] != b["label"]:
        yield f"Other kinds of quotes: {a['label']} and {b['label']}."
    if (a["first_date"], a["last_date"]) != (b["first_date"], b["last_date"]):
        yield f"Other windows: {window_words(a)}, and {window_words(b)}; {common} sessions are common to both."
    if (a["fill_lag"], words.fill_rule(a)) != (b["fill_lag"], words.fill_rule(b)):
        yield f"Other fills: {fill_words(a)}, and {fill_words(b)}."
    if differing := _accounts(a["env"], b["env"]):
        yield f"Other accounts: {', '.join(differing)} differ."
    for side in (one, other):
        if not side.champion.get("qualified"):
            shown = words.rung_name(side.champion["milestone"])
            yield f"{side.name} has no champion: {shown} is shown for want of one."


def _accounts(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [name for name in {**a, **b} if name not in _LEARNING and a.get(name) != b.get(name)]
