"""The cells that a generated market offers: chosen from the listed strikes by the grid's rules, in closed form.

A cell's strike is where the smile meets its target delta; of the two listed strikes around that point the nearer one is
taken, as `market.build.grid` takes it from a whole chain. Held against that by the tests.
"""

import math
from typing import NamedTuple

import torch

from clstm_core.env.packed_rows import Contract
from clstm_core.market.build.grid import ATM_TOLERANCE, delta_tolerance
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.paths import PathPoint
from clstm_core.market.worlds.smile import shape_and_slope
from clstm_core.market.worlds.surface import PathState
from clstm_core.once import made_once
from clstm_core.specs import CELL_DELTAS, CELL_INDEX, CELLS, RIGHT_CALL, RIGHT_PUT, TENORS

NEWTON_STEPS = 2
"""They end within 0.005 standard deviations of the target at the steepest smile; half a strike step would do."""


class Cells(NamedTuple):
    """The contract of each cell of `specs.CELLS` at N snapshots.

    Shapes: all [G, N]; where `listed` is False the contract may be priced but not traded
    Units:  tte in years; vol a fraction; deviations from the money in standard deviations
    """

    expiry: torch.Tensor
    strike: torch.Tensor  # in strike steps
    listed: torch.Tensor
    tte: torch.Tensor
    vol: torch.Tensor
    deviations: torch.Tensor

    @property
    def contract(self) -> Contract:
        """The contracts; rights [G, 1] are the cells' own."""
        return Contract(self.expiry, self.strike, _rights(self.strike.device))


@made_once
def _rights(device: torch.device) -> torch.Tensor:
    """The cells' rights [G, 1], int64; made once, since a step may not wait for the device."""
    return torch.tensor([[cell.right] for cell in CELLS], device=device)


@made_once
def _tenor_places(device: torch.device) -> torch.Tensor:
    """Which tenor each cell is of [G], int64."""
    return torch.tensor([TENORS.index(cell.tenor) for cell in CELLS], device=device)


class _Targets(NamedTuple):
    """Deltas that the cells away from the money aim at, and how near is near enough [D, 1]; rights [2, 1, 1]."""

    delta: torch.Tensor
    tolerance: torch.Tensor
    right: torch.Tensor


@made_once
def _targets(dtype: torch.dtype, device: torch.device) -> _Targets:
    deltas = [delta for delta in CELL_DELTAS if delta is not None]
    columns = (deltas, [delta_tolerance(delta) for delta in deltas], [[RIGHT_CALL], [RIGHT_PUT]])
    return _Targets(*(torch.tensor(column, dtype=dtype, device=device).unsqueeze(-1) for column in columns))


class _Tenors(NamedTuple):
    """Expiries of N snapshots, each [..., N], with what their smiles need."""

    expiry: torch.Tensor
    listed: torch.Tensor
    tte: torch.Tensor
    theta: torch.Tensor
    strength: torch.Tensor
    carry: torch.Tensor  # (r - q) T
    forward: torch.Tensor
    discount: torch.Tensor  # e^{-qT}

    def spread(self, dimensions: int) -> "_Tenors":
        """With so many dimensions put in before the accounts, for what differs within a tenor."""
        shape = (*self.tte.shape[:-1], *[1] * dimensions, self.tte.shape[-1])
        return _Tenors(*(field.view(shape) for field in self))


def choose_cells(world: GeneratedWorld, point: PathPoint, dtype: torch.dtype) -> Cells:
    """The cells at N points, each a pure function of its point, computed in `dtype`.

    Assumes: unsigned delta falls away from the money, as under every smile of `worlds.smile`
    """
    point = point._replace(
        state=PathState(*(field.to(dtype) for field in point.state)), strike_step=point.strike_step.to(dtype)
    )
    tenors = _tenors(world, point)
    atm = _at_the_money(world, point, tenors)  # [2, N]
    away = _by_delta(world, point, tenors)  # [tenors, rights, D, N]
    n = atm.strike.shape[-1]
    both = _Chosen(
        *(torch.cat([a[:, None, None].expand(2, 2, 1, n), b], dim=2) for a, b in zip(atm, away, strict=True))
    )
    # a strike already taken nearer the money is not given again
    new = [both.listed[:, :, 0]]
    for place in range(1, len(CELL_DELTAS)):
        taken = (both.strike[:, :, :place] == both.strike[:, :, place : place + 1]) & both.listed[:, :, :place]
        new.append(both.listed[:, :, place] & ~taken.any(dim=2))
    listed = torch.stack(new, dim=2)

    near, far = (_Tenors(*(field[tenor] for field in tenors)) for tenor in range(2))
    smile = _on_smile(world, point, atm.strike[0], far)
    calendar = _Chosen(atm.strike[0], far.listed & atm.listed[0] & (near.expiry != far.expiry), *smile[1:])
    cells = _Chosen(
        *(
            torch.cat([grid.view(-1, n), last.expand(2, n)])
            for grid, last in zip(both._replace(listed=listed), calendar, strict=True)
        )
    )
    tenor = _tenor_places(atm.strike.device)
    tte = tenors.tte.index_select(0, tenor)
    return Cells(
        expiry=tenors.expiry.index_select(0, tenor),
        strike=cells.strike,
        listed=cells.listed,
        tte=tte,
        vol=cells.total / torch.sqrt(tte),
        deviations=cells.deviations,
    )


