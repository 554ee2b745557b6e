"""What a Sharpe ratio is worth: by itself (PSR), after all that was tried (DSR), and when it is told (MinTRL)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clstm_core.evaluation.pairing import rungs_of, series
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import CONFIDENCE, MIN_OBSERVATIONS, NO_VARIATION, Floats

UNTOLD = "the rungs of the ladder do not say how widely the ratios of trials differ"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackRecord:
    """One policy's ratio on its dates, beside the largest that as many policies without skill would have shown.

    min_sessions: how many sessions it takes until such a ratio is above zero at 95%; None where it is not above zero
    spread:       sample deviation of the ladder's ratios, of which the expected maximum is made
    expected_maximum, dsr: None where several were tried and the ladder's ratios do not differ: it does not say how
                  widely trials do

    Units: ratios per session, not annualised; kurtosis 3 of a normal distribution; psr and dsr are probabilities
    """

    sessions: int
    sharpe: float
    skewness: float
    kurtosis: float
    psr: float
    min_sessions: float | None
    trials: int
    spread: float
    expected_maximum: float | None
    dsr: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @property
    def words(self) -> str:
        """For a reader of the comparison."""
        if self.dsr is None:
            return f"Deflated Sharpe ratio: none, since {UNTOLD} (ratio {self.sharpe:+.4f} per session)."
        return (
            f"Deflated Sharpe ratio: {self.dsr:.0%} (ratio {self.sharpe:+.4f} per session; the best of "
            f"{self.trials} policies without skill would show {self.expected_maximum:+.4f})."
        )


def track_record(policy: Backtest, members: Sequence[Backtest], trials: int) -> TrackRecord | None:
    """The policy's track record; None where its dates are too few or its returns do not vary.

    Args:
        members: backtests on the policy's dates; the checkpoints among them say how widely trials differ
        trials: how many policies ever looked at these dates, from the registry

    Source: PSR: Bailey and Lopez de Prado 2012; DSR: the same 2014; both through skfolio
    Assumes: sessions are independent, as both papers do; trials that left no backtest here varied as those that did
    """
    from skfolio.measures import expected_max_sharpe_ratio, kurtosis, probabilistic_sharpe_ratio, skew

    excess = series(members)[policy.name].excess.mean(axis=1)
    if excess.size < MIN_OBSERVATIONS or float(excess.std(ddof=1)) <= NO_VARIATION:
        return None
    ratios = ladder_ratios(members)
    spread = float(np.std(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    told = trials <= 1 or spread > NO_VARIATION
    benchmark = float(expected_max_sharpe_ratio(max(trials, 1), spread)) if told else None
    sharpe, skewness, fourth = _ratio(excess), float(skew(excess)), float(kurtosis(excess))
    return TrackRecord(
        sessions=excess.size,
        sharpe=sharpe,
        skewness=skewness,
        kurtosis=fourth,
        psr=float(probabilistic_sharpe_ratio(excess)),
        min_sessions=min_track_record_length(sharpe, skewness, fourth),
        trials=trials,
        spread=spread,
        expected_maximum=benchmark,
        dsr=None if benchmark is None else float(probabilistic_sharpe_ratio(excess, benchmark)),
    )


def min_track_record_length(
    sharpe: float, skewness: float, kurtosis: float, *, benchmark: float = 0.0, confidence: float = CONFIDENCE
) -> float | None:
    """Sessions that it takes to hold a ratio to be above a benchmark; None where it is not above it.

        MinTRL = 1 + (1 - g3 SR + (g4 - 1) / 4 SR^2) (Z / (SR - SR*))^2

    Units: ratios per session, not annualised; kurtosis 3 of a normal distribution; Z: the confidence's normal quantile
    Source: Bailey and Lopez de Prado 2012, "The Sharpe ratio efficient frontier", equation 13: MinTRL (2012)
    Assumes: the ratio, the skewness and the kurtosis stay what they were
    """
    from scipy.stats import norm

    if not sharpe > benchmark:
        return None
    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    return float(1.0 + variance * (norm.ppf(confidence) / (sharpe - benchmark)) ** 2)


def ladder_ratios(members: Sequence[Backtest]) -> list[float]:
    """Ratios per session of the ladder's likeliest actions; a rung that never trades stands at cash's 0."""
    found = series(members)
    return [_ratio(found[rung.name].excess.mean(axis=1)) for rung in rungs_of(members)]


def _ratio(excess: Floats) -> float:
    deviation = float(excess.std(ddof=1))
    return float(excess.mean()) / deviation if deviation > NO_VARIATION else 0.0
