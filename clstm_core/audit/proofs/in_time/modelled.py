"""The modelled S&P 500 made from histories with another future: fits, state and quotes up to the cut are the same."""

from typing import Any

import numpy as np

from clstm_core.audit.proofs.in_time.differences import difference, same
from clstm_core.audit.result import Finding
from clstm_core.audit.worlds.modelled import (
    HISTORY_FUTURES,
    PUBLICATION_FUTURES,
    modelled_config,
    modelled_history,
    published_series,
    with_other_publications,
    with_other_sessions,
)


def modelled_in_time() -> list[Finding]:
    """The modelled S&P 500: fits, state and quotes up to a cut stay as they are when the index and VIX after it change.

    Every cut lies after the training window, so that what is fitted on it must stay as well, to the last bit.
    """
    from clstm_core.market.calendars import scheduled_sessions
    from clstm_core.market.instrument import SPX_MODELLED
    from clstm_core.market.worlds.sp500 import SP500World

    scheduled = scheduled_sessions(SPX_MODELLED.calendar)
    history = modelled_history(scheduled)
    findings = []
    for premium in (True, False):
        config = modelled_config(history, premium=premium)
        truth = SP500World(history, scheduled, config)
        stop = truth.train_stop
        for kind in HISTORY_FUTURES:
            different: list[str] = []
            for cut in (stop + 1, len(history.date) - 30):
                other = SP500World(with_other_sessions(history, cut, kind, cut), scheduled, config)
                different += [f"{name} (cut {cut})" for name in _modelled_differences(truth, other, cut)]
            name = "modelled source" if premium else "modelled twin"
            findings.append(difference(f"{name}, sessions after t: {kind}", different))
    return findings


def _modelled_differences(truth: Any, other: Any, cut: int) -> list[str]:
    """What two modelled worlds with the same past disagree on, of that past."""
    out = [name for name in ("reversion", "surface", "train_stop") if getattr(truth, name) != getattr(other, name)]
    if not truth.config.premium and truth.fair != other.fair:
        out.append("fair variance")
    for name, one, two in zip(truth.state._fields, truth.state, other.state, strict=True):
        out += [] if same(one[: cut + 1], two[: cut + 1]) else [f"state {name}"]
    at = np.arange(cut - 2, cut + 1)
    one, two = truth.quotes(at), other.quotes(at)
    if not np.array_equal(one.strike, two.strike) or not np.array_equal(one.expiration, two.expiration):
        return [*out, "listing"]
    for side in ("call", "put"):
        names = [getattr(quotes, f"{side}_names")[quotes.pair] for quotes in (one, two)]
        out += [] if np.array_equal(*names) else [f"{side} names"]
        for column in (f"{side}_bid", f"{side}_ask"):
            out += [] if np.array_equal(getattr(one, column), getattr(two, column)) else [column]
    return out


def published_in_time() -> list[Finding]:
    """What the modelled source knew of the VIX, the bill and dividends on a day was published by then."""
    from clstm_core.market.calendars import scheduled_sessions
    from clstm_core.market.instrument import SPX_MODELLED
    from clstm_core.market.sources.sp500_modelled import known_history

    history = modelled_history(scheduled_sessions(SPX_MODELLED.calendar))
    series = published_series(history)
    truth = known_history(history.date, history.close, *series).history
    findings = []
    for kind in PUBLICATION_FUTURES:
        different: list[str] = []
        for cut in (len(history.date) // 3, 2 * len(history.date) // 3):
            day = history.date[cut]
            # a bill's month is known when it is over, dividends a quarter later at the earliest
            known = (day, day.astype("datetime64[M]") - 1, day.astype("datetime64[M]") - 4)
            altered = [with_other_publications(one, at, kind) for one, at in zip(series, known, strict=True)]
            found = known_history(history.date, history.close, *altered).history
            for name in ("vix", "rate", "dividend_yield"):
                one, two = getattr(truth, name)[: cut + 1], getattr(found, name)[: cut + 1]
                different += [] if np.array_equal(one, two) else [f"{name} (cut {cut})"]
        findings.append(difference(f"series published after t: {kind}", different))
    return findings
