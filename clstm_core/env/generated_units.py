"""The packages that a generated market offers, priced on the cells of each account in closed form.

What a package sums over its legs is a product with its quantities: of quotes, of strikes, and of each margin scenario.
Cells that differ in their right alone share the part of their value that costs error functions.

    V = w (S' - K') + P,   P = S' erf(d1 / sqrt 2) - K' erf(d2 / sqrt 2)

with half shares S' = S e^{-qT} / 2 and half cash K' = K e^{-rT} / 2, as `margin.option_scenarios` has it.
"""

import math
from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import LegSums, Strikes, TemplateTables, price_units
from clstm_core.env.fills import fill_prices
from clstm_core.env.generated_standing import Standing
from clstm_core.env.margin import all_moves, price_points, spot_moves, vol_factors
from clstm_core.market.worlds.generated import LEAST_PRICE, GeneratedWorld
from clstm_core.market.worlds.surface import PathState
from clstm_core.options.black_scholes import INV_SQRT_2PI
from clstm_core.specs import CELLS, RIGHT_CALL, TENORS, Cell

_LEAST_WIDTH = math.sqrt(0.5) * 1e-6
"""Below it nothing is left to move: the error function is -1 or 1."""


def _strike_name(cell: Cell) -> tuple[str, bool, int | None, float | None]:
    """Alike for cells of one strike and tenor: at the money calls and puts share theirs."""
    return cell.tenor, cell.same_strike_as_near, None if cell.delta is None else cell.right, cell.delta


_NAMES = [_strike_name(cell) for cell in CELLS]
_STRIKES = sorted(dict.fromkeys(_NAMES), key=lambda name: TENORS.index(name[0]))
_OF_TENOR = [[name[0] for name in _STRIKES].count(tenor) for tenor in TENORS]
"""How many strikes each tenor has, near ones first."""


class GroupLots(NamedTuple):
    """Legs of a group of packages, [legs, A'] cells; [legs, A', 1] 1 of a call, 1 of a put, signed shares per unit."""

    cell: torch.Tensor
    call: torch.Tensor
    put: torch.Tensor
    weight: torch.Tensor

    def of(self, strike_GN: torch.Tensor) -> Strikes:
        """The legs' strikes [legs, A', N], from those of the cells."""
        strike = strike_GN[self.cell]
        return Strikes(strike * self.call, strike * self.put, self.weight)


class Lots(NamedTuple):
    """Shares per unit that each package trades of each cell, and what of the cells is priced once.

    Shapes: D strikes of one tenor each, near ones first; S scenarios
    """

    bought_AG: torch.Tensor
    sold_AG: torch.Tensor
    sold_calls_AG: torch.Tensor
    sold_puts_AG: torch.Tensor
    signed_AG: torch.Tensor
    traded_AG: torch.Tensor
    uses_AG: torch.Tensor  # how many legs
    shares_A1: torch.Tensor  # the package's own
    right_G1: torch.Tensor
    cell_D: torch.Tensor  # int64: a cell of that strike and tenor
    strike_G: torch.Tensor  # int64: the strike's place in D
    signed_AD: torch.Tensor
    # of the crash, then each scenario: signed_AD, and its move times the shares of near, far options and of its own
    scan_SAK: torch.Tensor
    groups: tuple[GroupLots, ...]


