"""Whether the critic's expectations came true, bin by bin, on the judged account's own sessions."""

import numpy as np
import polars as pl

from clstm_core.evaluation.periods import Rows

SPAN, BINS, LEAST = 5, 10, 10
"""Sessions ahead; bins at most; sessions per bin at least."""


def calibration(decisions: pl.DataFrame, gamma: float, *, span: int = SPAN) -> Rows:
    """Mean of what was foreseen and of what came, in bins of equal count by what was foreseen.

        foreseen_t = V_t - gamma^k V_{t+k},   seen_t = sum over i < k of gamma^i r_{t+i}

    Each row: bin, sessions, foreseen, seen, low, high. Empty for a rule, which foresees nothing, and for too few
    sessions.

    Units: rewards; low, high: 95% of a normal mean that counts one session in `span` as independent
    Source: the pair of `ppo.diagnostics.foreseen`, on one account that acts as in the backtest
    """
    rows = decisions.sort("step")
    value, reward = rows["value"].to_numpy().astype(float), rows["reward"].to_numpy()
    if value.size <= span or not np.isfinite(value).all():
        return []
    foreseen = value[:-span] - gamma**span * value[span:]
    seen = sum(gamma**ahead * reward[ahead : ahead + foreseen.size] for ahead in range(span))
    count = min(BINS, foreseen.size // LEAST)
    if count < 2:
        return []
    found = []
    for number, mine in enumerate(np.array_split(np.argsort(foreseen, kind="stable"), count)):
        came = np.asarray(seen)[mine]
        reach = 1.96 * float(came.std(ddof=1)) / np.sqrt(max(1.0, mine.size / span))
        middle = float(came.mean())
        found.append(
            {
                "bin": number + 1,
                "sessions": int(mine.size),
                "foreseen": float(foreseen[mine].mean()),
                "seen": middle,
                "low": middle - float(reach),
                "high": middle + float(reach),
            }
        )
    return found
