"""The deflated Sharpe ratio: what a champion's ratio is worth after all the policies that were tried on its dates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clstm_core.evaluation.pairing import rungs_of, series
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import MIN_OBSERVATIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Deflated:
    """A Sharpe ratio beside the largest that as many trials without skill would have shown.

    Units: ratios per session, not annualised; probability that the true ratio is above the expected maximum
    """

    sharpe: float
    expected_maximum: float
    probability: float
    trials: int

    @property
    def words(self) -> str:
        """For a reader of the comparison."""
        return (
            f"Deflated Sharpe ratio: {self.probability:.0%} (ratio {self.sharpe:+.4f} per session; the best of "
            f"{self.trials} policies without skill would show {self.expected_maximum:+.4f})."
        )


def deflated_sharpe(champion: Backtest, members: Sequence[Backtest], trials: int) -> Deflated | None:
    """The champion's deflated Sharpe ratio; None where its dates are too few or its returns do not vary.

    Args:
        members: backtests on the champion's dates; the checkpoints among them say how widely trials differ
        trials: how many policies ever looked at these dates, from the registry

    Source: Bailey and Lopez de Prado 2014, through skfolio
    Assumes: trials that left no backtest here varied as those that did
    """
    from skfolio.measures import expected_max_sharpe_ratio, probabilistic_sharpe_ratio

    excess = series(members)[champion.name].excess.mean(axis=1)
    if excess.size < MIN_OBSERVATIONS or float(excess.std(ddof=1)) <= 1e-12:
        return None
    ratios = _ratios(members)
    spread = float(np.std(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    benchmark = float(expected_max_sharpe_ratio(max(trials, 1), spread))
    return Deflated(
        sharpe=float(excess.mean() / excess.std(ddof=1)),
        expected_maximum=benchmark,
        probability=float(probabilistic_sharpe_ratio(excess, benchmark)),
        trials=trials,
    )


def _ratios(members: Sequence[Backtest]) -> list[float]:
    """Ratios per session of the ladder's likeliest actions; a rung that never trades stands at cash's 0."""
    found = series(members)
    ratios = []
    for rung in rungs_of(members):
        excess = found[rung.name].excess.mean(axis=1)
        deviation = float(excess.std(ddof=1))
        ratios.append(float(excess.mean()) / deviation if deviation > 1e-12 else 0.0)
    return ratios
