"""The risk budget: how much of its equity an account may have at work, whatever margin would allow.

    net exposure     |shares + sum(weight x delta)| x S             <= max_net_exposure   x equity
    gross exposure   (|shares| + sum |weight x delta|) x S          <= max_gross_exposure x equity
    crash loss       V(S, vol) - V(S (1 + crash), vol (1 + shock))  <= max_crash_loss     x equity
    vega             |sum(weight x vega)| x 0.01                    <= max_vega           x equity
    premium sold     of options sold to open, in a stretch          <= max_premium_sold   x equity

weight = contracts x multiplier. The first three hold at every decision: the mask sizes actions to `budget_headroom` of
them, an order that would exceed them is rejected, and a book that the market moved beyond them is brought back. The
last two cap what is opened and nothing else. Stretches are PREMIUM_SESSIONS long and do not roll: what fills at the
ages 0 .. 20 of an account is one, what fills at 21 .. 41 the next.
"""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import Book
from clstm_core.env.fills import share_fee, share_half_spread
from clstm_core.env.state import Holdings, holds_any
from clstm_core.once import made_once

PREMIUM_SESSIONS = 21
"""Premium sold is counted from each multiple of so many snapshots of an episode's age, the age at the fill."""

POINT = 0.01
"""One point of implied vol."""

ROUNDING = 1e-6
"""Share of a cap that rounding may add to a use of it."""

MOST = 100.0
"""Largest use that is written down, in shares of equity, and the one of a book that has no equity."""

LIMITS = (
    "risk",
    "short calls' strikes",
    "short puts' strikes",
    "net long",
    "net short",
    "gross, shares long",
    "gross, shares short",
    "crash",
    "long vega",
    "short vega",
    "premium",
)
"""What bounds the size of an action, each linear in the units of a package: the columns `columns.UNIT_LIMITS`. The
first three are those of a trade and of what may be assigned; the others are the budget's, from either side."""

NEXT_TO_NOTHING, LEAST_ROOM = 1e-20, 1e-9
"""Currency: what a unit takes of a limit that it makes room in, and the room that is never lacking for that."""


LEAST_PER_SHARE = 0.25
"""Of its price: what a share sold takes off an exposure at least, so that the sign stays however dear it is to sell."""


class _Caps(NamedTuple):
    """Caps, in shares of equity.

    limits: what an action may use of each of LIMITS at its decision
    rounded: net, gross exposure and crash loss [3], a little above their caps
    at_fill: these, vega and premium sold [5], of a book whose order fills, before shares are trimmed
    exact, per_spot, per_share: the caps on net and gross [2], and what each share sold takes off what exceeds them:
                                spot x per_spot - per_share, at least LEAST_PER_SHARE x spot
    """

    limits: torch.Tensor
    rounded: torch.Tensor
    at_fill: torch.Tensor
    exact: torch.Tensor
    per_spot: torch.Tensor
    per_share: torch.Tensor


@made_once
def _caps(config: EnvConfig, dtype: torch.dtype, device: torch.device) -> _Caps:
    """Made once, where the first accounts stand: a step may neither wait for the device nor be compiled with them."""
    net, gross = config.max_net_exposure, config.max_gross_exposure
    loss, vega, premium = config.max_crash_loss, config.max_vega, config.max_premium_sold
    # an order decided at its cap may find the market moved; shares are trimmed in the step that fills it
    grown = 1.0 / config.budget_headroom if config.fill_lag else 1.0
    exact = torch.tensor([net, gross], dtype=torch.float64)
    sides = [config.budget_headroom * cap for cap in (net, net, gross, gross, loss, vega, vega, premium)]
    tensors = (
        torch.tensor(
            [config.risk_fraction, config.assignable_fraction, config.assignable_fraction, *sides], dtype=torch.float64
        ),
        (1.0 + ROUNDING) * torch.tensor([net, gross, loss], dtype=torch.float64),
        (1.0 + ROUNDING) * torch.tensor([net * grown, gross * grown, loss, vega, premium], dtype=torch.float64),
        exact,
        1.0 - exact * share_half_spread(config),
        exact * config.commission_per_share_usd,
    )
    return _Caps(*(t.to(device, dtype) for t in tensors))


