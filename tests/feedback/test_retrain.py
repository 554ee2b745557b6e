"""A retraining: which days it holds out, what it leaves behind, that it goes on after a kill, and what it refuses."""

import dataclasses
import json
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from retrain_makings import ANY, SMALL, Retraining, from_champion, train_here

from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.places import Places
from clstm_core.config import FineTuneConfig, RunConfig
from clstm_core.deployment.bundle import load_bundle
from clstm_core.env.joined import JoinedEnv
from clstm_core.errors import ConfigError, RegistryError
from clstm_core.evaluation.regimes import TERCILES
from clstm_core.evaluation.trial_ledger import place_of
from clstm_core.feedback import retrain as retraining
from clstm_core.feedback.begun import begin
from clstm_core.feedback.minds import champion_mind
from clstm_core.feedback.plan import PLAN, RetrainPlan
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.registry_state import PAIRS
from clstm_core.feedback.regression import flip_rate, regression
from clstm_core.feedback.retrain import read_challenger
from clstm_core.market.tensors import load_market
from clstm_core.train.champion import load_champion
from clstm_core.train.envs import replayed
from tests.in_process import without_audit

SESSIONS = [date(2000, 1, 3) + timedelta(days=n) for n in range(600)]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A challenger from scratch that was held against cash: its places, what it showed, what was recorded."""
    with pytest.MonkeyPatch.context() as patch:
        without_audit(patch)
        train_here(patch)
        made = Retraining(Places(tmp_path_factory.mktemp("retrain") / "data"))
        (found,) = made.run()
        return made, found


@pytest.fixture
def here(monkeypatch):
    without_audit(monkeypatch)
    return train_here(monkeypatch)


def plan(**changes):
    return RetrainPlan(**(SMALL | changes))


def test_the_newest_days_are_held_out_with_an_embargo_before_each():
    wanted = plan()
    fold, gap = wanted.cut(SESSIONS), wanted.embargo
    assert fold.test == (600 - 61, 600)
    assert fold.validation == (600 - 61 - gap - 61, 600 - 61 - gap)
    assert fold.train == (0, fold.validation.start - gap)
    market = wanted.fold_market(fold, SESSIONS)
    assert market.last_date == SESSIONS[-1].isoformat()
    assert market.train_until == SESSIONS[fold.train.stop - 1].isoformat()
    assert plan(training=100).cut(SESSIONS).train == (fold.train.stop - 100, fold.train.stop)


def test_what_comes_after_the_date_is_not_known():
    wanted = plan(as_of=SESSIONS[500].isoformat())
    assert wanted.known(SESSIONS) == SESSIONS[:501]
    assert wanted.cut(wanted.known(SESSIONS)).test.stop == 501


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"starts": ("champion",)}, "no champion to begin with"),
        ({"starts": ("luck",)}, "starts"),
        ({"why": " "}, "without a reason"),
        ({"why": "half \udcff"}, "UTF-8"),
        ({"judged": 60}, "judged=60"),
        ({"gate": 20}, "gate=20"),
        ({"as_of": "soon"}, "as_of="),
        ({"fine_tune": FineTuneConfig(champion="x")}, "names a champion"),
        ({"audit": "none"}, "unknown audit"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        plan(**changes)


def test_a_history_that_is_too_short_says_how_long_it_would_have_to_be():
    with pytest.raises(ConfigError, match="340 sessions are known"):
        plan().cut(SESSIONS[:340])


def test_a_plan_survives_json():
    wanted = plan(fine_tune=ANY)
    again = RetrainPlan.from_dict(json.loads(json.dumps(wanted.to_dict())))
    assert again == wanted
    assert again.sha256 == wanted.sha256


def test_a_fine_tuned_champions_steps_are_not_made_smaller_again():
    base = RunConfig.from_dict(SMALL["settings"])
    tuned = dataclasses.replace(base, ppo=ANY.ppo(base.ppo), fine_tune=FineTuneConfig(champion="x" * 64))
    warm = plan(settings=tuned.to_dict(), starts=("champion",), champion="y" * 64, champion_folder="bundles/y")
    config = warm.run_config("champion", warm.cut(SESSIONS), SESSIONS)
    assert config.ppo.actor_lr == pytest.approx(0.1 * base.ppo.actor_lr)
    assert config.fine_tune.champion == "y" * 64


def test_a_first_challenger_is_held_against_cash(first):
    made, found = first
    assert (found.outcome, found.start, found.champion) == ("challenger", "scratch", "")
    assert "that of cash" in found.answer
    pairs = pl.read_parquet(found.folder / "pairs.parquet")
    assert pairs.columns == ["date", "challenger", "champion", "cash", "regime"]
    assert pairs.height == 60 == found.figures["sessions"]
    assert pairs["champion"].equals(pairs["cash"], check_names=False)
    assert set(pairs["regime"]) <= set(TERCILES)
    assert str(pairs["date"][0]) == found.judged["first"] > found.judged["trained_until"]
    assert 0 < found.figures["luck_p"] <= 1
    assert found.figures["champion_luck_p"] is None
    assert found.figures["parity"]
    bundle = load_bundle(made.places.bundle("first"), identity=found.bundle)
    assert bundle.manifest.provenance["trained_until"] == found.judged["trained_until"]
    assert read_challenger(made.places, "first") == found


def test_growth_is_that_of_the_ledgers(first):
    made, found = first
    (trained,) = [each for each in made.recorded if getattr(each, "kind", "") == "backtest" and "challenger" in
                  each.facts["name"]]  # fmt: skip
    equity = pl.read_parquet(made.places.backtests / trained.id / "equity.parquet").sort("step")["equity_usd"]
    pairs = pl.read_parquet(found.folder / "pairs.parquet")
    assert pairs["challenger"].sum() == pytest.approx(float(np.log(equity[-1] / equity[0])))


def test_a_look_is_entered_once_and_what_stands_is_not_made_again(first, here):
    made, found = first
    lines = place_of(made.places).read_text()
    assert len(lines.splitlines()) == 1
    again = Retraining(made.places)
    assert again.run() == [found]
    assert here == []
    assert place_of(made.places).read_text() == lines


def test_who_is_made_again_was_looked_at_before(first, here):
    made, found = first
    (line,) = map(json.loads, place_of(made.places).read_text().splitlines())
    assert found.judged["looked"] == line["recorded_at"]
    assert (found.judged["weights"], line["role"]) == (line["checkpoint"], "challenger")
    kept = found.folder.rename(found.folder.with_name("kept"))
    (again,) = Retraining(made.places).run()
    assert again.judged == found.judged
    assert dataclasses.replace(again, created=found.created) == found
    shutil.rmtree(found.folder)
    kept.rename(found.folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"figures": {"luck_p": 0.001}}, "altered challenger"),
        ({"figures": {"latency_p50_us": 1.0}}, "of parity and latency"),
        ({"stages": [{"name": "regression", "passed": True, "words": ""}]}, "altered challenger"),
        ({}, "altered challenger"),
    ],
)
def test_what_was_altered_after_it_was_judged_is_not_proposed_though_its_seal_fits(first, changes, words, tmp_path):
    made, found = first
    folder = shutil.copytree(found.folder, tmp_path / "first")
    if not changes:
        pairs = pl.read_parquet(folder / PAIRS)
        pairs.with_columns(pl.col("challenger") + 0.001).write_parquet(folder / PAIRS)
    facts = {name: {**found.figures, **value} if name == "figures" else value for name, value in changes.items()}
    altered = dataclasses.replace(found, files=files_of(folder), **facts).write(folder / FILE)
    registry = Registry(Places(tmp_path / "data"))
    with pytest.raises(RegistryError, match=words):
        registry.propose(altered, made.places.bundle("first"), "a test")
    assert registry.current() is None
    assert registry.propose(found, made.places.bundle("first"), "a test").challenger.run == "first"


def test_what_arrived_since_it_was_begun_makes_no_other_retraining_of_it(first, here, monkeypatch):
    made, found = first
    days = [*_sessions(made), date(2099, 1, 2)]
    monkeypatch.setattr(retraining, "open_source", lambda _: SimpleNamespace(list_snapshots=lambda: days))
    assert Retraining(made.places).run() == [found]
    assert here == []


def test_a_plan_that_cannot_be_read_is_not_begun_again_with_another(first, here):
    made, _ = first
    place = made.places.run("first").path / PLAN
    whole = place.read_bytes()
    place.write_bytes(whole[:-9])
    with pytest.raises(ConfigError, match=r"unreadable plan .*retrain\.json"):
        Retraining(made.places, worlds=21).run()
    place.write_bytes(whole)


@pytest.mark.parametrize(
    "kept", ["[]", "{}", '{"fine_tune": {"new": 1}}', '{"fine_tune": {}, "starts": ["scratch"], "new": 1}']
)
def test_a_plan_of_another_release_is_a_sentence(tmp_path, kept):
    places = Places(tmp_path / "data")
    place = places.run("mine").path / PLAN
    place.parent.mkdir(parents=True)
    place.write_text(kept)
    with pytest.raises(ConfigError, match=r"retrain\.json cannot be gone on with by this release"):
        begin(plan(name="mine"), places)
    assert place.read_text() == kept


def test_another_plan_under_the_name_is_refused(first, here):
    made, _ = first
    with pytest.raises(ConfigError, match="another plan: worlds differ"):
        Retraining(made.places, worlds=21).run()


def test_both_starts_are_judged_side_by_side_on_the_same_days(first, here):
    made, found = first
    warm, scratch = from_champion(made.places, found, name="both", starts=("champion", "scratch")).run()
    assert here == ["both", "both.scratch"]
    assert (warm.run, warm.start, scratch.run, scratch.start) == ("both", "champion", "both.scratch", "scratch")
    names = [row["name"] for row in warm.stages]
    assert names[:5] == ["critic", "gate", "kl", "golden decisions", "stress: planted crash (simulated)"]
    assert names[5:] == ["old regimes", "regression"]
    assert all({"name", "passed", "words"} <= set(row) for row in warm.stages)
    assert warm.champion == scratch.champion == found.bundle
    # from scratch it is the champion trained again, with the same seed: what it does, the champion did
    golden = next(row for row in scratch.stages if row["name"] == "golden decisions")
    assert (golden["figure"], golden["limit"]) == (0.0, None)
    pairs = pl.read_parquet(scratch.folder / "pairs.parquet")
    assert pairs["challenger"].equals(pairs["champion"], check_names=False)
    assert scratch.figures["luck_p"] == scratch.figures["champion_luck_p"]
    assert scratch.judged["first"] == found.judged["first"]
    if warm.outcome == "regression":
        assert not warm.bundle
        assert not warm.files
        assert any(not row["passed"] and row["words"] in warm.answer for row in warm.stages)


def test_where_the_critic_gains_nothing_nothing_is_proposed(first, here):
    made, found = first
    strict = dataclasses.replace(ANY, least_gain=1e9)
    (ended,) = from_champion(made.places, found, name="gated", fine_tune=strict).run()
    assert (ended.outcome, ended.bundle, ended.figures) == ("critic", "", {})
    assert "is no challenger" in ended.answer
    assert "the champion's" in ended.answer


def test_after_a_kill_it_goes_on_as_if_there_had_been_none(first, monkeypatch):
    made, found = first
    without_audit(monkeypatch)
    train_here(monkeypatch)
    (whole,) = from_champion(made.places, found, name="whole").run()
    train_here(monkeypatch, dies=3)
    with pytest.raises(KeyboardInterrupt):
        from_champion(made.places, found, name="killed").run()
    train_here(monkeypatch)
    (killed,) = from_champion(made.places, found, name="killed").run()
    assert killed.outcome == whole.outcome
    plain = [[{k: v for k, v in row.items() if k != "words"} for row in each.stages] for each in (whole, killed)]
    assert plain[0] == plain[1]


def test_days_that_the_champion_knows_are_not_held_out_from_it(first, here):
    made, found = first
    known = made.plan.known(_sessions(made))
    early = known[499].isoformat()  # the gate would begin before the champion's training ended
    with pytest.raises(ConfigError, match="was trained until"):
        from_champion(made.places, found, name="early", as_of=early).run()
    assert here == []


def test_what_the_challenger_unlearned_is_found(first):
    made, found = first
    champion = load_champion(made.places.bundle("first"), identity=found.bundle)
    mind = champion_mind(champion)
    assert flip_rate(mind, made.places.bundle("first"))[0] == 0.0
    other = load_champion(made.places.bundle("first"))
    with torch.no_grad():
        other.model.policy_head.bias.copy_(torch.linspace(0, 5, len(other.model.policy_head.bias)))
    changed = champion_mind(other)._replace(role="challenger")
    market = load_market(made.places.tensors(found.parents["tensors"]))
    rows = {
        row["name"]: row
        for row in regression(mind, changed, market, champion.config, made.places.bundle("first"), from_scratch=False)
    }
    assert not rows["golden decisions"]["passed"]
    assert rows["golden decisions"]["figure"] > rows["golden decisions"]["limit"]


def test_recent_sessions_have_their_share_and_older_ones_are_replayed():
    base = RunConfig.from_dict(SMALL["settings"])
    warm = dataclasses.replace(base, fine_tune=FineTuneConfig(champion="x", recent_sessions=100))
    assert replayed(warm, (0, 400)) == ((300, 400), (0, 300))
    assert replayed(base, (0, 400)) is None
    assert replayed(warm, (0, 110)) is None  # too few are older
    assert (
        replayed(dataclasses.replace(warm, fine_tune=FineTuneConfig(champion="x", recent_share=1.0)), (0, 900)) is None
    )


def test_envs_that_are_joined_live_as_they_would_alone(toys):
    joined = JoinedEnv([toys.CountingEnv(3, seed=1), toys.CountingEnv(5, seed=2)])
    alone = [toys.CountingEnv(3, seed=1), toys.CountingEnv(5, seed=2)]
    joined.reset()
    for env in alone:
        env.reset()
    for t in range(25):
        action = torch.full((8,), t % 2)
        step, apart = joined.step(action), [env.step(action[: env.n_envs]) for env in alone]
        assert torch.equal(step.observation, torch.cat([each.observation for each in apart]))
        assert torch.equal(step.truncated, torch.cat([each.truncated for each in apart]))
    kept = joined.state_dict()
    after = joined.step(action).observation
    joined.load_state_dict(kept)
    assert torch.equal(joined.step(action).observation, after)
    assert (joined.n_envs, joined.observation_size) == (8, 3)


def _sessions(made):
    from clstm_core.market.sources import open_source

    return open_source(made.plan.market).list_snapshots()