class _Chosen(NamedTuple):
    """Strikes, whether there is one, and where they lie on their smiles."""

    strike: torch.Tensor
    listed: torch.Tensor
    total: torch.Tensor
    deviations: torch.Tensor


def _tenors(world: GeneratedWorld, point: PathPoint) -> _Tenors:
    """The near and the far expiry, [2, N]."""
    listing, state = world.paths.listing, point.state
    expiry = torch.stack([listing.near_C[point.session], listing.far_C[point.session]])
    listed = expiry >= 0
    # where a tenor has no expiry, some expiry ahead is priced and masked
    expiry = torch.where(listed, expiry, listing.open_C[point.session])
    tte = listing.tte(point.session, expiry).to(state.spot)
    clock = listing.clock(point.session, expiry).to(state.spot)
    theta, strength = world.surface.atm_variance(state, clock)
    carry, discount = (state.rate - state.dividend_yield) * tte, torch.exp(-state.dividend_yield * tte)
    return _Tenors(expiry, listed, tte, theta, strength, carry, state.spot * torch.exp(carry), discount)


class _Smile(NamedTuple):
    """Strikes on their smiles: ln(K / F), total standard deviation, and deviations from the money."""

    money: torch.Tensor
    total: torch.Tensor
    deviations: torch.Tensor

    def delta(self, discount: torch.Tensor, right: torch.Tensor | float) -> torch.Tensor:
        """Unsigned delta e^{-qT} N(w d1) of options of a right w, as `black_scholes.greeks` has it."""
        d1 = 0.5 * self.total - self.money / self.total
        return 0.5 * discount * (1.0 + right * torch.erf(math.sqrt(0.5) * d1))


def _on_smile(world: GeneratedWorld, point: PathPoint, strike: torch.Tensor, tenors: _Tenors) -> _Smile:
    """Of strikes [..., N], counted in strike steps."""
    money = torch.log(strike * (point.strike_step / point.state.spot)) - tenors.carry
    total, deviations = world.surface.implied_variance(tenors.theta, tenors.strength, money)
    return _Smile(money, torch.sqrt(total), deviations)


def _at_the_money(world: GeneratedWorld, point: PathPoint, tenors: _Tenors) -> _Chosen:
    """The strike [2, N] nearest the forward whose call is near half a delta."""
    low = torch.floor(tenors.forward / point.strike_step).clamp(min=1.0).long()
    strike = torch.stack([low, low + 1], dim=1)  # [2, candidates, N]
    within = tenors.spread(1)
    smile = _on_smile(world, point, strike, within)
    distance = (strike * point.strike_step - within.forward).abs()
    near = (smile.delta(within.discount, 1.0) - 0.5).abs() <= ATM_TOLERANCE
    return _nearer(strike, distance, near & within.listed, smile)


def _by_delta(world: GeneratedWorld, point: PathPoint, tenors: _Tenors) -> _Chosen:
    """The strike [tenors, rights, D, N] nearest each target delta, if near enough."""
    targets = _targets(tenors.tte.dtype, tenors.tte.device)
    within = tenors.spread(2)
    d1 = torch.special.ndtri((targets.delta / within.discount).clamp(max=0.99)) * targets.right
    half = 0.5 * torch.sqrt(within.theta)
    x = -d1
    for _ in range(NEWTON_STEPS):  # x = sqrt(theta) v(x) / 2 - d1 sqrt(v(x))
        shape, slope = shape_and_slope(x)
        v = 1.0 + within.strength * shape
        root = torch.sqrt(v)
        gap = x + d1 * root - half * v
        x = x - gap / (1.0 + (0.5 * d1 / root - half) * (within.strength * slope))
    wanted = within.forward / point.strike_step * torch.exp(x * (2.0 * half))
    low = torch.floor(wanted).clamp(min=1.0).long()
    strike = torch.stack([low, low + 1], dim=3)
    within = within.spread(1)
    smile = _on_smile(world, point, strike, within)
    distance = (smile.delta(within.discount, targets.right[:, None]) - targets.delta[:, None]).abs()
    return _nearer(strike, distance, (distance <= targets.tolerance[:, None]) & within.listed, smile)


def _nearer(strike: torch.Tensor, distance: torch.Tensor, allowed: torch.Tensor, smile: _Smile) -> _Chosen:
    """Of two candidates [..., 2, N] the allowed one of least distance, ties to the lower."""
    low_allowed, high_allowed = allowed.unbind(-2)
    low = low_allowed & (~high_allowed | (distance[..., 0, :] <= distance[..., 1, :]))

    def chosen(pair: torch.Tensor) -> torch.Tensor:
        first, second = pair.unbind(-2)
        return torch.where(low, first, second)

    return _Chosen(chosen(strike), low_allowed | high_allowed, chosen(smile.total), chosen(smile.deviations))


assert [cell.delta for cell in CELLS[: len(CELL_DELTAS)]] == list(CELL_DELTAS)
assert CELL_INDEX["far_call_calendar"] == 4 * len(CELL_DELTAS)
