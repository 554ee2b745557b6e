"""The surface: free of arbitrage, true to the VIX, and like the chains that its shape was taken from."""

import math

import numpy as np
import pytest
import torch

from clstm_core.market.worlds.smile import (
    MAX_STRENGTH,
    model_free_multiple,
    strength_for,
    variance_multiple,
)
from clstm_core.market.worlds.surface import VIX_YEARS, PathState, Surface
from clstm_core.options import black_scholes

SURFACE = Surface()
VIX = (0.095, 0.12, 0.15, 0.2, 0.3, 0.5, 0.8)


def f64(value):
    return torch.as_tensor(value, dtype=torch.float64)


def state(vix, slow=0.04, spot=4000.0):
    return PathState(*(f64(x) for x in (spot, vix, slow, 0.03, 0.015, 1.0, 1.0)))


def strip(theta: float, strength: float) -> float:
    """Model-free total variance by pricing a dense strip of Black-Scholes options, F = 1, no rates."""
    k = torch.linspace(-60.0, 25.0, 80_001, dtype=torch.float64) * math.sqrt(theta)
    vol = torch.sqrt(theta * variance_multiple(k / math.sqrt(theta), f64(strength)))
    zero, one = f64(0.0), f64(1.0)
    side = torch.where(k >= 0, 1.0, -1.0).double()
    price = black_scholes.price(one, torch.exp(k), one, vol, zero, zero, side)
    return float(2.0 * torch.trapezoid(price * torch.exp(-k), k))


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0, 1.3])
@pytest.mark.parametrize("theta", [0.0008, 0.005, 0.03])
def test_the_model_free_multiple_is_what_a_strip_of_options_costs(strength, theta):
    found = float(model_free_multiple(f64(strength), f64(theta)))
    assert found == pytest.approx(strip(theta, strength) / theta, rel=4e-3)


