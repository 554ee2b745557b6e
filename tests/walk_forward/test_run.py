"""A whole walk-forward: resumed wherever it was killed, every look counted once, its record true of its accounts."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from clstm_core.artifacts.manifests import BacktestManifest, CheckpointManifest, ControlsManifest, RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.controls.kept import recipe_sha256
from clstm_core.controls.names import CONTROLS
from clstm_core.errors import ConfigError, EvaluationError
from clstm_core.evaluation.backtest import load_backtest
from clstm_core.store.store import MetricsStore
from clstm_core.train.inputs import config_of
from clstm_core.walk_forward.plan import WalkPlan
from clstm_core.walk_forward.run import read_walk


def lines(places):
    return [json.loads(line) for line in (places.root / "trials.jsonl").read_text().splitlines()]


def looked(line):
    """What a line of the registry says but when it was written."""
    return {name: value for name, value in line.items() if name not in ("after", "recorded_at")}


def test_every_cell_is_walked_and_told(walked):
    walk, made = walked
    rows = made.evidence["folds"]
    assert [(row["fold"], row["seed"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [facts["fold"] for facts in walk.folds] == [1, 2]
    done, total, _ = walk.progress[-1]
    assert done == total == 4 * 1280
    assert [done for done, _, _ in walk.progress] == sorted(done for done, _, _ in walk.progress)
    assert {type(found) for found in walk.recorded} >= {BacktestManifest, CheckpointManifest}
    assert read_walk(walk.places, "small").identity == made.identity


def test_the_record_is_the_accounts_of_the_chosen_rungs(walked):
    walk, made = walked
    table = pl.read_parquet(walk.places.walk("small") / "record" / "smoke.parquet")
    assert table["date"].is_sorted()
    assert table["date"].n_unique() == table.height
    for row in made.evidence["folds"]:
        equity = load_backtest(walk.places.backtests / row["backtest_id"]).table("equity").sort("step")
        mine = table.filter(pl.col("fold") == row["fold"])[f"seed_{row['seed']}"].to_numpy()
        np.testing.assert_allclose(mine, np.diff(np.log(equity["equity_usd"].to_numpy())), atol=1e-12)


def test_the_rung_is_chosen_on_validation_alone(walked):
    """Of each ladder the best ratio on validation dates, whatever the rungs did on the test."""
    walk, made = walked
    for row in made.evidence["folds"]:
        kept = json.loads((walk.places.run(row["run"]).path / "policy_backtests.json").read_text())
        found = [load_backtest(walk.places.backtests / name).manifest for name in kept["ids"]]
        ratios = {
            m["milestone"]: m["summary"]["ratio"] or 0.0
            for m in found
            if m["window"]["name"] == "validation" and m["mode"] == "argmax"
        }
        assert len(ratios) == 5
        assert ratios[row["rung"]] == max(ratios.values())


def test_every_look_is_in_the_registry_once(walked):
    """Five rungs in two modes on each test, in one mode on each validation; no two trainings share weights."""
    walk, _ = walked
    looks = [(line["checkpoint"], line["mode"], line["first_date"], line["last_date"]) for line in lines(walk.places)]
    assert len(set(looks)) == len(looks)
    on_tests = [line for line in lines(walk.places) if line["window"] == "test"]
    weights = {line["checkpoint"] for line in on_tests}
    assert len(on_tests) == 2 * len(weights)
    assert len(weights) == 4 * 5


def test_the_record_is_placed_among_fair_worlds_of_its_folds(walked):
    """Each rung walked the fair worlds of its own test; the seeds of a fold met the same ones, the folds others."""
    walk, made = walked
    luck = made.figures[0]["luck"]
    assert luck["worlds"] == 20
    assert [placed["worlds"] for placed in luck["by_fold"]] == [20, 20]
    assert 1 / 21 <= luck["p"] <= 1.0
    pair = next(pair for pair in made.figures[0]["pairs"] if pair["against"] == "cash")
    assert pair["p_value"] == luck["p"]
    assert f"luck p = {luck['p']:.1%}" in made.verdict or "too short" in made.verdict
    assert "fair worlds of these folds" in made.verdict
    assert len(list((walk.places.cache / "fair").glob("*/sums.safetensors"))) == 4


def test_the_store_has_the_record_and_its_folds_and_is_rebuilt(walked, tmp_path):
    walk, made = walked
    shutil.copytree(walk.places.root, tmp_path / "data")
    told, found = MetricsStore(tmp_path / "told.duckdb"), MetricsStore(tmp_path / "data" / "metrics.duckdb")
    told.record(made)
    found.rebuild(tmp_path / "data")
    asked = "SELECT fold, n_worlds, p_value, beyond_luck IS NULL FROM walk_forwards ORDER BY fold"
    luck = made.figures[0]["luck"]
    assert [tuple(row.values()) for row in found.query(asked)] == [
        *((str(fold), 20, place["p"], True) for fold, place in enumerate(luck["by_fold"], start=1)),
        ("joined", 20, luck["p"], False),
    ]
    assert told.query("SELECT * FROM walk_forwards ORDER BY ALL") == found.query(
        "SELECT * FROM walk_forwards ORDER BY ALL"
    )


def test_a_second_call_measures_and_enters_nothing(walked, walk, here, tmp_path):
    first, made = walked
    shutil.copytree(first.places.root, tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "backtests").glob("*/manifest.json")}
    again = walk()
    found = again.run()
    assert here == []
    assert lines(again.places) == lines(first.places)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "backtests").glob("*/manifest.json")}
    assert after == before
    assert found.figures == made.figures


def test_controls_of_the_recipe_stand_in_the_record(walked, walk, here, tmp_path):
    """Made after the walk they are found by the same call, by what is taught: whatever the folds trained on."""
    first, made = walked
    assert made.evidence["controls"] == []
    assert "clstm controls --recipe smoke" in made.evidence["controls_words"]
    shutil.copytree(first.places.root, tmp_path / "data")
    again = walk()
    config = again.plan.recipe("smoke").run_config()
    row = {"idle": 0.9, "growth_bps": 0.4, "error_bps": 0.1, "per_risk": 0.1, "windows": 100, "window_sessions": 1260}
    worlds = [{"world": world, **row, "called_better": 1, "rule_growth": {"growth_bps": 0.5}} for world in CONTROLS]
    key = recipe_sha256(config)
    settings = {"recipe": "smoke", "recipe_sha256": key, "seed": 0, "steps": 1280, "episodes": 1000, "found": worlds}
    kept = ControlsManifest(**settings, git_commit="a", made_at="2026-11-30T00:00:00+00:00").write(
        again.places.controls(key)
    )
    found = again.run()
    assert here == []
    assert [(row["recipe"], row["world"]) for row in found.evidence["controls"]] == [("smoke", w) for w in CONTROLS]
    assert "better in 1 of 100 windows" in found.evidence["controls_words"]
    assert found.parents["controls.smoke"] == kept.identity
    trained = config_of(RunInputs.read(again.places.run("small.smoke.f01.s0").inputs))
    assert recipe_sha256(trained) == key, "controls are of what the folds were taught"


def test_killed_while_training_it_goes_on_and_comes_to_the_same(walked, walk, dies, lives):
    """In the third cell's third iteration, after its checkpoint of the second: what stood is not trained again."""
    first, whole = walked
    trained = dies(2, 3)
    with pytest.raises(KeyboardInterrupt):
        walk().run()
    assert len(trained) == 3
    again = lives()
    resumed = walk()
    found = resumed.run()
    assert again == [*trained[2:], "small.smoke.f02.s1"]
    assert resumed.progress[-1][:2] == (2 * 1280, 2 * 1280)
    assert found.figures == whole.figures
    assert list(map(looked, lines(resumed.places))) == list(map(looked, lines(first.places)))


