"""The market that is traded is read from its own tables: whatever its tensors say of settlement is not believed."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from clstm_core.audit.run import audit
from clstm_core.audit.worlds.kept import QUOTES_DIR, kept_tables
from clstm_core.audit.worlds.markets import stretch
from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.errors import AuditError
from clstm_core.gate import _with_tables
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.tensors import MarketTensors, load_market

CONFIG = EnvConfig(horizon=5)


def _kept(config: MarketConfig, folder: Path) -> MarketTensors:
    market = load_market(ensure_tensors(ensure_quotes(config, folder), config, folder, embargo=42))
    return _with_tables(market, folder)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> MarketTensors:
    config = MarketConfig(source="simulated", n_snapshots=150)
    return _kept(config, tmp_path_factory.mktemp("kept") / "cache")


def _conservation(market: MarketTensors):
    return audit(market, CONFIG, only=["conservation"]).proofs[0]


def test_a_market_agrees_with_its_own_tables(kept) -> None:
    proof = _conservation(kept)
    assert proof.passed, proof.detail


def _yesterday(market: MarketTensors) -> torch.Tensor:
    before = market.spot_T[(market.settle_index_K - 1).clamp(0, market.n_snapshots - 1)]
    value = torch.clamp(market.right_K * (before - market.strike_K), min=0.0)
    return torch.where(market.settle_value_K.isnan(), torch.nan, value)


TAMPERED = {
    "settled on yesterday's spot": lambda m: {"settle_value_K": _yesterday(m)},
    "settlement zeroed": lambda m: {"settle_value_K": 0.0 * m.settle_value_K},
    "settled late": lambda m: {"settle_index_K": (m.settle_index_K + 1).clamp(max=m.n_snapshots)},
    "multiplier": lambda m: {"multiplier_K": torch.where(m.strike_K > 4000, 50.0, m.multiplier_K)},
    "stale rows traded": lambda m: {"bid_Q": 1.01 * m.bid_Q},
    "names": lambda m: {"contract_id_KB": m.contract_id_KB.roll(1, dims=0)},
    "one contract outside the stretch": lambda m: {
        "settle_value_K": torch.where(torch.arange(len(m.strike_K)) == 3, 7.0, m.settle_value_K)
    },
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_tensors_that_say_otherwise_fail(kept, change) -> None:
    proof = _conservation(dataclasses.replace(kept, **change(kept)))
    assert not proof.passed
    assert "of the tables" in proof.detail


@pytest.mark.parametrize("change", ["settled on yesterday's spot", "settlement zeroed", "settled late"])
def test_without_tables_a_modelled_market_settles_on_its_spots(kept, change) -> None:
    facts = {name: fact for name, fact in kept.info.items() if name != QUOTES_DIR}
    alone = dataclasses.replace(kept, info=facts)
    assert kept_tables(alone, stretch(alone, 90)) is None
    proof = _conservation(dataclasses.replace(alone, **TAMPERED[change](alone)))
    assert not proof.passed


def test_tables_of_another_market_are_refused(kept) -> None:
    other = dataclasses.replace(kept, info={**kept.info, "quotes_sha256": "0" * 64})
    with pytest.raises(AuditError, match="are not those that the market was built from"):
        kept_tables(other, stretch(other, 90))


@pytest.mark.parametrize(("source", "tenors"), [("spx_cboe", (30.0, 60.0)), ("spx_barchart", (5.0, 9.0))])
def test_real_markets_settle_as_their_index_files_say(
    source: str, tenors: tuple[float, float], real_home: Path
) -> None:
    folder = os.environ.get("CLSTM_REAL_DATA")
    if not folder:
        pytest.skip("CLSTM_REAL_DATA names no folder of real quotes")
    near, far = tenors
    config = MarketConfig(source=source, data_dir=folder, near_days=near, far_days=far)
    proof = _conservation(_kept(config, real_home / "cache"))
    assert proof.passed, proof.detail