def test_the_strength_is_found_again_from_its_multiple():
    strength = torch.linspace(0.05, 1.25, 25, dtype=torch.float64)
    theta = f64(0.004)
    assert torch.allclose(strength_for(model_free_multiple(strength, theta), theta), strength, atol=1e-6)
    assert float(strength_for(f64(9.0), theta)) == MAX_STRENGTH


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0, MAX_STRENGTH])
@pytest.mark.parametrize("theta", [1e-4, 0.01, 0.1])
def test_no_butterfly_costs_less_than_nothing(strength, theta):
    """Gatheral's g >= 0, written in standard deviations."""
    x = torch.linspace(-15.0, 8.0, 2301, dtype=torch.float64, requires_grad=True)
    v = variance_multiple(x, f64(strength))
    (first,) = torch.autograd.grad(v.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    g = (1 - x * first / (2 * v)) ** 2 - first**2 / 4 * (1 / v + theta / 4) + second / 2
    assert float(g.detach().min()) > 0


@pytest.mark.parametrize("vix", VIX)
@pytest.mark.parametrize("slow", [0.015, 0.04, 0.12])
def test_no_calendar_costs_less_than_nothing(vix, slow):
    clock = torch.linspace(2 / 252, 0.4, 60, dtype=torch.float64)
    theta, strength = SURFACE.atm_variance(state(vix, slow), clock)
    k = torch.linspace(-0.5, 0.3, 81, dtype=torch.float64)[:, None]
    reachable = k.abs() < 4 * torch.sqrt(theta)
    total, _ = SURFACE.implied_variance(theta, strength, k)
    grows = total.diff(dim=1) > -1e-9
    assert bool(grows[reachable[:, :-1]].all())


@pytest.mark.parametrize("vix", VIX)
def test_thirty_days_cost_the_vix_and_the_money_lies_below_it(vix):
    theta, strength = SURFACE.atm_variance(state(vix), f64(VIX_YEARS))
    assert math.sqrt(strip(float(theta), float(strength)) / VIX_YEARS) == pytest.approx(vix, abs=6e-4)
    if vix > 0.1:  # below that the smile would have to be steeper than is free of arbitrage
        assert math.sqrt(float(theta) / VIX_YEARS) == pytest.approx(vix - SURFACE.atm_distance, abs=3e-4)


def test_variance_returns_to_its_average():
    near, far = (float(SURFACE.model_free_variance(state(0.4, 0.04), f64(t)) / t) for t in (0.02, 0.5))
    assert near > 0.16 > far > 0.04
    near, far = (float(SURFACE.model_free_variance(state(0.1, 0.04), f64(t)) / t) for t in (0.02, 0.5))
    assert 0.25 * 0.01 <= near < 0.01 < far < 0.04


def test_a_calm_market_has_a_steep_smile_and_a_crash_a_flat_one():
    month = f64(VIX_YEARS)
    strengths = [float(SURFACE.strength(state(vix), month)) for vix in VIX]
    assert strengths == sorted(strengths, reverse=True)
    assert 0.8 < strengths[2] < 1.1  # VIX 15: about the smile of 2026
    assert strengths[-1] < 0.5


@pytest.mark.parametrize(("delta", "low", "high"), [(0.10, 1.35, 1.55), (0.05, 1.6, 1.85)])
def test_puts_far_from_the_money_cost_about_what_real_chains_ask(delta, low, high):
    """1.44 and 1.79 times the volatility at the money in SPXW chains at a VIX of 15, 24 to 38 days."""
    theta, strength = SURFACE.atm_variance(state(0.15), f64(VIX_YEARS))
    x = torch.linspace(-6.0, 0.0, 6001, dtype=torch.float64)
    total, _ = SURFACE.implied_variance(theta, strength, x * torch.sqrt(theta))
    strike = torch.exp(x * torch.sqrt(theta))
    one, zero = f64(1.0), f64(0.0)
    put = black_scholes.greeks(one, strike, one, torch.sqrt(total), zero, zero, torch.full_like(x, -1.0)).delta
    at = int((put + delta).abs().argmin())
    assert low < math.sqrt(float(total[at] / theta)) < high


def test_quotes_keep_parity_and_are_whole_ticks_around_the_price():
    now = state(0.2)
    strike = torch.arange(3000.0, 4700.0, 25.0, dtype=torch.float64)
    tte = f64(30 / 365)
    theta, strength = SURFACE.atm_variance(now, tte)
    quotes = SURFACE.quotes(now, strike, tte, theta, strength)
    forward = now.spot * math.exp(-0.015 * 30 / 365) - strike * math.exp(-0.03 * 30 / 365)
    assert torch.allclose(quotes.call - quotes.put, forward, atol=1e-9)
    for bid, price, ask in (
        (quotes.call_bid, quotes.call, quotes.call_ask),
        (quotes.put_bid, quotes.put, quotes.put_ask),
    ):
        assert bool(((bid <= price + 1e-9) & (price <= ask + 1e-9) & (bid < ask) & (bid >= 0)).all())
        for side in (bid, ask):
            np.testing.assert_allclose(side / 0.05, torch.round(side / 0.05), atol=1e-6)


def test_the_spread_at_the_money_is_that_of_2026_at_a_vix_of_fifteen():
    width = SURFACE.vol_spread(state(0.15), f64(VIX_YEARS), f64(0.0))
    assert float(width) == pytest.approx(0.00094)
    assert float(SURFACE.vol_spread(state(0.3), f64(VIX_YEARS), f64(0.0))) == pytest.approx(2 * 0.00094)
    assert float(SURFACE.stressed().vol_spread(state(0.15), f64(VIX_YEARS), f64(0.0))) == pytest.approx(2 * 0.00094)


def test_a_stressed_surface_lies_a_point_lower_at_the_money():
    clock = f64(VIX_YEARS)
    plain, stressed = (
        math.sqrt(float(surface.atm_variance(state(0.2), clock)[0]) / VIX_YEARS)
        for surface in (SURFACE, SURFACE.stressed())
    )
    assert plain - stressed == pytest.approx(0.01)


@pytest.mark.parametrize("vix", [0.02, 0.04, 0.08, 1.9999, 2.0, 3.0])
def test_float32_reaches_the_edges_of_every_table(vix):
    """The last cell of a table is entered from its end too: float32 cannot tell that end from just before it."""
    clock = f64(np.linspace(1.0 / 365.0, 1.0, 40))
    for surface in (SURFACE, SURFACE.stressed()):
        exact = surface.atm_variance(state(vix), clock)
        rough = surface.atm_variance(PathState(*(field.float() for field in state(vix))), clock.float())
        for one, two in zip(exact, rough, strict=True):
            torch.testing.assert_close(two.double(), one, rtol=2e-5, atol=0.0)
    for strength, theta in ((MAX_STRENGTH, 0.01), (0.5, 1.0), (MAX_STRENGTH, 1.0), (9.0, 9.0)):
        exact, rough = (
            model_free_multiple(f64(strength).to(dtype), f64(theta).to(dtype))
            for dtype in (torch.float64, torch.float32)
        )
        torch.testing.assert_close(rough.double(), exact, rtol=1e-5, atol=0.0)
