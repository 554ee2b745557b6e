"""What each convention came to, as plain rows: paired with the clean walk on the same dates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clstm_core.evaluation import words
from clstm_core.evaluation.conventions.costs import break_even, paid_words
from clstm_core.evaluation.conventions.sins import Sin
from clstm_core.evaluation.conventions.words import effect
from clstm_core.evaluation.pairing import series
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import (
    CONFIDENCE,
    PERIODS_PER_YEAR,
    YEAR_OF_RETURNS,
    paired_mean,
    paired_sharpe,
    sharpe_ratio,
)

Rows = list[dict[str, Any]]

CLEAN = "clean"
BPS = 1e4


def sin_rows(judged: Backtest, sins: Sequence[tuple[Sin, Backtest]], *, seed: int = 0) -> Rows:
    """The clean walk, then one row per sin with what it added to the Sharpe ratio.

        sin, title, switched, policy, total_return, less_clean, sharpe, inflation, ci_low, ci_high, confidence,
        n_dates, per, n_fills, verdict

    Units: sharpe, inflation and its interval per year, or per session (`per`) where the window is shorter than one
    """
    found = series([judged, *(account for _, account in sins)])
    clean = found[judged.name]
    n = len(clean.log_returns)
    periods, per = (PERIODS_PER_YEAR, "year") if n >= YEAR_OF_RETURNS else (1.0, "session")
    shared = {"policy": judged.name, "confidence": CONFIDENCE, "n_dates": n, "per": per}

    def figures(account: Backtest) -> dict[str, Any]:
        return {
            "total_return": _returned(account),
            "less_clean": _returned(account) - _returned(judged),
            "sharpe": sharpe_ratio(found[account.name].excess[:, 0], periods),
            "n_fills": account.manifest["summary"]["n_fills"],
        }

    first = {"sin": CLEAN, "title": "The clean walk", "switched": "Nothing: this is the backtest that is judged."}
    rows = [{**first, **shared, **figures(judged), "inflation": None, "ci_low": None, "ci_high": None, "verdict": ""}]
    for sin, account in sins:
        change = paired_sharpe(found[account.name].excess, clean.excess, seed=seed, periods_per_year=periods)
        span = (change.estimate, change.low, change.high) if change else (None, None, None)
        rows.append(
            {
                **{"sin": sin.name, "title": sin.title, "switched": sin.switched},
                **shared,
                **figures(account),
                **dict(zip(("inflation", "ci_low", "ci_high"), span, strict=True)),
                "verdict": effect(*span),
            }
        )
    return rows


def delay_row(judged: Backtest, lag: int, missed: int, account: Backtest, *, seed: int = 0) -> dict[str, Any]:
    """What the judged policy's orders came to, filled `lag` sessions after their decision.

        fill_lag, possible, clean, policy, total_return, less_cash, less_clean, sharpe, growth_less_clean, ci_low,
        ci_high, confidence, n_dates, span, n_orders, n_missed, n_unfilled, n_fills

    Args:
        missed: orders that could not be handed over: a leg was not listed then

    Units: less_clean: of the total returns; growth_less_clean and its interval: percent of log return, `span` says of
           what (per year)
    """
    found = series([judged, account])
    mine, clean = found[account.name], found[judged.name]
    percent, span = words.percent_of(len(mine.log_returns))
    change = paired_mean(mine.log_returns, clean.log_returns, scale=BPS * percent, seed=seed)
    decisions = account.table("decisions")
    return {
        "fill_lag": lag,
        "possible": lag >= 0,
        "clean": lag == judged.manifest["fill_lag"],
        "policy": judged.name,
        "total_return": _returned(account),
        "less_cash": _returned(account) - _of_cash(account),
        "less_clean": _returned(account) - _returned(judged),
        "sharpe": account.manifest["summary"]["sharpe"],
        "growth_less_clean": change.estimate,
        "ci_low": change.low,
        "ci_high": change.high,
        "confidence": change.confidence,
        "n_dates": change.n_returns,
        "span": span,
        "n_orders": int(decisions["ordered"].sum()),
        "n_missed": missed,
        "n_unfilled": int((decisions["unfilled"] | decisions["rejected"]).sum()),
        "n_fills": account.manifest["summary"]["n_fills"],
    }


def cost_rows(by_multiple: Mapping[float, Sequence[Backtest]], names: Sequence[str]) -> Rows:
    """One row per policy and multiple of the half-spread that it paid, in the order of `names`.

        policy, spread_multiple, paid, total_return, less_cash, sharpe, n_fills

    Units: less_cash: total return over the window less that of cash
    """
    rows = [
        {
            "policy": account.name,
            "spread_multiple": multiple,
            "paid": paid_words(multiple),
            "total_return": _returned(account),
            "less_cash": _returned(account) - _of_cash(account),
            "sharpe": account.manifest["summary"]["sharpe"],
            "n_fills": account.manifest["summary"]["n_fills"],
        }
        for multiple, accounts in sorted(by_multiple.items())
        for account in accounts
    ]
    return sorted(rows, key=lambda row: names.index(row["policy"]))


def break_even_rows(costs: Rows) -> Rows:
    """One row per policy: `policy`, `spread_multiple` (None where there is none) and `verdict`, which says why."""
    rows = []
    for name in dict.fromkeys(row["policy"] for row in costs):
        mine = [row for row in costs if row["policy"] == name]
        found = break_even([row["spread_multiple"] for row in mine], [row["less_cash"] for row in mine])
        rows.append({"policy": name, "spread_multiple": found.multiple, "verdict": found.words})
    return rows


def _returned(account: Backtest) -> float:
    return float(account.manifest["summary"]["total_return"])


def _of_cash(account: Backtest) -> float:
    """What cash returned over the window."""
    return float(np.prod(1.0 + account.curves()[1]) - 1.0)
