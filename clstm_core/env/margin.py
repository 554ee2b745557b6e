"""Portfolio margin: the worst loss of the whole book over a scan of prices and vols."""

import torch

from clstm_core.config import EnvConfig
from clstm_core.options.black_scholes import price


def scenario_shocks(config: EnvConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Relative moves of spot and of implied vol in each scenario.

    Shapes: two of [S] float64, S = 2 x scan_points: every price point with vol up, then every one with vol down
    Source: OCC's risk-based haircuts (ten price points, -8% .. +6% for broad indices); the vol shock is ours
    """
    move = torch.linspace(-config.scan_down, config.scan_up, config.scan_points, dtype=torch.float64)
    shock = torch.full_like(move, config.scan_vol_shock)
    return torch.cat([move, move]), torch.cat([shock, -shock])


def option_scenarios(
    spot: torch.Tensor,
    strike: torch.Tensor,
    tte_years: torch.Tensor,
    implied_vol: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
    config: EnvConfig,
) -> torch.Tensor:
    """Profit of one long option on one share in each scenario, now, by Black-Scholes.

        V(S (1 + move), sigma (1 + shock)) - V(S, sigma)

    Shapes:  all broadcast to one shape [...]; the result [..., S] in the inputs' dtype
    Units:   currency per share
    Assumes: model value against model value, so that a wide quote's mark adds nothing to the margin
    """
    move_S, shock_S = (shock.to(spot) for shock in scenario_shocks(config))
    column = [x[..., None] for x in (spot, strike, tte_years, implied_vol, rate, dividend_yield, right)]
    s, k, tte, vol, r, q, w = column
    return price(s * (1 + move_S), k, tte, vol * (1 + shock_S), r, q, w) - price(s, k, tte, vol, r, q, w)


def margin_requirement(pnl_S: torch.Tensor, short_contracts: torch.Tensor, config: EnvConfig) -> torch.Tensor:
    """Equity that a book must hold.

        max(0, max over scenarios of the loss, floor x short contracts)

    Shapes: pnl_S [..., S]; short_contracts [...] (sum of the absolute quantities of short legs)
    Units:  currency
    Source: OCC's minimum of 37.50 per short contract
    """
    worst = -pnl_S.amin(dim=-1)
    return torch.maximum(worst, config.min_margin_per_short_usd * short_contracts).clamp(min=0.0)
