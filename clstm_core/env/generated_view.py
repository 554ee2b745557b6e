"""The market view without tables: each account keeps its path's state at this snapshot and the next, and asks for prices.

The contracts held and the cells offered are priced in closed form by the world's surface, so any number of paths can be
walked and none is stored. A view is a value: moving on makes another one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import LEG_COLUMNS, Legs, TemplateTables, price_units, template_tables
from clstm_core.env.derived import Quoted, write_facts
from clstm_core.env.generated_cells import Cells, choose_cells
from clstm_core.env.generated_features import SURFACE_FEATURES, market_features, surface_known
from clstm_core.env.margin import scenario_shocks
from clstm_core.env.packed_rows import NEXT_STEP, Contract, contract_of_row, pack, step_of_row, unpack
from clstm_core.env.view import Offered
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.worlds.generated import LEAST_PRICE, GeneratedWorld
from clstm_core.market.worlds.paths import GivenPath, PathPoint, index_of, path_of, step_of
from clstm_core.market.worlds.surface import PathState
from clstm_core.options import black_scholes

_CHUNK = 1024
"""Accounts priced at once on a CPU, so that what is worked on stays in its cache and memory stays small."""


class Standing(NamedTuple):
    """N accounts' paths at one snapshot.

    Shapes: known [N, 4] `SURFACE_FEATURES` as last known there, NaN where never; features [N, F] float32
    """

    point: PathPoint
    cells: Cells
    known: torch.Tensor
    features: torch.Tensor

    def put(self, rows: torch.Tensor, other: "Standing") -> "Standing":
        """This with the accounts `rows` replaced by those of `other`, in order."""
        return _zip(lambda mine, theirs: mine.index_copy(0, rows, theirs), self, other)

    def at(self, rows: torch.Tensor | slice) -> "Standing":
        """The accounts `rows` alone."""
        return _zip(lambda mine: mine[rows], self)


def _zip(function: Callable[..., torch.Tensor], *values):
    """Apply a function to the tensors of equally nested tuples."""
    if isinstance(values[0], torch.Tensor):
        return function(*values)
    return type(values[0])(*(_zip(function, *parts) for parts in zip(*values, strict=True)))


class Priced(NamedTuple):
    """What pricing a contract needs besides its strike and right; shapes broadcast to the contracts'."""

    state: PathState
    strike: torch.Tensor  # in currency
    right: torch.Tensor
    tte: torch.Tensor
    vol: torch.Tensor
    deviations: torch.Tensor  # from the money, in standard deviations
    settles: torch.Tensor


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
    index_N: torch.Tensor
    now: Standing
    then: Standing
    known_T: torch.Tensor | None  # of a given path: what was last known before each of its steps

    @classmethod
    def build(
        cls, world: GeneratedWorld, config: EnvConfig, index_N: torch.Tensor, dtype: torch.dtype
    ) -> "GeneratedView":
        """The view of accounts that stand at `index_N` of paths of `world`; money in `dtype`."""
        known_T = known_before(world.paths.last_step + 1, world) if isinstance(world.paths, GivenPath) else None
        now = arrive(world, index_N, known_T)
        return cls(
            world=world,
            config=config,
            dtype=dtype,
            move=scenario_shocks(config)[0].to(index_N.device, dtype),
            templates=template_tables(index_N.device, dtype),
            index_N=index_N,
            now=now,
            then=follow(world, now, index_N),
            known_T=known_T,
        )

    # -- where accounts stand -----------------------------------------------------------------------------------

    def standing_at(self, index_N: torch.Tensor) -> "GeneratedView":
        """As `MarketView` states; so are all that follow."""
        return GeneratedView.build(self.world, self.config, index_N, self.dtype)

    def moved_to(self, index_N: torch.Tensor) -> "GeneratedView":
        begun = index_N != self.index_N + 1
        # on a CPU few are begun; a device is not asked how many
        rows = (
            begun.nonzero().squeeze(1) if begun.device.type == "cpu" else torch.arange(len(begun), device=begun.device)
        )
        now = self.then
        if len(rows):
            fresh = begin(self.world, index_N[rows], self.known_T)
            stays = now.at(rows)
            flag = begun[rows]
            kept = _zip(lambda new, old: torch.where(flag.view(-1, *[1] * (new.dim() - 1)), new, old), fresh, stays)
            now = now.put(rows, kept)
        return replace(self, index_N=index_N, now=now, then=follow(self.world, now, index_N))

    # -- what a step asks ---------------------------------------------------------------------------------------

    @property
    def move_S(self) -> torch.Tensor:
        return self.move

    def snapshot(self, index_N: torch.Tensor) -> torch.Tensor:
        later = index_N != self.index_N
        return torch.where(later[:, None], self._snapshot(self.then.point), self._snapshot(self.now.point))

    def _snapshot(self, point: PathPoint) -> torch.Tensor:
        clock, state = self.world.paths.listing.session_ns_C, point.state
        after = (point.session + 1).clamp(max=len(clock) - 1)
        dt = (clock[after] - clock[point.session]).double() / YEAR_NS
        columns = (state.spot, state.rate, dt, torch.expm1(state.rate * dt), torch.expm1(state.dividend_yield * dt))
        return torch.stack(columns, dim=1).to(self.dtype)

    def facts(self, row: torch.Tensor) -> torch.Tensor:
        out = torch.empty(*row.shape, col.SCENARIOS + len(self.move), dtype=self.dtype, device=row.device)
        for part in _chunks(row):
            self._write(out[part], self._legs(row[part], part))
        return out

    def settle_value(self, row: torch.Tensor) -> torch.Tensor:
        # at the close of the expiry's session, or of the last session before it
        asked, here = unpack(row.clamp(min=0)), self.now.point
        same_day = self.world.paths.listing.value_E[asked.expiry] <= here.session[:, None]
        spot = torch.where(same_day, here.state.spot[:, None], self.then.point.state.spot[:, None])
        strike = asked.strike * here.strike_step[:, None]
        return (asked.right * (spot - strike)).clamp(min=0.0).to(self.dtype)

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
        standing, templates = self.now, self.templates
        step = step_of(index_N)[:, None]
        n, shape = len(index_N), templates.cell_AP.shape
        cell = templates.cell_AP.clamp(min=0).reshape(-1)
        listed = standing.cells.listed & (standing.cells.tte > 0)
        rows_G = torch.where(listed, pack(step, standing.cells.contract), -1)
        rows = torch.where(templates.used_AP, rows_G[:, cell].view(n, *shape), -1)
        width = col.UNIT_SCENARIOS + len(self.move)
        unit = torch.empty(n, shape[0], width, dtype=self.dtype, device=index_N.device)
        shares = (templates.lots_A * self.world.instrument.multiplier).expand(n, -1)
        for part in _chunks(index_N):
            unit[part] = self._units(standing.at(part), rows[part], shares[part], cell)
        return Offered(
            row_NAP=rows,
            quantity_AP=templates.quantity_AP,
            shares_NA=shares,
            unit_NAC=unit,
            n_legs_A=templates.n_legs_A,
            short_contracts_A=templates.short_contracts_A,
        )

    def features(self, index_N: torch.Tensor) -> torch.Tensor:
        later = index_N != self.index_N
        return torch.where(later[:, None], self.then.features, self.now.features)

    # -- prices -------------------------------------------------------------------------------------------------

    def _units(self, at: Standing, rows: torch.Tensor, shares: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        templates = self.templates
        n, shape = len(rows), templates.cell_AP.shape
        facts = torch.empty(
            n, at.cells.vol.shape[1], col.SCENARIOS + len(self.move), dtype=self.dtype, device=rows.device
        )
        self._write(facts, self._of_cells(at))
        legs = facts[:, :, list(LEG_COLUMNS)][:, cell].view(n, *shape, -1)
        # a package's profit is a sum over cells: one product of matrices
        share = torch.zeros(shape[0], facts.shape[1], dtype=self.dtype, device=rows.device)
        share = share.scatter_add(1, templates.cell_AP.clamp(min=0), templates.quantity_AP)
        pnl = torch.matmul(share * self.world.instrument.multiplier, facts[..., col.SCENARIOS :])
        spot = at.point.state.spot[:, None].to(self.dtype)
        return price_units(Legs(*legs.unbind(-1)), pnl, rows, templates, shares, spot, self.move, self.config)

    def _of_cells(self, at: Standing) -> Priced:
        point, cells, listing = at.point, at.cells, self.world.paths.listing
        state = PathState(*(field[:, None] for field in point.state))
        session, expiry = point.session[:, None], cells.contract.expiry
        strike = cells.contract.strike * point.strike_step[:, None]
        return Priced(
            state=state,
            strike=strike,
            right=cells.contract.right.double(),
            tte=cells.tte,
            vol=cells.vol,
            deviations=cells.deviations,
            settles=listing.settle_E[expiry] == session + 1,
        )

    def _legs(self, row: torch.Tensor, part: slice) -> Priced:
        """Contracts of rows [N, L] at either snapshot; -1 reads a contract at the money."""
        listing, surface = self.world.paths.listing, self.world.surface
        now, then = (
            _zip(lambda x: x[part][:, None], at.point._replace(log_close=at.point.session))
            for at in (self.now, self.then)
        )
        step = step_of(self.index_N[part])[:, None]
        empty = row < 0
        later = ~empty & (step_of_row(row) > step)
        state = PathState(*(torch.where(later, b, a) for a, b in zip(now.state, then.state, strict=True)))
        session = torch.where(later, then.session, now.session)
        asked = unpack(row.clamp(min=0))
        expiry = torch.where(empty, listing.open_C[session], asked.expiry)
        strike = torch.where(empty, state.spot, asked.strike * now.strike_step)
        tte = listing.tte(session, expiry)
        theta, strength = surface.atm_variance(state, listing.clock(session, expiry))
        money = torch.log(strike / state.spot) - (state.rate - state.dividend_yield) * tte
        total, deviations = surface.implied_variance(theta, strength, money)
        return Priced(
            state=state,
            strike=strike,
            right=asked.right.double(),
            tte=tte,
            vol=torch.sqrt(total / tte),
            deviations=deviations,
            settles=listing.settle_E[expiry] == session + 1,
        )

    def _write(self, facts: torch.Tensor, priced: Priced) -> None:
        """Quote contracts as the world does and write their facts."""
        state, world = priced.state, self.world
        greeks = black_scholes.greeks(
            state.spot, priced.strike, priced.tte, priced.vol, state.rate, state.dividend_yield, priced.right
        )
        price = greeks.price.clamp(min=LEAST_PRICE)
        width = world.surface.vol_spread(state, priced.tte, priced.deviations)
        half = world.half_spread(price, 0.5 * width * greeks.vega)
        quoted = torch.ones_like(price, dtype=torch.bool)
        write_facts(
            facts,
            Quoted(
                spot=state.spot.expand_as(price),
                rate=state.rate.expand_as(price),
                dividend_yield=state.dividend_yield.expand_as(price),
                strike=priced.strike.expand_as(price),
                right=priced.right.expand_as(price),
                multiplier=world.instrument.multiplier,
                bid=price - half,
                ask=price + half,
                mark=price,
                implied_vol=priced.vol,
                tte=priced.tte,
                delta=greeks.delta,
                gamma=greeks.gamma,
                vega=greeks.vega,
                theta=greeks.theta,
                rho=greeks.rho,
                can_buy=quoted,
                can_sell=quoted,
                stale=0.0,
                settles=priced.settles,
            ),
            self.config,
        )


def _chunks(over: torch.Tensor) -> list[slice]:
    """Slices of the accounts to work on at once."""
    size = _CHUNK if over.device.type == "cpu" else max(1, len(over))
    return [slice(low, low + size) for low in range(0, len(over), size)]


def _stand(world: GeneratedWorld, point: PathPoint, before: torch.Tensor) -> Standing:
    cells = choose_cells(world, point)
    known = surface_known(cells, before)
    return Standing(point, cells, known, market_features(world.paths.listing, point, cells, known, before))


def begin(world: GeneratedWorld, index_N: torch.Tensor, known_T: torch.Tensor | None) -> Standing:
    """Where accounts stand when their episodes begin."""
    point = world.paths.start(index_N)
    if known_T is None:
        return _stand(world, point, point.log_close.new_full((len(index_N), len(SURFACE_FEATURES)), torch.nan))
    return _stand(world, point, known_T[step_of(index_N)])


def follow(world: GeneratedWorld, at: Standing, index_N: torch.Tensor) -> Standing:
    """Where accounts that stand at `index_N` will stand next."""
    return _stand(world, world.paths.after(at.point, index_N), at.known)


def arrive(world: GeneratedWorld, index_N: torch.Tensor, known_T: torch.Tensor | None) -> Standing:
    """Where accounts at any index stand: a simulated path is walked from its beginning."""
    if known_T is not None:
        return begin(world, index_N, known_T)
    path, step = path_of(index_N), step_of(index_N)
    at = begin(world, index_of(path, 0), None)
    for k in range(int(step.max())):
        moving = (step > k).nonzero().squeeze(1)
        at = at.put(moving, follow(world, at.at(moving), index_of(path[moving], k)))
    return at


def known_before(n_steps: int, world: GeneratedWorld) -> torch.Tensor:
    """`SURFACE_FEATURES` [T, 4] of a given path as last known before each step; NaN where never."""
    index = torch.arange(n_steps, device=world.paths.listing.session_ns_C.device)
    cells = choose_cells(world, world.paths.at(index))
    here = surface_known(
        cells, torch.full((n_steps, len(SURFACE_FEATURES)), torch.nan, dtype=torch.float64).to(index.device)
    )
    last = torch.where(here.isnan(), -1, index[:, None]).cummax(dim=0).values
    known = torch.where(last >= 0, here.gather(0, last.clamp(min=0)), torch.nan)
    return torch.cat([torch.full_like(known[:1], torch.nan), known[:-1]])
