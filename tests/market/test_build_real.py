"""Tensors of the real option sets: what the grid finds, what settles, and that a stale quote never trades."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.cache import to_columns
from clstm_core.market.sources import default_config, open_source
from clstm_core.market.tables.quality import inspect
from clstm_core.specs import CELL_INDEX

SESSIONS = 15


@pytest.fixture(scope="module", params=["spx_barchart", "spx_cboe"])
def real(request):
    folder = os.environ.get("CLSTM_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CLSTM_REAL_DATA is not set to the folder of the real sets")
    config = default_config(request.param, data_dir=folder)
    source = open_source(config)
    tables = inspect(source.read(source.list_snapshots()[:SESSIONS]))
    columns = [to_columns(frame) for frame in (tables.quotes, tables.underlyings, tables.rates)]
    info = {"source": source.name, "label": source.label, "spread": source.spread}
    return build_market_tensors(*columns, config, embargo=42, info=info), columns[1]


def test_nearly_every_cell_has_a_contract(real):
    market, _ = real
    calendar = [CELL_INDEX[f"far_{side}_calendar"] for side in ("call", "put")]
    filled = (market.grid_row_TG >= 0).double().mean(0)
    filled[calendar] = 1.0
    assert filled.min() > 0.8
    assert market.info["splits"] == {"test": [0, market.n_snapshots]}


def test_volatilities_are_those_of_an_index(real):
    market, _ = real
    for tenor in ("near", "far"):
        vol = market.implied_vol_Q[market.grid_row_TG[:, CELL_INDEX[f"{tenor}_put_atm"]].clamp(min=0)]
        assert 0.05 < vol.median() < 0.5
        skew = market.features_TF[:, 7 if tenor == "near" else 8]
        assert skew.median() > 0.0


def test_stale_rows_do_not_trade_and_quotes_have_a_spread(real):
    market, _ = real
    assert not (market.can_buy_Q | market.can_sell_Q)[market.stale_Q].any()
    trades = market.can_sell_Q
    assert (market.ask_Q[trades] > market.bid_Q[trades]).all()
    assert torch.isfinite(market.implied_vol_Q).all()
    assert torch.isfinite(market.features_TF).all()


def test_settled_contracts_pay_the_intrinsic_of_the_index_itself(real):
    market, underlyings = real
    done = torch.nonzero(market.settle_index_K < market.n_snapshots).squeeze(1)
    if len(done) == 0:
        pytest.skip("no contract of the grid expires within these sessions")
    day = 86_400 * 10**9
    close = dict(zip((underlyings["snapshot"] // day).tolist(), underlyings["close"].tolist(), strict=True))
    checked = 0
    for k in done.tolist():
        expiration = market.expiration_K[k].item()
        if (expiration % day) // (3600 * 10**9) < 17 or expiration // day not in close:
            continue
        intrinsic = market.right_K[k].item() * (close[expiration // day] - market.strike_K[k].item())
        assert market.settle_value_K[k].item() == pytest.approx(max(intrinsic, 0.0), abs=1e-9)
        checked += 1
    assert checked > 10
    assert np.isfinite(market.spot_T.numpy()).all()
