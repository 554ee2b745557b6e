"""Controls are kept by what was controlled, and stand beside every verdict of the recipe."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from clstm_core.artifacts.places import Places
from clstm_core.config import RECIPES, default_cpu
from clstm_core.controls import found
from clstm_core.controls.kept import controls_said, kept_controls, make_controls, recipe_sha256
from clstm_core.errors import ArtifactError, ConfigError
from clstm_core.generalisation.walk import Episodes
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


def test_those_of_another_recipe_under_its_name_are_refused(made):
    _, places = made
    usual = default_cpu()
    other = dataclasses.replace(usual, env=dataclasses.replace(usual.env, risk_aversion=1.0))
    places.controls(recipe_sha256(usual)).rename(places.controls(recipe_sha256(other)))
    with pytest.raises(ArtifactError, match=r"holds controls of .*: expected .* Run `clstm controls`"):
        kept_controls(other, places)


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
    assert (
        f"(1,000,000 env steps in simulated worlds, seed 0, {kept.made_at[:10]}, commit {kept.git_commit[:7]})" in said
    )


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


@pytest.mark.parametrize("episodes", [1, 389])
def test_too_few_windows_of_luck_to_call_anything_better_are_refused(tmp_path, episodes):
    """Ten half years per window: of 38 windows of luck the best is 1 in 39, which is no 2.5%."""
    with pytest.raises(ConfigError, match=r"expected at least 390 \(39 windows of luck\), as a rule 1000"):
        make_controls(default_cpu(), Places(tmp_path), episodes=episodes)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipes_controls_are_windows_in_which_an_edge_can_be_called_better(monkeypatch, tmp_path, recipe):
    """Whatever an episode lasts: an edge that nobody could miss is called better in all of them."""
    asked = []
    monkeypatch.setattr(found, "found_in", lambda name, config, episodes, progress: asked.append(episodes) or row(name))
    config = RECIPES[recipe]()
    make_controls(config, Places(tmp_path))
    (episodes,) = set(asked)
    draws = np.random.default_rng(0)
    sessions = (config.env.horizon, episodes)
    edge, luck = (
        found.excess_windows(Episodes(torch.from_numpy(growth), torch.ones(sessions, dtype=torch.bool), None))
        for growth in (draws.normal(5.0, 10.0, sessions), draws.normal(0.0, 10.0, sessions))
    )
    assert found.called_better(edge, luck)["called_better"] == edge.shape[1] == 100


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
