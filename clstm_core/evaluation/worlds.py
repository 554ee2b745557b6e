"""Each policy in the market and in the worlds beside it: what it returned, and how far it was from cash in each."""

from collections.abc import Mapping, Sequence
from typing import Any

from clstm_core.evaluation import words
from clstm_core.evaluation.headline import headline_of
from clstm_core.evaluation.pairing import group, series
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import PERIODS_PER_YEAR, REPLICATIONS, paired_mean

CASH = "cash"


def across_worlds(
    worlds: Mapping[str, Sequence[Backtest]],
    policies: Sequence[str],
    *,
    seed: int = 0,
    replications: int = REPLICATIONS,
) -> list[dict[str, Any]]:
    """One row per policy and world in which it was traded, at the headline's fills, in the order given.

        policy, world, total_return, less_cash, ci_low, ci_high, confidence, n_dates, verdict

    Args:
        worlds: backtests by the world's name; a world without any gives no row

    Units: less_cash and its interval in percent per year of log return, paired by date; None for cash itself, where
           cash was not traded, and (the interval) where the window is too short
    """
    found = {}
    for world, results in worlds.items():
        if not results:
            continue
        groups = group(results)
        members = groups[headline_of(groups)]
        returns = series(members)
        for member in members:
            row = {"policy": member.name, "world": world, "total_return": member.manifest["summary"]["total_return"]}
            if member.name != CASH and CASH in returns:
                interval = paired_mean(
                    returns[member.name].log_returns,
                    returns[CASH].log_returns,
                    scale=100.0 * PERIODS_PER_YEAR,
                    seed=seed,
                    replications=replications,
                )
                row |= {
                    "less_cash": interval.estimate,
                    "ci_low": interval.low,
                    "ci_high": interval.high,
                    "confidence": interval.confidence,
                    "n_dates": interval.n_returns,
                    "verdict": f"{words.relation(interval.low, interval.high)} {CASH}",
                }
            found[member.name, world] = row
    return [found[name, world] for name in policies for world in worlds if (name, world) in found]
