"""Nothing is trained in an unproven market, however a stage is started."""

import dataclasses

import pytest

from assets.critic_warmup import warm_critic
from assets.environment_audit import environment_audit
from assets.market_data import market_quotes, market_tensors
from clstm_core import config


@pytest.fixture
def proven(chain, verdict):
    """A chain whose market is audited, and the verdicts asked for."""
    asked = verdict()
    return chain().does(market_quotes, market_tensors, environment_audit), asked


def test_alone_on_unproven_tensors_it_is_refused(chain, verdict, said):
    verdict()
    found = chain().does(market_quotes, market_tensors)
    words = said(found.stage(warm_critic))
    assert "no quick audit verdict for these market tensors (simulated" in words
    assert "Materialize environment_audit with the same recipe, or run `clstm audit --source simulated" in words
    assert not found.folder.exists()
    found.does(environment_audit, warm_critic)
    assert (found.folder / "checkpoints" / "000").is_dir()


def test_a_verdict_for_another_account_does_not_count(proven, said, monkeypatch):
    chain, _ = proven
    smoke = config.smoke()
    dearer = dataclasses.replace(smoke, env=dataclasses.replace(smoke.env, commission_per_contract_usd=0.70))
    monkeypatch.setitem(config.RECIPES, "smoke", lambda: dearer)
    assert "no quick audit verdict" in said(chain.stage(warm_critic))
    chain.does(environment_audit, warm_critic)


def test_a_refreshed_market_has_no_verdict_yet(proven, chain, said):
    refreshed = chain(n_snapshots=261).does(market_quotes, market_tensors)
    assert "no quick audit verdict" in said(refreshed.stage(warm_critic))
    proven[0].does(warm_critic)  # the market that was proven still is


def test_changed_code_has_no_verdict_yet(proven, said, monkeypatch):
    import clstm_core.gate as gate

    monkeypatch.setattr(gate, "code_sha256", lambda *modules: "other code")
    assert "no quick audit verdict" in said(proven[0].stage(warm_critic))


def test_a_failed_verdict_is_refused_and_named(chain, verdict, said):
    verdict(failing=("fees_never_help",))
    found = chain().does(market_quotes, market_tensors)
    assert not found.stage(environment_audit).success
    assert "The market can be cheated: fees_never_help" in said(found.stage(warm_critic))


def test_a_quick_verdict_is_not_a_full_one_but_the_other_way_round(proven, chain, said):
    thorough = chain(audit="full")
    assert "no full audit verdict" in said(thorough.stage(warm_critic))
    thorough.does(environment_audit)
    for place in (thorough.data / "cache" / "audits").glob("*.json"):
        if '"size": "quick"' in place.read_text():
            place.unlink()
    proven[0].does(warm_critic)


def test_a_market_that_was_not_made_is_refused(chain, said):
    assert "Materialize market_quotes with the same recipe first" in said(chain().stage(warm_critic))
    assert "Materialize market_tensors with the same recipe first" in said(
        chain().does(market_quotes).stage(warm_critic)
    )


def test_a_forged_verdict_is_not_believed(chain, verdict, said):
    verdict(failing=("conservation",))
    found = chain().does(market_quotes, market_tensors)
    found.stage(environment_audit)
    (place,) = (found.data / "cache" / "audits").glob("*.json")
    place.write_text(place.read_text().replace('"passed": false', '"passed": true'))
    assert "no quick audit verdict" in said(found.stage(warm_critic))
