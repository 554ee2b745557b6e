"""The trial count: the same over manifests and over the store's registry."""

import itertools

import pytest

from clstm_core.evaluation.trials import COUNT_TRIALS, count_trials
from clstm_core.store.store import MetricsStore

DATA = "d" * 64


def manifest(milestone="020", mode="argmax", seed=0, config="c", run="r", window="test", lag=1, policy="checkpoint"):
    return {
        "policy": policy,
        "milestone": milestone,
        "mode": mode,
        "seed": seed,
        "config_sha256": config,
        "run": run,
        "window": {"name": window},
        "fill_lag": lag,
        "trader": {"checkpoint": {"sha256": f"weights of {milestone}"} if policy == "checkpoint" else None},
    }


LOOKS = [
    *(manifest(*what) for what in itertools.product(("020", "040"), ("argmax", "stochastic"), (0, 1), ("c", "d"))),
    manifest(lag=0),
    manifest(run="another"),
    manifest(window="validation", milestone="080"),
    manifest(policy="cash", milestone="", mode=""),
]


def test_lags_baselines_and_other_windows_are_no_trials():
    assert count_trials(LOOKS) == 2 * 2 * 2 * 2 + 1
    assert count_trials(LOOKS, "validation") == 1
    assert count_trials([]) == 0


def test_checkpoints_that_name_no_run_are_told_apart_by_their_weights():
    one, two = manifest(run=None), manifest(run=None)
    two["trader"]["checkpoint"]["sha256"] = "other weights"
    assert count_trials([one, one, two]) == 2


@pytest.mark.parametrize("window", ["test", "validation", "in_sample"])
def test_the_registry_counts_alike(tmp_path, window):
    store = MetricsStore(tmp_path / "metrics.duckdb")
    trials = [
        {name: m[name] for name in ("run", "policy", "milestone", "mode", "seed", "config_sha256")}
        | {"data_sha256": DATA, "window": m["window"]["name"], "variant": f"touch/{m['fill_lag']}"}
        for m in LOOKS
    ]
    store.upsert("trials", trials)
    found = store.query(COUNT_TRIALS, {"data_sha256": DATA, "window": window})
    assert found[0]["n"] == count_trials(LOOKS, window)
    assert store.query(COUNT_TRIALS, {"data_sha256": "another market", "window": window})[0]["n"] == 0
