"""The honest environment passes every proof; the verdict is plain JSON; bad requests say what to do."""

import json
import os
from pathlib import Path

import pytest

from clstm_core.audit import run
from clstm_core.audit.proofs.fees_never_help import fees_never_help
from clstm_core.audit.proofs.invariance import invariance
from clstm_core.audit.proofs.no_look_ahead import no_look_ahead
from clstm_core.audit.result import Finding, prove
from clstm_core.audit.run import PROOFS, audit
from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.errors import AuditError
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.tensors import MarketTensors, load_market

CONFIG = EnvConfig(horizon=21)


def test_the_honest_environment_passes_the_quick_audit(premium_market) -> None:
    told = []
    report = audit(premium_market, CONFIG, size="quick", progress=lambda *step: told.append(step))
    assert report.passed, report.to_dict()
    assert [proof.name for proof in report.proofs] == list(PROOFS)
    assert told[0] == (0, len(PROOFS), PROOFS[0])
    assert told[-1][0] == len(PROOFS)
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


@pytest.mark.parametrize("name", ["conservation", "no_look_ahead", "invariance"])
def test_it_holds_where_p_is_q_and_without_a_lag(fair_market, name: str) -> None:
    report = audit(fair_market, EnvConfig(horizon=10, fill_lag=0), only=[name])
    assert report.passed, report.to_dict()


def test_it_holds_for_stressed_fills_and_dear_trading(premium_market) -> None:
    dear = EnvConfig(
        fill_rule="fraction", fill_fraction=1.5, commission_per_contract_usd=2.0, share_spread_bps=5.0, risk_penalty=0.1
    )
    report = audit(premium_market, dear, only=["conservation", "fees_never_help"])
    assert report.passed, report.to_dict()


def _market(config: MarketConfig, folder: Path) -> MarketTensors:
    return load_market(ensure_tensors(ensure_quotes(config, folder), config, folder, embargo=42))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["simulated", "sp500_modelled"])
def test_the_full_audit_holds(source: str, tmp_path: Path) -> None:
    report = audit(_market(MarketConfig(source=source), tmp_path), CONFIG, size="full")
    assert report.passed, report.to_dict()


@pytest.fixture
def on_the_market_alone(monkeypatch) -> None:
    """Without what these proofs walk beside the market: under the same rules it is walked by the first test above."""

    def alone(scene, *market, listed=None, **options):
        return no_look_ahead(scene, *market, **options)

    monkeypatch.setattr(run, "no_look_ahead", alone)
    monkeypatch.setattr("clstm_core.audit.proofs.no_look_ahead.modelled_in_time", list)
    monkeypatch.setattr(run, "fees_never_help", lambda scene, listed: fees_never_help(scene))
    monkeypatch.setattr(run, "invariance", lambda scene, listed: invariance(scene))


def test_it_holds_on_real_quotes(real_home: Path, on_the_market_alone) -> None:
    folder = os.environ.get("CLSTM_REAL_DATA")
    if not folder:
        pytest.skip("CLSTM_REAL_DATA names no folder of real quotes")
    market = _market(MarketConfig(source="spx_cboe", data_dir=folder), real_home / "cache")
    report = audit(market, CONFIG, only=["conservation", "no_look_ahead", "fees_never_help", "invariance"])
    assert report.passed, report.to_dict()
    assert report.market == "spx_cboe (real quotes)"


def test_a_proof_fails_by_its_worst_check_and_names_every_failed_one() -> None:
    findings = [Finding(check=name, statistic=x, threshold=1.0) for name, x in [("a", 0.5), ("b", 3.0), ("c", 2.0)]]
    result = prove("sums", lambda: findings)
    assert (result.passed, result.statistic) == (False, 3.0)
    assert "b: 3" in result.detail
    assert "c: 2" in result.detail
    assert prove("sums", lambda: findings[:1]).passed


def test_no_number_is_no_pass() -> None:
    result = prove("sums", lambda: [Finding(check="a", statistic=float("nan"), threshold=1.0)])
    assert not result.passed
    assert result.to_dict()["statistic"] is None


def test_a_proof_that_cannot_run_has_failed() -> None:
    def broken():
        raise KeyError("contract 7")

    result = prove("sums", broken)
    assert not result.passed
    assert "KeyError: 'contract 7'" in result.detail


def test_bad_requests_name_the_remedy(premium_market) -> None:
    with pytest.raises(AuditError, match="expected quick or full"):
        audit(premium_market, CONFIG, size="huge")  # type: ignore[arg-type]
    with pytest.raises(AuditError, match="unknown proof luck: expected some of conservation"):
        audit(premium_market, CONFIG, only=["luck"])
