"""An old run's policy judged on younger data: nothing is trained, and every copied checkpoint names its original."""

import dataclasses
import shutil

import pytest

from assets.backtests import policy_backtests
from assets.critic_warmup import warm_critic
from assets.environment_audit import environment_audit
from assets.market_data import market_quotes, market_tensors
from assets.training import trained_policy
from clstm_core.artifacts.manifests import (
    BacktestSet,
    CheckpointManifest,
    ComparisonManifest,
    ReportManifest,
    RunInputs,
)
from clstm_core.artifacts.places import Places
from clstm_core.config import RECIPES
from clstm_core.market.tensors import load_market
from clstm_core.specs import RUNGS
from clstm_core.train.envs import envs_on
from clstm_core.train.loop import train

MARKET = (market_quotes, market_tensors, environment_audit)


def longer(chain, **recipe):
    """A run on the same source with as many sessions again, which takes over the first one's policy."""
    return chain("two", **({"n_snapshots": 520, "policy_of": "one"} | recipe))


def test_the_whole_chain_judges_an_old_policy_on_younger_data(chain, trained, stages):
    order, ops = stages
    again = longer(chain)
    for stage in order:
        again.does(stage, ops=ops)
    places = Places(again.data)
    old, new = (RunInputs.read(places.run(name).inputs) for name in ("one", "two"))
    assert new.data_sha256 != old.data_sha256
    assert new.training_data_sha256 == old.training_data_sha256
    assert (new.parents["policy"], new.facts["policy_of"]) == (old.identity, "one")
    for rung in RUNGS:
        mine, theirs = (
            CheckpointManifest.read(places.run(name).checkpoint(rung) / "manifest.json") for name in ("two", "one")
        )
        assert mine.parents == {**theirs.parents, "inputs": new.identity, "policy": theirs.identity}
        assert mine.files == theirs.files
        assert mine.run == "two"
    comparison = ComparisonManifest.read(places.run("two").comparison)
    assert comparison.parents["inputs"] == new.identity
    assert ReportManifest.read(places.run("two").report).parents["comparison"] == comparison.identity


def test_a_copy_that_was_cut_off_goes_on_and_nothing_is_trained(chain, trained, monkeypatch):
    again = longer(chain).does(*MARKET, warm_critic)
    first = CheckpointManifest.read(again.folder / "checkpoints" / "020" / "manifest.json").identity
    shutil.rmtree(again.folder / "checkpoints" / "060")
    shutil.rmtree(again.folder / "checkpoints" / "100")
    monkeypatch.setattr("clstm_core.train.apart.train_apart", lambda *_args, **_kw: pytest.fail("it trains"))
    again.does(warm_critic, trained_policy)
    assert CheckpointManifest.read(again.folder / "checkpoints" / "020" / "manifest.json").identity == first
    assert not list((again.data / "set_aside").glob("*"))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"policy_of": "nobody"}, "no run nobody to take a policy from"),
        ({"policy_of": "two"}, "judged again under its own name"),
        ({"policy_of": "../one"}, "run name '../one'"),
        ({"n_snapshots": 200}, "would be judged from"),
    ],
)
def test_what_does_not_belong_together_is_refused(chain, trained, said, recipe, words):
    again = longer(chain, **recipe)
    if "policy_of" not in recipe:
        again.does(*MARKET)
    else:
        longer(chain, policy_of=None).does(*MARKET)
    result = again.stage(warm_critic)
    assert not result.success
    assert words in said(result)
    assert not (again.folder / "checkpoints").exists()


def test_a_run_that_is_not_trained_to_its_end_is_refused(chain, trained, said):
    shutil.rmtree(trained.folder / "checkpoints" / "080")
    again = longer(chain).does(*MARKET)
    result = again.stage(warm_critic)
    assert "run one is not trained to its end" in said(result)


def test_another_account_is_refused(chain, trained, said, monkeypatch):
    usual = RECIPES["smoke"]()
    dearer = dataclasses.replace(usual, env=dataclasses.replace(usual.env, commission_per_contract_usd=2.0))
    monkeypatch.setitem(RECIPES, "smoke", lambda: dearer)
    again = longer(chain).does(*MARKET)
    assert "other settings of the account" in said(again.stage(warm_critic))


@pytest.fixture
def bare(chain, verdict):
    """Trains the recipe as `python -m clstm_core.train` does, on the tensors of the chain's market or on others."""
    verdict()
    places = Places(chain("two").does(*MARKET).data)

    def train_on(folder=None):
        market = load_market(folder or next(places.cache.glob("tensors/*")))
        config = RECIPES["smoke"]()
        env, heldout = envs_on(config, market)
        train(config, env, run_dir=places.run("bare").path, heldout_env=heldout)
        return places

    return train_on


def test_a_run_made_without_dagster_is_judged(chain, bare, stages):
    """It names its market by the tensors alone; they are this launch's, which were audited."""
    places = bare()
    again = chain("two", policy_of="bare").does(warm_critic, trained_policy, policy_backtests)
    new, old = (RunInputs.read(places.run(name).inputs) for name in ("two", "bare"))
    assert (new.parents["policy"], new.training_data_sha256) == (old.identity, old.training_data_sha256)
    assert new.parents["training_verdict"] == new.parents["verdict"]
    assert (new.facts["trained_on"], new.facts["trained_label"]) == ("its training window", "simulated quotes")
    assert BacktestSet.read(again.folder / "policy_backtests.json").ids


def test_a_run_made_without_dagster_in_another_market_is_refused(chain, bare, said, tmp_path):
    other = chain("one", n_snapshots=300).does(*MARKET)
    folders = sorted((other.data / "cache" / "tensors").iterdir(), key=lambda place: place.stat().st_mtime)
    bare(folders[-1])
    words = said(chain("two", policy_of="bare").stage(warm_critic))
    assert "run bare was trained without Dagster on market tensors" in words
    assert "train on data/cache/tensors/" in words


def test_a_policy_that_is_nowhere_is_refused_before_the_market_is_made(chain, said):
    launched = chain("two", policy_of="nobody")
    result = launched.stage(market_quotes, warm_critic, trained_policy)
    assert "no run nobody to take a policy from" in said(result)
    assert not (launched.data / "cache").exists()