def test_killed_between_walking_and_keeping_it_enters_nothing_twice(walked, walk, here, tmp_path):
    """The set of a ladder is written last: without it the ladder is walked again, to the same backtests and looks."""
    first, made = walked
    shutil.copytree(first.places.root, tmp_path / "data")
    run = made.evidence["folds"][1]["run"]
    (tmp_path / "data" / "runs" / run / "policy_backtests.json").unlink()
    found = walk().run()
    assert here == []
    assert found.figures == made.figures
    assert lines(Places(tmp_path / "data")) == lines(first.places)


def test_a_seed_may_be_added_and_none_taken_away(walked, walk, here, tmp_path):
    first, made = walked
    shutil.copytree(first.places.root, tmp_path / "data")
    more = walk(seeds=(0, 1, 2))
    found = more.run()
    assert here == ["small.smoke.f01.s2", "small.smoke.f02.s2"]
    assert found.figures[0]["by_seed"][:2] == made.figures[0]["by_seed"]
    with pytest.raises(ConfigError, match="seeds differ"):
        walk(seeds=(0, 1)).run()


def test_another_plan_under_the_same_name_is_refused(walked, walk, here, tmp_path):
    first, _ = walked
    shutil.copytree(first.places.root, tmp_path / "data")
    with pytest.raises(ConfigError, match="steps differ"):
        walk(steps=2560).run()
    with pytest.raises(EvaluationError, match="no walk-forward"):
        read_walk(first.places, "other")


def test_a_warm_fold_begins_with_the_weights_that_the_one_before_ended_with(walk, here):
    from clstm_core.checkpoint import load_checkpoint, verify_checkpoint

    warm = walk(warm=True, seeds=(0,))
    warm.run()
    first, second = (warm.places.run(f"small.smoke.f0{number}.s0") for number in (1, 2))
    begun = verify_checkpoint(second.checkpoint("000"))
    assert begun.parents["initial"] == verify_checkpoint(first.checkpoint("100")).identity
    ended, taken = load_checkpoint(first.checkpoint("100")).model, load_checkpoint(second.checkpoint("000")).model
    actor = [name for name in ended if name.startswith(("actor", "policy"))]
    assert actor
    assert all((ended[name] == taken[name]).all() for name in actor)
    assert load_checkpoint(second.checkpoint("000")).meta["iteration"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a b"}, "'a b'"),
        ({"seeds": (0, 0)}, "seeds"),
        ({"recipes": ()}, "recipes"),
        ({"steps": 0}, "steps=0"),
        ({"training": 30}, "training=30"),
        ({"validation": 20}, "validation=20"),
        ({"recipes": ("nope",)}, "nope"),
    ],
)
def test_a_plan_that_cannot_work_is_a_sentence(walk, changes, words):
    with pytest.raises(ConfigError, match=words):
        walk(**changes).plan.sizes  # noqa: B018


def test_a_plan_comes_back_from_its_file(walk):
    plan = walk().plan
    assert WalkPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
