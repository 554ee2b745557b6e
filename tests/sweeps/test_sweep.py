"""A whole sweep: resumed wherever it was killed, every trial and every look kept, the test window never walked."""

import json
import shutil

import pytest

from clstm_core.artifacts.manifests import BacktestManifest, RunInputs, TrialManifest
from clstm_core.errors import ConfigError, EvaluationError, NonFiniteError, TrainingError
from clstm_core.store.store import MetricsStore
from clstm_core.sweeps.evidence import evidence_of
from clstm_core.sweeps.plan import SweepPlan
from clstm_core.sweeps.run import read_sweep
from clstm_core.sweeps.scored import figures_of, score_of
from clstm_core.sweeps.words import confirmation, is_better
from tests.in_process import train_here, without_audit
from tests.sweeps.conftest import SMALL, few_episodes


def lines(places):
    return [json.loads(line) for line in (places.root / "trials.jsonl").read_text().splitlines()]


def test_every_trial_is_trained_scored_and_told(swept):
    sweep, made = swept
    assert [trial.trial for trial in sweep.trials] == [0, 1, 2]
    assert [row["trial"] for row in made.trials] == [0, 1, 2]
    assert made.trials[0]["ppo.actor_lr"] == sweep.plan.usual.ppo.actor_lr
    assert len({row["ppo.actor_lr"] for row in made.trials}) == 3
    scores = [row["score"] for row in made.trials]
    assert len(set(scores)) > 1
    assert scores[made.best] == max(scores)
    assert read_sweep(sweep.places, "small").identity == made.identity
    done, total, _ = sweep.progress[-1]
    assert 0 < done <= total
    assert [done for done, _, _ in sweep.progress] == sorted(done for done, _, _ in sweep.progress)


def test_a_score_is_what_the_run_earned_where_it_was_not_trained(swept, here):
    """The mean of the two kinds that count, as the same checkpoint walks them again."""
    sweep, made = swept
    for row in made.trials[:2]:
        trial = TrialManifest.read(sweep.places.sweep("small") / "trials" / f"{row['trial']:04d}.json")
        run = sweep.places.run(trial.cells[0]["run"])
        found = figures_of(run.checkpoint("100"), RunInputs.read(run.inputs), sweep.places)
        kinds = {figure["kind"]: figure["per_risk"] for figure in found if figure["mode"] == "argmax"}
        assert set(kinds) == {"fresh_worlds", "validation_dates"}
        assert row["score"] == pytest.approx(sum(kinds.values()) / 2, abs=1e-12)


def test_where_nothing_counts_there_is_no_score():
    with pytest.raises(ConfigError, match="too short"):
        score_of([{"kind": "training_dates", "mode": "argmax", "per_risk": 1.0}])


def test_what_confirms_chose_nothing(swept):
    """The best trial and the recipe, each with seeds that no trial was chosen with."""
    _, made = swept
    assert made.best != 0
    assert [row["seed"] for row in made.confirmed] == [1000]
    for row in made.confirmed:
        assert row["run"] == f"small.t{made.best:03d}.s{row['seed']}"
        assert row["recipe_run"] == f"small.t000.s{row['seed']}"
    assert "chose nothing" in made.answer


def test_every_look_is_in_the_registry_and_none_is_at_the_test_window(swept):
    sweep, made = swept
    looks = lines(sweep.places)
    assert {line["window"] for line in looks} == {"validation"}
    trained = {f"small.t{row['trial']:03d}.s0" for row in made.trials}
    trained |= {row[name] for row in made.confirmed for name in ("run", "recipe_run")}
    assert {line["run"] for line in looks} == trained
    walked = [found for found in sweep.recorded if isinstance(found, BacktestManifest)]
    assert {found.flat()["window"]["name"] for found in walked} == {"validation"}


def test_a_second_call_trains_nothing(swept, small, here, tmp_path):
    first, made = swept
    shutil.copytree(first.places.root, tmp_path / "data")
    again = small()
    assert again.run().identity == made.identity
    assert not here


def test_a_sweep_that_was_killed_goes_on_with_the_same_trials(swept, small, dies, lives, tmp_path):
    """Killed in its third training: settings, scores and the record are those of a sweep that nobody killed."""
    _, whole = swept
    dies(cells=2, iteration=3)
    cut = small()
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    assert [trial.state for trial in cut.trials] == ["done", "done"]
    kept = TrialManifest.read(cut.places.sweep("small") / "trials" / "0002.json")
    assert kept.state == "begun"
    again = lives()
    rest = small()
    made = rest.run()
    assert again[0] == "small.t002.s0"
    free = ("seconds",)
    assert [{k: v for k, v in row.items() if k not in free} for row in made.trials] == [
        {k: v for k, v in row.items() if k not in free} for row in whole.trials
    ]
    assert made.answer == whole.answer


def test_another_plan_is_refused_and_more_trials_are_not(swept, small, here, tmp_path):
    first, _ = swept
    shutil.copytree(first.places.root, tmp_path / "data")
    with pytest.raises(ConfigError, match="steps differ"):
        small(steps=2560).run()
    kept = small().places.sweep("small") / "plan.json"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-9])
    with pytest.raises(ConfigError, match=r"no readable .*plan\.json"):
        small(steps=2560).run()
    kept.unlink()
    with pytest.raises(ConfigError, match=r"no readable .*plan\.json"):
        small(steps=2560).run()
    kept.write_bytes(whole)
    more = small(trials=4)
    made = more.run()
    assert len(made.trials) == 4
    assert "small.t003.s0" in here


