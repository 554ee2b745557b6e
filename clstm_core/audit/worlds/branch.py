"""One step branched over every state of tomorrow: quadrature nodes for the spot, a market with one history per node.

A martingale in a Black-Scholes world is an integral over one normal variable. Between two strikes that settle
tomorrow every portfolio is a smooth function of it, so Gauss-Legendre nodes on pieces split at those strikes give the
expectation to more digits than money has.
"""

import math
from itertools import pairwise

import numpy as np
import torch

from clstm_core.market.tensors import MarketTensors
from clstm_core.options.black_scholes import greeks

REACH = 8.5
"""Standard deviations that the nodes cover; what lies beyond weighs 2e-17."""


def spot_nodes(
    spot: float, carry: float, vol: float, dt_years: float, kinks: list[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Tomorrow's spots and their probabilities in a Black-Scholes world.

        S' = S exp((carry - vol^2 / 2) dt + vol sqrt(dt) z),   sum(w f(S')) = E[f(S')]

    Shapes:  both [M] float64; the weights sum to 1 within 1e-12
    Units:   carry = rate - dividend yield and vol are fractions per year
    Assumes: f is smooth between neighbouring kinks (strikes that settle tomorrow)
    """
    deviation = vol * math.sqrt(dt_years)
    drift = (carry - 0.5 * vol * vol) * dt_years
    inside = sorted({(math.log(k / spot) - drift) / deviation for k in kinks if k > 0})
    edges = [-REACH, *(z for z in inside if -REACH < z < REACH), REACH]
    z, weight = [], []
    for low, high in pairwise(edges):
        if high - low < 1e-12:
            continue
        node, share = np.polynomial.legendre.leggauss(4 + math.ceil(4.0 * (high - low)))
        z.append(0.5 * (high - low) * node + 0.5 * (high + low))
        weight.append(0.5 * (high - low) * share)
    z_M, weight_M = np.concatenate(z), np.concatenate(weight)
    density = np.exp(-0.5 * z_M**2) / math.sqrt(2.0 * math.pi)
    return spot * np.exp(drift + deviation * z_M), weight_M * density


def branch_market(market: MarketTensors, t: int, spot_M: np.ndarray, vol: float, half_spread: float) -> MarketTensors:
    """A market of M histories of two snapshots: history k is snapshot t, then t + 1 at spot_M[k].

    Snapshot t is at index 2k and t + 1 at 2k + 1. Row j of snapshot t is at `branch_row(market, t, k, j)`. Every quote
    is the Black-Scholes price under `vol` with a symmetric, unrounded spread of half_spread x price per side.

    Assumes: contracts that settle at t + 1 are taken to do so at its spot; snapshot t is no segment's end; its rate and
             dividend yield hold for the step
    """
    m = len(spot_M)
    first, last = int(market.row_offset_T1[t]), int(market.row_offset_T1[t + 1])
    contract = market.row_contract_Q[first:last]
    settles = market.settle_index_K[contract] == t + 1
    alive = (~settles).nonzero().squeeze(1)
    now, later, spot_M_t = len(contract), len(alive), torch.from_numpy(spot_M)
    strike, right = market.strike_K[contract], market.right_K[contract]
    multiplier = market.multiplier_K[contract]
    rate, dividend_yield = market.rate_T[t], market.dividend_yield_T[t]
    clock = market.time_years_T[t : t + 2]
    # what settles tomorrow does so at tomorrow's spot here, so that is when it expires, at an open or at a close
    tte = torch.where(settles, clock[1] - clock[0], market.tte_years_Q[first:last])
    vol_t = torch.tensor(vol, dtype=torch.float64)
    today = greeks(market.spot_T[t], strike, tte, vol_t, rate, dividend_yield, right)
    tomorrow = greeks(
        spot_M_t[:, None], strike[alive], tte[alive] - (clock[1] - clock[0]), vol_t, rate, dividend_yield, right[alive]
    )

    def pairs(head: torch.Tensor, tail: torch.Tensor) -> torch.Tensor:
        """[now] repeated and [later] or [M, later] interleaved as the rows of M pairs."""
        head, tail = head.expand(m, now), tail.expand(m, later)
        return torch.cat([head, tail], dim=1).reshape(-1)

    k = torch.arange(m)[:, None]
    start = k * (now + later)
    next_now = torch.full((now,), -1)
    next_now[alive] = now + torch.arange(later)
    next_row = torch.cat([torch.where(next_now < 0, -1, start + next_now), torch.full((m, later), -1)], dim=1).reshape(
        -1
    )
    price = pairs(today.price, tomorrow.price)
    grid = market.grid_row_TG[t]
    grid_now = torch.where(grid < 0, -1, start + (grid - first))
    grid_later = torch.where(grid < 0, -1, start + next_now[(grid - first).clamp(min=0)])
    grid_later = torch.where(next_now[(grid - first).clamp(min=0)] < 0, -1, grid_later)
    copies = lambda x: x.repeat(m)  # noqa: E731
    value = torch.clamp(right * (spot_M_t[:, None] - strike), min=0.0)
    two = torch.arange(2 * m)
    counts = torch.tensor([now, later]).repeat(m)
    true = torch.ones(m * (now + later), dtype=torch.bool)
    return MarketTensors(
        snapshot_T=market.snapshot_T[t : t + 2].repeat(m),
        time_years_T=clock.repeat(m),
        spot_T=torch.stack([market.spot_T[t].expand(m), spot_M_t], dim=1).reshape(-1),
        rate_T=rate.repeat(2 * m),
        dividend_yield_T=dividend_yield.repeat(2 * m),
        features_TF=market.features_TF[t : t + 1].repeat(2 * m, 1),
        segment_end_T=two % 2 == 1,
        row_offset_T1=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        grid_row_TG=torch.stack([grid_now, grid_later], dim=1).reshape(2 * m, -1),
        row_snapshot_Q=pairs(2 * k, 2 * k + 1),
        row_contract_Q=pairs(k * now + torch.arange(now), k * now + alive),
        next_row_Q=next_row,
        bid_Q=price * (1 - half_spread),
        ask_Q=price * (1 + half_spread),
        mark_Q=price,
        can_buy_Q=price > 0,
        can_sell_Q=price > 0,
        stale_Q=~true,
        implied_vol_Q=torch.full_like(price, vol),
        tte_years_Q=pairs(tte, tte[alive] - (clock[1] - clock[0])),
        delta_Q=pairs(today.delta, tomorrow.delta),
        gamma_Q=pairs(today.gamma, tomorrow.gamma),
        vega_Q=pairs(today.vega, tomorrow.vega),
        theta_Q=pairs(today.theta, tomorrow.theta),
        rho_Q=pairs(today.rho, tomorrow.rho),
        contract_id_KB=market.contract_id_KB[contract].repeat(m, 1),
        strike_K=copies(strike),
        right_K=copies(right),
        multiplier_K=copies(multiplier),
        expiration_K=copies(market.expiration_K[contract]),
        settle_index_K=torch.where(settles, 2 * k + 1, 2 * m).reshape(-1),
        settle_value_K=torch.where(settles, value, torch.nan).reshape(-1),
        info={**market.info, "splits": {"train": [0, 2 * m]}},
    )


def branch_row(market: MarketTensors, t: int, k: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Rows of snapshot t as rows of history k's first snapshot in `branch_market`; -1 stays -1. Broadcasts."""
    first, last = int(market.row_offset_T1[t]), int(market.row_offset_T1[t + 1])
    contract = market.row_contract_Q[first:last]
    later = int((market.settle_index_K[contract] != t + 1).sum())
    return torch.where(row < 0, -1, k * (last - first + later) + (row - first))
