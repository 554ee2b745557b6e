"""Baselines on real quotes: every curve follows from fills and quotes, and the words say how little data there is."""

import os

import pytest

from clstm_core.config import EnvConfig
from clstm_core.evaluation import recompute
from clstm_core.evaluation.backtest import run_backtests
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.sources import default_config
from clstm_core.market.tensors import load_market

REAL_DATA = os.environ.get("CLSTM_REAL_DATA")


@pytest.mark.skipif(not REAL_DATA, reason="CLSTM_REAL_DATA names no folder of real option quotes")
@pytest.mark.parametrize("lag", [0, 1])
def test_baselines_on_real_quotes_to_the_cent(real_home, lag, capsys) -> None:
    config = default_config("spx_cboe", data_dir=str(REAL_DATA))
    cache = real_home / "cache"  # of a folder as a project's: quotes are found below it
    market = load_market(ensure_tensors(ensure_quotes(config, cache), config, cache, embargo=42))
    results = run_backtests(baselines(market), market, EnvConfig(fill_lag=lag), "test", out_dir=real_home / "backtests")
    for result in results:
        assert recompute.main([str(result.folder)]) == 0, capsys.readouterr().out
        assert result.manifest["label"] == "real quotes"
        assert result.manifest["summary"]["sharpe"] is None
    traded = {result.name: result.manifest["summary"]["n_fills"] for result in results}
    assert all(count > 0 for name, count in traded.items() if name != "cash"), traded
