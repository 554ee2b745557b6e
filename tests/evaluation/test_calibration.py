"""What a critic foresaw against what came: a clairvoyant one lies on the line, a constant one foresees nothing."""

import numpy as np
import polars as pl
import pytest

from clstm_core.evaluation.calibration import calibration

GAMMA = 0.9


def decisions(value, reward) -> pl.DataFrame:
    return pl.DataFrame({"step": range(1, len(reward) + 1), "value": value, "reward": reward})


def test_a_clairvoyant_critic_is_right_in_every_bin():
    reward = np.sin(np.arange(300.0))
    value = np.zeros(301)
    for at in range(299, -1, -1):
        value[at] = reward[at] + GAMMA * value[at + 1]
    rows = calibration(decisions(value[:-1], reward), GAMMA)
    assert [row["bin"] for row in rows] == list(range(1, 11))
    assert sum(row["sessions"] for row in rows) == 295
    assert [row["seen"] for row in rows] == pytest.approx([row["foreseen"] for row in rows], abs=1e-9)
    assert [row["foreseen"] for row in rows] == sorted(row["foreseen"] for row in rows)


def test_bins_are_those_that_a_plain_loop_makes():
    random = np.random.default_rng(1)
    value, reward = random.normal(size=60), random.normal(size=60)
    pairs = sorted(
        (value[t] - GAMMA**5 * value[t + 5], sum(GAMMA**k * reward[t + k] for k in range(5))) for t in range(55)
    )
    rows = calibration(decisions(value, reward), GAMMA)
    first = pairs[: rows[0]["sessions"]]
    assert (len(rows), rows[0]["sessions"]) == (5, 11)
    assert rows[0]["foreseen"] == pytest.approx(np.mean([x for x, _ in first]))
    came = [y for _, y in first]
    assert rows[0]["seen"] == pytest.approx(np.mean(came))
    assert rows[0]["high"] - rows[0]["seen"] == pytest.approx(1.96 * np.std(came, ddof=1) / np.sqrt(11 / 5))


def test_rules_and_short_accounts_are_not_judged():
    assert calibration(decisions([None] * 40, [0.0] * 40).cast({"value": pl.Float64}), GAMMA) == []
    assert calibration(decisions([1.0] * 20, [0.0] * 20), GAMMA) == []
    assert calibration(decisions([1.0] * 4, [0.0] * 4), GAMMA) == []
