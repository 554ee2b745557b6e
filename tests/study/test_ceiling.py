"""The ceiling of what a critic may foresee: found where there is something, and nothing where there is not."""

import numpy as np
import pytest
import torch

from clstm_core.ppo.diagnostics import Foreseen
from tools.study.ceiling import _row

EPISODES, STEPS = 64, 100


def row(signal):
    """Rewards of which a share is known beforehand by the first of three columns; the critic knows half of it."""
    draws = np.random.default_rng(0)
    known = draws.standard_normal((STEPS, EPISODES, 3))
    seen = signal * known[..., 0] + draws.standard_normal((STEPS, EPISODES))
    pair = Foreseen(torch.tensor(0.5 * signal * known[..., 0]), torch.tensor(seen), torch.ones(STEPS, EPISODES))
    return _row(1, pair, known, EPISODES)


def test_what_can_be_foreseen_is_found_and_the_critic_is_held_against_it():
    found = row(1.0)
    assert found.ridge == pytest.approx(0.5, abs=0.03)  # var 1 of 2
    assert found.trees > 0.45
    assert found.critic == pytest.approx(0.375, abs=0.03)  # (2 - 1.25) / 2
    assert 0 < found.error < 0.05


def test_of_noise_nothing_is_foreseen():
    found = row(0.0)
    assert abs(found.ridge) < 0.02
    assert found.trees < 0.02
    assert found.critic == 0.0
