"""Portfolio margin: the worst loss of the whole book over a scan of prices and vols; and what a crash does to it."""

import math

import torch

from clstm_core.config import EnvConfig
from clstm_core.once import made_once
from clstm_core.options import price_kernel

_LEAST_DEVIATION = 1e-6
"""Below it nothing is left to move: the error function is -1 or 1."""


def scenario_shocks(config: EnvConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Relative moves of spot and of implied vol in each scenario.

    Shapes: two of [S] float64, S = 2 x scan_points: every price point with vol up, then every one with vol down
    Source: OCC's risk-based haircuts (ten price points, -8% .. +6% for broad indices); the vol shock is ours
    """
    move = torch.linspace(-config.scan_down, config.scan_up, config.scan_points, dtype=torch.float64)
    shock = torch.full_like(move, config.scan_vol_shock)
    return torch.cat([move, move]), torch.cat([shock, -shock])


@made_once
def spot_moves(config: EnvConfig) -> list[float]:
    """Relative moves of spot at the price points [scan_points], which every vol goes through."""
    return scenario_shocks(config)[0][: config.scan_points].tolist()


def option_scenarios(
    spot: torch.Tensor,
    strike: torch.Tensor,
    tte_years: torch.Tensor,
    implied_vol: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
    config: EnvConfig,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Profit of one long option on one share in the budget's crash, then in each scenario, now, by Black-Scholes.

        V(S (1 + move), sigma (1 + shock)) - V(S, sigma)

    Shapes:  all broadcast to one shape [..., N]; the result [..., 1 + S, N] in the inputs' dtype, in `out` where given
    Units:   currency per share
    Assumes: model value against model value, so that a wide quote's mark adds nothing to the margin; the crash comes
             first, then every price point under one vol, then under another, as `scenario_shocks` gives them

    Written out with w N(w d) = (w + erf(d / sqrt 2)) / 2: each scenario costs two error functions and little more.
    """
    move = price_points(config, spot.dtype, spot.device)
    given = (spot, strike, tte_years, implied_vol, rate, dividend_yield, right)
    alike = spot.dim() == 1 and all(term.shape == spot.shape and term.dtype == torch.float32 for term in given)
    if alike and price_kernel.wanted(spot.device) and out is None:
        money = torch.log(strike / spot) - (rate - dividend_yield) * tte_years.clamp(min=0.0)
        terms = (spot, strike, money, tte_years, implied_vol, rate, dividend_yield, right)
        return price_kernel.scenarios(*terms, move, vol_factors(config))
    tte = tte_years.clamp(min=0.0)
    carry = torch.log(spot / strike) + (rate - dividend_yield) * tte
    shares = 0.5 * spot * torch.exp(-dividend_yield * tte)
    cash = 0.5 * strike * torch.exp(-rate * tte)
    deviation = implied_vol.clamp(min=0.0) * torch.sqrt(tte)
    erf1, erf2 = _error_functions(carry, deviation)
    base = shares * erf1 - cash * erf2 + right * (shares - cash)
    # value = w (S' - K') + S' erf(d1 / sqrt 2) - K' erf(d2 / sqrt 2), with half shares S' and half cash K'
    # scenarios before the last dimension: what is alike for all of them lies together
    carry, deviation, shares, cash, right, base = (
        term.unsqueeze(-2) for term in (carry, deviation, shares, cash, right, base)
    )
    money = carry + torch.log1p(move)[:, None]
    moved = shares * (1.0 + move)[:, None]
    linear = torch.addcmul(-base - right * cash, right, moved)
    points = config.scan_points
    if out is None:
        out = linear.new_empty(*linear.shape[:-2], 1 + 2 * points, linear.shape[-1])
    crash, scan = slice(0, 1), slice(1, None)
    places = (crash, slice(1, 1 + points), slice(1 + points, None))
    for part, shock, place in zip((crash, scan, scan), vol_factors(config), places, strict=True):
        erf1, erf2 = _error_functions(money[..., part, :], shock * deviation)
        profit = torch.addcmul(linear[..., part, :], moved[..., part, :], erf1)
        torch.addcmul(profit, cash, erf2, value=-1.0, out=out[..., place, :])
    return out


def vol_factors(config: EnvConfig) -> tuple[float, float, float]:
    """What implied vol is multiplied with in the crash, and in the scan's two halves."""
    scan = config.scan_vol_shock
    return 1.0 + config.crash_vol_shock, 1.0 + scan, max(0.0, 1.0 - scan)


@made_once
def price_points(config: EnvConfig, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Relative moves of spot in the crash and at the scan's points [1 + scan_points]; made once, since a step may not
    wait for the device."""
    return torch.tensor([config.crash_move, *spot_moves(config)], dtype=torch.float64).to(device, dtype)


@made_once
def all_moves(config: EnvConfig, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Relative moves of spot in the crash and in each scenario [1 + S]."""
    points = price_points(config, dtype, device)
    return torch.cat([points, points[1:]])


def _error_functions(money: torch.Tensor, deviation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """erf(d1 / sqrt 2) and erf(d2 / sqrt 2) of ln(F / K) and the total standard deviation."""
    width = math.sqrt(0.5) * deviation.clamp(min=_LEAST_DEVIATION)
    d1 = torch.addcmul(0.5 * width, money, 0.5 / width)
    d2 = d1 - width
    return d1.erf_(), d2.erf_()


def margin_requirement(pnl_S: torch.Tensor, short_contracts: torch.Tensor, config: EnvConfig) -> torch.Tensor:
    """Equity that a book must hold.

        max(0, max over scenarios of the loss, floor x short contracts)

    Shapes: pnl_S [..., S]; short_contracts [...] (sum of the absolute quantities of short legs)
    Units:  currency
    Source: OCC's minimum of 37.50 per short contract
    """
    worst = -pnl_S.amin(dim=-1)
    return torch.maximum(worst, config.min_margin_per_short_usd * short_contracts).clamp(min=0.0)
