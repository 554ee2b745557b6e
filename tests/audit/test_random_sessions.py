"""Sessions and costs drawn by hypothesis: environment and plain-Python ledger agree to a cent on all of them."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clstm_core.audit.proofs.conservation import conservation
from clstm_core.audit.sessions.scene import Scene
from clstm_core.config import EnvConfig

configs = st.builds(
    EnvConfig,
    capital_usd=st.sampled_from([250_000.0, 1_000_000.0, 5_000_000.0, 40_000_000.0]),
    horizon=st.integers(2, 40),
    fill_lag=st.sampled_from([0, 1]),
    fill_rule=st.just("fraction"),
    fill_fraction=st.floats(0.0, 3.0),
    commission_per_contract_usd=st.floats(0.0, 5.0),
    commission_per_share_usd=st.floats(0.0, 0.1),
    share_spread_bps=st.floats(0.0, 20.0),
    borrow_rate=st.floats(0.0, 0.2),
    risk_fraction=st.floats(0.001, 0.5),
    ruin_fraction=st.floats(0.0, 0.9),
    reward_scale=st.just(0.02),
)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=configs, seed=st.integers(0, 2**31 - 1))
def test_money_is_conserved_whatever_the_session_and_the_costs(premium_market, fair_market, config, seed):
    scene = Scene(market=premium_market, config=config, n_envs=4, n_steps=25, seed=seed)
    findings = conservation(scene, fair_market)
    wrong = [finding for finding in findings if finding.ratio > 1 and finding.check != "events missing"]
    assert not wrong, wrong
