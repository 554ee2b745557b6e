"""The reference ledger's mathematics in plain floats: one option's price and the rules of the account."""

import math
from dataclasses import dataclass
from functools import cached_property

from clstm_core.config import EnvConfig
from clstm_core.specs import MAX_LEGS


def black_scholes(
    spot: float, strike: float, years: float, vol: float, rate: float, dividend_yield: float, right: int
) -> float:
    """Value per share of a European option, term by term from the textbook.

    Units:  currency per share; vol, rate and dividend_yield fractions per year
    Source: Black and Scholes 1973; Merton 1973
    """
    paid, carried = strike * math.exp(-rate * years), spot * math.exp(-dividend_yield * years)
    deviation = vol * math.sqrt(max(years, 0.0))
    if vol != vol:
        return math.nan
    if deviation <= 0.0:
        return max(0.0, right * (carried - paid))
    d1 = math.log(carried / paid) / deviation + 0.5 * deviation
    return right * (carried * _normal(right * d1) - paid * _normal(right * (d1 - deviation)))


def vega(spot: float, strike: float, years: float, vol: float, rate: float, dividend_yield: float) -> float:
    """Change of a European option's value per 1.00 of vol, per share; 0 where the vol is unknown."""
    carried, deviation = spot * math.exp(-dividend_yield * years), vol * math.sqrt(max(years, 0.0))
    if not deviation > 0.0:
        return 0.0
    d1 = math.log(carried / (strike * math.exp(-rate * years))) / deviation + 0.5 * deviation
    return carried * math.sqrt(years) * math.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@dataclass(frozen=True)
class Rules:
    """Costs and limits of an account, in the units of EnvConfig; fractions where it has basis points."""

    fill_lag: int
    fraction: float  # of the half-spread that a fill crosses
    per_contract: float
    per_share: float
    share_spread: float
    borrow_rate: float
    scan_down: float
    scan_up: float
    scan_points: int
    vol_shock: float
    min_margin_per_short: float
    max_net_exposure: float
    max_gross_exposure: float
    crash_move: float
    crash_vol_shock: float
    max_crash_loss: float
    max_vega: float
    max_premium_sold: float
    budget_headroom: float
    max_legs: int = MAX_LEGS

    @classmethod
    def of(cls, config: EnvConfig) -> "Rules":
        """The rules that a configuration states."""
        return cls(
            fill_lag=config.fill_lag,
            fraction=config.fill_fraction,
            per_contract=config.commission_per_contract_usd,
            per_share=config.commission_per_share_usd,
            share_spread=config.share_spread_bps * 1e-4,
            borrow_rate=config.borrow_rate,
            scan_down=config.scan_down,
            scan_up=config.scan_up,
            scan_points=config.scan_points,
            vol_shock=config.scan_vol_shock,
            min_margin_per_short=config.min_margin_per_short_usd,
            max_net_exposure=config.max_net_exposure,
            max_gross_exposure=config.max_gross_exposure,
            crash_move=config.crash_move,
            crash_vol_shock=config.crash_vol_shock,
            max_crash_loss=config.max_crash_loss,
            max_vega=config.max_vega,
            max_premium_sold=config.max_premium_sold,
            budget_headroom=config.budget_headroom,
        )

    def scenarios(self) -> list[tuple[float, float]]:
        """Relative moves of spot and vol: an even scan of prices, with vol up and with vol down."""
        return self._scenarios

    @cached_property
    def _scenarios(self) -> list[tuple[float, float]]:
        step = (self.scan_up + self.scan_down) / (self.scan_points - 1)
        moves = [-self.scan_down + step * i for i in range(self.scan_points)]
        return [(move, shock) for shock in (self.vol_shock, -self.vol_shock) for move in moves]
