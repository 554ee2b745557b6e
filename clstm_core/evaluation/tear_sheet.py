"""An account's tear sheet: the figures that traders ask for, in reading order, each with how it is worked out."""

import math
from typing import Any

from clstm_core.evaluation.periods import WORST, Account, Rows, by_period, drawdowns
from clstm_core.evaluation.ratios import (
    alpha_beta,
    calmar_ratio,
    correlation,
    expected_shortfall,
    kurtosis,
    omega_ratio,
    recovery_factor,
    share_of_wins,
    sharpe_interval,
    skewness,
    sortino_ratio,
    tail_ratio,
    value_at_risk,
)
from clstm_core.evaluation.statistics import YEAR_OF_RETURNS, performance


def account_figures(account: Account) -> dict[str, Rows]:
    """The account's tear sheet, years, months and deepest falls: what a comparison says of the judged one."""
    return {
        "tear_sheet": tear_sheet(account),
        "years": by_period(account, 4),
        "months": by_period(account, 7),
        "drawdowns": drawdowns(account)[:WORST],
    }


def tear_sheet(account: Account) -> Rows:
    """The account's figures in reading order: figure, value, low, high, kind, when, and how it is worked out.

    kind: usd, percent, ratio or count. Yearly figures are None in a window of less than a year, and their words say so.
    """
    done = performance(account.equity, account.cash)
    enough = account.returns.size >= YEAR_OF_RETURNS
    path, low, high = account.band
    months, falls = by_period(account, 7), drawdowns(account)
    alpha, beta = alpha_beta(account.returns, account.market, account.cash)
    best, worst = int(account.returns.argmax()), int(account.returns.argmin())
    longest = max(falls, key=lambda row: row["days"], default=None)
    sharpe_ends = sharpe_interval(account.excess) if enough else (None, None)
    days = {"best": (best, "largest"), "worst": (worst, "smallest")}
    month_of = {"best": max(months, key=lambda row: row["return"]), "worst": min(months, key=lambda row: row["return"])}
    total = done.total_return

    def row(
        figure: str, value: Any, kind: str, how: str, *, when: str = "", ends: Any = (None, None)
    ) -> dict[str, Any]:
        return {
            "figure": figure,
            "value": value,
            "low": ends[0],
            "high": ends[1],
            "kind": kind,
            "when": when,
            "how": how,
        }

    def yearly(figure: str, value: Any, kind: str, how: str, ends: Any = (None, None)) -> dict[str, Any]:
        short = "" if enough else f" Not given: {account.returns.size} sessions are less than a year."
        return row(figure, value if enough else None, kind, how + short, ends=ends)

    band = (None, None) if math.isnan(low[-1]) else (float(low[-1]), float(high[-1]))
    return [
        row(
            "Start capital", float(account.equity[0]), "usd", "Equity before the first decision.", when=account.dates[0]
        ),
        row("Final equity", float(account.equity[-1]), "usd", "Marked at mid.", when=account.dates[-1]),
        row("Total return", total, "percent", "Final over start equity, less 1; interest on idle cash included."),
        row(
            "Cash over the same time",
            float(account.cash_equity[-1] / account.cash_equity[0] - 1.0),
            "percent",
            "The start capital left at the short rate.",
        ),
        row(
            "Excess over cash",
            float(path[-1]),
            "percent",
            "Final equity over what cash became, less 1; 95% bootstrap interval of dates.",
            ends=band,
        ),
        yearly("Return per year", done.annual_return, "percent", "Geometric, 252 sessions per year."),
        yearly(
            "Volatility per year",
            done.annual_volatility,
            "percent",
            "Sample deviation of daily excess returns x sqrt(252).",
        ),
        yearly(
            "Sharpe ratio",
            done.sharpe,
            "ratio",
            "Mean daily return in excess of cash over its sample deviation, x sqrt(252); 95% bootstrap interval.",
            sharpe_ends,
        ),
        yearly(
            "Sortino ratio",
            sortino_ratio(account.excess),
            "ratio",
            "As Sharpe's, over the root mean square of losses alone.",
        ),
        yearly(
            "Calmar ratio",
            calmar_ratio(done.annual_return, done.max_drawdown),
            "ratio",
            "Return per year over the largest drawdown.",
        ),
        row("Omega ratio", omega_ratio(account.excess), "ratio", "Sum of daily gains over sum of losses, beyond cash."),
        row(
            "VaR 95, one day",
            value_at_risk(account.returns),
            "percent",
            "One session in twenty was worse: a historical quantile.",
        ),
        row(
            "CVaR 95, one day",
            expected_shortfall(account.returns),
            "percent",
            "Mean of the worst twentieth of sessions.",
        ),
        row("Skewness", skewness(account.returns), "ratio", "Of daily returns; below 0, losses are the longer tail."),
        row("Excess kurtosis", kurtosis(account.returns), "ratio", "Of daily returns; 0 of a normal distribution."),
        row(
            "Tail ratio",
            tail_ratio(account.returns),
            "ratio",
            "95th percentile of daily returns over the 5th, in size.",
        ),
        *(
            row(
                f"{name.capitalize()} day",
                float(account.returns[at]),
                "percent",
                f"The {word} daily return.",
                when=account.dates[at + 1],
            )
            for name, (at, word) in days.items()
        ),
        *(
            row(
                f"{name.capitalize()} month",
                found["return"],
                "percent",
                "Calendar months, the cut ones included.",
                when=found["period"],
            )
            for name, found in month_of.items()
        ),
        row("Winning days", share_of_wins(account.returns), "percent", "Of the sessions on which equity moved."),
        row("Days ahead of cash", share_of_wins(account.excess), "percent", "Sessions whose return was above cash's."),
        row(
            "Largest drawdown",
            done.max_drawdown,
            "percent",
            "Fall from the highest equity so far.",
            when=falls[0]["trough"] if falls else "",
        ),
        row(
            "Recovery factor",
            recovery_factor(total, done.max_drawdown),
            "ratio",
            "Total return over the largest drawdown.",
        ),
        row(
            "Longest time under water",
            longest["days"] if longest else 0,
            "count",
            "Calendar days from a peak until it was reached again, or the last date.",
            when=longest["peak"] if longest else "",
        ),
        row("Beta to the underlying", beta, "ratio", "Slope of daily returns on the index's; price moves alone."),
        yearly("Alpha per year", alpha, "percent", "Mean daily excess return that beta leaves, compounded over 252."),
        row(
            "Correlation to the underlying",
            correlation(account.returns, account.market),
            "ratio",
            "Of daily returns, dividends of the index left out.",
        ),
    ]
