"""What asks for a challenger: drift in shadow, new data, the week. Each has a key, so that nothing is asked for twice.

A trigger makes a challenger, never a champion: that is decided by rules, or by a person.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Flagged:
    """What drift was asked for, as a sensor's cursor keeps it.

    account: whose drift; features: those that were flagged when it asked, since none was; week: ISO week of the newest
    session when it asked last, "" for never; asked: what it asked for last, as long as any of that is flagged: a launch
    of it that fails is asked for again
    """

    account: str = ""
    features: tuple[str, ...] = ()
    week: str = ""
    asked: Asked | None = None

    @classmethod
    def of(cls, cursor: str) -> "Flagged":
        """What a cursor says; nothing where it is empty or of another form."""
        try:
            kept = json.loads(cursor)
            asked = Asked(**kept["asked"]) if kept.get("asked") else None
            features = tuple(map(str, kept["features"]))
            return cls(account=str(kept["account"]), features=features, week=str(kept["week"]), asked=asked)
        except (ValueError, TypeError, LookupError, AttributeError):
            return cls()

    @property
    def cursor(self) -> str:
        """As a sensor keeps it."""
        return json.dumps(asdict(self))


def by_drift(account: ShadowManifest, before: Flagged) -> tuple[Asked | None, Flagged]:
    """What an account's drift asks for, and what to remember.

    A feature that is flagged asks once, until none is flagged any more: one that comes and goes beside another asks for
    nothing again. Another account, the next champion's, begins anew. One retraining per week of sessions at most, since
    every challenger that is judged is a look; what is flagged in between asks in the week after.
    """
    flagged = tuple(sorted(set(account.drift_flagged)))
    newest = max((str(row["snapshot"])[:10] for row in account.sessions if row.get("snapshot")), default="")
    week = _week(newest)
    asked_for = before.features if flagged and before.account == account.name else ()
    kept = Flagged(
        account=account.name, features=asked_for, week=before.week, asked=before.asked if asked_for else None
    )
    if not set(flagged) - set(asked_for) or week == before.week:
        return None, kept
    digits = hashlib.sha256("\0".join((account.name, *flagged)).encode()).hexdigest()[:DIGITS]
    seen = counted(len(account.sessions), "session")
    why = f"drift in shadow account {account.name}, {seen} until {newest}: {', '.join(flagged)}"
    asked = Asked(run=f"drift-{newest or 'now'}-{digits}", why=why)
    features = tuple(sorted({*asked_for, *flagged}))
    return asked, Flagged(account=account.name, features=features, week=week, asked=asked)


def _week(day: str) -> str:
    """The ISO week of a day; a name of its own where there is none."""
    return f"{date.fromisoformat(day):%G-w%V}" if day else "now"


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
