"""The generated view of fair worlds: whoever holds anything over a step hands back what it was expected to bring.

    compensation = -( E[value at t + 1 | t] - value at t x e^{r dt} ),   summed over what is held

So every mark is a martingale when interest is taken off, whatever the surface charges: what an account makes beyond
interest is luck before costs, for every rule that decides on what is known.
"""

from dataclasses import dataclass

import torch

from clstm_core.env.generated_view import GeneratedView
from clstm_core.env.packed_rows import unpack
from clstm_core.env.state import Holdings
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.worlds.fair import WindowPaths
from clstm_core.market.worlds.generated import LEAST_PRICE
from clstm_core.market.worlds.paths import path_of
from clstm_core.market.worlds.surface import PathState

VALUE_CHUNK = 4096
"""Contracts valued at once in every state that may follow: their numbers stay in the cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FairView(GeneratedView):
    """A generated view of `WindowPaths`; accounts on one path share what may follow."""

    def compensation(self, held: Holdings, mark_NL: torch.Tensor) -> torch.Tensor:
        """Cash [N] that is added at t + 1 to what is held from t, whose marks at t are given."""
        paths, now = self._paths, self.now.point
        path = path_of(self.index_N)
        # accounts of one path stand at one point: what may follow is worked out once for all of them
        one, place_N = torch.unique(path, return_inverse=True)
        first = torch.zeros_like(one).scatter_(0, place_N, torch.arange(len(path), device=path.device))
        point = self.now.at(first).point
        state = paths.outcomes(point)
        clock = paths.listing.session_ns_C
        dt = (clock[now.session + 1] - clock[now.session]).double() / YEAR_NS
        interest = torch.expm1(now.state.rate * dt)

        spot = (paths.atoms.weight @ state.spot)[place_N] * torch.exp(now.state.dividend_yield * dt)
        gain = held.shares.double() * (spot - now.state.spot * (1.0 + interest))

        flat = ((held.row >= 0) & (held.quantity != 0)).reshape(-1).nonzero().squeeze(1)
        account = flat // held.row.shape[1]
        row, quantity = held.row.reshape(-1)[flat], held.quantity.reshape(-1)[flat].double()
        expected = self._expected(row, place_N[account], state, point.session + 1, point.strike_step, point.state.spot)
        profit = expected - mark_NL.reshape(-1)[flat].double() * (1.0 + interest[account])
        gain = gain.index_add(0, account, quantity * self.world.instrument.multiplier * profit)
        return -gain.to(self.dtype)

    @property
    def _paths(self) -> WindowPaths:
        paths = self.world.paths
        assert isinstance(paths, WindowPaths)
        return paths

    def _expected(
        self,
        row: torch.Tensor,
        place: torch.Tensor,
        state: PathState,
        session: torch.Tensor,
        step: torch.Tensor,
        spot_before: torch.Tensor,
    ) -> torch.Tensor:
        """Expected value [M] at the next snapshot of contracts: the mark there, or what they settle for.

        Shapes: row, place [M], the path's place among the P that `state` [K, P] or [P], `session`, `step` and
                `spot_before` [P] know
        """
        listing, surface, weight = self._paths.listing, self.world.surface, self._paths.atoms.weight
        # volatilities by expiry: contracts of one path and expiry share them
        asked = unpack(row)
        pair, of_pair = torch.unique(place * (1 << 16) + asked.expiry, return_inverse=True)
        pair_place, pair_expiry = pair >> 16, pair & ((1 << 16) - 1)
        rough = PathState(*(field.to(self.dtype)[..., pair_place] for field in state))
        clock = listing.clock(session[pair_place], pair_expiry).to(self.dtype)
        theta, strength = surface.atm_variance(rough, clock)
        tte_of_pair = listing.tte(session[pair_place], pair_expiry)
        out = torch.empty(len(row), dtype=torch.float64, device=row.device)
        strike, right = asked.strike * step[place], asked.right.to(self.dtype)
        for low in range(0, len(row), VALUE_CHUNK):
            part = slice(low, low + VALUE_CHUNK)
            which = of_pair[part]
            out[part] = weight @ self._prices(
                rough.spot[:, which],
                strike[part].to(self.dtype),
                tte_of_pair[which].to(self.dtype),
                rough.rate[which],
                rough.dividend_yield[which],
                right[part],
                theta[:, which],
                strength[:, which],
            ).to(weight)
        # what settles pays by the close, of the session before where its own is none
        settles = (listing.settle_E[asked.expiry] == session[place]).nonzero().squeeze(1)
        expiry, at = asked.expiry[settles], place[settles]
        spot = torch.where(listing.value_E[expiry] < session[at], spot_before[at], state.spot[:, at])
        out[settles] = weight @ (asked.right[settles] * (spot - strike[settles])).clamp(min=0.0)
        return out

    def _prices(
        self,
        spot: torch.Tensor,
        strike: torch.Tensor,
        tte: torch.Tensor,
        rate: torch.Tensor,
        dividend_yield: torch.Tensor,
        right: torch.Tensor,
        theta: torch.Tensor,
        strength: torch.Tensor,
    ) -> torch.Tensor:
        """Model prices [K, M], as the view's marks are: Black-Scholes at the smile's total variance."""
        money = torch.log(strike / spot) - (rate - dividend_yield) * tte
        deviation = torch.sqrt(self.world.surface.implied_variance(theta, strength, money)[0])
        d1 = 0.5 * deviation - money / deviation
        share = right * spot * torch.exp(-dividend_yield * tte)
        paid = right * strike * torch.exp(-rate * tte)
        value = share * torch.special.ndtr(right * d1) - paid * torch.special.ndtr(right * (d1 - deviation))
        return value.clamp_(min=LEAST_PRICE)
