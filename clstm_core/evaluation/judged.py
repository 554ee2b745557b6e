"""What is shown of the one account that is judged, as plain rows: its sessions, trips and regimes.

Its tear sheet, years, months and falls stand in the comparison (`tear_sheet.account_figures`), which is audited.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from clstm_core.evaluation.calibration import calibration
from clstm_core.evaluation.exposures import caps_of, exposures
from clstm_core.evaluation.periods import Account, Rows, by_session
from clstm_core.evaluation.regimes import by_tercile, in_crises, volatility_before
from clstm_core.evaluation.round_trips import by_action, packages, round_trips

WORST_TRADES = 10


def judged_account(
    tables: Mapping[str, pl.DataFrame],
    env: Mapping[str, Any],
    implied: Mapping[str, float],
    *,
    simulated: bool,
    discount: float | None = None,
) -> dict[str, Any]:
    """Fields of `Evidence` that tell of the judged account; none for books of fewer than two snapshots.

    Args:
        tables: the four ledgers of one episode
        env: the settings it was traded under, with its risk budget
        implied: implied volatility by ISO date, where it is known
        simulated: whether its dates are made up, so that no crisis can lie in them
        discount: of the critic's rewards; it is not judged without
    """
    if tables["equity"].height < 2:
        return {}
    account = Account.of(tables["equity"])
    volatility, words = volatility_before(account, implied)
    trades = packages(round_trips(tables["fills"], tables["equity"], tables["positions"]), tables["decisions"])
    held = exposures(tables["equity"], tables["positions"]).drop("date")
    sessions = pl.concat([by_session(account), held], how="horizontal")
    return {
        "sessions": sessions.fill_nan(None).to_dicts(),
        "caps": caps_of(env),
        "trades": trades,
        "trade_figures": by_action(trades),
        "worst_trades": worst_of(trades),
        "regimes": by_tercile(account, volatility),
        "regimes_words": words,
        "crises": [] if simulated else in_crises(account),
        "calibration": [] if discount is None else calibration(tables["decisions"], discount),
    }


def worst_of(trades: Iterable[Mapping[str, Any]], count: int = WORST_TRADES) -> Rows:
    """The trades that lost most, the worst first; those that lost nothing are left out."""
    lost = [dict(trade) for trade in trades if trade["pnl_usd"] < 0.0]
    return sorted(lost, key=lambda trade: trade["pnl_usd"])[:count]