def taken(book: Book, shares: torch.Tensor, premium_sold: torch.Tensor) -> torch.Tensor:
    """What books take of the budget: net, gross exposure, crash loss, vega per point, premium sold [N, 5].

    Units: currency; a book that gains in the crash has a negative loss
    """
    gross = (book.option_gross + shares.abs()) * book.spot
    vega = POINT * book.sums[:, col.VEGA]
    return torch.stack([(book.delta * book.spot).abs(), gross, -book.crash, vega.abs(), premium_sold], dim=1)


def still_counted(premium_sold: torch.Tensor, age: torch.Tensor, config: EnvConfig) -> torch.Tensor:
    """What of the premium sold by accounts [N] of an age [N] counts against the orders that they decide next.

    Nothing where these fill at a multiple of PREMIUM_SESSIONS: the mask and the fill look at the stretch of the fill.
    """
    return torch.where((age + config.fill_lag) % PREMIUM_SESSIONS == 0, 0.0, premium_sold)


def of_equity(use: torch.Tensor, equity: torch.Tensor) -> torch.Tensor:
    """A use as a share of equity, from 0 to MOST; MOST where something is used and no equity is left."""
    share = (use / equity).clamp(min=0.0, max=MOST)
    return torch.where(equity > 0, share, torch.where(use > 0, MOST, 0.0))


def over_budget(book: Book, holdings: Holdings, config: EnvConfig) -> torch.Tensor:
    """Whether books [N] take more of net, gross exposure or crash loss than they may; nothing held takes none."""
    use = taken(book, holdings.shares, book.spot)[:, :3]
    caps = _caps(config, use.dtype, use.device).rounded
    return (use > book.equity[:, None] * caps).any(dim=1) & holds_any(holdings)


def unit_sides(
    spot: torch.Tensor,
    delta: torch.Tensor,
    gross: torch.Tensor,
    shares: torch.Tensor,
    crash: torch.Tensor,
    vega: torch.Tensor,
    premium: torch.Tensor,
    cost: torch.Tensor,
    config: EnvConfig,
) -> list[torch.Tensor]:
    """What one unit of a package takes of the budget, from each side, with what its cost takes off the caps; any shape.

    Units: delta, gross and shares in shares, those of options without the package's own; crash the profit of the unit
           in it, shares included; vega per 1.00 of vol; the result in currency
    """
    held = shares * spot
    net, gross, vega = delta * spot + held, gross * spot, POINT * vega
    sides = (net, -net, gross + held, gross - held, -crash, vega, -vega, premium)
    caps = _caps(config, cost.dtype, cost.device).limits[-len(sides) :].unbind()
    taken = (torch.addcmul(side, cost, cap) for side, cap in zip(sides, caps, strict=True))
    return [side.clamp(min=NEXT_TO_NOTHING) for side in taken]


def room_for(book: Book, shares: torch.Tensor, premium_sold: torch.Tensor, config: EnvConfig) -> torch.Tensor:
    """What books leave of each of LIMITS for an action, in currency [N, len(LIMITS)]."""
    net, vega = book.delta * book.spot, POINT * book.sums[:, col.VEGA]
    gross, held = book.option_gross * book.spot, shares * book.spot
    assignable = (book.short_call_notional, book.short_put_notional)
    sides = (net, -net, gross + held, gross - held, -book.crash, vega, -vega, premium_sold)
    taken = torch.stack([torch.zeros_like(net), *assignable, *sides], dim=1)
    caps = _caps(config, net.dtype, net.device).limits
    return (book.equity[:, None] * caps - taken).clamp(min=LEAST_ROOM)


