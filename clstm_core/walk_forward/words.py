"""What a walk-forward may claim, in plain words: `not distinguishable` whenever it is so, and luck is never skill."""

from collections.abc import Mapping, Sequence
from typing import Any

from clstm_core.evaluation.words import claim, percent_of, plain, relation_of
from clstm_core.plural import counted
from clstm_core.walk_forward.stitch import CASH


def verdict(
    figures: Sequence[Mapping[str, Any]], *, folds: int, seeds: int, steps: int, trials: int, label: str, notes: str
) -> str:
    """What the record of each recipe shows, and on what evidence, in a few sentences.

    Args:
        figures: `figures.figures_of` of each recipe
        steps: env steps per training; trials: policies that ever looked at these dates; notes: what is said at the end
    """
    first = figures[0]
    judged = counted(first["sessions"], "session")
    span = f"{first['first_date']} to {first['last_date']}, {judged} that no fold trained on"
    parts = [
        f"{counted(folds, 'fold')} x {counted(seeds, 'seed')}, {steps:,} env steps each, judged on {span}.",
        *(f"{found['recipe']} {against_cash(found)}; {others(found)}.{lucky(found)}" for found in figures),
        f"Data: {label}. Policies that looked at these dates: {trials}.",
        notes,
    ]
    return " ".join(filter(None, parts))


def against_cash(found: Mapping[str, Any]) -> str:
    """The record against cash with its interval, and how often luck alone looked as good, where that was asked."""
    return claim(cash_pair(found))


def cash_pair(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record's difference from cash."""
    return next(pair for pair in found["pairs"] if pair["against"] == CASH)


def others(found: Mapping[str, Any]) -> str:
    """The other baselines by what can be said of them, and of how many folds and seeds it was above cash."""
    said: dict[str, list[str]] = {}
    for pair in found["pairs"]:
        if pair["against"] != CASH:
            said.setdefault(relation_of(pair), []).append(plain(pair["against"]))
    share = next(row for row in found["shares"] if row["against"] == CASH)
    told = [f"{relation} {', '.join(names)}" for relation, names in said.items()]
    return "; ".join([*told, f"above cash in {share['above']} of {share['of']} folds and seeds"])


def lucky(found: Mapping[str, Any]) -> str:
    """In how many fair worlds the joined record looked at least this good; empty where these were not walked."""
    luck = found.get("luck")
    if luck is None:
        return ""
    count = round(luck["p"] * (1 + luck["worlds"])) - 1
    return (
        f" In {count} of {luck['worlds']:,} fair worlds of these folds, where nothing can be earned before costs, the "
        f"joined record looked at least this good against cash (p = {luck['p']:.1%}; {luck['level']:.1%} is asked)."
    )


def iqm_words(found: Mapping[str, Any]) -> str:
    """The interquartile mean over folds and seeds, in percent."""
    iqm = found["iqm"]
    percent, span = percent_of(found["sessions"])
    if iqm["low"] is None:
        return f"interquartile mean {iqm['estimate'] * percent:+.1f}% {span} (too few seeds for an interval)"
    return (
        f"interquartile mean over folds and seeds {iqm['estimate'] * percent:+.1f}% {span} "
        f"({iqm['low'] * percent:+.1f}% to {iqm['high'] * percent:+.1f}%, seeds drawn anew within folds)"
    )
