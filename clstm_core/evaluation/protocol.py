"""What a written backtest offers to those who judge it: enough to compare, to count and to draw, and no environment."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl

    from clstm_core.evaluation.statistics import Floats


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
