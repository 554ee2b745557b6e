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
from clstm_core.market.worlds.smile import slope, variance_multiple
from clstm_core.market.worlds.surface import PathState
from clstm_core.specs import CELL_DELTAS, CELL_INDEX, CELLS, RIGHT_CALL, RIGHT_PUT

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
        right = torch.tensor([cell.right for cell in CELLS], device=self.strike.device)
        return Contract(self.expiry, self.strike, right[:, None])


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
    atm, near_money = _at_the_money(world, point, tenors)  # [2, N]
    strike, close = _by_delta(world, point, tenors)  # [tenors, rights, D, N]
    n, sides = atm.shape[-1], len(CELL_DELTAS)
    strike = torch.cat([atm[:, None, None].expand(2, 2, 1, n), strike], dim=2)
    found = torch.cat([near_money[:, None, None].expand(2, 2, 1, n), close], dim=2)
    # a strike already taken nearer the money is not given again
    listed = found.clone()
    for place in range(1, sides):
        taken = (strike[:, :, :place] == strike[:, :, place : place + 1]) & found[:, :, :place]
        listed[:, :, place] &= ~taken.any(dim=2)

    calendar = tenors.listed[1] & near_money[0] & (tenors.expiry[0] != tenors.expiry[1])
    tenor = torch.tensor([0] * (2 * sides) + [1] * (2 * sides + 2), device=atm.device)
    at = _Tenors(*(field[tenor] for field in tenors))
    chosen = torch.cat([strike.view(-1, n), atm[:1].expand(2, n)])
    smile = _on_smile(world, point, chosen, at)
    return Cells(
        expiry=at.expiry,
        strike=chosen,
        listed=torch.cat([listed.view(-1, n), calendar.expand(2, n)]),
        tte=at.tte,
        vol=smile.total / torch.sqrt(at.tte),
        deviations=smile.deviations,
    )


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


def _at_the_money(world: GeneratedWorld, point: PathPoint, tenors: _Tenors) -> tuple[torch.Tensor, torch.Tensor]:
    """The strike [2, N] nearest the forward whose call is near half a delta, and whether there is one."""
    low = torch.floor(tenors.forward / point.strike_step).clamp(min=1.0).long()
    strike = torch.stack([low, low + 1], dim=1)  # [2, candidates, N]
    within = tenors.spread(1)
    delta = _on_smile(world, point, strike, within).delta(within.discount, 1.0)
    distance = (strike * point.strike_step - within.forward).abs()
    chosen, found = _nearer(strike, distance, (delta - 0.5).abs() <= ATM_TOLERANCE)
    return chosen, found & tenors.listed


def _by_delta(world: GeneratedWorld, point: PathPoint, tenors: _Tenors) -> tuple[torch.Tensor, torch.Tensor]:
    """The strike [tenors, rights, D, N] nearest each target delta, and whether it is near enough."""
    like = tenors.tte
    targets = [delta for delta in CELL_DELTAS if delta is not None]
    target = like.new_tensor(targets)[:, None]
    tolerance = like.new_tensor([delta_tolerance(delta) for delta in targets])[:, None, None]
    right = like.new_tensor([RIGHT_CALL, RIGHT_PUT])[:, None, None]
    within = tenors.spread(2)
    d1 = torch.special.ndtri((target / within.discount).clamp(max=0.99)) * right
    half = 0.5 * torch.sqrt(within.theta)
    x = -d1
    for _ in range(NEWTON_STEPS):  # x = sqrt(theta) v(x) / 2 - d1 sqrt(v(x))
        v = variance_multiple(x, within.strength)
        root = torch.sqrt(v)
        gap = x + d1 * root - half * v
        x = x - gap / (1.0 + (0.5 * d1 / root - half) * (within.strength * slope(x)))
    wanted = within.forward / point.strike_step * torch.exp(x * (2.0 * half))
    low = torch.floor(wanted).clamp(min=1.0).long()
    strike = torch.stack([low, low + 1], dim=3)
    within = within.spread(1)
    delta = _on_smile(world, point, strike, within).delta(within.discount, right[:, None])
    distance = (delta - target[:, None]).abs()
    chosen, found = _nearer(strike, distance, distance <= tolerance)
    return chosen, found & within.listed[:, :, :, 0]


def _nearer(strike: torch.Tensor, distance: torch.Tensor, allowed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of two candidates [..., 2, N] the allowed one of least distance (ties to the lower), and whether one is."""
    low, high = strike.unbind(-2)
    low_allowed, high_allowed = allowed.unbind(-2)
    nearer = distance[..., 0, :] <= distance[..., 1, :]
    return torch.where(low_allowed & (~high_allowed | nearer), low, high), allowed.any(dim=-2)


assert [cell.delta for cell in CELLS[: len(CELL_DELTAS)]] == list(CELL_DELTAS)
assert CELL_INDEX["far_call_calendar"] == 4 * len(CELL_DELTAS)
