"""Histories for the modelled S&P 500 world whose future is another one, and the series that they are read from."""

import numpy as np

from clstm_core.config import MarketConfig
from clstm_core.market.worlds.sp500 import BURN_IN, History

N_SESSIONS = 460
TRAIN_SESSIONS = 330  # from the first quote on; enough for every fit of the world
HISTORY_FUTURES = ("ends", "another")
PUBLICATION_FUTURES = ("ends", "a tenth")
FIRST_DATE = np.datetime64("2001-01-02")


def modelled_history(scheduled: np.ndarray, seed: int = 0) -> History:
    """A made-up index and VIX on scheduled sessions; every series moves every day, so that a day's shift shows."""
    rng = np.random.default_rng(seed)
    date = scheduled[np.searchsorted(scheduled, FIRST_DATE) :][:N_SESSIONS]
    log_vix = np.empty(N_SESSIONS)
    level = np.log(0.2)
    for index, shock in enumerate(rng.standard_normal(N_SESSIONS)):
        level += 0.08 * (np.log(0.2) - level) + 0.07 * shock
        log_vix[index] = level
    vix = np.exp(log_vix)
    returns = 0.8 * np.concatenate([[0.2], vix[:-1]]) / np.sqrt(252.0) * rng.standard_normal(N_SESSIONS)
    return History(
        date=date,
        close=1200.0 * np.exp(np.cumsum(returns)),
        vix=vix,
        rate=0.03 + 0.001 * rng.standard_normal(N_SESSIONS),
        dividend_yield=0.015 + 0.0005 * rng.standard_normal(N_SESSIONS),
    )


def modelled_config(history: History, *, premium: bool) -> MarketConfig:
    """Training ends TRAIN_SESSIONS after the first quote, by date: whatever comes later moves no window."""
    first = BURN_IN + TRAIN_SESSIONS
    return MarketConfig(
        premium=premium,
        train_until=str(history.date[first - 1]),
        validation_until=str(history.date[first]),
        n_snapshots=N_SESSIONS,
    )


def with_other_sessions(history: History, cut: int, kind: str, seed: int) -> History:
    """The same history up to session `cut`; after it none, or another index, VIX, rate and yield."""
    if kind == "ends":
        return History(*(series[: cut + 1] for series in history))
    rng = np.random.default_rng(seed)
    after = np.arange(len(history.date)) > cut
    other = {
        name: np.where(after, series * np.exp(0.5 + 0.3 * rng.standard_normal(len(series))), series)
        for name, series in history._asdict().items()
        if name != "date"
    }
    return history._replace(**other)


Series = tuple[np.ndarray, np.ndarray]


def published_series(history: History) -> tuple[Series, Series, Series]:
    """A VIX by day, a bill and dividends by month, from two years before the history until its end."""
    rng = np.random.default_rng(1)
    months = np.arange(history.date[0].astype("datetime64[M]") - 30, history.date[-1].astype("datetime64[M]") + 2)
    bill = 3.0 + 0.5 * rng.standard_normal(len(months))
    dividends = 20.0 * np.exp(0.1 * rng.standard_normal(len(months)))
    return (history.date, 100.0 * history.vix), (months, bill), (months, dividends)


def with_other_publications(series: Series, after: np.datetime64, kind: str) -> Series:
    """The same series up to and with a day (or its month); nothing after it, or a tenth of the values."""
    dates, values = series
    late = dates > after.astype(dates.dtype)
    if kind == "ends":
        return dates[~late], values[~late]
    return dates, np.where(late, 0.1 * values, values)
