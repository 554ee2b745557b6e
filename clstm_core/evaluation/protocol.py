"""What a written backtest offers to those who judge it: enough to compare, to count and to draw, and no environment."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from clstm_core.errors import EvaluationError

if TYPE_CHECKING:
    import polars as pl

    from clstm_core.evaluation.statistics import Floats

CONVENTION = "convention"
"""Key of a manifest that says what was switched in an account of `evaluation.conventions`; no backtest has it."""


class Backtest(Protocol):
    """One account's ledgers, and the manifest that says what it is and what came out.

    `clstm_core.evaluation.backtest.BacktestResult` is one; judging needs neither torch nor a market.
    """

    @property
    def id(self) -> str:
        """Its content's name."""
        ...

    @property
    def name(self) -> str:
        """The policy's name, unique in a comparison."""
        ...

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What was backtested on what, and its `summary` of figures."""
        ...

    def table(self, name: str) -> "pl.DataFrame":
        """One of `fills`, `equity`, `positions`, `decisions`."""
        ...

    def curves(self) -> "tuple[Floats, Floats, pl.Series]":
        """Equity [T + 1, E], the returns of cash [T], and the snapshots [T + 1]."""
        ...


def require_clean(results: Iterable[Backtest]) -> None:
    """Refuse accounts that were traded under a convention nobody may judge by.

    Raises: EvaluationError that names the first of them
    """
    for result in results:
        if (switched := result.manifest.get(CONVENTION)) is not None:
            raise EvaluationError(
                f"{result.name} was traded under a convention that nobody may judge by ({switched}): expected clean "
                "backtests alone. Leave it where it is shown as what it is."
            )
