"""What a shadow account did, and whether it is the backtest of its days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, ShadowError


@dataclass(frozen=True, kw_only=True)
class ShadowManifest(Manifest):
    """A shadow account as it stands: every fill in it is simulated, and nothing was sent anywhere.

    sessions: one row per entry of the log that is a session; switches: entries that changed or trip the switch;
    changed: one row per change of a session after it was decided on;
    drift: rows of `shadow.drift`; regimes, calibration, harm: what is judged; words: the answer first
    """

    kind: ClassVar[str] = "shadow"
    words: ClassVar[str] = "shadow account"
    remedy: ClassVar[str] = "Run `clstm shadow report` again: it is made of the log."
    error: ClassVar[type[ArtifactError]] = ShadowError
    version: ClassVar[int] = 1

    name: str
    facts: JsonObject
    answer: str
    switch: str
    figures: JsonObject
    sessions: Sequence[JsonObject]
    switches: Sequence[JsonObject]
    drift: Sequence[JsonObject]
    drift_words: str
    drift_flagged: Sequence[str]
    regimes: Sequence[JsonObject]
    calibration: Sequence[JsonObject]
    harm: JsonObject
    log_sha256: str
    entries: int
    changed: Sequence[JsonObject] = ()

    def rows(self) -> Rows:
        own = {"account": self.name}
        facts = {name: self.facts.get(name) for name in ("run", "bundle", "standing", "source", "label")}
        figures: Mapping[str, object] = self.figures
        return {
            "shadow_accounts": [
                own
                | facts
                | dict(figures)
                | {
                    "switch": self.switch,
                    "entries": self.entries,
                    "log_sha256": self.log_sha256,
                    "drift_flagged": len(self.drift_flagged),
                    "drift_features": ", ".join(self.drift_flagged),
                    "harm_wealth": self.harm.get("wealth"),
                }
            ],
            "shadow_sessions": [own | dict(row) for row in self.sessions],
            "shadow_drift": [own | dict(row) for row in self.drift],
        }


@dataclass(frozen=True, kw_only=True)
class ReconciliationManifest(Manifest):
    """A shadow account against the backtest of its days; `shadow` of the parents is the log's last sha256."""

    kind: ClassVar[str] = "shadow_reconciliation"
    words: ClassVar[str] = "reconciliation"
    remedy: ClassVar[str] = "Run `clstm shadow reconcile` again."
    error: ClassVar[type[ArtifactError]] = ShadowError
    version: ClassVar[int] = 1

    name: str
    answer: str
    decisions_equal: bool
    to_the_cent: bool
    figures: JsonObject
    reference: str  # the backtest's id
    differing: Sequence[JsonObject]

    def rows(self) -> Rows:
        return {
            "shadow_reconciliations": [
                {
                    "account": self.name,
                    "log_sha256": self.parents.get("log"),
                    "backtest_id": self.reference,
                    "decisions_equal": self.decisions_equal,
                    "to_the_cent": self.to_the_cent,
                    "answer": self.answer,
                    **dict(self.figures),
                }
            ]
        }
