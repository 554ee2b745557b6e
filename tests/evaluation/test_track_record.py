"""PSR, DSR and MinTRL beside the numbers that their papers print."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from skfolio.measures import kurtosis, probabilistic_sharpe_ratio, skew

from clstm_core.evaluation.track_record import min_track_record_length, track_record

YEAR_2014 = 250
"""Sessions per year in the paper of 2014; that of 2012 has 252."""


class Curve:
    """A rung's curve on made-up dates, and what comparing takes."""

    def __init__(self, name, returns, milestone):
        self.name, self.returns = name, np.asarray(returns)
        checkpoint = {"env_steps": milestone}
        self.manifest = {"policy": "checkpoint", "mode": "argmax", "trader": {"checkpoint": checkpoint}}

    def curves(self):
        curve = np.concatenate([[1.0], np.cumprod(1.0 + self.returns)])
        return curve[:, None], np.zeros(self.returns.size), pl.Series(range(curve.size))


def two_points(sharpe, n, high):
    """A sample of two values, `high` of them the upper one, of a given ratio."""
    values = np.array([1.0] * high + [0.0] * (n - high))
    around = (values - values.mean()) / values.std(ddof=1)
    return 0.01 * (around + sharpe)


@pytest.fixture
def published():
    """The paper's example: 5 years of daily returns, a yearly ratio of 2.5, skewness -3, kurtosis 10, and 100 trials.

    A sample of two values has just these moments. The rungs' yearly ratios have a variance of one half.
    """
    returns = two_points(2.5 / np.sqrt(YEAR_2014), 1250, 1145)
    assert (float(skew(returns)), float(kurtosis(returns))) == pytest.approx((-3.0, 10.0), abs=5e-3)
    apart = np.sqrt(0.5 / YEAR_2014)
    rest = [two_points(2.5 / np.sqrt(YEAR_2014) - 2.0 * apart * k, 1250, 625) for k in (0.5, 1.0)]
    return [Curve(f"rung {k}", values, k) for k, values in enumerate([returns, *rest])]


def test_the_deflated_ratio_is_the_papers(published):
    found = track_record(published[0], published, 100)
    assert found.spread == pytest.approx(np.sqrt(0.5 / YEAR_2014), rel=1e-9)
    assert found.expected_maximum == pytest.approx(0.1132, abs=5e-5)
    assert found.dsr == pytest.approx(0.9004, abs=5e-4)


def test_with_46_trials_it_is_the_papers_too(published):
    assert track_record(published[0], published, 46).dsr == pytest.approx(0.9505, abs=5e-4)


@pytest.mark.parametrize(
    ("per_year", "skewness", "fourth", "years"),
    [(252, 0.0, 3.0, 2.73), (52, 0.0, 3.0, 2.83), (12, 0.0, 3.0, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_the_minimum_length_is_the_papers(per_year, skewness, fourth, years):
    """Years until a yearly ratio of 2 is held to be above 1 at 95%: days, weeks, months, and a hedge fund's months."""
    unit = np.sqrt(per_year)
    found = min_track_record_length(2.0 / unit, skewness, fourth, benchmark=1.0 / unit)
    assert found / per_year == pytest.approx(years, abs=0.006)


def test_at_the_minimum_length_the_probabilistic_ratio_is_the_confidence():
    """By skfolio, whose formula it is turned around of."""
    random = np.random.default_rng(0)
    for _ in range(20):
        returns = random.standard_t(5, 300) * 0.01 + 0.002
        ratio = float(returns.mean() / returns.std(ddof=1))
        asked = float(probabilistic_sharpe_ratio(returns))
        found = min_track_record_length(ratio, float(skew(returns)), float(kurtosis(returns)), confidence=asked)
        assert found == pytest.approx(300.0, rel=1e-6)


def test_a_ratio_that_is_not_above_the_benchmark_has_no_length():
    assert min_track_record_length(0.0, 0.0, 3.0) is None
    assert min_track_record_length(0.1, 0.0, 3.0, benchmark=0.1) is None
    losing = SimpleNamespace(returns=np.random.default_rng(1).normal(-0.002, 0.01, 300))
    rung = Curve("a", losing.returns, 1)
    found = track_record(rung, [rung], 9)
    assert found.min_sessions is None
    assert found.psr < 0.5


@pytest.mark.parametrize("rungs", [1, 3])
def test_a_ladder_whose_ratios_do_not_differ_says_nothing_of_how_trials_do(rungs):
    """Nine looked: what the best of them would show by luck is not zero, and not known."""
    ladder = [Curve(f"rung {k}", np.random.default_rng(1).normal(1e-3, 0.01, 300), k) for k in range(rungs)]
    found = track_record(ladder[0], ladder, 9)
    assert (found.expected_maximum, found.dsr) == (None, None)
    assert found.words.startswith("Deflated Sharpe ratio: none, since the rungs of the ladder do not say")
    alone = track_record(ladder[0], ladder, 1)
    assert (alone.expected_maximum, alone.dsr) == (0.0, alone.psr), "of one trial there is nothing to deflate"