def test_settings_that_break_down_fail_their_trial_alone(small, monkeypatch, here):
    """A training that left the minibatch it broke down on is a failed trial; one that was killed stops the sweep."""
    import clstm_core.train.apart as apart

    usual = apart.train_apart

    def breaks(run, **how):
        if run.name.startswith("small.t001"):
            (run.path / "non_finite_2.safetensors").write_bytes(b"")
            raise TrainingError("iteration 2: a loss is not finite.")
        usual(run, **how)

    monkeypatch.setattr(apart, "train_apart", breaks)
    made = small(trials=3, confirm=0).run()
    assert [row["state"] for row in made.trials] == ["done", "failed", "done"]
    assert "not finite" in made.trials[1]["reason"]


def test_a_score_that_is_no_number_fails_its_trial_alone_and_the_recipes_own_stops_the_sweep(
    small, monkeypatch, here, tmp_path
):
    import clstm_core.sweeps.run as room

    usual, bad = room.ensure_scored, []

    def scored(wanted, places, hooks):
        row = usual(wanted, places, hooks)
        return {**row, "score": float("nan")} if wanted.run in bad else row

    monkeypatch.setattr(room, "ensure_scored", scored)
    bad.append("small.t001.s0")
    made = small(trials=3, confirm=0).run()
    assert [row["state"] for row in made.trials] == ["done", "failed", "done"]
    assert made.best in (0, 2)
    assert "scored nan: expected a number" in made.trials[1]["reason"]
    bad.append("small.t000.s0")
    with pytest.raises(NonFiniteError, match=r"small\.t000\.s0 scored nan"):
        small(root=tmp_path / "other", trials=2, confirm=0).run()


def test_a_seed_that_breaks_down_confirms_nothing_and_the_sweep_comes_to_its_end(swept, small, monkeypatch, tmp_path):
    import clstm_core.train.apart as apart

    first, made = swept
    shutil.copytree(first.places.root, tmp_path / "data")
    without_audit(monkeypatch)
    few_episodes(monkeypatch)
    train_here(monkeypatch)
    usual = apart.train_apart

    def breaks(run, **how):
        if run.name == f"small.t{made.best:03d}.s1001":
            (run.path / "non_finite_2.safetensors").write_bytes(b"")
            raise TrainingError("iteration 2: a loss is not finite.")
        usual(run, **how)

    monkeypatch.setattr(apart, "train_apart", breaks)
    more = small(confirm=2).run()
    assert more.confirmed == made.confirmed
    said = "With 1 seed that chose nothing a training broke down: that confirms nothing."
    assert said in more.answer
    assert said in evidence_of(more).confirmation
    lucky = [{"best": 1.0 + at / 100, "recipe": 0.0} for at in range(2)]
    assert is_better(SweepPlan(**(SMALL | {"confirm": 2})), made.best, lucky)
    assert not is_better(SweepPlan(**(SMALL | {"confirm": 3})), made.best, lucky)  # those left are the lucky ones
    assert not is_better(more_plan := SweepPlan(**(SMALL | {"confirm": 1})), made.best, [])
    assert "a training broke down" in confirmation(more_plan, made.best, [])


@pytest.mark.parametrize(
    "kept",
    [
        "[]",
        '{"name": "small", "new": 1}',
        '{"name": 3}',
        '{"name": "small", "seeds": 5}',
        '{"name": "small", "space": []}',
    ],
)
def test_a_plan_of_another_release_is_a_sentence(small, tmp_path, kept):
    place = small().places.sweep("small") / "plan.json"
    place.parent.mkdir(parents=True)
    place.write_text(kept)
    with pytest.raises(ConfigError, match=r"plan\.json cannot be gone on with by this release"):
        small().run()
    assert place.read_text() == kept


def test_a_trainer_that_was_killed_stops_the_sweep_and_the_trial_stays_open(small, monkeypatch, here):
    import clstm_core.train.apart as apart

    usual = apart.train_apart

    def killed(run, **how):
        if run.name.startswith("small.t001"):
            raise TrainingError("the trainer was killed.")
        usual(run, **how)

    monkeypatch.setattr(apart, "train_apart", killed)
    sweep = small(trials=3, confirm=0)
    with pytest.raises(TrainingError, match="killed"):
        sweep.run()
    assert TrialManifest.read(sweep.places.sweep("small") / "trials" / "0001.json").state == "begun"


def test_the_store_is_rebuilt_from_its_files(swept, tmp_path):
    first, _ = swept
    shutil.copytree(first.places.root, tmp_path / "data")
    told, found = MetricsStore(tmp_path / "told.duckdb"), MetricsStore(tmp_path / "data" / "metrics.duckdb")
    told.record(*first.recorded)
    found.rebuild(tmp_path / "data")
    for table, count in (("sweeps", 1), ("sweep_trials", 3)):
        asked = f'SELECT * FROM "{table}" ORDER BY ALL'
        assert told.query(asked) == found.query(asked)
        assert len(found.query(asked)) == count


def test_an_altered_record_is_refused(swept, tmp_path):
    first, _ = swept
    shutil.copytree(first.places.root, tmp_path / "data")
    from clstm_core.artifacts.places import Places

    places = Places(tmp_path / "data")
    record = places.sweep("small") / "sweep.json"
    record.write_text(record.read_text().replace('"best": ', '"best":  '))
    with pytest.raises(EvaluationError):
        read_sweep(places, "small")
