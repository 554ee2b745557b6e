"""Random trading: legal actions, wild orders and modest ones."""

import torch

from clstm_core.audit.sessions.records import before
from clstm_core.audit.sessions.scene import AuditedEnv
from clstm_core.env.state import Orders
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import CLOSE_ALL, FIRST_TEMPLATE, HEDGE_DELTA, MAX_LEGS, PACKAGE_LEGS


def random_actions(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Legal actions [N]: holding more often than trading, opening more often than closing or hedging."""
    weight = torch.full(mask.shape[1:], 1.0, dtype=torch.float64)
    weight[0], weight[CLOSE_ALL], weight[HEDGE_DELTA] = 6.0, 1.5, 2.0
    weight[FIRST_TEMPLATE:] = 0.5
    return torch.multinomial(weight * mask.cpu(), 1, generator=generator).squeeze(1)


def wild_orders(env: AuditedEnv, market: MarketTensors, generator: torch.Generator) -> Orders:
    """Orders that no policy would place: naked shorts at the limit of the budget or of margin, shares on credit, shares
    sold short, contracts about to expire, one-sided and stale rows, several things at once."""
    n = env.n_envs
    orders = Orders.none(n)
    state = before(env)
    spot = market.spot_T[state.snapshot]
    lots = (state.equity.double() / (100.0 * spot)).clamp(min=0.1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    first, last = market.row_offset_T1[state.snapshot], market.row_offset_T1[state.snapshot + 1]
    count = (last - first).clamp(min=1)
    # contracts are numbered by first appearance: old ones, near expiry, come first and are drawn more often
    row = first[:, None] + (draw(n, PACKAGE_LEGS) ** 2 * count[:, None]).long()
    kind = draw(n)
    trades = ((kind < 0.45) & (last > first))[:, None]
    wanted = torch.arange(PACKAGE_LEGS) < torch.randint(1, PACKAGE_LEGS + 1, (n, 1), generator=generator)
    worth = market.multiplier_K[market.row_contract_Q[row.clamp(max=market.n_rows - 1)]] / 100.0
    size = torch.exp(draw(n, PACKAGE_LEGS) * 6.0 - 4.0) * lots[:, None] / worth
    sign = torch.where(draw(n, PACKAGE_LEGS) < 0.6, -1.0, 1.0)
    # one short option to the brim, from an empty book: the budget allows about once the equity, margin about 11 times
    bold = draw(n, 1) < 0.5
    naked = (kind >= 0.76) & (kind < 0.84) & (last > first)
    brimful = torch.where(bold, 8.0 + 4.0 * draw(n, 1), 0.6 + 0.8 * draw(n, 1))
    size = torch.where(naked[:, None], lots[:, None] * brimful / worth, size)
    sign = torch.where(naked[:, None], -1.0, sign)
    wanted = torch.where(naked[:, None], torch.arange(PACKAGE_LEGS) == 0, wanted)
    trades = trades | naked[:, None]
    quantity = (sign * size.ceil()).long() * wanted * trades
    held = (state.leg_quantity != 0).sum(dim=1)
    slots = torch.where(
        (draw(n) < 0.1) | naked, PACKAGE_LEGS, MAX_LEGS - held
    )  # mostly what fits, now and then too much
    quantity = quantity * (torch.arange(PACKAGE_LEGS) < slots[:, None])
    with_shares = ((kind >= 0.45) & (kind < 0.57)) | (draw(n) < 0.05)
    shares = (with_shares * 100.0 * lots * (draw(n) * 6.0 - 2.5)).round().long()
    # to the brim, from an empty book: the budget allows the equity itself, the margin scan about 12 times as much long,
    # and 16 times short
    brim = (kind >= 0.71) & (kind < 0.76)
    on_margin = torch.where(draw(n) < 0.6, 10.0 + 2.2 * draw(n), -13.0 - 3.0 * draw(n))
    on_budget = torch.where(draw(n) < 0.6, 1.0, -1.0) * (0.94 + 0.2 * draw(n))
    leverage = torch.where(bold[:, 0], on_margin, on_budget)
    shares = torch.where(brim, (100.0 * lots * leverage).round().long(), shares)
    orders.leg_row_NP.copy_(torch.where(quantity != 0, row, -1))
    orders.leg_quantity_NP.copy_(quantity)
    orders.share_quantity_N.copy_(shares)
    orders.hedge_N.copy_(((kind >= 0.57) & (kind < 0.65)) | (draw(n) < 0.05))
    orders.close_all_N.copy_(((kind >= 0.65) & (kind < 0.71)) | brim | naked | (draw(n) < 0.03))
    return orders


def modest_orders(env: AuditedEnv, market: MarketTensors, generator: torch.Generator) -> Orders:
    """A few contracts and shares each way, never more legs than fit: orders that always may be held."""
    n = env.n_envs
    state = before(env)
    orders = Orders.none(n)

    def chance(share: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) < share

    first, last = market.row_offset_T1[state.snapshot], market.row_offset_T1[state.snapshot + 1]
    row = first[:, None] + (torch.rand(n, PACKAGE_LEGS, generator=generator) * (last - first)[:, None]).long()
    free = MAX_LEGS - (state.leg_quantity != 0).sum(dim=1)
    wanted = (torch.arange(PACKAGE_LEGS) < free[:, None].clamp(max=2)) & chance(0.5, n, 1) & (last > first)[:, None]
    quantity = torch.randint(1, 6, (n, PACKAGE_LEGS), generator=generator)
    quantity = quantity * torch.where(chance(0.5, n, PACKAGE_LEGS), -1, 1) * wanted
    orders.leg_row_NP.copy_(torch.where(quantity != 0, row, -1))
    orders.leg_quantity_NP.copy_(quantity)
    orders.share_quantity_N.copy_(torch.randint(-400, 401, (n,), generator=generator) * chance(0.4, n))
    return orders
