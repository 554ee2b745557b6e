"""One account by session, month and year: what it earned beyond cash, its falls, and its luck over time. NumPy, Polars.

Every series begins with the account's first equity, marked at mid; every figure follows from `equity.parquet` alone.
"""

import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from clstm_core.evaluation.figures import ROLLING
from clstm_core.evaluation.statistics import (
    CONFIDENCE,
    MIN_OBSERVATIONS,
    REPLICATIONS,
    Floats,
    bootstrap_counts,
    log_returns,
    max_drawdown,
    simple_returns,
    underwater,
)

Rows = list[dict[str, Any]]

WORST = 5
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Account:
    """One continuous account.

    Shapes: dates (ISO text), equity and spot [T + 1]; cash [T]: simple returns of cash over the same steps
    """

    dates: list[str]
    equity: Floats
    spot: Floats
    cash: Floats

    @classmethod
    def of(cls, equity: pl.DataFrame) -> "Account":
        """The account of one episode's `equity` ledger."""
        rows = equity.sort("step")
        return cls(
            dates=rows["snapshot"].dt.date().cast(pl.String).to_list(),
            equity=rows["equity_usd"].to_numpy(),
            spot=rows["spot"].to_numpy(),
            cash=rows["cash_return"].to_numpy()[1:],
        )

    @functools.cached_property
    def returns(self) -> Floats:
        """Simple returns [T]."""
        return simple_returns(self.equity)

    @functools.cached_property
    def excess(self) -> Floats:
        """Returns less those of cash [T]."""
        return _beyond(self.returns, self.cash)

    @functools.cached_property
    def market(self) -> Floats:
        """Returns of the underlying's price [T], dividends left out."""
        return simple_returns(self.spot)

    @functools.cached_property
    def log_excess(self) -> Floats:
        """Log returns less those of cash [T]: what the verdict's interval is of."""
        return _beyond(log_returns(self.equity), np.log1p(self.cash))

    def growth(self, start: int, stop: int) -> Floats:
        """One unit from snapshot `start` to `stop` [stop - start + 1]; after ruin it stays where it was."""
        return np.concatenate([[1.0], np.cumprod(1.0 + self.returns[start:stop])])

    @functools.cached_property
    def cash_equity(self) -> Floats:
        """What the first equity would have become as cash [T + 1]."""
        return self.equity[0] * np.concatenate([[1.0], np.cumprod(1.0 + self.cash)])

    @functools.cached_property
    def band(self) -> tuple[Floats, Floats, Floats]:
        """`excess_path` of this account."""
        return excess_path(self)


def _beyond(returns: Floats, cash: Floats) -> Floats:
    """Returns less cash's; an account that waits differs from cash by rounding, which is no gain and no loss."""
    beyond = returns - cash
    return np.where(np.abs(beyond) < _ROUNDING, 0.0, beyond)


def excess_path(account: Account, *, seed: int = 0, replications: int = REPLICATIONS) -> tuple[Floats, Floats, Floats]:
    """Equity over what cash would have become, less 1, with the ends of a pointwise bootstrap band; [T + 1] each.

    At t the band is the observed path plus the spread of resampled sums of t centred log excess returns. At the last
    date this is the percentile interval that the verdict gives (`statistics.paired_mean` against cash, the same draws
    of dates). NaN where there are too few returns for an interval.

    Units: fractions of cash's value
    Source: stationary bootstrap as `statistics.bootstrap_counts`; the band is pointwise, not for the path as a whole
    """
    d = account.log_excess
    path = np.concatenate([[0.0], np.cumsum(d)])
    if d.size < MIN_OBSERVATIONS:
        unknown = np.full(path.size, np.nan)
        return np.expm1(path), unknown, unknown
    from arch.bootstrap import StationaryBootstrap

    _, block = bootstrap_counts(d, seed=seed, replications=replications)
    draws = StationaryBootstrap(int(block), np.arange(d.size), seed=seed)
    centred = d - d.mean()
    sums = np.stack([np.cumsum(centred[sample[0][0]]) for sample in draws.bootstrap(replications)])
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = (np.concatenate([[0.0], ends]) for ends in np.quantile(sums, (tail, 1.0 - tail), axis=0))
    return np.expm1(path), np.expm1(path + low), np.expm1(path + high)


