"""What was decided on a champion: one state of the registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, RegistryError

APPOINT, PROPOSE, PROMOTE, REFUSE = "appoint", "propose", "promote", "refuse"
ROLL_BACK, WITHDRAW, REGISTER = "roll back", "withdraw", "register"
RULES, PERSON = "rules", "person"

ROLES = ("champion", "previous", "challenger")
"""Who may stand in a state, each a link beside its decision."""


@dataclass(frozen=True, kw_only=True)
class DecisionManifest(Manifest):
    """One decision and the state that it leads to, chained to the one before by `parents["before"]`.

    decision: appoint (the first champion), propose, promote, refuse, roll back, withdraw, register (a plan)
    by:       "rules", or "person" where somebody decided; forced: against the rules, or without them
    subject:  run and identity of the bundle that was decided on; {} for a plan
    champion, previous, challenger: run and identity of the bundle in that role; {} where none is
    rulings:  one row per rule: name, passed, figure, limit, unit, words
    plan:     the rules' limits that stand; plan_since: when they were registered, "" for those of this release
    look:     days, sessions, number of the look and its level, where a challenger's days were looked at
    files:    of a proposal challenger.json and pairs.parquet: what it was decided on later
    """

    kind: ClassVar[str] = "decision"
    words: ClassVar[str] = "decision on a champion"
    remedy: ClassVar[str] = "Restore the registry from a copy."
    error: ClassVar[type[ArtifactError]] = RegistryError

    number: int
    decision: str
    by: str
    forced: bool
    reason: str
    answer: str
    subject: JsonObject
    champion: JsonObject
    previous: JsonObject
    challenger: JsonObject
    rulings: Sequence[JsonObject]
    plan: JsonObject
    plan_sha256: str
    plan_since: str
    look: JsonObject
    label: str
    created: str

    @property
    def failed(self) -> list[JsonObject]:
        """Rulings that were not passed."""
        return [ruling for ruling in self.rulings if not ruling["passed"]]

    def rows(self) -> Rows:
        return {
            "promotions": [
                {
                    "number": self.number,
                    "decision": self.decision,
                    "decided_by": self.by,
                    "forced": self.forced,
                    "reason": self.reason,
                    "answer": self.answer,
                    "run": self.subject.get("run"),
                    "bundle": self.subject.get("identity"),
                    **{role: getattr(self, role).get("run") for role in ROLES},
                    "champion_bundle": self.champion.get("identity"),
                    "rules_failed": ", ".join(str(ruling["name"]) for ruling in self.failed),
                    "plan_sha256": self.plan_sha256,
                    **{name: self.look.get(name) for name in ("first", "last", "sessions", "number_of_look", "level")},
                    "label": self.label,
                    "manifest_sha256": self.identity,
                    "created": self.created,
                }
            ],
            "promotion_rules": [
                {
                    "number": self.number,
                    "rule": ruling["name"],
                    "passed": ruling["passed"],
                    "figure": ruling["figure"],
                    "bound": ruling["limit"],
                    "unit": ruling["unit"],
                    "words": ruling["words"],
                }
                for ruling in self.rulings
            ],
        }