def most_units(room: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Largest size [N, A], not yet whole, at which each of LIMITS still holds after the trade.

        use + size x unit <= headroom x cap x equity after costs

    Shapes:  room [N, limits] of `room_for`; unit [N, A, limits]
    Assumes: what lowers a use is welcome at any size, whether or not that use is within its cap
    """
    return (room[:, None, :] / unit).amin(dim=-1)


def units_alone(
    facts: torch.Tensor, quantity: torch.Tensor, spot: torch.Tensor, equity: torch.Tensor, config: EnvConfig
) -> torch.Tensor:
    """Largest size [N], not yet whole, of a package of options that an account which holds nothing leaves room for.

    Shapes: facts [N, P, C] of the contracts, quantity [P] of each per unit; spot, equity [N]
    """
    weight = quantity * facts[..., col.MULTIPLIER]
    sums = (weight[..., None] * facts).sum(dim=1)
    delta = weight * facts[..., col.DELTA]
    premium = ((-weight).clamp(min=0.0) * facts[..., col.SELL]).sum(dim=1)
    none = torch.zeros_like(spot)
    gross, crash, vega = delta.abs().sum(dim=1), sums[:, col.CRASH], sums[:, col.VEGA]
    sides = unit_sides(spot, delta.sum(dim=1), gross, none, crash, vega, premium, none, config)
    room = equity[:, None] * _caps(config, equity.dtype, equity.device).limits[-len(sides) :]
    return (room.clamp(min=LEAST_ROOM) / torch.stack(sides, dim=1)).amin(dim=1)


def may_hedge(
    book: Book, shares: torch.Tensor, trade: torch.Tensor, crash: torch.Tensor, equity: torch.Tensor, config: EnvConfig
) -> torch.Tensor:
    """Whether a hedge [N] leaves room or makes some: it takes delta out, so that net exposure needs no asking.

    Args:
        trade: shares bought; crash, equity: of the book after it
    """
    after = shares + trade
    gross = (book.option_gross + after.abs()) * book.spot
    headroom = config.budget_headroom
    lighter = (after.abs() <= shares.abs()) | (gross <= headroom * config.max_gross_exposure * equity)
    return lighter & ((crash >= book.crash) | (-crash <= headroom * config.max_crash_loss * equity))


def may_fill(
    after: Holdings,
    candidate: Book,
    held: Holdings,
    book: Book,
    premium: torch.Tensor,
    premium_sold: torch.Tensor,
    config: EnvConfig,
) -> torch.Tensor:
    """Whether the budget lets orders [N] fill: their book keeps every cap, or they raise no use that exceeds one.

    With a fill lag the market moves between decision and fill, so that a book may exceed its exposures by
    1 / budget_headroom where trimming its shares, which the same step does, is a cure.

    Args:
        after, candidate: the book with the order; held, book: without it
        premium: of the order's own sales to open; premium_sold: before it
    """
    was, use = taken(book, held.shares, premium_sold), taken(candidate, after.shares, premium_sold + premium)
    raised = use > was
    broken = raised & (use > candidate.equity[:, None] * _caps(config, use.dtype, use.device).at_fill)
    if config.fill_lag:
        uncured = raised[:, :3] & trim(candidate, after.shares, config).over
        return ~(broken.any(dim=1) | uncured.any(dim=1))
    return ~broken.any(dim=1)


class Trim(NamedTuple):
    """Shares [N] to trade, and whether that leaves net, gross exposure and crash loss above their caps [N, 3]."""

    shares: torch.Tensor
    over: torch.Tensor


def trim(book: Book, shares: torch.Tensor, config: EnvConfig) -> Trim:
    """The fewest whole shares that bring net and gross exposure back to their caps, out of those that are held.

        use - n S = cap x (equity - n x cost of a share)

    Assumes: shares that offset the options are traded for the gross exposure's sake alone
    """
    caps = _caps(config, book.spot.dtype, book.spot.device)
    spot, side, held = book.spot, shares.sign(), shares.abs()
    net, gross = book.delta * spot, (book.option_gross + held) * spot
    excess = torch.stack([net * side, gross], dim=1) - book.equity[:, None] * caps.exact
    off = torch.addcmul(-caps.per_share, spot[:, None], caps.per_spot)
    needed = (excess / torch.maximum(off, LEAST_PER_SHARE * spot[:, None])).amax(dim=1)
    count = torch.minimum(torch.ceil(needed).clamp(min=0.0), held)
    traded, value = -count * side, count * spot
    moved = traded * spot
    equity = book.equity - value * share_half_spread(config) - share_fee(count, config)
    crash = torch.add(book.crash, moved, alpha=config.crash_move)
    left = torch.stack([(net + moved).abs(), gross - value, -crash], dim=1)
    return Trim(traded, left > equity[:, None] * caps.rounded)