def rolling(values: Floats, window: int = ROLLING) -> tuple[Floats, Floats]:
    """Mean over sample deviation, and sample deviation, of the last `window` values; NaN before there are so many.

    Units: per session, not annualised
    """
    mean, deviation = (np.full(values.size, np.nan) for _ in range(2))
    if values.size >= window:
        views = np.lib.stride_tricks.sliding_window_view(values, window)
        mean[window - 1 :] = views.mean(axis=1)
        deviation[window - 1 :] = views.std(axis=1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(deviation > _ROUNDING, mean / deviation, np.nan)
    return ratio, deviation


def by_period(account: Account, length: int) -> Rows:
    """What each month (`length` 7 of the ISO date) or year (4) earned: the change since the last session before it.

    Each row: period, first and last date, sessions, return, cash, excess (return less cash), underlying, and the
    largest fall within it, from a peak that is no earlier than its start.

    Units: fractions of the equity at the period's start; a period that the window cuts is not made up to a whole one
    """
    names = np.array([date[:length] for date in account.dates[1:]])
    if not names.size:
        return []
    ends = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1), names.size]
    rows = []
    for start, stop in pairwise(ends):
        curve = account.growth(start, stop)
        grown = float(curve[-1] - 1.0)
        as_cash, market = (float(of[stop] / of[start] - 1.0) for of in (account.cash_equity, account.spot))
        rows.append(
            {
                "period": str(names[start]),
                "first_date": account.dates[start + 1],
                "last_date": account.dates[stop],
                "sessions": int(stop - start),
                "return": grown,
                "cash": as_cash,
                "excess": grown - as_cash,
                "underlying": market,
                "max_drawdown": max_drawdown(curve),
            }
        )
    return rows


def drawdowns(account: Account) -> Rows:
    """Every stretch below the highest equity so far, the deepest first.

    Each row: depth (negative fraction), peak (the last date at the peak), trough, recovered (the first date at the
    peak or above again, None where it never was), sessions and days from the peak to recovery or the last date.

    Source: stretches as pyfolio's `gen_drawdown_table` names them: peak, valley, recovery; quantstats counts days from
            the first below the peak to the last, which leaves out the peak and the recovery themselves
    """
    below = underwater(account.equity)
    under = np.concatenate([[False], below < 0.0, [False]])
    starts = np.flatnonzero(under[1:] & ~under[:-1])
    stops = np.flatnonzero(~under[1:] & under[:-1])
    last = account.equity.size - 1
    rows = []
    for start, stop in zip(starts, stops, strict=True):
        peak, trough, end = int(start) - 1, int(start + below[start:stop].argmin()), min(int(stop), last)
        days = np.datetime64(account.dates[end]) - np.datetime64(account.dates[peak])
        rows.append(
            {
                "depth": float(below[trough]),
                "peak": account.dates[peak],
                "trough": account.dates[trough],
                "recovered": account.dates[end] if stop <= last else None,
                "sessions": end - peak,
                "days": int(days.astype(int)),
            }
        )
    return sorted(rows, key=lambda row: row["depth"])


def by_session(account: Account) -> pl.DataFrame:
    """One row per snapshot: date, equity_usd, spot, excess with its band, the day's return, and rolling figures.

    Units: fractions; rolling figures are of `ROLLING` sessions' returns in excess of cash, per session
    """
    excess, low, high = account.band
    ratio, deviation = rolling(account.excess)
    first = [np.nan]
    return pl.DataFrame(
        {
            "date": account.dates,
            "equity_usd": account.equity,
            "spot": account.spot,
            "cash_equity_usd": account.cash_equity,
            "excess": excess,
            "excess_low": low,
            "excess_high": high,
            "return": np.concatenate([first, account.returns]),
            "rolling_ratio": np.concatenate([first, ratio]),
            "rolling_deviation": np.concatenate([first, deviation]),
        }
    )
