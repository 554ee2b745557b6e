"""An account's books as its figures take them."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from clstm_core.evaluation.statistics import Performance, performance


class Books:
    """The ledgers of one backtest, with what several figures need of them.

    Units: capital and what is named `_usd` in the account's currency
    """

    equity: pl.DataFrame
    fills: pl.DataFrame
    decisions: pl.DataFrame
    positions: pl.DataFrame
    capital: float
    n_episodes: int

    def __init__(self, tables: Mapping[str, pl.DataFrame], capital: float):
        self.equity, self.fills = tables["equity"], tables["fills"]
        self.decisions, self.positions = tables["decisions"], tables["positions"]
        self.capital = capital
        self.episodes = [part.sort("step") for part in self.equity.partition_by("episode", maintain_order=True)]
        self.n_episodes = len(self.episodes)

    @functools.cached_property
    def performances(self) -> list[Performance]:
        """What each episode's curve did over the longest one's steps; what ended early keeps its last equity.

        Means per year would else be of those accounts alone that outlived a year.
        """
        cash = max(self.episodes, key=len)["cash_return"].to_numpy()[1:]
        curves = (part["equity_usd"].to_numpy() for part in self.episodes)
        return [performance(np.pad(curve, (0, len(cash) + 1 - len(curve)), mode="edge"), cash) for curve in curves]

    @functools.cached_property
    def final_equity(self) -> list[float]:
        """Each episode's equity at its last snapshot."""
        return [float(part["equity_usd"][-1]) for part in self.episodes]

    @functools.cached_property
    def trades(self) -> pl.DataFrame:
        """Fills that somebody wanted: all but expiries."""
        return self.fills.filter(pl.col("reason") != "expiry")

    @functools.cached_property
    def traded_usd(self) -> float:
        """Premium and stock value of all trades."""
        return float((self.trades["quantity"] * self.trades["price"] * self.trades["multiplier"]).abs().sum())

    @functools.cached_property
    def margin_used(self) -> float:
        """The largest margin as a share of equity, where there is some."""
        solvent = self.equity.filter(pl.col("equity_usd") > 0)
        return float(solvent.select((pl.col("margin_usd") / pl.col("equity_usd")).max()).item() or 0.0)

    def most(self, name: str) -> float:
        """The largest value that a column of the curve ever had."""
        return float(self.equity[name].max() or 0.0)  # type: ignore[arg-type]

    @functools.cached_property
    def longest_cure(self) -> int:
        """Most sessions in a row at whose close the risk budget was still exceeded."""
        longest = 0
        for part in self.episodes:
            standing = 0
            for over in part["budget_breached"]:
                standing = standing + 1 if over else 0
                longest = max(longest, standing)
        return longest

    def mean_of(self, name: str) -> float | None:
        """Mean over episodes of a figure of their curves; None where none has it."""
        return self.mean([getattr(part, name) for part in self.performances])

    @staticmethod
    def mean(values: Sequence[float | None]) -> float | None:
        """Mean of the values that are known; None where none is."""
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    @staticmethod
    def share(flags: pl.Series) -> float:
        """Share of flags that are set; 0 of none."""
        return float(flags.mean() or 0.0) if len(flags) else 0.0  # type: ignore[arg-type]
