"""An old run's policy judged on younger data: nothing is trained, and every copied checkpoint names its original."""

import dataclasses
import shutil

import pytest

from assets.critic_warmup import warm_critic
from assets.environment_audit import environment_audit
from assets.market_data import market_quotes, market_tensors
from assets.training import trained_policy
from clstm_core.artifacts.manifests import CheckpointManifest, ComparisonManifest, ReportManifest, RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import RECIPES
from clstm_core.specs import RUNGS

MARKET = (market_quotes, market_tensors, environment_audit)


@pytest.fixture
def trained(chain, verdict):
    verdict()
    return chain("one").does(*MARKET, warm_critic, trained_policy)


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


def test_a_policy_that_is_nowhere_is_refused_before_the_market_is_made(chain, said):
    launched = chain("two", policy_of="nobody")
    result = launched.stage(market_quotes, warm_critic, trained_policy)
    assert "no run nobody to take a policy from" in said(result)
    assert not (launched.data / "cache").exists()
