"""Two accounts on the same sessions, judged by their daily differences alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clstm_core.errors import ShadowError
from clstm_core.shadow.against import against

FIRST = datetime(2024, 1, 2, 21, tzinfo=UTC)


def account(name, growth, skip=()):
    """A log whose equity grew by these logarithms; some sessions of it were refused."""
    equity = 1e6 * np.exp(np.concatenate([[0.0], np.cumsum(growth)]))
    rows = [{"snapshot": FIRST + timedelta(days=at), "equity_usd": float(value)} for at, value in enumerate(equity)]
    return SimpleNamespace(folder=Path(name), decided=[row for at, row in enumerate(rows) if at not in skip])


def test_one_that_loses_beside_the_other_is_found_and_not_the_other_way_round():
    draw = np.random.default_rng(1)
    common = draw.normal(0.0, 0.01, 300)  # of the market, in both: it cancels
    good, bad = account("good", common), account("bad", common + draw.normal(-0.001, 0.002, 300))
    found = against(bad, good, margin_bps=1.0)
    assert found.words.startswith("bad does worse than good: -")
    assert found.sessions == 300
    other = against(good, bad, margin_bps=1.0)
    assert other.harm.reached is None
    assert other.words.startswith("good is no worse than bad by more than 1 bp per session")


def test_alike_they_cannot_be_told_apart_and_a_generous_margin_lets_one_pass():
    draw = np.random.default_rng(2)
    one, other = (account(name, draw.normal(0.0, 0.002, 250)) for name in ("one", "other"))
    assert "cannot be told apart yet" in against(one, other, margin_bps=0.0).words
    assert "is no worse" in against(one, other, margin_bps=40.0).words


def test_what_happened_while_a_session_was_refused_is_not_lost():
    growth = np.random.default_rng(3).normal(0.0, 0.01, 60)
    found = against(account("a", growth, skip=(10, 11)), account("b", growth), margin_bps=1.0)
    assert found.sessions == 60 - 2
    assert found.mean_bps == pytest.approx(0.0, abs=1e-9)
    refused = range(5, 125, 5)
    crashes = np.zeros(125)
    crashes[[at - 1 for at in refused]] = -0.03  # each loss comes with a session that is refused
    found = against(account("bad", crashes, skip=refused), account("cash", np.zeros(125)), margin_bps=1.0)
    assert found.harm.reached is not None
    assert found.mean_bps * found.sessions == pytest.approx(1e4 * crashes.sum())


@pytest.mark.parametrize("equity", [None, float("nan")])
def test_equity_that_is_no_number_is_a_sentence(equity):
    one = account("one", np.zeros(40))
    one.decided[7]["equity_usd"] = equity
    with pytest.raises(ShadowError, match=f"one has equity {equity} at 2024-01-09"):
        against(one, account("other", np.zeros(40)), margin_bps=1.0)


def test_sessions_that_do_not_count_are_left_out():
    growth = np.random.default_rng(3).normal(0.0, 0.01, 60)
    found = against(account("a", growth), account("b", growth), margin_bps=1.0, after="2024-01-11")
    assert found.sessions == 60 - 10
    with pytest.raises(ShadowError, match="expected at least 21"):
        against(account("a", growth), account("b", growth), margin_bps=1.0, after="2025-01-01")


def test_too_few_sessions_and_a_negative_margin_are_sentences():
    few = account("few", np.zeros(20))
    with pytest.raises(ShadowError, match="20 sessions that few and few have in common: expected at least 21"):
        against(few, few, margin_bps=1.0)
    with pytest.raises(ShadowError, match="margin -1 bp"):
        against(few, few, margin_bps=-1.0)
