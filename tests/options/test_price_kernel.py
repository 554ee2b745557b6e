"""The compiled kernel of prices against the formulas in torch operations, at both ends of everything."""

import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env.margin import option_scenarios, price_points, vol_factors
from clstm_core.native import build
from clstm_core.options import black_scholes, price_kernel

pytestmark = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")


def options(count: int) -> tuple[torch.Tensor, ...]:
    """Spot, strike, tte, vol, rate, dividend yield and right [M] float64, some of them on the brink of expiry."""
    generator = torch.Generator().manual_seed(count)

    def draw() -> torch.Tensor:
        return torch.randn(count, generator=generator, dtype=torch.float64)

    spot = 4000.0 * torch.exp(0.3 * draw())
    strike, tte = spot * torch.exp(0.2 * draw()), 1e-4 + 0.3 * draw().abs()
    vol, rate, dividend_yield = 0.05 + 0.3 * draw().abs(), 0.03 * draw(), 0.02 * draw().abs()
    right = torch.where(draw() > 0, 1.0, -1.0).double()
    vol[::11], tte[5::11] = 0.0, 0.0
    strike[::22], rate[::22] = spot[::22], dividend_yield[::22]  # at the forward, with nothing left to move
    return spot, strike, tte, vol, rate, dividend_yield, right


def money(given: tuple[torch.Tensor, ...]) -> torch.Tensor:
    spot, strike, tte, _, rate, dividend_yield, _ = given
    return torch.log(strike / spot) - (rate - dividend_yield) * tte


@pytest.mark.parametrize("count", [1, 7, 16, 1029])
def test_greeks_are_those_of_the_formula(count):
    given = options(count)
    spot, strike, *rest = given
    wanted = black_scholes.greeks(*given)
    for name, mine, theirs in zip(
        wanted._fields, price_kernel.greeks(spot, strike, money(given), *rest), wanted, strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11 * float(spot.max()), msg=name)


@pytest.mark.parametrize("count", [1, 7, 16, 1029])
def test_scenarios_are_those_of_the_formula(count):
    config, given = EnvConfig(), options(count)
    spot, strike, *rest = (part.float() for part in given)
    move = price_points(config, torch.float32, torch.device("cpu"))
    mine = price_kernel.scenarios(spot, strike, money(given).float(), *rest, move, vol_factors(config))
    exact = option_scenarios(*given, config)
    # in float32, of which a strike of 8,000 has steps of 5e-4
    torch.testing.assert_close(mine.double(), exact, rtol=1e-6, atol=1e-6 * float(spot.max()))


def test_uncompiled_code_keeps_to_the_formulas():
    assert not price_kernel.wanted(torch.device("cpu"))
