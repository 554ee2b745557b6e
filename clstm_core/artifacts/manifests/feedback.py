"""What a challenger is and showed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, EvaluationError


@dataclass(frozen=True, kw_only=True)
class ChallengerManifest(Manifest):
    """A policy trained from the champion, or from scratch, and what it showed beside the champion.

    run:     its training run; start: "champion" or "scratch"; why: what asked for it (drift, schedule, data, a person)
    outcome: "challenger" where it may be proposed; else the stage that ended it: "critic" (nothing more foreseen on
             held-out dates), "kl" (moved too far from the champion: restored), "regression"
    bundle:  identity of its bundle, "" where none was made; champion: identity of the bundle it was held against, ""
             where there was none: cash then
    stages:  one row per stage: name, passed, words and the figures that it was decided on
    judged:  first and last of the days that neither was trained on, sessions, label of their quotes
    figures: luck_p, max_drawdown, expected_shortfall, each also as champion_...; sessions; parity (bool),
             latency_p50_us
    pairs.parquet of the files: date, challenger, champion, cash (log growth per session), regime (tercile of
    volatility: "calm", "middle", "wild")
    """

    kind: ClassVar[str] = "challenger"
    words: ClassVar[str] = "challenger"
    remedy: ClassVar[str] = "Run `clstm retrain` with the same settings again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    run: str
    start: str
    why: str
    outcome: str
    answer: str
    bundle: str
    champion: str
    stages: Sequence[JsonObject]
    judged: JsonObject
    figures: JsonObject
    created: str

    def rows(self) -> Rows:
        facts = {name: self.judged.get(name) for name in ("first", "last", "label")}
        return {
            "challengers": [
                {
                    "run": self.run,
                    "start": self.start,
                    "why": self.why,
                    "outcome": self.outcome,
                    "answer": self.answer,
                    "bundle": self.bundle,
                    "champion": self.champion,
                    "created": self.created,
                    **facts,
                    **dict(self.figures),
                }
            ]
        }
