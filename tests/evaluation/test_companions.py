"""The worlds beside a modelled market: who has them, that they differ in nothing else, and what is said of them."""

import dataclasses
from types import SimpleNamespace

import pytest

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, MarketConfig, RunConfig
from clstm_core.errors import MarketDataError
from clstm_core.evaluation import companions
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.ladder import backtest_ladder, backtest_matched
from clstm_core.market.sources import source_names


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """The modelled source's road in seconds; grows by what was asked of the cache."""
    asked = []

    def quotes(config, cache_dir, *, make):
        asked.append(("quotes", config, cache_dir, make))
        return tmp_path / "quotes"

    def tensors(quotes_dir, config, cache_dir, *, embargo, make):
        asked.append(("tensors", config, cache_dir, make, embargo, quotes_dir))
        return tmp_path / "tensors"

    monkeypatch.setattr(companions, "ensure_quotes", quotes)
    monkeypatch.setattr(companions, "ensure_tensors", tensors)
    return asked


@pytest.mark.parametrize("source", source_names())
def test_only_the_modelled_source_has_companions(bare, tmp_path, source):
    found = companions.ensure_companion("stressed", MarketConfig(source=source), tmp_path, 42)
    assert (found is not None) == (source == "sp500_modelled")
    assert len(bare) == (2 if found else 0)


@pytest.mark.parametrize("make", [True, False])
@pytest.mark.parametrize(("world", "change"), companions.CHANGES.items())
def test_a_companion_is_the_same_market_with_one_change_and_the_same_windows(bare, tmp_path, make, world, change):
    config = MarketConfig(premium=True, seed=3, near_days=20.0)
    assert companions.ensure_companion(world, config, tmp_path / "cache", 42, make=make) == tmp_path / "tensors"
    expected = dataclasses.replace(config, **change)
    assert bare == [
        ("quotes", expected, tmp_path / "cache", make),
        ("tensors", expected, tmp_path / "cache", make, 42, tmp_path / "quotes"),
    ]


def test_a_run_finds_the_companion_of_its_own_market_and_makes_none(bare, tmp_path):
    config = RunConfig(market=MarketConfig(seed=5), env=EnvConfig(horizon=30))
    inputs = RunInputs(run="r", config=config.to_dict(), config_sha256=config.sha256, git_commit="c")
    places = Places(tmp_path)
    assert companions.find_companion("zero_premium", inputs, places) == tmp_path / "tensors"
    (_, market, cache, *_), (*_, make, embargo, _) = bare
    assert market == dataclasses.replace(config.market, premium=False)
    assert (cache, make, embargo) == (places.cache, False, 30 + config.market.feature_lookback)


def test_a_companion_that_was_not_made_is_said(tmp_path):
    with pytest.raises(MarketDataError, match="no canonical quotes of sp500_modelled"):
        companions.ensure_companion("stressed", MarketConfig(), tmp_path, 42, make=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("world", companions.CHANGES)
def test_a_companion_is_traded_by_the_champion_every_baseline_and_chance_as_busy(market, ladder, tmp_path, world):
    config, facts = EnvConfig(), {"run": "tiny"}
    market = dataclasses.replace(market, identity="a" * 64)
    rungs = backtest_ladder(ladder, market, config, None, tmp_path, windows=("test", "validation"), meta=facts)
    found = companions.backtest_companion(
        world, ladder[-1:], market, config, tmp_path, ladder=rungs, seed=3, meta=facts
    )
    others = [policy.name for policy in baselines(market)]
    assert [result.name for result in found] == ["clstm_100_argmax", *others, "matched_random"]
    for result in found:
        m = result.manifest
        assert (m["window"]["name"], m["premium"], m["world"]) == ("test", world != "zero_premium", world)
        assert (m["run"], m["fill_lag"], m["seed"]) == ("tiny", 1, 3)
        assert result.artifact.parents["tensors"] == market.identity
    (itself,) = backtest_matched(rungs, market, config, None, tmp_path, seed=3, meta=facts)
    assert found[-1].manifest["trader"] == itself.manifest["trader"]  # as busy as in the market itself


def test_without_a_ladder_that_trades_there_is_no_chance_to_match(market, ladder, tmp_path):
    found = companions.backtest_companion("stressed", ladder, market, EnvConfig(), tmp_path)
    assert [result.name for result in found][:2] == ["clstm_020_argmax", "clstm_100_argmax"]
    assert "matched_random" not in [result.name for result in found]


def named(**returned):
    return [
        SimpleNamespace(name=name, manifest={"summary": {"total_return": value}}) for name, value in returned.items()
    ]


def test_the_sentence_names_the_worlds_and_their_figures():
    twin = named(clstm_100_argmax=0.023, clstm_020_argmax=0.5, cash=0.025, short_straddle=-0.1)
    stressed = named(clstm_100_argmax=-0.04, cash=0.025)
    sentence = companions.companion_sentence(twin, stressed, "clstm_100_argmax")
    assert "zero-premium twin" in sentence
    assert "+2.3%, cash +2.5%, the short straddle -10.0%" in sentence
    assert "stressed world" in sentence
    assert "-4.0%, cash +2.5%" in sentence
    assert companions.companion_sentence(twin, stressed, "clstm_060_argmax") is None
    assert companions.companion_sentence([], [], "clstm_100_argmax") is None


@pytest.mark.slow
def test_sellers_lose_the_premium_on_the_twin_and_some_of_it_when_stressed(tmp_path):
    """The straddle sells the premium: on the twin most of it is gone, in the stressed world a part."""
    from clstm_core.evaluation.backtest import run_backtest
    from clstm_core.evaluation.baselines.straddles import ShortStraddle
    from clstm_core.market.cache import ensure_quotes, ensure_tensors
    from clstm_core.market.sources import default_config
    from clstm_core.market.tensors import load_market

    earned = {}
    base = default_config("sp500_modelled")
    for world, change in [("itself", {}), *companions.CHANGES.items()]:
        config = dataclasses.replace(base, **change)
        folder = ensure_tensors(ensure_quotes(config, tmp_path), config, tmp_path, embargo=42)
        straddle = ShortStraddle("short_straddle", "short straddle")
        result = run_backtest(straddle, load_market(folder), EnvConfig(), "in_sample", out_dir=tmp_path / "backtests")
        earned[world] = result.manifest["summary"]["total_return"]
    assert earned["itself"] > earned["stressed"] > earned["zero_premium"], earned
