"""SPA, StepM and the model confidence set: beside code of our own, and where nothing can be asked."""

import numpy as np
import pytest

from clstm_core.evaluation.statistics import MIN_OBSERVATIONS
from clstm_core.evaluation.superiority import SIZE, confidence_set, superior

N = 240
CASH = np.full(N, 1e-4)


def ladder(seed, gains, scale=0.01, n=N):
    """Policies that earn so much per session beyond cash, each with noise of its own."""
    random = np.random.default_rng(seed)
    return {f"rung {k}": 1e-4 + random.normal(gain, scale, n) for k, gain in enumerate(gains)}


def own_spa(gains, block, samples, seed):
    """Hansen's consistent p-value by loops of our own, with another generator's blocks.

    Every session begins a new block with a chance of 1 / block, else the next date follows, the first after the last.
    """
    random, n = np.random.default_rng(seed), len(gains)
    drawn = np.empty((samples, gains.shape[1]))
    for number in range(samples):
        index = np.empty(n, dtype=int)
        for t in range(n):
            new = t == 0 or random.random() < 1.0 / block
            index[t] = random.integers(n) if new else (index[t - 1] + 1) % n
        drawn[number] = gains[index].mean(axis=0)
    mean = gains.mean(axis=0)
    unit = np.sqrt(n) * drawn.std(axis=0)
    kept = np.where(np.sqrt(n) * mean / unit >= -np.sqrt(2.0 * np.log(np.log(n))), mean, 0.0)
    statistic = max((np.sqrt(n) * mean / unit).max(), 0.0)
    null = np.maximum((np.sqrt(n) * (drawn - kept) / unit).max(axis=1), 0.0)
    return float((null > statistic).mean())


@pytest.mark.parametrize("gains", [(0.0005, 0.0, -0.003), (0.0012, 0.001, 0.0), (-0.0002, 0.0001, 0.0004)])
def test_the_p_value_is_hansens_by_other_code(gains):
    """Both are shares of 1,000 samples: they agree within four of their errors."""
    policies = ladder(1, gains)
    found = superior("cash", CASH, policies)
    own = own_spa(np.stack(list(policies.values()), axis=1) - CASH[:, None], found.block, 1_000, seed=5)
    assert abs(found.p - own) < 4.0 * np.sqrt(2.0 * max(own * (1 - own), 0.005) / 1_000)
    assert (found.policies, found.why) == (3, "")


def test_the_size_of_a_position_decides_nothing():
    """The same policy with ten times the positions: arch alone would look at it and at no other."""
    policies = ladder(2, (0.0011, 0.0002, 0.0))
    larger = policies | {"rung 2": CASH + 10.0 * (policies["rung 2"] - CASH)}
    found, again = superior("cash", CASH, policies), superior("cash", CASH, larger)
    assert found.p == pytest.approx(again.p, abs=1e-12)
    assert found.better == again.better


def test_those_that_are_better_are_found_and_the_others_are_not():
    policies = ladder(3, (0.0, 0.004, 0.0, 0.003, -0.002))
    found = superior("cash", CASH, policies)
    assert found.better == ["rung 1", "rung 3"]
    assert 0.0 < found.p < SIZE, "of 1,000 samples none shows that there is no chance at all"
    held = confidence_set({**policies, "cash": CASH})
    kept = {row["name"] for row in held.rows if row["included"]}
    assert "rung 1" in kept
    assert kept <= {"rung 1", "rung 3"}
    assert held.rows[0]["p"] == 1.0
    assert [row["p"] for row in held.rows] == sorted((row["p"] for row in held.rows), reverse=True)


@pytest.mark.parametrize("replications", [200, 1000])
def test_no_number_of_samples_shows_that_a_policy_cannot_be_the_best(replications):
    """One that is behind by far is in no sample the best: its p is the least that so many samples can tell."""
    policies = ladder(3, (0.0, 0.02, -0.02))
    rows = confidence_set(policies, replications=replications).rows
    assert [row["name"] for row in rows] == ["rung 1", "rung 0", "rung 2"]
    assert [row["p"] for row in rows] == pytest.approx([1.0, *[1.0 / (replications + 1)] * 2], abs=1e-15)
    assert [row["included"] for row in rows] == [True, False, False]


def test_all_may_be_better_one_after_the_other():
    """One is better by far; the other, of 1.65 errors, is too little beside it and enough once it is set aside."""
    policies = ladder(0, (0.01, 0.0))
    around = policies["rung 1"] - policies["rung 1"].mean()
    policies["rung 1"] = CASH + around + 1.65 * around.std() / np.sqrt(N)
    assert superior("cash", CASH, policies).better == ["rung 0", "rung 1"]
    weaker = policies | {"rung 1": CASH + around + 1.2 * around.std() / np.sqrt(N)}
    assert superior("cash", CASH, weaker).better == ["rung 0"]


def test_luck_is_seldom_called_better():
    """At 5% for the family; three of its errors above that are allowed to 100 ladders without an edge."""
    called = sum(
        bool(superior("cash", CASH[:120], ladder(seed, (0.0,) * 4, n=120), seed=seed, replications=200).better)
        for seed in range(100)
    )
    assert called / 100 <= SIZE + 3.0 * np.sqrt(SIZE * (1 - SIZE) / 100)


def test_a_policy_that_is_cash_is_no_policy():
    policies = ladder(4, (0.001,))
    alone = superior("cash", CASH, policies)
    beside = superior("cash", CASH, policies | {"waits": CASH + 1e-17})
    assert (beside.p, beside.policies) == (alone.p, 1)
    nobody = superior("cash", CASH, {"waits": CASH + 1e-17})
    assert (nobody.p, nobody.better) == (None, [])
    assert nobody.why == "no policy did anything else than cash"
    assert superior("cash", CASH, {}).why == nobody.why


def test_policies_that_did_the_same_count_once_and_are_named_together():
    policies = ladder(5, (0.004, 0.0))
    twice = policies | {"twin": policies["rung 0"] + 1e-17}
    found = superior("cash", CASH, twice)
    assert (found.p, found.policies) == (superior("cash", CASH, policies).p, 2)
    assert found.better == ["rung 0", "twin"]
    p = {row["name"]: row["p"] for row in confidence_set(twice).rows}
    assert p["rung 0"] == p["twin"] == 1.0


def test_a_constant_distance_is_a_sentence():
    found = superior("cash", CASH, {"more": CASH + 1e-3})
    assert found.p is None
    assert found.why == "more differs from cash by the same amount in every session"
    assert confidence_set({"cash": CASH, "more": CASH + 1e-3}).why.startswith("two policies differ by the same amount")


def test_too_few_sessions_are_a_sentence():
    few = MIN_OBSERVATIONS - 1
    policies = {name: values[:few] for name, values in ladder(6, (0.0, 0.01)).items()}
    said = f"{few} returns are too few, {MIN_OBSERVATIONS} are asked"
    found, held = superior("cash", CASH[:few], policies), confidence_set(policies)
    assert (found.p, found.why) == (None, said)
    assert (held.rows, held.why) == ([], said)
    assert confidence_set({}).why == "no policy did anything else than the others"


def test_a_seed_repeats_and_another_draws_anew():
    policies = ladder(7, (0.0008, 0.0003))
    assert superior("cash", CASH, policies, seed=1) == superior("cash", CASH, policies, seed=1)
    assert superior("cash", CASH, policies, seed=1).p != superior("cash", CASH, policies, seed=2).p
    assert confidence_set(policies, seed=1) == confidence_set(policies, seed=1)
