"""What asks for a challenger: drift in shadow, new data, the week. Each has a key, so that nothing is asked for twice.

A trigger makes a challenger, never a champion: that is decided by rules, or by a person.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from clstm_core.artifacts.manifests import ShadowManifest
from clstm_core.artifacts.places import Places
from clstm_core.plural import counted

DIGITS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A retraining that something asks for.

    run: the name that it gets, the same for the same state of things; why: kept with what comes of it
    """

    run: str
    why: str


def flagged_state(features: Iterable[str]) -> str:
    """What is flagged, as a key: the same features give the same key, none give an empty one."""
    named = sorted(set(features))
    return hashlib.sha256("\0".join(named).encode()).hexdigest()[:DIGITS] if named else ""


def by_drift(account: ShadowManifest, launched: str) -> tuple[Asked | None, str]:
    """What an account's drift asks for, and the state to remember.

    One retraining per flagged state: while the same features stay flagged nothing more is asked for, and when none is
    flagged any more the state is forgotten, so that the next drift counts.

    Args:
        launched: the state that was asked for last, "" for none
    """
    state = flagged_state(account.drift_flagged)
    if not state or state == launched:
        return None, state
    features = ", ".join(sorted(account.drift_flagged))
    newest = max((str(row.get("snapshot", ""))[:10] for row in account.sessions), default="")
    seen = counted(len(account.sessions), "session")
    why = f"drift in shadow account {account.name}, {seen} until {newest}: {features}"
    return Asked(run=f"drift-{newest or 'now'}-{state}", why=why), state


def by_week(day: date) -> Asked:
    """What a week asks for: named after the day of its tick."""
    return Asked(run=f"challenger-{day:%Y-%m-%d}", why=f"schedule: the week of {day:%Y-%m-%d}")


def by_data(day: date, folder: str) -> Asked:
    """What new files ask for: once per ISO week, since every challenger that is judged is a look."""
    year, week, _ = day.isocalendar()
    return Asked(run=f"data-{year}-w{week:02d}", why=f"new data in {folder}, week {week} of {year}")


def watched(places: Places, name: str) -> ShadowManifest | None:
    """The shadow account of that name as it was last judged; None where there is none, or it is damaged."""
    from clstm_core.shadow.summary import ACCOUNT

    return ShadowManifest.kept(places.shadow(name) / ACCOUNT, files=False)
