"""The cells that a generated market offers: chosen from the listed strikes by the grid's rules, in closed form.

A cell's strike is where the smile meets its target delta; of the two listed strikes around that point the nearer one is
taken, as `market.build.grid` takes it from a whole chain. Held against that by the tests.
"""

from typing import NamedTuple

import torch

from clstm_core.env.packed_rows import Contract
from clstm_core.market.build.grid import ATM_TOLERANCE, delta_tolerance
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.paths import PathPoint
from clstm_core.market.worlds.smile import slope, variance_multiple
from clstm_core.options import black_scholes
from clstm_core.specs import CELL_DELTAS, CELL_INDEX, CELLS, RIGHT_CALL, RIGHT_PUT

NEWTON_STEPS = 3


class Cells(NamedTuple):
    """The contract of each cell of `specs.CELLS` at N snapshots.

    Shapes: all [N, G]; where `listed` is False the contract may be priced but not traded
    Units:  tte in years; vol a fraction; deviations from the money in standard deviations
    """

    contract: Contract
    listed: torch.Tensor
    tte: torch.Tensor
    vol: torch.Tensor
    deviations: torch.Tensor


class _Tenors(NamedTuple):
    """The near and the far expiry of N snapshots, each [N, 2], with what their smiles need; `_1` fields are [N, 1]."""

    expiry: torch.Tensor
    listed: torch.Tensor
    tte: torch.Tensor
    theta: torch.Tensor
    strength: torch.Tensor
    carry: torch.Tensor  # (r - q) T
    forward: torch.Tensor


def choose_cells(world: GeneratedWorld, point: PathPoint) -> Cells:
    """The cells at N points, each a pure function of its point.

    Assumes: unsigned delta falls away from the money, as under every smile of `worlds.smile`
    """
    tenors = _tenors(world, point)
    atm, near_money = _at_the_money(world, point, tenors)  # [N, 2]
    strike, close = _by_delta(world, point, tenors)  # [N, 2, 2, D]
    n, sides = len(atm), len(CELL_DELTAS)
    money = atm[:, :, None, None].expand(n, 2, 2, 1)
    strike = torch.cat([money, strike], dim=-1)
    found = torch.cat([near_money[:, :, None, None].expand(n, 2, 2, 1), close], dim=-1)
    # a strike already taken nearer the money is not given again
    earlier = torch.ones(sides, sides, dtype=torch.bool, device=atm.device).tril(-1)
    taken = ((strike[..., :, None] == strike[..., None, :]) & found[..., None, :] & earlier).any(dim=-1)
    listed = found & ~taken

    calendar = tenors.listed[:, 1] & near_money[:, 0] & (tenors.expiry[:, 0] != tenors.expiry[:, 1])
    side = torch.tensor([RIGHT_CALL, RIGHT_PUT], device=atm.device)
    far = tenors.expiry[:, 1:]
    contract = Contract(
        expiry=torch.cat([tenors.expiry.repeat_interleave(2 * sides, dim=1), far, far], dim=1),
        strike=torch.cat([strike.reshape(n, -1), atm[:, :1], atm[:, :1]], dim=1),
        right=torch.cat([side.repeat_interleave(sides).repeat(2), side]).expand(n, -1),
    )
    tenor = torch.tensor([0] * (2 * sides) + [1] * (2 * sides + 2), device=atm.device)
    vol, deviations = _vol(world, point, contract.strike, _Tenors(*(field[:, tenor] for field in tenors)))
    return Cells(
        contract=contract,
        listed=torch.cat([listed.reshape(n, -1), calendar[:, None], calendar[:, None]], dim=1),
        tte=tenors.tte[:, tenor],
        vol=vol,
        deviations=deviations,
    )


def _tenors(world: GeneratedWorld, point: PathPoint) -> _Tenors:
    listing, state, session = world.paths.listing, point.state, point.session[:, None]
    expiry = torch.stack([listing.near_C[point.session], listing.far_C[point.session]], dim=1)
    listed = expiry >= 0
    # where a tenor has no expiry, some expiry ahead is priced and masked
    expiry = torch.where(listed, expiry, listing.open_C[session])
    tte = listing.tte(session, expiry)
    column = type(state)(*(field[:, None] for field in state))
    theta, strength = world.surface.atm_variance(column, listing.clock(session, expiry))
    carry = (column.rate - column.dividend_yield) * tte
    return _Tenors(expiry, listed, tte, theta, strength, carry, column.spot * torch.exp(carry))


