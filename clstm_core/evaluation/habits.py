"""What a policy does, in plain words: packages by their names as traders say them, by how wild the market is."""

from collections.abc import Mapping, Sequence
from typing import Any

from clstm_core.specs import ACTIONS, FIRST_TEMPLATE, TEMPLATES, TENORS

ALONE = {"hold": "waits", "close_all": "closes everything", "hedge_delta": "hedges with the index"}
_PACKAGES = {
    "long_call": "buys a call at the money",
    "long_put": "buys a put at the money",
    "cash_secured_put": "sells a put below the money",
    "covered_call": "buys the index and sells a call on it",
    "protective_put": "buys the index and a put on it",
    "bull_call_spread": "buys a call spread",
    "bear_put_spread": "buys a put spread",
    "bull_put_spread": "sells a put spread",
    "bear_call_spread": "sells a call spread",
    "long_straddle": "buys a straddle",
    "short_strangle": "sells a strangle",
    "iron_condor": "sells an iron condor",
    "risk_reversal": "sells a put and buys a call",
    "call_calendar": "buys a calendar spread of calls",
    "put_calendar": "buys a calendar spread of puts",
}
_TENORS = dict(zip(TENORS, ("the near expiry", "the far expiry"), strict=True))


def _plain(template: str) -> str:
    """A template's words; one that has none yet goes by its name."""
    tenor, _, package = template.partition("_")
    if template in _PACKAGES:
        return _PACKAGES[template]
    if package not in _PACKAGES or tenor not in _TENORS:
        return f"opens {template.replace('_', ' ')}"
    return f"{_PACKAGES[package]} of {_TENORS[tenor]}"


WORDS: dict[str, str] = ALONE | {template.name: _plain(template.name) for template in TEMPLATES}
"""Every action in words, after "it"."""

MOST, OFTEN = 3, 0.02
"""Packages that are named in a sentence, and the share of those opened from which one is."""


def doing(actions: Mapping[str, float]) -> str:
    """What is mostly done, e.g. `waits in 62% of sessions and opens something in 9%, mostly sells a strangle (80%)`."""
    opened = {name: share for name, share in actions.items() if name in ACTIONS[FIRST_TEMPLATE:]}
    total = sum(opened.values())
    idle = [
        f"{ALONE[name]} in {actions[name]:.0%}"
        for name in sorted(ALONE, key=lambda n: -actions.get(n, 0.0))
        if actions.get(name, 0.0) >= OFTEN
    ]
    parts = [f"{', '.join(idle)} of sessions"] if idle else []
    if total > 0.0:
        ranked = sorted(opened.items(), key=lambda item: -item[1])[:MOST]
        shown = ", ".join(f"{WORDS[name]} ({share / total:.0%})" for name, share in ranked if share >= OFTEN * total)
        parts.append(f"opens something in {total:.0%}: {shown}")
    else:
        parts.append("opens nothing")
    return " and ".join(parts)


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """`In calm markets it ...; in wild ones it ...` of one rung's habits; empty where there are none."""
    by_name = {row["tercile"]: row for row in rows}
    if not {"calm", "wild"} <= set(by_name):
        return ""
    calm, wild = by_name["calm"], by_name["wild"]
    return (
        f"In calm markets (volatility at the money up to {calm['to_vol']:.0%}) it {doing(calm['actions'])}; in wild "
        f"ones (from {wild['from_vol']:.0%}) it {doing(wild['actions'])}."
    )
