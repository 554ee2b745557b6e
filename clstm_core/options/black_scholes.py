"""Black-Scholes-Merton prices and Greeks for batches of European options; float64, any device, broadcasting.

Source: Black and Scholes 1973; Merton 1973 (continuous dividend yield).
"""

from typing import NamedTuple

import torch

INV_SQRT_2PI = 0.3989422804014327


class Greeks(NamedTuple):
    """Price and sensitivities of one option on one share.

    Units: price in currency; delta in shares; gamma in shares per currency unit of spot; vega per 1.00 of vol; theta
           per year of calendar time passing (negative for most long options); rho per 1.00 of rate, yield held.
    """

    price: torch.Tensor
    delta: torch.Tensor
    gamma: torch.Tensor
    vega: torch.Tensor
    theta: torch.Tensor
    rho: torch.Tensor


def price(
    spot: torch.Tensor,
    strike: torch.Tensor,
    tte_years: torch.Tensor,
    vol: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
) -> torch.Tensor:
    """Value of a European option.

        w (S e^{-qT} N(w d1) - K e^{-rT} N(w d2)),   w = +1 call, -1 put

    Shapes:  all broadcast together, float64; right is +1 (call) or -1 (put)
    Units:   currency per share; vol, rate and dividend_yield are fractions per year, continuous
    Assumes: vol or tte_years of zero (or less) give the discounted intrinsic value of the forward; NaN gives NaN
    """
    d1, d2, spot_present, strike_present = _terms(spot, strike, tte_years, vol, rate, dividend_yield)
    return right * (spot_present * torch.special.ndtr(right * d1) - strike_present * torch.special.ndtr(right * d2))


def greeks(
    spot: torch.Tensor,
    strike: torch.Tensor,
    tte_years: torch.Tensor,
    vol: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
) -> Greeks:
    """Price, delta, gamma, vega, theta and rho of European options.

    Shapes:  all broadcast together, float64; right is +1 (call) or -1 (put)
    Units:   as `Greeks` states
    Assumes: as `price`; at vol or tte_years of zero gamma and vega are 0
    """
    d1, d2, spot_present, strike_present = _terms(spot, strike, tte_years, vol, rate, dividend_yield)
    cdf1, cdf2 = torch.special.ndtr(right * d1), torch.special.ndtr(right * d2)
    value = right * (spot_present * cdf1 - strike_present * cdf2)
    tte = torch.clamp(tte_years, min=0.0)
    deviation = torch.clamp(vol, min=0.0) * torch.sqrt(tte)
    alive = deviation != 0  # a NaN is
    safe = torch.where(alive, deviation, torch.ones_like(deviation))
    density = torch.where(alive, INV_SQRT_2PI * torch.exp(-0.5 * d1.clamp(-1e3, 1e3) ** 2), torch.zeros_like(d1))
    share_discount = spot_present / spot
    vega = spot_present * density * torch.sqrt(tte)
    decay = torch.where(alive, spot_present * density * vol * vol / (2.0 * safe), torch.zeros_like(density))
    theta = -decay + right * (dividend_yield * spot_present * cdf1 - rate * strike_present * cdf2)
    return Greeks(
        price=value,
        delta=right * share_discount * cdf1,
        gamma=share_discount * density / (spot * safe),
        vega=vega,
        theta=theta,
        rho=right * tte * strike_present * cdf2,
    )


def _terms(spot, strike, tte_years, vol, rate, dividend_yield):
    """d1, d2 and the present values of the share and of the strike; d is +-inf where nothing is left to move."""
    tte = torch.clamp(tte_years, min=0.0)
    deviation = torch.clamp(vol, min=0.0) * torch.sqrt(tte)
    log_moneyness = torch.log(spot / strike) + (rate - dividend_yield) * tte
    alive = deviation != 0  # a NaN is
    safe = torch.where(alive, deviation, torch.ones_like(deviation))
    limit = torch.where(log_moneyness == 0, torch.zeros_like(log_moneyness), torch.sign(log_moneyness) * torch.inf)
    centre = torch.where(alive, log_moneyness / safe, limit)
    half = torch.where(alive, 0.5 * deviation, torch.zeros_like(deviation))
    return centre + half, centre - half, spot * torch.exp(-dividend_yield * tte), strike * torch.exp(-rate * tte)
