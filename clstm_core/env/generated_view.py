"""The market view without tables: each account keeps its path's state at this snapshot and the next, and asks prices.

The contracts held and the cells offered are priced in closed form by the world's surface, so any number of paths can be
walked and none is stored. A view is a value: moving on makes another one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import TemplateTables, template_tables
from clstm_core.env.derived import Quoted, write_facts, write_quotes
from clstm_core.env.generated_standing import (
    PRICE_CHUNK,
    ROW_CHUNK,
    Standing,
    arrive,
    at_once,
    begin,
    follow,
    known_before,
    over,
    slices,
)
from clstm_core.env.generated_units import Lots, lots_of, write_units
from clstm_core.env.margin import all_moves
from clstm_core.env.packed_rows import NEXT_STEP, contract_of_row, pack, step_of_row, unpack
from clstm_core.env.state import Holdings
from clstm_core.env.view import Offered
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.worlds.generated import LEAST_PRICE, GeneratedWorld
from clstm_core.market.worlds.paths import Surprise, step_of
from clstm_core.market.worlds.surface import PathState
from clstm_core.options import black_scholes, price_kernel
from clstm_core.options.black_scholes import Greeks


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedView:
    """A generated world as a `MarketView` for N accounts; the first dimension of every index and row is the account.

    An index is a path and a step (`worlds.paths.index_of`), a row a step and a contract (`packed_rows`).

    Assumes: asked of the snapshot that each account stands at and of the next one, and of no other
    """

    world: GeneratedWorld
    config: EnvConfig
    dtype: torch.dtype
    move: torch.Tensor
    templates: TemplateTables
    lots: Lots
    index_N: torch.Tensor
    now: Standing
    then: Standing
    known_T: torch.Tensor | None  # `known_before` of a given path

    @classmethod
    def build(cls, world: GeneratedWorld, config: EnvConfig, index_N: torch.Tensor, dtype: torch.dtype) -> Self:
        """The view of accounts that stand at `index_N` of paths of `world`; money in `dtype`."""
        known_T = known_before(world, dtype)
        now = arrive(world, index_N, known_T, dtype)
        templates = template_tables(index_N.device, dtype)
        return cls(
            world=world,
            config=config,
            dtype=dtype,
            move=all_moves(config, dtype, index_N.device),
            templates=templates,
            lots=lots_of(templates, world.instrument.multiplier, config),
            index_N=index_N,
            now=now,
            then=follow(world, now, index_N, dtype),
            known_T=known_T,
        )

    # -- where accounts stand -----------------------------------------------------------------------------------

    def standing_at(self, index_N: torch.Tensor) -> Self:
        """As `MarketView` states; so are all that follow."""
        return type(self).build(self.world, self.config, index_N, self.dtype)

    def moved_to(self, index_N: torch.Tensor) -> Self:
        begun = index_N != self.index_N + 1
        now = self.then
        if at_once(begun.device):
            now = begin(self.world, index_N, self.known_T, self.dtype).where(begun, now)
        elif len(rows := begun.nonzero().squeeze(1)):  # few are begun
            now = now.put(rows, begin(self.world, index_N[rows], self.known_T, self.dtype))
        return self.standing_on(index_N, now)

    def standing_on(self, index_N: torch.Tensor, now: Standing) -> Self:
        """The view of accounts that stand at these snapshots of their paths, which is all of it that ever changes."""
        return replace(self, index_N=index_N, now=now, then=follow(self.world, now, index_N, self.dtype))

    def repeated(self, times: int) -> Self:
        """The view of several accounts per path: those of this one, so many times over in turn."""

        def again(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.repeat(*[1] * (tensor.dim() - 1), times)

        now, then = over(again, self.now), over(again, self.then)
        return replace(self, index_N=again(self.index_N), now=now, then=then)

    # -- what a step asks ---------------------------------------------------------------------------------------

    @property
    def move_S(self) -> torch.Tensor:
        return self.move

    def snapshot(self, index_N: torch.Tensor) -> torch.Tensor:
        clock, point = self.world.paths.listing.session_ns_C, self.now.point
        if index_N is not self.index_N:
            point = self.then.point.where(index_N != self.index_N, point)
        state, session = point.state, point.session
        after = (session + 1).clamp(max=len(clock) - 1)
        dt = (clock[after] - clock[session]).double() / YEAR_NS
        columns = (state.spot, state.rate, dt, torch.expm1(state.rate * dt), torch.expm1(state.dividend_yield * dt))
        return torch.stack(columns, dim=1).to(self.dtype)

    def facts(self, row: torch.Tensor) -> torch.Tensor:
        return self._told(row, col.CRASH + len(self.move), write_facts)

    def quotes(self, row: torch.Tensor) -> torch.Tensor:
        return self._told(row, col.CRASH, write_quotes)

    def _told(self, row: torch.Tensor, width: int, write: Callable[..., None]) -> torch.Tensor:
        """What `write` says of contracts [N, L, width]; where the device is a CPU, zeros where there is no row."""
        flat = row.reshape(-1)
        out = torch.zeros(len(flat), width, dtype=self.dtype, device=row.device)
        known = self._known()
        for at in _places(flat >= 0):
            told = torch.empty(width, len(at), dtype=self.dtype, device=row.device).T  # columns lie together
            write(told, self._of_rows(flat[at], at // row.shape[1], known), self.config)
            out.index_copy_(0, at, told.contiguous())
        return out.view(*row.shape, width)

    def _known(self) -> torch.Tensor:
        """State and strike step [8, 2N] of the accounts where they stand, then of where they will: gathered at once."""
        points = (self.now.point, self.then.point)
        return torch.cat([torch.stack([*point.state, point.strike_step]) for point in points], dim=1)

    def settle_value(self, row: torch.Tensor) -> torch.Tensor:
        # at the close of the expiry's session, or of the last session before it
        asked, here = unpack(row.clamp(min=0)), self.now.point
        same_day = self.world.paths.listing.value_E[asked.expiry] <= here.session[:, None]
        spot = torch.where(same_day, here.state.spot[:, None], self.then.point.state.spot[:, None])
        strike = asked.strike * here.strike_step[:, None]
        return (asked.right * (spot - strike)).clamp(min=0.0).to(self.dtype)

    def compensation(self, held: Holdings, mark_NL: torch.Tensor) -> torch.Tensor | None:
        return None

    def surprise(self, index_N: torch.Tensor) -> Surprise | None:
        return self.world.paths.surprise(self.now.point, index_N)

    def cell_rows(self, index_N: torch.Tensor) -> torch.Tensor:
        cells = self.now.cells
        return torch.where(cells.listed, pack(step_of(index_N), cells.contract), -1).T

    def next_row(self, row: torch.Tensor) -> torch.Tensor:
        step = step_of(self.index_N)[:, None]
        session = self.now.point.session[:, None] + (step_of_row(row) - step)
        settle = self.world.paths.listing.settle_E[unpack(row.clamp(min=0)).expiry]
        goes_on = (row >= 0) & (settle > session + 1) & (step_of_row(row) < self.world.paths.last_step)
        return torch.where(goes_on, row + NEXT_STEP, -1)

    def ends_after(self, index_N: torch.Tensor) -> torch.Tensor:
        return step_of(index_N) + 1 >= self.world.paths.last_step

    def contract(self, row: torch.Tensor) -> torch.Tensor:
        return torch.where(row >= 0, contract_of_row(row), -1)

    def offered(self, index_N: torch.Tensor) -> Offered:
        cells, templates, multiplier = self.now.cells, self.templates, self.world.instrument.multiplier
        n, (n_templates, n_legs) = len(index_N), templates.cell_AP.shape
        row_GN = self.cell_rows(index_N).T
        row_GN = torch.cat([row_GN, torch.full_like(row_GN[:1], -1)])  # the last for legs that are none
        cell = torch.where(templates.used_AP, templates.cell_AP, len(row_GN) - 1).view(-1)
        row_NAP = row_GN.index_select(0, cell).view(n_templates, n_legs, n).permute(2, 0, 1)
        # the cells' rules leave no two legs on one contract, and every contract is quoted
        missing = self.lots.uses_AG @ (~cells.listed).to(self.dtype)  # legs
        width = col.UNIT_CRASH + len(self.move)
        unit = torch.empty(width, n_templates, n, dtype=self.dtype, device=index_N.device).permute(2, 1, 0)
        for part in slices(n, PRICE_CHUNK, index_N.device, per_thread=True):
            write_units(
                unit[part], self.world, self.now.at(part), missing[:, part] == 0, templates, self.lots, self.config
            )
        return Offered(
            row_NAP=row_NAP,
            quantity_AP=templates.quantity_AP,
            shares_NA=(templates.lots_A * multiplier).expand(n, -1),
            unit_NAC=unit,
            n_legs_A=templates.n_legs_A,
            short_contracts_A=templates.short_contracts_A,
        )

    def features(self, index_N: torch.Tensor) -> torch.Tensor:
        if index_N is self.index_N:
            return self.now.features.T
        return torch.where(index_N != self.index_N, self.then.features, self.now.features).T

    # -- prices -------------------------------------------------------------------------------------------------

    def _of_rows(self, row: torch.Tensor, account: torch.Tensor, known: torch.Tensor) -> Quoted:
        """Contracts [M] of accounts [M] at either snapshot; row -1 reads some contract at the money."""
        listing, surface = self.world.paths.listing, self.world.surface
        empty, step = row < 0, step_of(self.index_N)[account]
        later = ~empty & (step_of_row(row) > step)
        *fields, strike_step = known.index_select(1, account + later * len(self.index_N))
        state, here = PathState(*fields), self.now.point.session[account]
        session = torch.where(later, self.then.point.session[account], here)
        asked = unpack(row.clamp(min=0))
        expiry = torch.where(empty, listing.open_C[session], asked.expiry)
        strike = torch.where(empty, state.spot, asked.strike * strike_step)
        tte = listing.tte(session, expiry)
        # volatilities in the money dtype, prices in float64: a price is a difference of much larger numbers
        rough = PathState(*(field.to(self.dtype) for field in state))
        theta, strength = surface.atm_variance(rough, listing.clock(session, expiry).to(self.dtype))
        money = torch.log(strike / state.spot) - (state.rate - state.dividend_yield) * tte
        total, deviations = surface.implied_variance(theta, strength, money.to(self.dtype))
        vol = torch.sqrt(total.double() / tte)
        right, settles = asked.right.double(), listing.settle_E[expiry] == session + 1
        rates = (state.rate, state.dividend_yield, right)
        if price_kernel.wanted(row.device):
            greeks = price_kernel.greeks(state.spot, strike, money, tte, vol, *rates)
        else:
            greeks = black_scholes.greeks(state.spot, strike, tte, vol, *rates)
        return self._quoted(state, strike, right, tte, vol, deviations, greeks, settles)

    def _quoted(
        self,
        state: PathState,
        strike: torch.Tensor,
        right: torch.Tensor,
        tte: torch.Tensor,
        vol: torch.Tensor,
        deviations: torch.Tensor,
        greeks: Greeks,
        settles: torch.Tensor,
    ) -> Quoted:
        """Contracts as the world quotes them: both sides, unrounded, about the model price."""
        world = self.world
        price = greeks.price.clamp(min=LEAST_PRICE)
        rough = state._replace(vix=state.vix.to(self.dtype), spread_scale=state.spread_scale.to(self.dtype))
        width = world.surface.vol_spread(rough, tte.to(self.dtype), deviations)
        half = world.half_spread(price, 0.5 * width * greeks.vega)
        always = torch.ones_like(price, dtype=torch.bool)
        return Quoted(
            spot=state.spot,
            rate=state.rate,
            dividend_yield=state.dividend_yield,
            strike=strike,
            right=right,
            multiplier=world.instrument.multiplier,
            bid=price - half,
            ask=price + half,
            mark=price,
            implied_vol=vol,
            tte=tte,
            delta=greeks.delta,
            gamma=greeks.gamma,
            vega=greeks.vega,
            theta=greeks.theta,
            rho=greeks.rho,
            can_buy=always,
            can_sell=always,
            stale=0.0,
            settles=settles,
        )


def _places(wanted: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Where `wanted` [M] holds, in parts to work on at once; all places where that is not asked."""
    if at_once(wanted.device):
        return (torch.arange(len(wanted), device=wanted.device),)
    places = wanted.nonzero().squeeze(1)
    return tuple(places[part] for part in slices(len(places), ROW_CHUNK, wanted.device))
