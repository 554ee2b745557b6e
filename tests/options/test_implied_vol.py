"""Implied volatility: round trips over the whole plane, and NaN where no volatility gives the price."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clstm_core.options.black_scholes import price
from clstm_core.options.implied_vol import implied_vol


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_round_trip_out_of_the_money_to_machine_precision():
    moneyness = torch.linspace(-0.6, 0.6, 61, dtype=torch.float64)[:, None, None]
    vol = f64(0.05, 0.1, 0.2, 0.5, 1.0, 3.0)[None, :, None]
    tte = f64(0.003, 0.08, 0.5, 2.0)[None, None, :]
    spot, rate, dividend = f64(4000.0), f64(0.03), f64(0.015)
    strike = spot * torch.exp((rate - dividend) * tte + moneyness)
    right = torch.where(moneyness >= 0, 1.0, -1.0).to(torch.float64)
    value = price(spot, strike, tte, vol, rate, dividend, right)
    found = implied_vol(value, spot, strike, tte, rate, dividend, right)
    # `price` itself cancels where a price is a millionth of a point or less.
    seen = value > 1e-6
    assert seen.sum() > 900
    vol = vol.expand_as(found)
    torch.testing.assert_close(found[seen], vol[seen], rtol=1e-6, atol=0)
    assert ((found - vol).abs()[value > 0.01] < 1e-9).all()


@settings(deadline=None, max_examples=200)
@given(
    moneyness=st.floats(-0.5, 0.5),
    vol=st.floats(0.03, 3.0),
    tte=st.floats(0.002, 3.0),
    rate=st.floats(-0.03, 0.12),
    dividend=st.floats(-0.02, 0.06),
    right=st.sampled_from([1.0, -1.0]),
)
def test_the_answer_gives_the_price_back(moneyness, vol, tte, rate, dividend, right):
    spot, strike = f64(100.0), f64(100.0) * torch.exp(f64(moneyness))
    terms = (f64(tte), f64(rate), f64(dividend))
    value = price(spot, strike, terms[0], f64(vol), terms[1], terms[2], f64(right))
    found = implied_vol(value, spot, strike, *terms, f64(right))
    intrinsic = price(spot, strike, terms[0], f64(0.0), terms[1], terms[2], f64(right))
    if (value - intrinsic).item() > 1e-10:
        again = price(spot, strike, terms[0], found, terms[1], terms[2], f64(right))
        torch.testing.assert_close(again, value, rtol=0, atol=1e-11)
    else:
        assert torch.isnan(found).item() or found.item() > 0


@pytest.mark.parametrize(
    ("value", "right", "tte"),
    [
        (5.0, 1.0, 0.5),  # below the intrinsic value of about 11
        (120.0, 1.0, 0.5),  # above the share
        (100.0, -1.0, 0.5),  # above the strike's present value
        (0.0, -1.0, 0.5),
        (-1.0, -1.0, 0.5),
        (15.0, 1.0, 0.0),  # no time left
        (float("nan"), 1.0, 0.5),
        (float("inf"), 1.0, 0.5),
    ],
)
def test_no_volatility_gives_nan(value, right, tte):
    found = implied_vol(f64(value), f64(110.0), f64(100.0), f64(tte), f64(0.03), f64(0.01), f64(right))
    assert torch.isnan(found).item()


def test_one_bad_row_does_not_disturb_the_others():
    value = f64(10.0, float("nan"), 10.0)
    found = implied_vol(value, f64(100.0), f64(100.0), f64(0.5), f64(0.0), f64(0.0), f64(1.0))
    assert torch.isnan(found).tolist() == [False, True, False]
    assert found[0] == found[2]
