"""What a sweep leaves: each trial, and what came of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, EvaluationError


@dataclass(frozen=True, kw_only=True)
class TrialManifest(Manifest):
    """One trial of a sweep: kept when it is begun, and again when it ended.

    settings: by room and name; state: "begun", "done" or "failed"; score: growth per unit of risk, mean over seeds and
    kinds; None where it failed; cells: one row per seed: run, milestone and what it earned in each kind that counts
    """

    kind: ClassVar[str] = "sweep_trial"
    words: ClassVar[str] = "trial of a sweep"
    remedy: ClassVar[str] = "Move that file away and run the same command again: its runs stand."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    sweep: str
    trial: int
    settings: JsonObject
    state: str
    score: float | None = None
    cells: Sequence[JsonObject] = ()
    reason: str = ""

    def rows(self) -> Rows:
        seconds = [cell["seconds"] for cell in self.cells if cell.get("seconds") is not None]
        return {
            "sweep_trials": [
                {
                    "sweep": self.sweep,
                    "trial": self.trial,
                    "state": self.state,
                    "score": self.score,
                    "settings": dict(self.settings),
                    "runs": [cell["run"] for cell in self.cells],
                    "seconds": sum(seconds) if seconds else None,
                    "reason": self.reason,
                }
            ]
        }


@dataclass(frozen=True, kw_only=True)
class SweepManifest(Manifest):
    """A sweep that came to its end.

    trials: number, settings, state and score of each; best: the best trial's number; confirmed: one row per seed that
    chose nothing: the score of the best trial's settings and of the recipe; importances: share of each setting
    """

    kind: ClassVar[str] = "sweep"
    words: ClassVar[str] = "sweep"
    remedy: ClassVar[str] = "Run `clstm sweep` with the same settings again: what is trained and measured stands."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    name: str
    plan: JsonObject
    label: str
    trained_on: str
    trials: Sequence[JsonObject]
    best: int | None
    confirmed: Sequence[JsonObject]
    importances: JsonObject
    answer: str
    created: str

    def rows(self) -> Rows:
        scores = {row["trial"]: row["score"] for row in self.trials}
        return {
            "sweeps": [
                {
                    "sweep": self.name,
                    "recipe": self.plan["recipe"],
                    "source": self.plan["source"],
                    "label": self.label,
                    "trials": len(self.trials),
                    "best_trial": self.best,
                    "best_score": None if self.best is None else scores[self.best],
                    "recipe_score": scores.get(0),
                    "answer": self.answer,
                    "plan": dict(self.plan),
                    "created": self.created,
                }
            ]
        }
