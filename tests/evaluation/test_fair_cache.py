"""Baselines in fair worlds, walked once: what is kept is what was walked, and is walked again where it is damaged."""

import dataclasses

import numpy as np
import pytest

from clstm_core.artifacts.places import Places
from clstm_core.config import smoke
from clstm_core.evaluation import fair_cache
from clstm_core.evaluation.fair_cache import baseline_walks
from clstm_core.evaluation.fair_walk import walk_fair_worlds

WORLDS = 8


@pytest.fixture
def walked(market, market_config, tmp_path, monkeypatch):
    """Walks the baselines of the simulated market, and counts how often that was work."""
    times = []

    def counting(*args, **options):
        times.append(1)
        return walk_fair_worlds(*args, **options)

    monkeypatch.setattr(fair_cache, "walk_fair_worlds", counting)
    config = dataclasses.replace(smoke(), market=market_config)

    def walk(config=config, worlds=WORLDS):
        return baseline_walks(market, config, Places(tmp_path / "data"), worlds=worlds)

    return walk, times, config


def test_what_is_read_is_what_was_walked(walked):
    walk, times, _ = walked
    first, again = walk(), walk()
    assert len(times) == 1
    assert first.keys() == again.keys()
    assert "cash" not in first
    assert all(excess.shape[1] == WORLDS for excess in again.values())
    for name, excess in first.items():
        np.testing.assert_array_equal(excess, again[name])


def test_another_account_seed_or_count_is_another_walk(walked):
    walk, times, config = walked
    walk()
    walk(dataclasses.replace(config, seed=1))
    walk(dataclasses.replace(config, env=dataclasses.replace(config.env, fill_lag=0)))
    walk(worlds=WORLDS + 1)
    assert len(times) == 4


@pytest.mark.parametrize("damage", ["excess.safetensors", "manifest.json"])
def test_a_damaged_walk_is_walked_again(walked, tmp_path, damage):
    walk, times, _ = walked
    first = walk()
    (place,) = (tmp_path / "data" / "cache" / "fair").glob(f"*/{damage}")
    place.write_bytes(place.read_bytes()[:-40] + b"x" * 40)
    again = walk()
    assert len(times) == 2
    assert all(np.array_equal(first[name], again[name]) for name in first)
    walk()
    assert len(times) == 2
