"""What an account earned in calm, middle and wild markets, and in the named crises that lie in its window.

A session's regime is the volatility known at the close before it, so that no return chooses its own regime.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clstm_core.evaluation.periods import Account, Rows
from clstm_core.evaluation.statistics import Floats, max_drawdown, paired_mean

TERCILES = ("calm", "middle", "wild")
REALISED = 21
"""Sessions of the realised volatility that stands in where no implied one is known."""

IMPLIED_WORDS = "implied volatility at the money of the near expiry at the close before"
REALISED_WORDS = f"realised volatility of the {REALISED} sessions before (no implied one at hand)"
BPS = 1e4


class Crisis(NamedTuple):
    """A named stretch of the S&P 500, from the close that it is measured from to the one that it ends with."""

    name: str
    first: str
    last: str
    source: str


_FALL = "S&P 500, closing high to closing low"
CRISES: tuple[Crisis, ...] = (
    Crisis("Gulf War", "1990-07-16", "1990-10-11", _FALL),
    Crisis("Russia and LTCM", "1998-07-17", "1998-08-31", _FALL),
    Crisis("End of the technology boom", "2000-03-24", "2002-10-09", _FALL),
    Crisis("Financial crisis", "2007-10-09", "2009-03-09", _FALL),
    Crisis("Downgrade of the United States", "2011-07-07", "2011-08-08", _FALL),
    Crisis("China's devaluation", "2015-07-20", "2015-08-25", _FALL),
    Crisis("Short-volatility crash", "2018-01-26", "2018-02-08", _FALL),
    Crisis("Fourth quarter of 2018", "2018-09-20", "2018-12-24", _FALL),
    Crisis("COVID crash", "2020-02-19", "2020-03-23", _FALL),
    Crisis("COVID rebound", "2020-03-23", "2020-04-29", "S&P 500, closing low to the highest close of the next month"),
    Crisis("Rate rises of 2022", "2022-01-03", "2022-10-12", _FALL),
    Crisis("Yen carry trade", "2024-07-16", "2024-08-05", _FALL),
    Crisis("Tariffs", "2025-02-19", "2025-04-08", _FALL),
)
"""Named windows by date alone; chosen by the index's history and not by any policy's."""


def implied_by_date(tensors: Path) -> dict[str, float]:
    """Implied volatility at the money of the near expiry by ISO date, from a market's tensors; empty without the file.

    Units: fractions per year, as the feature `near_atm_vol`
    """
    from safetensors import safe_open

    from clstm_core.specs import MARKET_FEATURES

    path = tensors / "market.safetensors"
    if not path.is_file():
        return {}
    with safe_open(path, framework="numpy") as file:
        moments = file.get_tensor("snapshot_T").astype("datetime64[ns]").astype("datetime64[D]")
        values = file.get_tensor("features_TF")[:, MARKET_FEATURES.index("near_atm_vol")]
    return {
        str(day): float(value) for day, value in zip(moments, values, strict=True) if np.isfinite(value) and value > 0.0
    }


def volatility_before(account: Account, implied: Mapping[str, float]) -> tuple[Floats, str]:
    """Volatility [T] known before each session's return, and what it is in words; NaN where it is unknown.

    It is the implied one where that is known for nearly every date, else the underlying's realised one.

    Units: fractions per year
    """
    known = np.array([implied.get(date, np.nan) for date in account.dates[:-1]])
    if np.isfinite(known).mean() > 0.9:
        return known, IMPLIED_WORDS
    moves, realised = np.log1p(account.market), np.full(account.market.size, np.nan)
    if moves.size > REALISED:
        views = np.lib.stride_tricks.sliding_window_view(moves, REALISED)[:-1]
        realised[REALISED:] = views.std(axis=1, ddof=1) * np.sqrt(252.0)
    return realised, REALISED_WORDS


def by_tercile(account: Account, volatility: Floats) -> Rows:
    """What sessions of each third of volatility earned: returns per session and the growth of all of them.

    Each row: regime, from_vol, to_vol, sessions, growth, cash, underlying (compounded over its sessions), excess_bps
    per session with its interval, winning (share of sessions above cash), worst (session).

    Units: fractions; excess_bps: mean log return beyond cash, basis points per session
    Assumes: the interval resamples the regime's sessions as if they followed each other
    """
    known = np.isfinite(volatility)
    if known.sum() < len(TERCILES) or np.ptp(volatility[known]) == 0.0:
        return []
    edges = np.quantile(volatility[known], (1 / 3, 2 / 3))
    third = np.searchsorted(edges, volatility, side="left")
    rows = []
    for number, name in enumerate(TERCILES):
        mine = known & (third == number)
        if not mine.any():
            continue
        excess = account.log_excess[mine]
        found = paired_mean(excess, np.zeros_like(excess), scale=BPS)
        rows.append(
            {
                "regime": name,
                "from_vol": float(volatility[mine].min()),
                "to_vol": float(volatility[mine].max()),
                "sessions": int(mine.sum()),
                **_grown(account, mine),
                "excess_bps": found.estimate,
                "low_bps": found.low,
                "high_bps": found.high,
                "winning": float((account.excess[mine] > 0.0).mean()),
                "worst": float(account.returns[mine].min()),
            }
        )
    return rows


def in_crises(account: Account, crises: tuple[Crisis, ...] = CRISES) -> Rows:
    """What each crisis that lies whole in the window did to the account: growth, cash, underlying, largest fall within.

    Units: fractions of the equity at the close that the crisis is measured from
    """
    dates, rows = np.array(account.dates), []
    for crisis in crises:
        if crisis.first < account.dates[0] or crisis.last > account.dates[-1]:
            continue
        start, stop = (int(np.searchsorted(dates, day, side="right")) - 1 for day in (crisis.first, crisis.last))
        if stop <= start:
            continue
        mine = np.zeros(account.returns.size, dtype=bool)
        mine[start:stop] = True
        rows.append(
            {
                "crisis": crisis.name,
                "first_date": account.dates[start],
                "last_date": account.dates[stop],
                "sessions": stop - start,
                **_grown(account, mine),
                "max_drawdown": max_drawdown(account.growth(start, stop)),
                "source": crisis.source,
            }
        )
    return rows


def _grown(account: Account, mine: Any) -> dict[str, float]:
    series = {"growth": account.returns, "cash": account.cash, "underlying": account.market}
    return {name: float(np.prod(1.0 + values[mine]) - 1.0) for name, values in series.items()}
