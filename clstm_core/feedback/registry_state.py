"""What the registry hands over and takes: who stands, what is decided, and what was proposed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from clstm_core.artifacts.manifest import JsonObject
from clstm_core.artifacts.manifests import BundleManifest, ChallengerManifest, DecisionManifest
from clstm_core.artifacts.manifests.decision import APPOINT, PROMOTE, ROLL_BACK, RULES
from clstm_core.errors import ConfigError, RegistryError
from clstm_core.feedback import registry_files as files
from clstm_core.feedback.promotion_plan import PromotionPlan

CHALLENGER, PAIRS = "challenger.json", "pairs.parquet"
WORTHY = "challenger"
"""Outcome of a challenger that may be proposed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A bundle in a role: the run that it was exported from, its identity, and the registry's own copy of it."""

    run: str
    identity: str
    folder: Path

    def verified(self) -> BundleManifest:
        """Its manifest, with every byte of the copy verified; RegistryError that names the file otherwise."""
        return files.kept_bundle(self.folder.parent.parent, self.identity)

    def facts(self) -> dict[str, str]:
        """As a decision names it."""
        return {"run": self.run, "identity": self.identity}


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryState:
    """What holds: the decision that led here, and who stands in which role.

    unwritten: what could not be written after it took effect, "" where all was: `Registry.complete` writes it
    """

    decision: DecisionManifest
    champion: Held | None
    previous: Held | None
    challenger: Held | None
    unwritten: str = ""

    @property
    def plan(self) -> PromotionPlan:
        """The limits that stand; RegistryError for limits that this release does not know."""
        try:
            return PromotionPlan.kept(self.decision.plan)
        except ConfigError as error:
            raise RegistryError(
                f"{self.decision.place} holds a plan that cannot be used here: {error} Was it registered by a newer "
                "release? Decide by that one, or bring this one up to date."
            ) from error

    def proposal(self) -> ChallengerManifest:
        """What the standing challenger showed; RegistryError where none stands."""
        if self.challenger is None:
            raise RegistryError("no challenger stands: expected one. `clstm champion propose` brings one.")
        return ChallengerManifest.read(self.decision.folder / CHALLENGER)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """A decision that is to be taken, and what it changes; roles that are not named stay."""

    decision: str
    answer: str
    reason: str
    subject: Held | None
    by: str = RULES
    forced: bool = False
    rulings: Sequence[JsonObject] = ()
    look: JsonObject = field(default_factory=dict)
    label: str = ""
    roles: Mapping[str, Held | None] = field(default_factory=dict)
    plan: PromotionPlan | None = None
    files: Mapping[str, Path] = field(default_factory=dict)


def further_back(history: Sequence[DecisionManifest]) -> JsonObject:
    """Whom one roll-back more would restore after the next one; {} where there is nobody.

    Each roll-back ends a reign for good, so that none leads forward again, whoever is champion a second time.

    Args:
        history: every decision, the newest first
    """
    reigns: list[JsonObject] = []
    for past in reversed(history):
        if past.decision == ROLL_BACK:
            reigns.pop()
        elif past.decision in (APPOINT, PROMOTE):
            reigns.append(past.champion)
    return reigns[-3] if len(reigns) > 2 else {}


def is_writable(text: str) -> bool:
    """Whether a text can be written at all: a terminal of another encoding hands over halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def moment(text: str) -> datetime:
    """A time as manifests name it; of one without a zone UTC is meant."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
