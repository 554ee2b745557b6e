"""A backtest's returns from `equity.parquet` alone, episode by episode: nothing clipped, nothing left out."""

import numpy as np
import numpy.typing as npt

from clstm_core.evaluation.protocol import Backtest

Floats = npt.NDArray[np.float64]

RUINED = 1e-6
"""Share of the first equity that a ruined account is taken to keep, so that logarithms exist."""


def curves(result: Backtest) -> list[tuple[Floats, Floats]]:
    """Each episode's equity [T + 1] and the simple returns of cash [T] over its steps."""
    equity = result.table("equity").select("episode", "step", "equity_usd", "cash_return").sort("episode", "step")
    parts = equity.partition_by("episode", maintain_order=True)
    return [(part["equity_usd"].to_numpy(), part["cash_return"].to_numpy()[1:]) for part in parts]


def excess_returns(result: Backtest) -> list[Floats]:
    """Simple returns less those of cash, per episode."""
    return [_solvent(curve)[1:] / _solvent(curve)[:-1] - 1.0 - cash for curve, cash in curves(result)]


def paired(results: list[Backtest]) -> dict[str, tuple[Floats, Floats]]:
    """Mean log return over episodes [T] and excess returns [T, E] of each backtest, on the longest one's steps.

    An account that ended before keeps its last equity.
    """
    parts = {result.name: curves(result) for result in results}
    longest = max((curve for found in parts.values() for curve in found), key=lambda item: len(item[0]))
    cash = longest[1]
    out = {}
    for name, found in parts.items():
        wide = [np.concatenate([c, np.full(len(cash) + 1 - len(c), c[-1])]) for c, _ in found]
        solvent = np.stack([_solvent(curve) for curve in wide], axis=1)
        logs = np.diff(np.log(solvent), axis=0).mean(axis=1)
        out[name] = (logs, solvent[1:] / solvent[:-1] - 1.0 - cash[:, None])
    return out


def drawdown(curve: Floats) -> float:
    """The deepest fall below a running peak, 0 or negative."""
    return float((curve / np.maximum.accumulate(curve) - 1.0).min())


def _solvent(curve: Floats) -> Floats:
    return np.maximum(curve, RUINED * curve[0])
