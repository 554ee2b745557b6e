"""What a walk-forward leaves: its record, session by session, and what is said of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
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

    def rows(self) -> Rows:
        return {"walk_forwards": [row for found in self.figures for row in self._places(found)]}

    def _places(self, found: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One recipe's joined record and its folds, each with its place among luck where fair worlds were walked."""
        luck = found.get("luck") or {}
        cash = next(pair for pair in found["pairs"] if pair["against"] == "cash")
        whole = {**found, **cash, "fold": "joined", **luck, "beyond_luck": cash["beyond_luck"] if luck else None}
        each = luck.get("by_fold") or [{}] * len(found["by_fold"])
        folds = [{**fold, **place} for fold, place in zip(found["by_fold"], each, strict=True)]
        return [
            {
                "walk": self.name,
                "recipe": found["recipe"],
                "fold": str(row["fold"]),
                "source": self.plan["source"],
                "label": self.evidence["label"],
                **{name: row[name] for name in ("first_date", "last_date", "sessions")},
                "seeds": len(found["by_seed"]),
                **{f"{name}_bps": row[name] for name in ("estimate", "ci_low", "ci_high")},
                "luck_ratio": row.get("observed"),
                **{name: row.get(name) for name in ("luck_median", "luck_high")},
                "n_worlds": row.get("worlds"),
                "p_value": row.get("p"),
                "beyond_luck": row.get("beyond_luck"),
            }
            for row in (whole, *folds)
        ]
