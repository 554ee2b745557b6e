"""The declared metrics are those that an iteration leaves, no more and no less."""

import json

from clstm_core.ppo.metrics import METRICS
from clstm_core.train.loop import train


def test_an_iteration_leaves_what_is_declared(toys, tiny, tmp_path):
    train(tiny(iterations=1), toys.NoiseEnv(8, seed=1), run_dir=tmp_path, heldout_env=toys.NoiseEnv(4, seed=2))
    (row,) = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert set(row) == {"run", *(metric.name for metric in METRICS)}
    for metric in METRICS:
        value = row[metric.name]
        assert isinstance(value, int) if metric.type == "BIGINT" else value is None or isinstance(value, (int, float))


def test_metrics_are_declared_once():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert all(metric.note for metric in METRICS)


def test_a_new_metric_needs_its_declaration_alone(toys, tiny, tmp_path, monkeypatch):
    from clstm_core.ppo import metrics

    added = metrics.Metric("reward_peak", "scaled reward per step", "largest reward", of=lambda seen: seen.reward.max())
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, added))
    train(tiny(iterations=1), toys.NoiseEnv(8, seed=1), run_dir=tmp_path)
    (row,) = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert row["reward_peak"] >= row["reward_p999"]
