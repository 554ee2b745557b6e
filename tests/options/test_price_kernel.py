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


def extremes(count: int) -> tuple[torch.Tensor, ...]:
    """As `options`: seconds to years from expiry, up to twelve deviations off the money, rates of both signs."""
    generator = torch.Generator().manual_seed(count)

    def between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    spot, tte, vol = between(1.6, 9.0).exp(), between(-16.0, 1.1).exp(), between(-6.9, 1.1).exp()
    rate, dividend_yield, right = between(-0.08, 0.1), between(-0.02, 0.08), between(-1.0, 1.0).sign()
    strike = spot * torch.exp(between(-12.0, 12.0) * vol * tte.sqrt() + (rate - dividend_yield) * tte)
    return spot, strike, tte, vol, rate, dividend_yield, right


def allowed(given: tuple[torch.Tensor, ...]) -> black_scholes.Greeks:
    """What rounding may come to in each number: of its own size, and of ln(F / K) over the deviation.

    The kernel's error function is good to 4e-14 of itself; each ln(F / K) is off by some roundings.
    """
    spot, strike, tte, vol, rate, dividend_yield, _ = given
    deviation = vol * tte.sqrt()
    alive = deviation > 0
    safe = torch.where(alive, deviation, 1.0)
    relative = 1e-13 + 8 * torch.finfo(torch.float64).eps / safe
    shares, cash = spot * torch.exp(-dividend_yield * tte), strike * torch.exp(-rate * tte)
    carried = dividend_yield.abs() * shares + rate.abs() * cash
    return black_scholes.Greeks(
        price=1e-13 * (shares + cash),
        delta=relative,
        gamma=relative * alive / (spot * safe),
        vega=relative * shares * tte.sqrt(),
        theta=relative * (carried + alive * shares * vol.square() / safe),
        rho=relative * tte * cash,
    )


@pytest.mark.parametrize("make", [options, extremes])
@pytest.mark.parametrize("count", [0, 1, 7, 16, 1029])
def test_greeks_are_those_of_the_formula(count, make):
    given = make(count)
    spot, strike, *rest = given
    mine, wanted = price_kernel.greeks(spot, strike, money(given), *rest), black_scholes.greeks(*given)
    for name, one, other, off in zip(wanted._fields, mine, wanted, allowed(given), strict=True):
        assert ((one - other).abs() <= off + torch.finfo(torch.float64).tiny).all(), name


@pytest.mark.parametrize("make", [options, extremes])
@pytest.mark.parametrize("count", [0, 1, 7, 16, 1029])
def test_scenarios_are_those_of_the_formula(count, make):
    config, given = EnvConfig(), make(count)
    spot, strike, *rest = (part.float() for part in given)
    move = price_points(config, torch.float32, torch.device("cpu"))
    exact = tuple(part.float().double() for part in given)
    mine = price_kernel.scenarios(spot, strike, money(exact).float(), *rest, move, vol_factors(config))
    # some roundings of float32 of what is subtracted: every contract's own spot and strike
    off = (mine.double() - option_scenarios(*exact, config)).abs() / (exact[0] + exact[1])
    assert (off <= 4 * torch.finfo(torch.float32).eps).all()


@pytest.mark.parametrize("place", range(7), ids=["spot", "strike", "tte", "vol", "rate", "yield", "right"])
def test_what_is_not_a_number_stays_with_its_contract(place):
    config, given = EnvConfig(), extremes(19)
    given[place][5] = torch.nan
    spot, strike, *rest = given
    told = torch.stack(price_kernel.greeks(spot, strike, money(given), *rest))
    assert told[0].isnan().nonzero().tolist() == [[5]]
    assert torch.equal(told.isnan(), torch.stack(black_scholes.greeks(*given)).isnan())
    spot, strike, *rest = (part.float() for part in given)
    move = price_points(config, torch.float32, torch.device("cpu"))
    profit = price_kernel.scenarios(spot, strike, money(given).float(), *rest, move, vol_factors(config))
    assert profit[:, 5].isnan().all()
    assert profit.isnan().sum() == len(profit)


def test_arrays_that_the_kernel_would_read_beyond_their_end_are_refused():
    spot, strike, tte, vol, rate, dividend_yield, right = given = options(16)
    for other in (rate[:1], rate.mean(), rate.float(), rate.view(4, 4)):
        with pytest.raises(TypeError, match="one shape"):
            price_kernel.greeks(spot, strike, money(given), tte, vol, other, dividend_yield, right)


@pytest.mark.parametrize("shape", [(2, 8), (16,)])
def test_a_compiled_margin_of_any_shape_is_that_of_the_formula(monkeypatch, shape):
    monkeypatch.setattr(price_kernel, "wanted", lambda device: True)
    spot, strike, tte, vol, rate, dividend_yield, right = (part.float().view(shape) for part in options(16))
    given = (spot, strike, tte, vol, rate[..., :1], dividend_yield, right)
    found = option_scenarios(*given, EnvConfig())
    assert found.shape == (*shape[:-1], found.shape[-2], shape[-1])
    monkeypatch.undo()
    torch.testing.assert_close(found, option_scenarios(*given, EnvConfig()))


def test_uncompiled_code_keeps_to_the_formulas():
    assert not price_kernel.wanted(torch.device("cpu"))
