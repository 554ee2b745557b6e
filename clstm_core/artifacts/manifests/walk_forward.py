"""What a walk-forward leaves: its record, session by session, and what is said of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest
from clstm_core.errors import ArtifactError, EvaluationError


@dataclass(frozen=True, kw_only=True)
class WalkForwardManifest(Manifest):
    """A walk-forward that came to its end.

    plan: what was asked for; evidence: what its page shows; its parents are the sets of backtests that it was made
    from, by run or by fold; the record of each recipe lies beside it as Parquet
    """

    kind: ClassVar[str] = "walk_forward"
    words: ClassVar[str] = "walk-forward"
    remedy: ClassVar[str] = "Run `clstm walk-forward` with the same settings again: what is trained and walked stands."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    name: str
    plan: JsonObject
    plan_sha256: str
    git_commit: str
    evidence: JsonObject

    @property
    def verdict(self) -> str:
        """What may be said, in a few sentences."""
        return str(self.evidence["verdict"])

    @property
    def figures(self) -> list[Mapping[str, Any]]:
        """What was measured of each recipe."""
        return list(self.evidence["figures"])
