"""Controls are kept by what was controlled, and stand beside every verdict of the recipe."""

import dataclasses
from pathlib import Path

import pytest

from clstm_core.artifacts.places import Places
from clstm_core.config import default_cpu
from clstm_core.controls import found
from clstm_core.controls.kept import controls_said, kept_controls, make_controls, recipe_sha256
from clstm_core.errors import ArtifactError, ConfigError
from clstm_core.store.store import MetricsStore

RULE = {"rule": "near strangle", "growth_bps": 0.5, "per_risk": 0.3}


def row(name):
    figures = {"idle": 0.99, "growth_bps": 0.4, "error_bps": 0.1, "deviation_bps": 4.0, "per_risk": 0.1, "actions": {}}
    judged = {"windows": 100, "window_sessions": 1260, "called_better": 1 if name == "edge-free" else 80}
    rules = {} if name == "edge-free" else {"rule_per_risk": RULE, "rule_growth": RULE}
    return {**figures, **judged, **rules}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Controls of the default recipe with made-up figures, in a data folder of their own."""
    monkeypatch.setattr(found, "found_in", lambda name, config, episodes, progress: row(name))
    places = Places(tmp_path)
    return make_controls(default_cpu(), places), places


def test_they_are_found_again_whatever_the_market_the_seed_and_the_steps(made):
    kept, places = made
    usual = default_cpu()
    other = dataclasses.replace(
        usual,
        timesteps=8_000_000,
        seed=3,
        device="cpu",
        market=dataclasses.replace(usual.market, n_snapshots=777),
        worlds=dataclasses.replace(usual.worlds, seed=3),
    )
    assert kept_controls(other, places).identity == kept.identity


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"risk_aversion": 1.0}},
        {"model": {"hidden_dim": 32}},
        {"ppo": {"clip_epsilon": 0.2}},
        {"worlds": {"historical": 0.5}},
    ],
)
def test_another_recipe_has_none(made, change):
    _, places = made
    usual = default_cpu()
    ((part, settings),) = change.items()
    other = dataclasses.replace(usual, **{part: dataclasses.replace(getattr(usual, part), **settings)})
    assert recipe_sha256(other) != recipe_sha256(usual)
    assert kept_controls(other, places) is None


def test_they_say_what_was_found_and_when(made):
    kept, _ = made
    said = controls_said(kept, "default_cpu")
    assert "held no position in 99% of its decisions" in said
    assert "called better than cash in 1 of 100 windows of 1,260 sessions" in said
    assert "earned 80% of the best fixed rule's profit, and was called better in 80 of 100" in said
    assert f"(1,000,000 env steps in simulated worlds, seed 0, {kept.made_at[:10]})" in said


def test_without_them_the_verdict_says_how_to_make_them():
    assert "`clstm controls --recipe default_cpu`" in controls_said(None, "default_cpu")


def test_altered_controls_are_refused(made):
    kept, places = made
    text = kept.place.read_text()
    altered = text.replace('"called_better": 1,', '"called_better": 0,').replace(
        '"called_better":1,', '"called_better":0,'
    )
    assert altered != text
    kept.place.write_text(altered)
    with pytest.raises(ArtifactError, match="controls"):
        kept_controls(default_cpu(), places)


def test_one_episode_is_too_few(tmp_path):
    with pytest.raises(ConfigError, match="at least 2"):
        make_controls(default_cpu(), Places(tmp_path), episodes=1)


def test_they_are_rows_of_the_store_and_come_back_from_the_files(made, tmp_path):
    kept, _ = made
    store = MetricsStore(tmp_path / "metrics.duckdb")
    store.record(kept)
    rows = store.query("SELECT world, called_better, rule FROM controls ORDER BY world")
    assert [tuple(row.values()) for row in rows] == [("edge-free", 1, None), ("overpaid", 80, "near strangle")]
    store.rebuild(tmp_path)
    assert len(store.query("SELECT world FROM controls")) == 2


def test_the_shipped_recipe_has_controls():
    """What stands in the repository is of the recipe as it is: change it, and make its controls again."""
    kept = kept_controls(default_cpu(), Places(Path(__file__).parents[2] / "data"))
    assert kept is not None, "run `clstm controls` and commit data/controls"
    assert (kept.recipe, kept.steps) == ("default_cpu", default_cpu().timesteps)
