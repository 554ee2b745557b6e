"""The conditional variance and the smile: nothing of the future, no arbitrage, the model-free variance it promises."""

import numpy as np
import pytest
import torch

from clstm_core.market.worlds import variance
from clstm_core.options import black_scholes


@pytest.fixture(scope="module")
def close() -> np.ndarray:
    rng = np.random.default_rng(5)
    vol = 0.01 * np.exp(np.cumsum(0.05 * rng.standard_normal(1500)) * 0.5)
    return 1000.0 * np.exp(np.cumsum(vol * rng.standard_normal(1500)))


def test_expected_variance_at_a_date_ignores_what_follows(close):
    model = variance.fit_variance_model(close, variance.variance_design(close), 63, 1000)
    wild = close.copy()
    wild[1001:] *= np.linspace(1.0, 9.0, 499)
    again = variance.fit_variance_model(wild, variance.variance_design(wild), 63, 1000)
    np.testing.assert_array_equal(again.coefficient_HX, model.coefficient_HX)
    total = model.total_variance(variance.variance_design(close))
    np.testing.assert_array_equal(again.total_variance(variance.variance_design(wild))[:1001], total[:1001])
    assert (np.diff(total, axis=1) >= 0).all()


def test_fitted_variance_matches_realised_variance_on_the_training_dates(close):
    design = variance.variance_design(close)
    total = variance.fit_variance_model(close, design, 63, 1000).total_variance(design)
    squares = np.concatenate([[0.0], np.cumsum(np.diff(np.log(close)) ** 2)])
    at = np.arange(63, 1000 - 21)
    realised = squares[at + 21] - squares[at]
    assert total[at, variance.HORIZONS.index(21)].mean() == pytest.approx(realised.mean(), rel=0.02)


def test_total_variance_between_horizons_is_linear():
    total = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
    years = np.array([1.5, 3.0, 4.0, 84.0, 105.0]) / 252.0
    found = variance.interpolate_total_variance(total, np.zeros(5, dtype=int), years)
    np.testing.assert_allclose(found, [0.5, 1.0, 1.5, 7.0, 8.0])


@pytest.mark.parametrize("vol", [0.09, 0.2, 0.7])
def test_model_free_variance_is_what_the_options_cost(vol):
    """The VIX's own formula over a fine strip of strikes: 2 / T x sum of OTM price x dK / K^2."""
    years = 30 / 365
    theta = np.array([vol**2 * years])
    forward = 1000.0
    k = np.linspace(-9 * vol * np.sqrt(years) * 1.6, 7 * vol * np.sqrt(years), 20_001)
    strike = forward * np.exp(k)
    sigma = np.sqrt(variance.ssvi_total_variance(k, theta) / years)
    zero = torch.zeros(1, dtype=torch.float64)
    side = torch.from_numpy(np.where(k >= 0, 1.0, -1.0))
    otm = black_scholes.price(
        torch.tensor([forward], dtype=torch.float64),
        torch.from_numpy(strike),
        torch.tensor([years], dtype=torch.float64),
        torch.from_numpy(sigma),
        zero,
        zero,
        side,
    ).numpy()
    strip = np.trapezoid(2.0 * otm / strike**2, strike)
    assert variance.model_free_variance(theta)[0] == pytest.approx(strip, rel=2e-3)
    assert variance.theta_for_model_free(np.array([strip]))[0] == pytest.approx(theta[0], rel=4e-3)


@pytest.mark.parametrize("theta", [0.0004, 0.003, 0.02, 0.3])
def test_the_smile_admits_no_butterfly(theta):
    """Durrleman's condition: the density of the terminal price is nowhere negative."""
    k = np.linspace(-1.5, 1.5, 6001)
    w = variance.ssvi_total_variance(k, np.array(theta))
    first = np.gradient(w, k)
    second = np.gradient(first, k)
    g = (1 - k * first / (2 * w)) ** 2 - first**2 / 4 * (1 / w + 0.25) + second / 2
    assert (g[5:-5] > -1e-6).all()


def test_slices_of_the_smile_rise_with_theta():
    k = np.linspace(-0.6, 0.6, 121)[:, None]
    w = variance.ssvi_total_variance(k, np.linspace(0.0005, 0.3, 200)[None, :])
    assert (np.diff(w, axis=1) > 0).all()
