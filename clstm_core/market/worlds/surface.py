"""An option surface as a pure function of a path's state. Torch only, batched over anything, in closed form.

The level is the VIX (model-free, 30 calendar days); its term structure leads back to a slow average of its own; the
volatility at the money lies a fixed distance below it, and the smile between them makes up the difference. Everything
that is assumed about the *shape* of a market's option prices stands here, once.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from clstm_core.market.worlds.smile import (
    MAX_STRENGTH,
    model_free_at,
    strength_for,
    variance_multiple,
)
from clstm_core.options import black_scholes

VIX_YEARS = 30.0 / 365.0
LEAST_VIX, MOST_VIX = 0.04, 2.0
SHORTEST_YEARS = 1.0 / 365.0
LEAST_NEAR_VARIANCE = 0.25  # of the VIX's: today's variance never falls below this share of the coming month's


class PathState(NamedTuple):
    """What the surface knows of a path at one snapshot.

    Shapes: any, broadcast against each other and against strikes
    Units:  spot in index points; vix a fraction; slow_variance a year (mean of vix^2 over the past); rate and
            dividend_yield continuous a year; spread_scale multiplies every spread, smile_scale the smile's strength
    """

    spot: torch.Tensor
    vix: torch.Tensor
    slow_variance: torch.Tensor
    rate: torch.Tensor
    dividend_yield: torch.Tensor
    spread_scale: torch.Tensor
    smile_scale: torch.Tensor

    def at(self, index: torch.Tensor) -> "PathState":
        """The states at an index of every field's first dimension."""
        return PathState(*(field[index] for field in self))


