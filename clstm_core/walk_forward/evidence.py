"""What the page of a walk-forward shows, computed once. Plain Python: a page can import it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class WalkEvidence:
    """One walk-forward as a reader sees it.

    run:       its name; label, data_label: what the quotes are, in a word and in words
    folds:     one row per fold, recipe and seed: the three spans, the embargo, the rung that was chosen and why
    figures:   `figures.figures_of` of each recipe, the first one is the answer
    controls:  what each recipe finds in worlds whose edge is known, a row per recipe and world; controls_words says it
    provenance: pairs of name and text
    """

    run: str
    label: str = ""
    data_label: str = "quotes of unknown origin"
    verdict: str = ""
    verdict_points: list[str] = field(default_factory=list)
    folds: Rows = field(default_factory=list)
    figures: Rows = field(default_factory=list)
    controls: Rows = field(default_factory=list)
    controls_words: str = ""
    embargo: int = 0
    trials: int = 0
    provenance: list[tuple[str, str]] = field(default_factory=list)
    generated_at: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "WalkEvidence":
        """Rebuild from `to_dict`."""
        pairs = [(str(name), str(value)) for name, value in data.get("provenance", ())]
        return cls(**{**data, "provenance": pairs})
