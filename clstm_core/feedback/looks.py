"""Which looks a year's level was spent on, and what was decided on the same policy before, whatever it was called."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from clstm_core.artifacts.manifest import FILE, JsonObject
from clstm_core.artifacts.manifests import BundleManifest, ChallengerManifest, DecisionManifest
from clstm_core.artifacts.manifests.decision import ROLL_BACK
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.errors import RegistryError
from clstm_core.evaluation.trial_ledger import challengers
from clstm_core.feedback.registry_files import BUNDLES
from clstm_core.feedback.registry_state import WORTHY, moment

YEAR = timedelta(days=365)
WEIGHTS = "policy.safetensors"


class Before(NamedTuple):
    """What came before a decision.

    number: of this look among those of 365 days, this one included
    decided: number of the decision on the same policy and some of the same days; rolled_back: the one that rolled it
             back. None where there is none
    """

    number: int
    decided: int | None
    rolled_back: DecisionManifest | None


def before(
    places: Places, history: Sequence[DecisionManifest], proposal: ChallengerManifest, bundle: BundleManifest
) -> Before:
    """What came before a decision on a proposal, whose bundle this is.

    A policy is known by its weights: the same ones under another run's name are the same policy.

    Raises: EvaluationError where the trial registry was altered; RegistryError for a time that is none
    """
    first, mine = str(proposal.judged["first"]), bundle.files.get(WEIGHTS, bundle.identity)

    def same(past: DecisionManifest) -> bool:
        return policy_of(places, past.subject) == mine

    looked = (past for past in history if past.look and str(past.look["last"]) >= first)
    rolled = (past for past in history if past.decision == ROLL_BACK)
    return Before(
        number=_number(places, history, proposal),
        decided=next((past.number for past in looked if same(past)), None),
        rolled_back=next(filter(same, rolled), None),
    )


def policy_of(places: Places, subject: JsonObject) -> str:
    """Hash of the weights of a bundle that the registry holds; the bundle's identity where its copy is gone."""
    identity = str(subject.get("identity") or "")
    kept = BundleManifest.kept(places.registry / BUNDLES / identity[:DIGITS] / FILE, files=False) if identity else None
    return str(kept.files.get(WEIGHTS, identity)) if kept is not None else identity


def looked_at(manifest: ChallengerManifest) -> datetime:
    """When a challenger's days were first looked at: a remade one was looked at before it was made again.

    Raises: RegistryError for a time that is none
    """
    times = (manifest.created, manifest.judged.get("looked") or manifest.created)
    try:
        return min(moment(str(time)) for time in times)
    except ValueError as error:
        raise RegistryError(
            f"{manifest.place} says that it was made at {times[0]!r} and looked at at {times[1]!r}: expected times "
            f"like 2026-11-30T12:00:00+00:00. {manifest.remedy}"
        ) from error


def spent(places: Places, history: Sequence[DecisionManifest]) -> int:
    """Looks of the 365 days until now: every challenger that was judged, decided on or not.

    Raises: EvaluationError where the trial registry was altered
    """
    return _since(_made(places, history), datetime.now(UTC) - YEAR)


def _number(places: Places, history: Sequence[DecisionManifest], proposal: ChallengerManifest) -> int:
    """Number of this look among those since 365 days before the challenger was made, or before now where that is less.

    Every challenger that came so far that it could be proposed is a look, decided on or not: a person who proposes the
    best of several has looked at all of them. The trial registry knows those whose folders are gone.
    """
    made = _made(places, history)
    made.pop(_key(proposal), None)
    since = min(moment(proposal.created), datetime.now(UTC)) - YEAR  # a clock that ran ahead hides no look
    return 1 + _since(made, since)


def _since(made: Mapping[tuple[str, str], datetime], since: datetime) -> int:
    return sum(since < at for at in made.values())


def _made(places: Places, history: Sequence[DecisionManifest]) -> dict[tuple[str, str], datetime]:
    """When each challenger was judged, by its weights and the last of its days."""
    made = {
        (str(past.look.get("weights") or past.subject["identity"]), str(past.look["last"])): moment(past.created)
        for past in history
        if past.look
    }
    for place in (places.root / "challengers").glob(f"[!.]*/{FILE}"):
        other = ChallengerManifest.kept(place, files=False)
        if other is not None and other.outcome == WORTHY:
            made[_key(other)] = _time_or_now(other.created)
    for (weights, last), recorded in challengers(places).items():
        made.setdefault((weights, last), _time_or_now(recorded))
    return made


def _key(manifest: ChallengerManifest) -> tuple[str, str]:
    return str(manifest.judged.get("weights") or manifest.bundle), str(manifest.judged.get("last"))[:10]


def _time_or_now(text: str) -> datetime:
    """When a look was taken; now, so that it counts, where that says no time."""
    try:
        return moment(str(text))
    except ValueError:
        return datetime.now(UTC)
