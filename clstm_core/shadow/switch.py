"""The kill switch: ACTIVE, REDUCING (hold, close and hedge alone) or HALTED (hold alone). It is kept in the log.

Limits only ever tighten it; a person alone loosens it, with a reason.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm_core.errors import ShadowError
from clstm_core.plural import counted
from clstm_core.shadow.columns import CHANGED, DECIDED, REFUSED, SWITCHED, nanoseconds
from clstm_core.shadow.limits import Limits
from clstm_core.specs import ACTIONS, CLOSE_ALL, HEDGE_DELTA, HOLD

ACTIVE, REDUCING, HALTED = "ACTIVE", "REDUCING", "HALTED"
STATES = (ACTIVE, REDUCING, HALTED)
LEGAL = {
    ACTIVE: tuple(range(len(ACTIONS))),
    REDUCING: (HOLD, CLOSE_ALL, HEDGE_DELTA),
    HALTED: (HOLD,),
}


def allowed_of(mask: np.ndarray, state: str) -> np.ndarray:
    """The actions [A] that both the account's mask and the switch leave; hold is always among them."""
    left = np.zeros_like(mask)
    left[list(LEGAL[state])] = True
    return mask & left


def tighter(one: str, other: str) -> str:
    """The stricter of two states."""
    return max(one, other, key=STATES.index)


def require_reason(reason: str) -> str:
    """`reason` without spaces around it; ShadowError where a person gives none."""
    if not (said := " ".join(reason.split())):
        raise ShadowError("no reason for switching: expected some words, they stay in the log. Pass --reason.")
    return said


def tripped(entries: Sequence[dict[str, Any]], now: dict[str, Any], limits: Limits) -> tuple[str, list[str]]:
    """The state that the limits ask for after a session was marked, and why; ACTIVE without a reason.

    Args:
        entries: the log so far
        now: columns of the entry that is being made: equity, exposures, Greeks, missing sessions
    """
    state, reasons = ACTIVE, []

    def ask(wanted: str, words: str) -> None:
        nonlocal state
        state = tighter(state, wanted)
        reasons.append(words)

    equity = now["equity_usd"]
    fall = 1.0 - equity / max(peak(entries), equity)
    if limits.halt_drawdown is not None and not fall <= limits.halt_drawdown:
        ask(HALTED, f"drawdown {fall:.2%} over the limit of {limits.halt_drawdown:.2%}")
    elif limits.reduce_drawdown is not None and not fall <= limits.reduce_drawdown:
        ask(REDUCING, f"drawdown {fall:.2%} over the limit of {limits.reduce_drawdown:.2%}")
    if now.get("terminated"):
        ask(HALTED, "the account is ruined")
    gamma = abs(now["dollar_gamma_per_percent"]) / equity if equity > 0 else float("inf")
    used = {
        "net exposure": (now["net_exposure"], limits.max_net_exposure),
        "gross exposure": (now["gross_exposure"], limits.max_gross_exposure),
        "loss in the crash": (now["crash_loss"], limits.max_crash_loss),
        "vega per point": (now["vega_per_point"], limits.max_vega_per_point),
        "dollar gamma per 1%": (gamma, limits.max_dollar_gamma),
    }
    for name, (use, cap) in used.items():
        if cap is not None and use is not None and not use <= cap:  # what is not a number passes no limit
            ask(REDUCING, f"{name} of {use:.2%} of equity over the limit of {cap:.2%}")
    missing = now["missing_sessions"]
    if limits.max_missing_sessions is not None and missing > limits.max_missing_sessions:
        ask(
            REDUCING,
            f"{counted(missing, 'session')} without a snapshot before this one, at most {limits.max_missing_sessions}",
        )
    if limits.max_orders is not None:
        recent = [row for row in since_loosened(entries) if row["kind"] == DECIDED][-limits.rate_sessions :]
        orders = sum(row["action"] != HOLD for row in recent)
        if orders > limits.max_orders:
            ask(
                REDUCING,
                f"{counted(orders, 'order')} in {counted(len(recent), 'session')}, at most {limits.max_orders}",
            )
    return state, reasons


def after_refusal(entries: Sequence[dict[str, Any]], now: dict[str, Any], limits: Limits) -> tuple[str, list[str]]:
    """The state that the limits ask for when one more session is refused, and why; a session counts once.

    Args:
        entries: the log so far
        now: columns of the entry that is being made
    """
    row = {nanoseconds(now["snapshot"])}
    for entry in reversed(entries):
        if entry["kind"] == CHANGED:  # of a session that was decided on long before
            continue
        if entry["kind"] != REFUSED:
            break
        row.add(nanoseconds(entry["snapshot"]))
    if limits.max_refused is not None and len(row) >= limits.max_refused:
        return HALTED, [f"{counted(len(row), 'session')} refused in a row"]
    return ACTIVE, []


def since_loosened(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries since a person last loosened the switch, or since the account began; tightening it forgives nothing."""
    found: list[dict[str, Any]] = []
    for at in range(len(entries) - 1, -1, -1):
        entry = entries[at]
        if entry["kind"] == SWITCHED and at and STATES.index(entry["switch"]) < STATES.index(entries[at - 1]["switch"]):
            break
        found.append(entry)
    return found[::-1]


def peak(entries: Sequence[dict[str, Any]]) -> float:
    """The highest equity since a person last loosened the switch; 0 before the first session."""
    return max((row["equity_usd"] for row in since_loosened(entries) if row["kind"] == DECIDED), default=0.0)
