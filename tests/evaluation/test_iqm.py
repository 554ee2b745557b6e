"""The interquartile mean and its interval, beside rliable's figures of the same values."""

import numpy as np
import pytest

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.iqm import MIN_SEEDS, iqm, iqm_interval

VALUES = np.array(
    [
        [1.668, 2.674, 0.573, 5.237],
        [1.109, 4.765, 0.903, 4.888],
        [0.464, 0.481, 0.254, 5.632],
        [1.605, 0.738, 0.932, 2.476],
        [0.826, 6.178, 0.763, 5.251],
        [1.767, 0.722, 0.913, 17.438],
    ]
)
RLIABLE = (1.70008333333333, 1.11283125, 2.54275208)
"""`get_interval_estimates` of rliable 1.2.0 with `aggregate_iqm` and 50,000 samples."""


def test_the_mean_and_its_interval_are_rliables():
    found = iqm_interval(VALUES, replications=50_000)
    assert found.estimate == pytest.approx(RLIABLE[0], rel=1e-12)
    assert (found.low, found.high) == pytest.approx(RLIABLE[1:], abs=0.02)


def test_the_middle_half_is_what_counts():
    assert iqm(np.array([[1.0, 2.0], [3.0, 1e9]])) == 2.5
    assert iqm(np.array([[-1e9, 0.0, 4.0, 1e9]])) == 2.0


def test_tasks_are_never_mixed():
    """Every seed earns the same in a task: nothing is left to chance, however far the tasks lie apart."""
    found = iqm_interval(np.tile([1.0, 50.0, 900.0], (5, 1)))
    assert found.low == found.estimate == found.high


def test_it_holds_the_truth_about_as_often_as_it_says():
    """Twenty seeds of four tasks around 1: percentile intervals of few seeds are a little short."""
    random = np.random.default_rng(3)
    held = 0
    for number in range(200):
        found = iqm_interval(random.normal(1.0, 1.0, (20, 4)), seed=number, replications=300)
        held += found.low <= 1.0 <= found.high
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200) < held / 200 < 0.995


def test_few_seeds_have_no_interval_and_a_seed_repeats():
    assert iqm_interval(VALUES[: MIN_SEEDS - 1]).too_short
    assert iqm_interval(VALUES, seed=1) == iqm_interval(VALUES, seed=1)
    assert iqm_interval(VALUES, seed=1) != iqm_interval(VALUES, seed=2)


@pytest.mark.parametrize("values", [np.empty((0, 3)), np.ones(4), np.array([[1.0, np.nan]])])
def test_what_is_no_table_of_numbers_is_refused(values):
    with pytest.raises(EvaluationError, match=r"expected finite ones of shape \[seeds, tasks\]"):
        iqm_interval(values)