def lots_of(templates: TemplateTables, multiplier: float, config: EnvConfig) -> Lots:
    """The templates by cell."""
    cell, weight = templates.cell_AP.clamp(min=0), templates.quantity_AP * multiplier
    signed = torch.zeros(len(cell), len(CELLS), dtype=weight.dtype, device=weight.device).scatter_add(1, cell, weight)
    right_G = weight.new_tensor([float(c.right) for c in CELLS])
    call_G = (right_G == RIGHT_CALL).to(weight)
    sold = (-signed).clamp(min=0.0)
    groups = []
    for n_legs, template in templates.defined:
        where = cell[template, :n_legs].T.contiguous()
        call = call_G[where][..., None]
        groups.append(GroupLots(where, call, 1.0 - call, weight[template, :n_legs].T[..., None].contiguous()))

    strike_G = torch.tensor([_STRIKES.index(name) for name in _NAMES], device=weight.device)
    signed_AD = signed.new_zeros(len(signed), len(_STRIKES)).index_add(1, strike_G, signed)
    tenor_G = torch.tensor([TENORS.index(c.tenor) for c in CELLS], device=weight.device)
    shares_A1 = templates.lots_A[:, None] * multiplier
    by_tenor = signed.new_zeros(len(signed), len(TENORS)).index_add(1, tenor_G, signed * right_G)
    moved = all_moves(config, weight.dtype, weight.device)[:, None, None] * torch.cat([by_tenor, shares_A1], dim=1)
    return Lots(
        bought_AG=signed.clamp(min=0.0),
        sold_AG=sold,
        sold_calls_AG=sold * call_G,
        sold_puts_AG=sold * (1.0 - call_G),
        signed_AG=signed,
        traded_AG=signed.abs(),
        uses_AG=torch.zeros_like(signed).scatter_add(1, cell, templates.used_AP.to(signed)),
        shares_A1=shares_A1,
        right_G1=right_G[:, None],
        cell_D=torch.tensor([_NAMES.index(name) for name in _STRIKES], device=weight.device),
        strike_G=strike_G,
        signed_AD=signed_AD,
        scan_SAK=torch.cat([signed_AD.expand(len(moved), -1, -1), moved], dim=2),
        groups=tuple(groups),
    )


class _Priced(NamedTuple):
    """Strikes of N accounts as Black-Scholes sees them; [D, N], but spot [N]."""

    spot: torch.Tensor
    shares: torch.Tensor  # S'
    cash: torch.Tensor  # K'
    money: torch.Tensor  # ln(F / K)
    width: torch.Tensor  # total standard deviation / sqrt 2
    value: torch.Tensor  # P
    share: torch.Tensor  # S' erf(d1 / sqrt 2): half the delta's part that both rights share, in currency
    vega: torch.Tensor  # per 1.00 of vol
    half_spread: torch.Tensor  # the surface's, of a call and of a put


def write_units(
    out: torch.Tensor,
    world: GeneratedWorld,
    at: Standing,
    available: torch.Tensor,
    templates: TemplateTables,
    lots: Lots,
    config: EnvConfig,
) -> None:
    """Write the unit columns of the packages of N accounts into `out` [N, A, C], in its dtype.

    Shapes:  available [A, N]: whether all legs of a package are listed
    Assumes: cells size orders and fill none, so that the money dtype is exact enough for their prices
    """
    strike = at.cells.strike * at.point.strike_step.to(out.dtype)
    priced = _priced(world, at, strike, lots)
    half_value = priced.shares - priced.cash
    mark = (
        priced.value.index_select(0, lots.strike_G)
        .addcmul_(lots.right_G1, half_value.index_select(0, lots.strike_G))
        .clamp_(min=LEAST_PRICE)
    )
    half = world.half_spread(mark, priced.half_spread.index_select(0, lots.strike_G))
    buy, sell = fill_prices(mark - half, mark + half, config)
    premium = lots.sold_AG @ sell
    debit = lots.bought_AG @ buy - premium
    # w S' + S' erf(d1 / sqrt 2) = S delta
    delta = priced.share.index_select(0, lots.strike_G).addcmul_(
        lots.right_G1, priced.shares.index_select(0, lots.strike_G)
    )
    delta /= priced.spot
    sums = LegSums(
        debit=debit,
        slippage=debit - lots.signed_AG @ mark,
        call_notional=lots.sold_calls_AG @ strike,
        put_notional=lots.sold_puts_AG @ strike,
        premium=premium,
        delta=lots.signed_AG @ delta,
        gross=lots.traded_AG @ delta.abs(),
        vega=lots.signed_AD @ priced.vega,
        multiplier=strike.new_full((), world.instrument.multiplier),
        available=available,
    )
    _write_scenarios(out[..., col.UNIT_CRASH :], priced, lots, config)
    groups = [group.of(strike) for group in lots.groups]
    price_units(out, sums, groups, templates, lots.shares_A1, priced.spot, config)