class Quotes(NamedTuple):
    """Model prices and the quotes around them, currency per share."""

    call: torch.Tensor
    put: torch.Tensor
    call_bid: torch.Tensor
    call_ask: torch.Tensor
    put_bid: torch.Tensor
    put_ask: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The shape of option prices around a level.

    Units:  atm_distance and atm_shift in volatility; reversion a year; spread in volatility at VIX 15, 30 days, at the
            money, full width; tick in currency
    """

    atm_distance: float = 0.0225  # the VIX less the volatility at the money, 30 days
    atm_shift: float = 0.0  # added to every volatility at the money, the smile's strength kept (a stressed world)
    reversion: float = 4.0  # speed at which expected variance returns to its slow average
    tenor_power: float = 0.25  # the smile's strength grows with (tenor / 30 days) to this power
    spread: float = 0.00094
    spread_tenor_power: float = -0.27
    spread_skew: float = 0.25  # per standard deviation from the money
    tick: float = 0.05

    # -- volatility ---------------------------------------------------------------------------------------------

    def model_free_variance(self, state: PathState, clock: torch.Tensor) -> torch.Tensor:
        """Total model-free variance until `clock`.

            L T + (v0 - L) (1 - e^{-kappa T}) / kappa,   v0 so that 30 days give VIX^2

        Units: clock in years by which variance comes: `VIX_YEARS` at the coming 30 calendar days, whatever their number
               of sessions, and in proportion to the sessions up to another date
        """
        month = self._share(state.vix.new_full((), VIX_YEARS))
        level = state.vix**2
        # so slow an average that today's variance would have to be next to nothing is not believed in full
        ceiling = level * (1.0 - LEAST_NEAR_VARIANCE * month) / (1.0 - month)
        slow = torch.minimum(state.slow_variance, ceiling)
        near = slow + (level - slow) / month
        return clock * (slow + (near - slow) * self._share(clock))

    def _share(self, clock: torch.Tensor) -> torch.Tensor:
        """Mean of e^{-kappa t} over [0, T]."""
        product = self.reversion * clock.clamp(min=1e-9)
        return -torch.expm1(-product) / product

    @cached_property
    def _strength_of_vix(self) -> torch.Tensor:
        """The smile's strength at 30 days on an even grid of the VIX."""
        vix = torch.linspace(LEAST_VIX, MOST_VIX, 393, dtype=torch.float64)
        money = (vix - self.atm_distance).clamp(min=0.25 * LEAST_VIX)
        return strength_for((vix / money) ** 2, money**2 * VIX_YEARS)

    @cached_property
    def _strengths(self) -> dict[tuple[torch.device, torch.dtype], torch.Tensor]:
        """The same table wherever it was asked for: a device is not handed it at every step."""
        return {}

    def strength(self, state: PathState, clock: torch.Tensor) -> torch.Tensor:
        """The smile's strength at a tenor: steep in calm markets and far out, flat in a crash."""
        asked = state.vix.device, state.vix.dtype
        if asked not in self._strengths:
            self._strengths[asked] = self._strength_of_vix.to(state.vix)
        table = self._strengths[asked]
        place = ((state.vix - LEAST_VIX) * ((len(table) - 1) / (MOST_VIX - LEAST_VIX))).clamp(
            0.0, len(table) - 1.000001
        )
        at = place.long().clamp(max=len(table) - 2)  # float32 rounds the last place up to the end
        month = torch.lerp(table[at], table[at + 1], place - at)
        tenor = clock.clamp(min=SHORTEST_YEARS) / VIX_YEARS
        return (month * state.smile_scale * tenor**self.tenor_power).clamp(max=MAX_STRENGTH)

    def atm_variance(self, state: PathState, clock: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Total variance at the money, and the smile's strength that goes with it.

        Shapes: state and clock broadcast; clock as in `model_free_variance`
        """
        total, strength = self.model_free_variance(state, clock), self.strength(state, clock)
        multiple, theta = model_free_at(strength), total
        for _ in range(4):  # the multiple hardly depends on theta
            theta = total / multiple(theta)
        if self.atm_shift:
            years = clock.clamp(min=SHORTEST_YEARS)
            vol = (torch.sqrt(theta / years) + self.atm_shift).clamp(min=0.02)
            theta = vol**2 * years
        return theta, strength

    def implied_variance(
        self, theta: torch.Tensor, strength: torch.Tensor, log_moneyness: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Total implied variance at ln(K / F), and that strike's distance from the money in standard deviations."""
        x = log_moneyness / torch.sqrt(theta)
        return theta * variance_multiple(x, strength), x

    # -- prices -------------------------------------------------------------------------------------------------

    def quotes(
        self,
        state: PathState,
        strike: torch.Tensor,
        tte: torch.Tensor,
        theta: torch.Tensor,
        strength: torch.Tensor,
        *,
        rounded: bool = True,
    ) -> Quotes:
        """Call and put of each strike: model prices and the quotes around them.

        The side that is out of the money is priced by Black-Scholes at the strike's volatility, the other by parity.
        Quotes lie half a spread around the price, rounded outwards to whole ticks, never below zero.

        Shapes: all broadcast; `theta` and `strength` as `atm_variance` gave them
        """
        moneyness = torch.log(strike / state.spot) - (state.rate - state.dividend_yield) * tte
        total, x = self.implied_variance(theta, strength, moneyness)
        side = torch.where(moneyness >= 0, 1.0, -1.0).to(total)
        vol = torch.sqrt(total / tte)
        greeks = black_scholes.greeks(state.spot, strike, tte, vol, state.rate, state.dividend_yield, side)
        out = greeks.price.clamp(min=0.0)
        swap = state.spot * torch.exp(-state.dividend_yield * tte) - strike * torch.exp(-state.rate * tte)
        call, put = torch.where(side > 0, out, out + swap), torch.where(side > 0, out - swap, out)
        half = 0.5 * self.vol_spread(state, tte, x) * greeks.vega
        if not rounded:
            return Quotes(call, put, call - half, call + half, put - half, put + half)
        return Quotes(
            call,
            put,
            self._bid(call - half),
            self._ask(call + half),
            self._bid(put - half),
            self._ask(put + half),
        )

    def vol_spread(self, state: PathState, tte: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Full spread in volatility: in proportion to the VIX, wider for short tenors and away from the money."""
        tenor = (tte.clamp(min=SHORTEST_YEARS) / VIX_YEARS) ** self.spread_tenor_power
        width = self.spread * (state.vix / 0.15) * state.spread_scale * tenor
        return width * (1.0 + self.spread_skew * x.abs().clamp(max=8.0))

    def _bid(self, price: torch.Tensor) -> torch.Tensor:
        return self._whole(torch.floor(price.clamp(min=0.0) / self.tick + 1e-9))

    def _ask(self, price: torch.Tensor) -> torch.Tensor:
        return self._whole(torch.ceil(price / self.tick - 1e-9).clamp(min=1.0))

    def _whole(self, ticks: torch.Tensor) -> torch.Tensor:
        """Price of a whole number of ticks, as its shortest decimal."""
        return torch.round(ticks * self.tick, decimals=2)

    def stressed(self) -> "Surface":
        """Spreads twice as wide, and one point less volatility at the money."""
        return dataclasses.replace(self, spread=2.0 * self.spread, atm_shift=self.atm_shift - 0.01)
