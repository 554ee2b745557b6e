"""PBO: an example worked by hand, and what it must be of luck, of skill and of what turns round."""

import math

import numpy as np
import pytest

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.overfit import BLOCKS, overfit_probability


def test_an_example_worked_by_hand():
    """Four blocks of two sessions, m - 1 and m + 1; one policy with m = 3, 3, -1, -1, and one with m = 1 throughout.

    On blocks 1 and 2 the first has 3 / sqrt(4/3) = 2.60 and the other 0.87; on 3 and 4 it has -0.87. So choosing on
    either of these two halves takes the policy that is worse on the other. On one block of each kind the first has
    1 / sqrt(20/3) = 0.39: the other is chosen, and is better later. Two halves of six are overfit.
    """
    m = np.array([[3.0, 1.0], [3.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]])
    returns = np.repeat(m, 2, axis=0) + np.tile([[-1.0], [1.0]], (4, 1))
    found = overfit_probability(returns, blocks=4)
    assert (found.halves, found.policies, found.sessions) == (6, 2, 8)
    assert found.probability == pytest.approx(1 / 3)
    assert found.logits == [
        {"rank": 1.0, "logit": pytest.approx(math.log(1 / 2)), "count": 2},
        {"rank": 2.0, "logit": pytest.approx(math.log(2)), "count": 4},
    ]


@pytest.mark.parametrize("policies", [2, 5, 6])
def test_luck_is_a_choice_by_lot(policies):
    """Half, within what its own spread over drawn ladders allows; with an odd number as well, that has a middle."""
    random = np.random.default_rng(policies)
    found = [overfit_probability(random.normal(0, 0.01, (200, policies)), blocks=8).probability for _ in range(300)]
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert error < 0.02
    assert abs(np.mean(found) - 0.5) < 3.5 * error


def test_a_rung_that_is_truly_better_is_chosen_again():
    returns = np.random.default_rng(0).normal(0, 0.01, (800, 5))
    returns[:, 2] += 0.004
    found = overfit_probability(returns)
    assert found.halves == math.comb(BLOCKS, BLOCKS // 2) == 12_870
    assert found.probability < 0.01
    assert max(found.logits, key=lambda row: row["count"])["rank"] == 5.0


def test_what_turns_round_is_chosen_wrongly():
    """Every policy comes to nothing over all dates: what it gains on one half it loses on the other."""
    returns = np.random.default_rng(0).normal(0, 0.01, (800, 6))
    assert overfit_probability(returns - returns.mean(axis=0)).probability > 0.95


def test_a_policy_that_waits_stands_at_cash():
    """A rung without trades has no deviation: its ratio is 0, above one that loses and below one that gains."""
    moves = np.random.default_rng(0).normal(0, 0.01, 640)
    gains, waits, loses = moves + 0.01, np.full(640, 1e-17), moves - 0.01
    found = overfit_probability(np.stack([loses, waits, gains], axis=1))
    assert found.probability == 0.0
    assert overfit_probability(np.stack([loses, waits], axis=1)).probability == 0.0


def test_blocks_need_not_be_of_one_length():
    found = overfit_probability(np.random.default_rng(0).normal(0, 0.01, (331, 3)))
    assert sum(row["count"] for row in found.logits) == found.halves


@pytest.mark.parametrize(("shape", "blocks"), [((100, 1), 4), ((100, 3), 5), ((7, 3), 4)])
def test_what_cannot_be_cut_is_refused(shape, blocks):
    with pytest.raises(EvaluationError, match="expected two policies or more, an even number of blocks"):
        overfit_probability(np.zeros(shape), blocks=blocks)
