"""Prices and Greeks: golden values, parity, limits, and closed form against autograd."""

import math

import pytest
import torch

from clstm_core.options.black_scholes import greeks, price


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(500, generator=generator, dtype=torch.float64)

    return {
        "spot": uniform(80, 120),
        "strike": uniform(70, 130),
        "tte_years": uniform(0.02, 2.0),
        "vol": uniform(0.08, 0.9),
        "rate": uniform(-0.02, 0.08),
        "dividend_yield": uniform(0.0, 0.05),
        "right": torch.where(uniform(0, 1) < 0.5, 1.0, -1.0).to(torch.float64),
    }


@pytest.mark.parametrize(
    ("spot", "strike", "tte", "vol", "rate", "dividend", "right", "expected"),
    [
        # Hull, Options, Futures and Other Derivatives: the example of the Black-Scholes-Merton chapter.
        (42.0, 40.0, 0.5, 0.20, 0.10, 0.0, 1, 4.759422392871532),
        (42.0, 40.0, 0.5, 0.20, 0.10, 0.0, -1, 0.8085993729000922),
        # Haug, The Complete Guide to Option Pricing Formulas: Merton's dividend-yield put.
        (100.0, 95.0, 0.5, 0.20, 0.10, 0.05, -1, 2.4648),
        # Hull: European call on an index, 930 / 900, two months, 8%, 3%.
        (930.0, 900.0, 2 / 12, 0.20, 0.08, 0.03, 1, 51.83),
    ],
)
def test_golden_prices(spot, strike, tte, vol, rate, dividend, right, expected):
    found = price(f64(spot), f64(strike), f64(tte), f64(vol), f64(rate), f64(dividend), f64(right)).item()
    digits = len(str(expected).split(".")[1])
    assert found == pytest.approx(expected, abs=0.6 * 10 ** -min(digits, 12))


def test_put_call_parity(batch):
    call = price(**{**batch, "right": torch.ones_like(batch["right"])})
    put = price(**{**batch, "right": -torch.ones_like(batch["right"])})
    spot_present = batch["spot"] * torch.exp(-batch["dividend_yield"] * batch["tte_years"])
    strike = batch["strike"] * torch.exp(-batch["rate"] * batch["tte_years"])
    torch.testing.assert_close(call - put, spot_present - strike, rtol=0, atol=1e-11)


def test_greeks_agree_with_autograd(batch):
    leaves = {k: v.clone().requires_grad_(k != "right") for k, v in batch.items()}
    value = price(**leaves)
    names = ("spot", "vol", "tte_years", "rate")
    slopes = dict(
        zip(names, torch.autograd.grad(value.sum(), [leaves[n] for n in names], create_graph=True), strict=True)
    )
    (gamma,) = torch.autograd.grad(slopes["spot"].sum(), leaves["spot"])
    found = greeks(**batch)
    torch.testing.assert_close(found.price, value.detach())
    for closed, auto in (
        (found.delta, slopes["spot"]),
        (found.gamma, gamma),
        (found.vega, slopes["vol"]),
        (found.theta, -slopes["tte_years"]),
        (found.rho, slopes["rate"]),
    ):
        torch.testing.assert_close(closed, auto.detach(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("right", [1.0, -1.0])
@pytest.mark.parametrize(("tte", "vol"), [(0.0, 0.2), (0.5, 0.0), (1e-12, 0.2)])
def test_without_time_or_volatility_the_forward_intrinsic_is_left(right, tte, vol):
    spot, strike, rate, dividend = f64(90, 100, 110), f64(100.0), f64(0.05), f64(0.02)
    found = greeks(spot, strike, f64(tte), f64(vol), rate, dividend, f64(right))
    expected = (right * (spot * math.exp(-0.02 * tte) - strike * math.exp(-0.05 * tte))).clamp(min=0)
    torch.testing.assert_close(found.price, expected, atol=1e-4, rtol=0)
    assert all(torch.isfinite(x).all() for x in found if x is not found.gamma)
    if tte == 0.0 or vol == 0.0:
        assert (found.gamma == 0).all()
        assert (found.vega == 0).all()


def test_price_rises_with_volatility_and_stays_inside_its_bounds(batch):
    vols = torch.linspace(0.01, 2.0, 40, dtype=torch.float64)[:, None]
    values = price(**{**batch, "vol": vols})
    assert (values.diff(dim=0) >= -1e-12).all()
    forward = batch["spot"] * torch.exp((batch["rate"] - batch["dividend_yield"]) * batch["tte_years"])
    discount = torch.exp(-batch["rate"] * batch["tte_years"])
    least = discount * (batch["right"] * (forward - batch["strike"])).clamp(min=0)
    most = discount * torch.where(batch["right"] > 0, forward, batch["strike"])
    assert (values >= least - 1e-11).all()
    assert (values <= most + 1e-11).all()


def test_discounted_price_is_the_mean_of_simulated_payoffs():
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(200_000, generator=generator, dtype=torch.float64)
    z = torch.cat([z, -z])
    spot, strike, tte, vol, rate, dividend = 100.0, 105.0, 0.4, 0.3, 0.04, 0.01
    final = spot * torch.exp((rate - dividend - vol**2 / 2) * tte + vol * math.sqrt(tte) * z)
    for right in (1.0, -1.0):
        payoff = math.exp(-rate * tte) * (right * (final - strike)).clamp(min=0)
        error = payoff.std().item() / math.sqrt(len(payoff))
        closed = price(*(f64(x) for x in (spot, strike, tte, vol, rate, dividend, right))).item()
        assert payoff.mean().item() == pytest.approx(closed, abs=4 * error)


def test_a_volatility_that_is_not_a_number_gives_no_price_of_any_kind():
    one = torch.ones(1, dtype=torch.float64)
    found = greeks(100.0 * one, 90.0 * one, 0.1 * one, torch.nan * one, 0.01 * one, 0.0 * one, one)
    assert torch.stack(found).isnan().all()
