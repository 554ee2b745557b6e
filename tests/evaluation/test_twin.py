import dataclasses
from types import SimpleNamespace

import pytest

from clstm_core.config import MarketConfig
from clstm_core.evaluation import twin
from clstm_core.market.build.simulated import simulated_market


def test_only_the_modelled_source_has_a_twin():
    market = simulated_market(MarketConfig(source="simulated", n_snapshots=120), embargo=5)
    assert not twin.has_twin(market)
    assert twin.has_twin(dataclasses.replace(market, info=market.info | {"source": "sp500_modelled"}))


def test_the_twin_is_made_without_the_premium_on_the_same_dates(monkeypatch, tmp_path):
    asked = {}
    market = SimpleNamespace(info={"embargo": 42}, split=lambda name: (10, 20))
    monkeypatch.setattr(twin, "ensure_quotes", lambda config, cache: asked.update(config=config) or tmp_path)
    monkeypatch.setattr(twin, "ensure_tensors", lambda *a, embargo: asked.update(embargo=embargo) or tmp_path)
    monkeypatch.setattr(twin, "load_market", lambda folder: "twin market")
    monkeypatch.setattr(twin, "load_checkpoint", lambda folder, modes: [f"policy {modes}"])
    monkeypatch.setattr(twin, "run_backtests", lambda policies, market, env, window, **_: (market, window))
    found = twin.twin_backtests(tmp_path, market, MarketConfig(premium=True), None, tmp_path, tmp_path)
    assert found == ("twin market", (10, 20))
    assert asked["config"].premium is False
    assert asked["embargo"] == 42


def test_the_sentence_names_the_twin_and_its_figures():
    results = [SimpleNamespace(manifest={"summary": {"total_return": value}}) for value in (0.023, 0.025, -0.1)]
    sentence = twin.twin_sentence(results)
    assert "zero-premium twin" in sentence
    assert "+2.3%, cash +2.5%, the short straddle -10.0%" in sentence


@pytest.mark.slow
def test_sellers_lose_the_assumed_premium_on_the_twin(tmp_path):
    """The straddle's gain on the modelled market is the assumption: without it most of the gain is gone."""
    from clstm_core.config import EnvConfig
    from clstm_core.evaluation.backtest import run_backtest
    from clstm_core.evaluation.policies import ShortStraddle
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
