"""The record against accounts worked out by hand, and what may be said of it."""

import numpy as np
import pytest

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.iqm import iqm_interval
from clstm_core.evaluation.statistics import paired_mean, sharpe_ratio
from clstm_core.walk_forward.figures import BPS, cells_of, figures_of, shares_of
from clstm_core.walk_forward.stitch import Piece, excess_of, joined
from clstm_core.walk_forward.words import against_cash, others, verdict

CASH_RATE = 1e-4


def piece(fold, first, sessions, seeds, drift=0.0):
    """A fold from a day on; each seed earns a drift and noise of its own over cash."""
    days = np.arange(np.datetime64(first), np.datetime64(first) + sessions + 1).astype(str).tolist()
    cash = np.full(sessions, CASH_RATE)
    draw = np.random.default_rng(fold)
    noise = {seed: draw.normal(drift, 1e-3, sessions) for seed in seeds}
    return Piece(
        fold=fold,
        dates=days,
        cash=cash,
        spot=draw.normal(0.0, 0.01, sessions),
        seeds={seed: np.log1p(cash) + values for seed, values in noise.items()},
        baselines={"cash": np.log1p(cash), "buy_and_hold": draw.normal(0.0, 0.01, sessions)},
    )


@pytest.fixture
def pieces():
    return [piece(1, "2001-01-01", 120, (0, 1)), piece(2, "2001-05-10", 130, (0, 1))]


def test_returns_are_joined_in_order_of_dates_whatever_order_they_come_in(pieces):
    record = joined(pieces[::-1])
    assert record.fold.tolist() == [1] * 120 + [2] * 130
    assert record.dates == sorted(record.dates)
    assert record.first == "2001-01-01"
    np.testing.assert_array_equal(record.seeds[1][:120], pieces[0].seeds[1])
    np.testing.assert_array_equal(record.policy[120:], (pieces[1].seeds[0] + pieces[1].seeds[1]) / 2)


def test_an_account_begins_anew_and_returns_are_chained(pieces):
    """Growth over two folds is the product of each fold's own; no money of the first is in the second."""
    record = joined(pieces)
    grown = [np.exp(found.seeds[0].sum()) for found in pieces]
    assert record.account(record.seeds[0]).equity[-1] == pytest.approx(grown[0] * grown[1])


def test_a_session_in_two_tests_is_refused(pieces):
    late = piece(2, "2001-05-01", 130, (0, 1))
    assert late.dates[0] == pieces[0].dates[-1]
    with pytest.raises(EvaluationError, match="folds 1 and 2 are both judged on 2001-05-01"):
        joined([pieces[0], late])


def test_pieces_of_other_seeds_are_refused(pieces):
    with pytest.raises(EvaluationError, match="other seeds"):
        joined([pieces[0], piece(2, "2001-05-10", 130, (0,))])
    with pytest.raises(EvaluationError, match="no fold"):
        joined([])


def test_what_differs_by_rounding_is_no_excess():
    cash = np.full(5, CASH_RATE)
    assert not excess_of(np.log1p(cash), cash).any()
    assert excess_of(np.log1p(cash + 1e-3), cash) == pytest.approx(np.full(5, 1e-3))


def test_figures_are_those_of_the_joined_accounts(pieces):
    found = figures_of("one", pieces, {}, simulated=False)
    record = joined(pieces)
    assert found["sessions"] == 250
    pair = next(pair for pair in found["pairs"] if pair["against"] == "cash")
    wanted = paired_mean(record.policy, np.log1p(record.cash), scale=BPS)
    assert (pair["estimate"], pair["ci_low"], pair["ci_high"]) == (wanted.estimate, wanted.low, wanted.high)
    for row in found["by_seed"]:
        curve = np.exp(np.concatenate([[0.0], np.cumsum(record.seeds[row["seed"]])]))
        assert row["max_drawdown"] == pytest.approx((curve / np.maximum.accumulate(curve) - 1.0).min())
    assert [row["sessions"] for row in found["by_fold"]] == [120, 130]
    assert found["curve"][-1]["excess"] == pytest.approx(np.expm1(pair["estimate"] / BPS * 250))
    assert found["curve"][-1]["excess_low"] == pytest.approx(np.expm1(pair["ci_low"] / BPS * 250), rel=1e-6)


def test_shares_count_folds_and_seeds(pieces):
    cells = cells_of(pieces)
    assert [(cell["fold"], cell["seed"]) for cell in cells] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    above = sum(found.seeds[seed].mean() > found.baselines["cash"].mean() for found in pieces for seed in (0, 1))
    assert shares_of(cells, ["cash"]) == [{"against": "cash", "above": above, "of": 4, "share": above / 4}]


def test_the_sharpe_ratio_is_the_mean_of_the_seeds_own(pieces):
    """Two seeds that offset each other are no account without risk."""
    found, record = figures_of("one", pieces, {}, simulated=False), joined(pieces)
    own = [sharpe_ratio(excess_of(values, record.cash)) for values in record.seeds.values()]
    assert found["sharpe"]["estimate"] == pytest.approx(np.mean(own))
    assert found["sharpe"]["low"] < found["sharpe"]["estimate"] < found["sharpe"]["high"]


def test_a_lead_is_no_more_than_a_lead(pieces):
    """Its interval lies above zero; no fair worlds were asked, so nothing is beaten."""
    far = [piece(1, "2001-01-01", 120, (0, 1), 1e-3), piece(2, "2001-05-10", 130, (0, 1), 1e-3)]
    found = figures_of("one", far, {}, simulated=False)
    assert against_cash(found).startswith("is ahead, untested against luck, of cash (+")
    said = verdict([found], folds=2, seeds=2, steps=10, trials=3, label="real quotes", notes="")
    assert "beats" not in said
    assert "Policies that looked at these dates: 3." in said


def test_noise_is_not_distinguishable_from_cash(pieces):
    found = figures_of("one", pieces, {}, simulated=False)
    assert against_cash(found).startswith("not distinguishable from cash (")
    assert "folds and seeds" in others(found)


def test_an_account_of_cash_is_nothing_beyond_cash():
    waiting = piece(1, "2001-01-01", 260, (0,))
    waiting = Piece(**{**vars(waiting), "seeds": {0: waiting.baselines["cash"]}})
    found = figures_of("one", [waiting], {}, simulated=False)
    pair = next(pair for pair in found["pairs"] if pair["against"] == "cash")
    assert (pair["estimate"], pair["ci_low"], pair["ci_high"]) == (0.0, 0.0, 0.0)
    assert found["sharpe"]["estimate"] == 0.0
    assert found["iqm"]["low"] is None


def test_the_interquartile_mean_is_of_the_middle_half():
    values = np.array([[0.0, 1.0, 2.0, 100.0], [-50.0, 1.0, 2.0, 3.0]])
    assert iqm_interval(values).estimate == pytest.approx((1.0 + 1.0 + 2.0 + 2.0) / 4)
    same = iqm_interval(np.full((3, 4), 2.5))
    assert (same.low, same.estimate, same.high) == (2.5, 2.5, 2.5)
    apart = iqm_interval(np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]))
    assert 0.0 <= apart.low < 0.5 < apart.high <= 1.0
    with pytest.raises(EvaluationError, match="seeds, tasks"):
        iqm_interval(np.zeros(3))