def _vol(
    world: GeneratedWorld, point: PathPoint, strike: torch.Tensor, tenors: _Tenors
) -> tuple[torch.Tensor, torch.Tensor]:
    """Implied volatility of strikes [N, ...], counted in strike steps, and their standard deviations from the money."""
    shape = (-1,) + (1,) * (strike.dim() - 1)
    money = torch.log(strike * point.strike_step.view(shape) / point.state.spot.view(shape)) - tenors.carry
    total, deviations = world.surface.implied_variance(tenors.theta, tenors.strength, money)
    return torch.sqrt(total / tenors.tte), deviations


def _delta(point: PathPoint, strike: torch.Tensor, vol: torch.Tensor, tenors: _Tenors, right) -> torch.Tensor:
    shape = (-1,) + (1,) * (strike.dim() - 1)
    spot, rate, carry, step = (
        x.view(shape) for x in (point.state.spot, point.state.rate, point.state.dividend_yield, point.strike_step)
    )
    return black_scholes.delta(spot, strike * step, tenors.tte, vol, rate, carry, right)


def _at_the_money(world: GeneratedWorld, point: PathPoint, tenors: _Tenors) -> tuple[torch.Tensor, torch.Tensor]:
    """The strike [N, 2] nearest the forward whose call is near half a delta, and whether there is one."""
    step = point.strike_step[:, None]
    low = torch.floor(tenors.forward / step).clamp(min=1.0).long()
    strike = torch.stack([low, low + 1], dim=-1)  # [N, 2, candidates]
    wide = _Tenors(*(field[..., None] for field in tenors))
    vol, _ = _vol(world, point, strike, wide)
    right = torch.ones((), dtype=vol.dtype, device=vol.device)
    near = (_delta(point, strike, vol, wide, right) - 0.5).abs() <= ATM_TOLERANCE
    distance = (strike * step[..., None] - wide.forward).abs()
    chosen, found = _nearer(strike, distance, near)
    return chosen, found & tenors.listed


def _by_delta(world: GeneratedWorld, point: PathPoint, tenors: _Tenors) -> tuple[torch.Tensor, torch.Tensor]:
    """The strike [N, tenors, rights, D] nearest each target delta, and whether it is near enough."""
    target = torch.tensor([delta for delta in CELL_DELTAS if delta is not None], dtype=tenors.tte.dtype)
    tolerance = torch.tensor([delta_tolerance(delta) for delta in target.tolist()], dtype=target.dtype)
    target, tolerance = target.to(tenors.tte.device), tolerance.to(tenors.tte.device)
    right = torch.tensor([RIGHT_CALL, RIGHT_PUT], dtype=target.dtype, device=target.device)[:, None]
    wide = _Tenors(*(field[:, :, None, None] for field in tenors))
    discount = torch.exp(-point.state.dividend_yield[:, None, None, None] * wide.tte)
    d1 = right * torch.special.ndtri((target / discount).clamp(max=0.99))
    deviation = torch.sqrt(wide.theta)
    x = -d1
    for _ in range(NEWTON_STEPS):  # x = deviation v(x) / 2 - d1 sqrt(v(x))
        v = variance_multiple(x, wide.strength)
        root = torch.sqrt(v)
        steep = wide.strength * slope(x)
        gap = x + d1 * root - 0.5 * deviation * v
        x = x - gap / (1.0 + (0.5 * d1 / root - 0.5 * deviation) * steep)
    wanted = wide.forward * torch.exp(x * deviation) / point.strike_step[:, None, None, None]
    low = torch.floor(wanted).clamp(min=1.0).long()
    strike = torch.stack([low, low + 1], dim=-1)
    wide = _Tenors(*(field[..., None] for field in wide))
    vol, _ = _vol(world, point, strike, wide)
    distance = (_delta(point, strike, vol, wide, right[..., None]).abs() - target[:, None]).abs()
    chosen, found = _nearer(strike, distance, distance <= tolerance[:, None])
    return chosen, found & wide.listed[..., 0]


def _nearer(strike: torch.Tensor, distance: torch.Tensor, allowed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of two candidates [..., 2] the allowed one of least distance (ties to the lower), and whether one is allowed."""
    first = allowed[..., 0] & (~allowed[..., 1] | (distance[..., 0] <= distance[..., 1]))
    return torch.where(first, strike[..., 0], strike[..., 1]), allowed.any(dim=-1)


assert [cell.delta for cell in CELLS[: len(CELL_DELTAS)]] == list(CELL_DELTAS)
assert CELL_INDEX["far_call_calendar"] == 4 * len(CELL_DELTAS)
