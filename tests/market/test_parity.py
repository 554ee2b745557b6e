"""Forward and discount from put-call parity."""

import numpy as np
import pytest
from clstm_core.market.parity import parity_by_expiry

STRIKES = np.arange(3900.0, 4105.0, 5.0)
FORWARD, DISCOUNT, TTE = 4012.3, 0.9968, 0.1


def mids(noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    swap = DISCOUNT * (FORWARD - STRIKES)
    put = 60.0 + np.maximum(-swap, 0.0)
    return put + swap + noise * np.random.default_rng(seed).standard_normal(len(STRIKES)), put


def test_exact_quotes_give_the_exact_forward():
    fit = parity_by_expiry(STRIKES, *mids(), TTE)
    assert fit.forward == pytest.approx(FORWARD, abs=1e-8)
    assert fit.discount == pytest.approx(DISCOUNT, abs=1e-10)
    assert fit.residual_median < 1e-9
    assert fit.n == len(STRIKES)
    assert fit.rate(TTE) == pytest.approx(-np.log(DISCOUNT) / TTE)
    assert 4000.0 * np.exp((fit.rate(TTE) - fit.dividend_yield(4000.0, TTE)) * TTE) == pytest.approx(fit.forward)


def test_a_quarter_of_wild_quotes_does_not_move_it():
    call, put = mids(noise=0.05)
    call[::4] += 40.0
    fit = parity_by_expiry(STRIKES, call, put, TTE)
    assert fit.forward == pytest.approx(FORWARD, abs=0.05)
    assert fit.n <= len(STRIKES) - len(STRIKES[::4])


def test_missing_sides_are_left_out_and_too_few_give_nothing():
    call, put = mids()
    call[5:] = np.nan
    fit = parity_by_expiry(STRIKES, call, put, TTE)
    assert fit.n == 5
    assert fit.forward == pytest.approx(FORWARD, abs=1e-6)
    call[2:] = np.nan
    fit = parity_by_expiry(STRIKES, call, put, TTE)
    assert fit.n == 0
    assert np.isnan(fit.forward)


def test_an_impossible_rate_is_held_at_its_bound_and_the_forward_still_fits():
    call, put = mids(noise=0.3, seed=4)
    fit = parity_by_expiry(STRIKES, call, put, 1 / 365)
    assert np.exp(-0.20 / 365) <= fit.discount <= np.exp(0.05 / 365)
    assert fit.forward == pytest.approx(FORWARD, abs=0.5)


def test_a_given_discount_is_kept():
    fit = parity_by_expiry(STRIKES, *mids(), TTE, discount=DISCOUNT)
    assert fit.discount == DISCOUNT
    assert fit.forward == pytest.approx(FORWARD, abs=1e-8)