def _priced(world: GeneratedWorld, at: Standing, strike: torch.Tensor, lots: Lots) -> _Priced:
    """Of the cells' strikes [G, N], each once."""
    state = PathState(*(field.to(strike.dtype) for field in at.point.state))
    cells = (at.cells.tte, at.cells.vol, at.cells.deviations, strike)
    tte, vol, deviations, strike = (of.index_select(0, lots.cell_D) for of in cells)
    root = torch.sqrt(tte)
    shares = 0.5 * state.spot * torch.exp(-state.dividend_yield * tte)
    cash = 0.5 * strike * torch.exp(-state.rate * tte)
    money = torch.log(shares / cash)
    width = (math.sqrt(0.5) * vol * root).clamp_(min=_LEAST_WIDTH)
    d1 = torch.addcmul(0.5 * width, money, 0.5 / width)
    vega = (2.0 * INV_SQRT_2PI) * shares * root * torch.exp(-d1 * d1)
    share = shares * torch.erf(d1)
    value = share - cash * torch.erf(d1 - width)
    half_spread = 0.5 * world.surface.vol_spread(state, tte, deviations) * vega
    return _Priced(state.spot, shares, cash, money, width, value, share, vega, half_spread)


def _write_scenarios(out: torch.Tensor, priced: _Priced, lots: Lots, config: EnvConfig) -> None:
    """The profit of one unit in the crash and each scenario into `out` [N, A, 1 + S]; one scenario stays cached."""
    n_strikes = len(priced.money)
    # what a package's quantities are multiplied with: the change of P in the scenario, and what moves with the spot
    moved = [*(shares[:1] for shares in priced.shares.split(_OF_TENOR)), priced.spot[None]]
    values = torch.cat([priced.value, *moved])
    owed, minus_value = -priced.cash, -priced.value
    both = owed.new_empty(2, *owed.shape)
    first, second = both
    scan = spot_moves(config)
    moves, shocks = ([config.crash_move], scan, scan), vol_factors(config)
    columns = out.permute(2, 1, 0)
    if torch.compiler.is_compiling():
        columns.copy_(_scenarios_at_once(priced, torch.cat(moved), lots, config))
        return
    place = 0
    for shock, points in zip(shocks, moves, strict=True):
        width = (shock * priced.width).clamp_(min=_LEAST_WIDTH)
        slope = 0.5 / width
        centre = torch.addcmul(0.5 * width, priced.money, slope)
        for move in points:
            torch.add(centre, slope, alpha=math.log1p(move), out=first)
            torch.sub(first, width, out=second)
            both.erf_()
            torch.addcmul(minus_value, second, owed, out=second)
            torch.addcmul(second, first, priced.shares, value=1.0 + move, out=values[:n_strikes])
            torch.mm(lots.scan_SAK[place], values, out=columns[place])
            place += 1


def _scenarios_at_once(priced: _Priced, moved: torch.Tensor, lots: Lots, config: EnvConfig) -> torch.Tensor:
    """What `_write_scenarios` writes [1 + S, A, N], for a compiler: one loop over all scenarios and one product."""
    points = price_points(config, moved.dtype, moved.device)[:, None, None]
    changes = []
    for shock, move in zip(vol_factors(config), (points[:1], points[1:], points[1:]), strict=True):
        width = (shock * priced.width).clamp(min=_LEAST_WIDTH)
        first = 0.5 * width + (priced.money + torch.log1p(move)) * (0.5 / width)
        value = priced.shares * (1.0 + move) * torch.erf(first) - priced.cash * torch.erf(first - width)
        changes.append(value - priced.value)
    both = torch.cat(changes)
    return torch.bmm(lots.scan_SAK, torch.cat([both, moved.expand(len(both), -1, -1)], dim=1))
