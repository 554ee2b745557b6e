"""Drift is told from what any stretch of training's own dates differs by."""

import os
import time

import numpy as np
import pytest

from clstm_core.artifacts.places import Places
from clstm_core.market.tensors import save_market
from clstm_core.shadow.drift import (
    ALL,
    LEAST,
    MOVED,
    VOLATILITY,
    _small,
    drift,
    flagged_words,
    regime_of,
    stability_index,
    tercile_limits,
)
from clstm_core.shadow.summary import training_features
from clstm_core.specs import MARKET_FEATURES

F = len(MARKET_FEATURES)


def persistent(draw, count, memory=0.97):
    """Features that stay high or low for weeks."""
    x = np.zeros((count, F))
    for at in range(1, count):
        x[at] = memory * x[at - 1] + draw.normal(size=F)
    return x


def whole(rows):
    return [row for row in rows if row["regime"] == ALL]


def test_stretches_of_one_process_are_rarely_flagged_though_days_as_draws_would_flag_most():
    draw = np.random.default_rng(3)
    flagged, naive = 0, 0
    for _ in range(20):
        path = persistent(draw, 3100)
        rows = whole(drift(path[3000:], path[:2900]))
        flagged += any(row["flagged"] for row in rows)
        naive += sum(row["p_value"] < 0.05 for row in rows)
    assert naive / (20 * F) > 0.5
    assert flagged <= 3


def test_a_planted_shift_is_flagged_by_name_and_no_other():
    draw = np.random.default_rng(4)
    trained, seen = draw.normal(size=(1500, F)), draw.normal(size=(120, F))
    seen[:, 3] += 2.0
    seen[:, 7] *= 3.0
    rows = drift(seen, trained)
    assert {row["feature"] for row in whole(rows) if row["flagged"]} == {MARKET_FEATURES[3], MARKET_FEATURES[7]}
    row = whole(rows)[3]
    assert row["psi"] >= MOVED
    assert row["band"] == "moved"
    assert row["wasserstein"] == pytest.approx(2.0, abs=0.3)
    assert "Flagged: realised vol 5d" in flagged_words(rows)
    assert {one["regime"] for one in rows} == {ALL, "calm", "middle", "wild"}


def test_the_index_of_a_sample_with_itself_is_nothing_and_by_hand():
    values = np.arange(1000.0)
    assert stability_index(values, values) == 0.0
    # one half of training's values, five deciles empty but for half a day
    seen = values[:500]
    p = np.array([100.5] * 5 + [0.5] * 5) / 505
    q = np.full(10, 0.1)
    assert stability_index(seen, values) == pytest.approx(((p - q) * np.log(p / q)).sum())


def test_regimes_are_training_s_terciles():
    trained = np.zeros((300, F))
    trained[:, VOLATILITY] = np.linspace(0.1, 0.4, 300)
    limits = tercile_limits(trained)
    assert [regime_of(np.eye(F)[VOLATILITY] * vol, limits) for vol in (0.05, 0.25, 0.9)] == ["calm", "middle", "wild"]


def test_too_few_sessions_are_not_judged():
    rows = drift(np.zeros((LEAST - 1, F)), np.random.default_rng(0).normal(size=(500, F)))
    assert {row["band"] for row in rows} == {"unmeasured"}
    assert "not measured" in flagged_words(rows)


def test_the_correction_is_benjamini_and_hochbergs():
    assert _small([0.001, 0.04, 0.03, 0.9]) == [True, False, False, False]
    assert _small([0.01, 0.02, 0.03, 0.04]) == [True] * 4
    assert _small([0.5, 0.6]) == [False, False]


def test_training_that_is_watched_is_in_use(market, tmp_path):
    """A bundle alone names no tensors as its parents: `prune` would take away what drift is laid beside."""
    from clstm_core.artifacts.retention import prune

    places = Places(tmp_path)
    kept = save_market(market, tmp_path / "new")
    folder = places.tensors(kept.identity)
    folder.parent.mkdir(parents=True)
    (tmp_path / "new").rename(folder)
    long_ago = time.time() - 90 * 86_400.0
    for path in (folder, *folder.iterdir()):
        os.utime(path, (long_ago, long_ago))
    found = training_features(places, kept.identity)
    assert found.shape == (market.split("train")[1], F)
    assert prune(places) == []
    assert training_features(places, "0" * 64) is None
    os.utime(folder, (long_ago, long_ago))
    assert prune(places) == [places.relative(folder)]


@pytest.mark.parametrize("moved", [0.01, -0.01])
def test_what_never_varied_in_training_is_flagged_when_it_does_whichever_way(moved):
    draw = np.random.default_rng(5)
    trained, seen = persistent(draw, 2900), persistent(draw, 100)
    trained[:, 7], seen[:, 7] = 0.05, 0.05
    assert not next(row for row in whole(drift(seen, trained)) if row["feature"] == MARKET_FEATURES[7])["flagged"]
    seen[:, 7] += moved
    row = next(row for row in whole(drift(seen, trained)) if row["feature"] == MARKET_FEATURES[7])
    assert row["flagged"]
    assert row["psi"] > MOVED
    assert row["wasserstein"] is None
