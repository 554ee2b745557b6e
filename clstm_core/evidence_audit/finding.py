"""What one check of the evidence found."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A check's answer: how many things it looked at, what was wrong, and what to say where nothing is.

    A check that looked at nothing has proven nothing, and fails.
    """

    name: str
    counted: int
    wrong: Sequence[str]
    words: str

    @property
    def passed(self) -> bool:
        """Whether something was looked at and all of it was right."""
        return self.counted > 0 and not self.wrong

    @property
    def detail(self) -> str:
        """In a sentence or a few."""
        if self.counted == 0:
            return "Nothing was there to be checked, so nothing is proven."
        if not self.wrong:
            return self.words
        more = f"; and {len(self.wrong) - SHOWN} more" if len(self.wrong) > SHOWN else ""
        return f"{'; '.join(self.wrong[:SHOWN])}{more}."


SHOWN = 4
