"""The zero-premium twin: which market has one, that it differs in nothing else, and what is said of it."""

import dataclasses
from types import SimpleNamespace

import pytest

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, MarketConfig, RunConfig
from clstm_core.errors import MarketDataError
from clstm_core.evaluation import twin
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

    monkeypatch.setattr(twin, "ensure_quotes", quotes)
    monkeypatch.setattr(twin, "ensure_tensors", tensors)
    return asked


@pytest.mark.parametrize("source", source_names())
def test_only_the_modelled_source_has_a_twin(bare, tmp_path, source):
    found = twin.ensure_twin(MarketConfig(source=source), tmp_path, 42)
    assert (found is not None) == (source == "sp500_modelled")
    assert len(bare) == (2 if found else 0)


@pytest.mark.parametrize("make", [True, False])
def test_the_twin_is_the_same_market_without_the_premium_and_with_its_windows(bare, tmp_path, make):
    config = MarketConfig(premium=True, seed=3, near_days=20.0)
    assert twin.ensure_twin(config, tmp_path / "cache", 42, make=make) == tmp_path / "tensors"
    expected = dataclasses.replace(config, premium=False)
    assert bare == [
        ("quotes", expected, tmp_path / "cache", make),
        ("tensors", expected, tmp_path / "cache", make, 42, tmp_path / "quotes"),
    ]


def test_a_run_finds_the_twin_of_its_own_market_and_makes_none(bare, tmp_path):
    config = RunConfig(market=MarketConfig(seed=5), env=EnvConfig(horizon=30))
    inputs = RunInputs(run="r", config=config.to_dict(), config_sha256=config.sha256, git_commit="c")
    places = Places(tmp_path)
    assert twin.find_twin(inputs, places) == tmp_path / "tensors"
    (_, market, cache, *_), (*_, make, embargo, _) = bare
    assert market == dataclasses.replace(config.market, premium=False)
    assert (cache, make, embargo) == (places.cache, False, 30 + config.market.feature_lookback)


def test_a_twin_that_was_not_made_is_said(tmp_path):
    with pytest.raises(MarketDataError, match="no canonical quotes of sp500_modelled"):
        twin.ensure_twin(MarketConfig(), tmp_path, 42, make=False)
    assert list(tmp_path.iterdir()) == []


def test_the_twin_is_traded_by_the_ladder_cash_and_the_straddle_over_its_test_dates(market, ladder, tmp_path):
    market = dataclasses.replace(market, identity="a" * 64)
    found = twin.backtest_twin(ladder, market, EnvConfig(), tmp_path, meta={"run": "tiny"})
    assert [result.name for result in found] == ["clstm_020_argmax", "clstm_100_argmax", "cash", "short_straddle"]
    for result in found:
        assert (result.manifest["window"]["name"], result.manifest["premium"]) == ("test", False)
        assert (result.manifest["run"], result.manifest["fill_lag"]) == ("tiny", 1)
        assert result.artifact.parents["tensors"] == market.identity


def test_the_sentence_names_the_twin_and_its_figures():
    returned = {"clstm_100_argmax": 0.023, "clstm_020_argmax": 0.5, "cash": 0.025, "short_straddle": -0.1}
    results = [
        SimpleNamespace(name=name, manifest={"summary": {"total_return": value}}) for name, value in returned.items()
    ]
    sentence = twin.twin_sentence(results, "clstm_100_argmax")
    assert "zero-premium twin" in sentence
    assert "+2.3%, cash +2.5%, the short straddle -10.0%" in sentence
    assert twin.twin_sentence(results, "clstm_060_argmax") is None


@pytest.mark.slow
def test_sellers_lose_the_assumed_premium_on_the_twin(tmp_path):
    """The straddle's gain on the modelled market is the assumption: without it most of the gain is gone."""
    from clstm_core.evaluation.backtest import run_backtest
    from clstm_core.evaluation.baselines.straddles import ShortStraddle
    from clstm_core.market.cache import ensure_quotes, ensure_tensors
    from clstm_core.market.tensors import load_market

    earned = {}
    for premium in (True, False):
        config = MarketConfig(premium=premium)
        folder = ensure_tensors(ensure_quotes(config, tmp_path), config, tmp_path, embargo=42)
        straddle = ShortStraddle("short_straddle", "short straddle")
        result = run_backtest(straddle, load_market(folder), EnvConfig(), "test", out_dir=tmp_path / "backtests")
        earned[premium] = result.manifest["summary"]["total_return"]
    assert earned[True] - earned[False] > 0.05
