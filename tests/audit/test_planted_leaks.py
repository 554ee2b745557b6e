"""Each planted leak is caught by the proof that is named beside it, and by the quick audit."""

import pytest

from clstm_core.audit.run import audit
from clstm_core.config import EnvConfig
from tests.audit import planted_money as money
from tests.audit import planted_risk as risk
from tests.audit import planted_sight as sight
from tests.audit.plant import Plant

CONFIG = EnvConfig(horizon=21)


LEAKS: list[tuple[Plant, str]] = [
    (sight.episodes_beyond_the_window, "no_look_ahead"),
    (sight.observations_scaled_by_all_dates, "no_look_ahead"),
    *(
        (leak, "conservation")
        for leak in (
            money.settled_by_another_contract,
            money.settled_by_the_last_spot,
            money.settlement_of_a_hundred_a_contract,
            money.a_hundred_a_contract_everywhere,
            risk.margin_without_the_multiplier,
            risk.margin_of_a_hundred_a_contract,
            money.dividends_on_yesterdays_value,
            money.borrow_charged_on_longs,
            money.borrow_on_tomorrows_value,
            sight.a_leg_becomes_its_neighbour,
            money.stale_legs_marked_at_nothing,
            money.stale_legs_closed_in_a_liquidation,
            sight.final_observation_after_the_reset,
            sight.observation_of_the_step_before,
            sight.money_kept_across_a_reset,
            risk.mask_without_the_budget,
            risk.hedges_beyond_the_budget,
            risk.fills_beyond_the_budget,
            risk.a_cure_that_does_nothing,
            risk.premium_forgotten_every_day,
            risk.premium_forgotten_where_it_was_just_sold,
            risk.a_crash_without_its_vol,
            risk.gross_exposure_of_the_net,
        )
    ),
    (sight.final_observation_after_the_reset, "invariance"),
    (money.sale_without_liability, "conservation"),
    (money.fees_with_the_wrong_sign, "fees_never_help"),
    (sight.fill_at_tomorrows_quote, "no_look_ahead"),
    (money.spread_paid_once_for_two_legs, "conservation"),
    (money.expiry_settled_twice, "conservation"),
    (money.interest_on_debt_with_the_wrong_sign, "conservation"),
    (money.no_interest_on_debt, "conservation"),
    (money.dividends_paid_to_nobody, "martingale_sampled"),
    (money.short_sellers_keep_the_dividend, "conservation"),
    (money.borrow_is_free, "fees_never_help"),
    (money.stale_contract_tradable, "conservation"),
    (money.zero_bid_sold, "conservation"),
    (sight.marks_from_the_next_snapshot, "no_look_ahead"),
    (money.double_multiplier_on_puts, "conservation"),
    (money.worthless_expiry_pays_its_last_mark, "martingale_exact"),
    (money.liquidation_at_mid, "conservation"),
    (risk.no_margin_call, "conservation"),
    (risk.half_the_margin, "conservation"),
    (sight.mask_peeks_ahead, "no_look_ahead"),
    (sight.features_of_tomorrow, "no_look_ahead"),
    (risk.sizes_twice_the_risk, "conservation"),
    (money.reward_without_the_cost_of_cash, "conservation"),
    (money.fees_rebated_in_bulk, "conservation"),
    (sight.accounts_share_a_purse, "invariance"),
    (money.no_commission_in_float32, "invariance"),
    (money.interest_on_debt_with_the_wrong_sign_in_float32, "invariance"),
    (money.reward_without_the_cost_of_cash_in_float32, "invariance"),
]


ALSO_CAUGHT_BY: list[tuple[Plant, str]] = [  # by a second proof, or much as one above
    (money.sale_without_liability, "martingale_exact"),
    (money.sale_without_liability, "martingale_sampled"),
    (money.fees_with_the_wrong_sign, "conservation"),
    (money.fees_with_the_wrong_sign, "martingale_exact"),
    (sight.fill_at_tomorrows_quote, "conservation"),
    (money.spread_paid_once_for_two_legs, "martingale_exact"),
    (money.expiry_settled_twice, "martingale_exact"),
    (money.interest_on_debt_with_the_wrong_sign, "martingale_exact"),
    (money.interest_on_debt_with_the_wrong_sign, "martingale_sampled"),
    (money.dividends_paid_to_nobody, "conservation"),
    (sight.marks_from_the_next_snapshot, "conservation"),
    (money.liquidation_at_mid, "martingale_exact"),
    (risk.mask_up_to_the_whole_budget, "conservation"),
    (risk.fills_that_shares_cannot_cure, "conservation"),
    (risk.a_cure_that_trims_and_never_closes, "conservation"),
    (risk.a_cure_of_half_the_shares, "conservation"),
    (risk.premium_never_forgotten, "conservation"),
    (risk.a_crash_in_the_margin, "conservation"),
    (risk.a_budget_that_looks_away_in_the_record, "conservation"),
]


def _names(leaks):
    return [f"{leak.__name__}-{proof}" for leak, proof in leaks]


@pytest.fixture(autouse=True)
def no_modelled_source(monkeypatch):
    """These leaks are in the environment; how the modelled market is made: `test_planted_market_leaks.py`."""
    monkeypatch.setattr("clstm_core.audit.proofs.no_look_ahead.modelled_in_time", list)


@pytest.mark.parametrize(("leak", "proof"), LEAKS, ids=_names(LEAKS))
def test_a_leak_is_caught_by_the_named_proof(leak: Plant, proof: str, premium_market, monkeypatch) -> None:
    leak(monkeypatch)
    report = audit(premium_market, CONFIG, size="quick", only=[proof])
    assert report.failed == (proof,)
    assert "could not be run" not in report.proofs[0].detail


@pytest.mark.slow
@pytest.mark.parametrize(("leak", "proof"), ALSO_CAUGHT_BY, ids=_names(ALSO_CAUGHT_BY))
def test_a_second_proof_catches_it_too(leak: Plant, proof: str, premium_market, monkeypatch) -> None:
    leak(monkeypatch)
    assert audit(premium_market, CONFIG, size="quick", only=[proof]).failed == (proof,)
