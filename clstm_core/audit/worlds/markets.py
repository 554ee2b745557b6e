"""Markets to prove things on: a stretch of the given one, the same with holes, with an altered future, and P = Q."""

import dataclasses
from typing import Any

import torch

from clstm_core.config import MarketConfig
from clstm_core.market.tensors import MarketTensors
from clstm_core.options.black_scholes import price


def fair_world(market: MarketTensors, n_snapshots: int, seed: int = 0) -> MarketTensors:
    """A simulated P = Q world with the tenor targets of `market`: no strategy earns anything in it before costs."""
    from clstm_core.market.build.simulated import simulated_market

    config = MarketConfig(
        source="simulated",
        premium=False,
        near_days=float(market.info.get("near_days", 30.0)),
        far_days=float(market.info.get("far_days", 60.0)),
        n_snapshots=n_snapshots,
        seed=seed,
    )
    return whole(simulated_market(config, embargo=0))


def pricing_vol(market: MarketTensors) -> float:
    """The one volatility of a Black-Scholes world, from its at-the-money quotes."""
    near = (market.delta_Q.abs() > 0.3) & (market.delta_Q.abs() < 0.7) & ~market.stale_Q
    return float(market.implied_vol_Q[near].median())


def with_info(market: MarketTensors, **facts: Any) -> MarketTensors:
    """The same tensors with some facts replaced."""
    return dataclasses.replace(market, info={**market.info, **facts})


def whole(market: MarketTensors) -> MarketTensors:
    """The market with all of its snapshots as the train window."""
    return with_info(market, splits={"train": [0, market.n_snapshots]})


def between(market: MarketTensors, start: int, stop: int) -> MarketTensors:
    """Snapshots [start, stop) as a market of their own; contracts that settle later stay open at its end."""
    rows = slice(int(market.row_offset_T1[start]), int(market.row_offset_T1[stop]))
    used, contract = torch.unique(market.row_contract_Q[rows], return_inverse=True)
    length = stop - start
    moved: dict[str, Any] = {}
    for name, tensor in market.tensors().items():
        axis = name.rsplit("_", 1)[1]
        if axis == "Q":
            moved[name] = tensor[rows].clone()
        elif axis in ("K", "KB"):
            moved[name] = tensor[used].clone()
        elif axis == "T1":
            moved[name] = tensor[start : stop + 1] - rows.start
        else:
            moved[name] = tensor[start:stop].clone()
    moved["row_contract_Q"] = contract
    moved["row_snapshot_Q"] -= start
    moved["next_row_Q"] = torch.where(
        (moved["next_row_Q"] < 0) | (moved["row_snapshot_Q"] == length - 1), -1, moved["next_row_Q"] - rows.start
    )
    moved["grid_row_TG"] = torch.where(moved["grid_row_TG"] < 0, -1, moved["grid_row_TG"] - rows.start)
    later = moved["settle_index_K"] >= stop
    moved["settle_index_K"] = torch.where(later, length, moved["settle_index_K"] - start)
    moved["settle_value_K"] = torch.where(later, torch.nan, moved["settle_value_K"])
    moved["segment_end_T"][-1] = True
    return MarketTensors(**moved, info={**market.info, "splits": {"train": [0, length]}})


def stretch(market: MarketTensors, length: int) -> MarketTensors:
    """At most `length` snapshots from the end of the train window, or of all where there is none."""
    start, stop = market.info.get("splits", {}).get("train", (0, market.n_snapshots))
    if stop - start < 2:
        start, stop = 0, market.n_snapshots
    return between(market, max(int(start), int(stop) - length), int(stop))


def with_holes(market: MarketTensors, seed: int, share: float = 0.04) -> MarketTensors:
    """The market with some rows unquoted (stale, marked from their vol) and some with a zero bid.

    A cell of the grid that pointed at such a row points at nothing, as a builder would have it.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(market.n_rows, generator=generator)
    stale = market.stale_Q | (draw < share)
    no_bid = ~stale & (draw > 1 - share)
    contract, snapshot = market.row_contract_Q, market.row_snapshot_Q
    model = price(
        market.spot_T[snapshot],
        market.strike_K[contract],
        market.tte_years_Q,
        market.implied_vol_Q,
        market.rate_T[snapshot],
        market.dividend_yield_T[snapshot],
        market.right_K[contract],
    )
    bid = torch.where(stale | no_bid, 0.0, market.bid_Q)
    ask = torch.where(stale, 0.0, market.ask_Q)
    grid = market.grid_row_TG
    lost = (stale | no_bid)[grid.clamp(min=0)]
    return dataclasses.replace(
        market,
        bid_Q=bid,
        ask_Q=ask,
        mark_Q=torch.where(market.stale_Q, market.mark_Q, torch.where(stale, model, 0.5 * (bid + ask))),
        can_buy_Q=market.can_buy_Q & ~stale,
        can_sell_Q=market.can_sell_Q & ~stale & ~no_bid,
        stale_Q=stale,
        grid_row_TG=torch.where((grid >= 0) & lost, -1, grid),
    )


FUTURES = ("crash", "melt_up", "gone", "not_a_number")


def with_altered_future(market: MarketTensors, t: int, kind: str) -> MarketTensors:
    """The same market up to and including snapshot t; everything after it is another, extreme one.

    crash and melt_up scale every price, gone leaves nothing quoted, not_a_number poisons every number. Contracts that
    settle later do so for a thousand times their strike.
    """
    row_after = market.row_snapshot_Q > t
    after = torch.arange(market.n_snapshots) > t
    settles_after = market.settle_index_K > t
    scale = {"crash": 0.01, "melt_up": 100.0, "gone": 1.0, "not_a_number": float("nan")}[kind]

    def scaled(tensor: torch.Tensor, where: torch.Tensor, factor: float) -> torch.Tensor:
        where = where.view(-1, *([1] * (tensor.dim() - 1)))
        return torch.where(where, (tensor * factor).to(tensor.dtype), tensor)

    changed: dict[str, Any] = {
        "spot_T": scaled(market.spot_T, after, scale),
        "rate_T": scaled(market.rate_T, after, -scale),
        "dividend_yield_T": scaled(market.dividend_yield_T, after, -scale),
        "features_TF": torch.where(after[:, None], scale * 1e3, market.features_TF),
        "settle_value_K": torch.where(settles_after, 1e3 * market.strike_K, market.settle_value_K),
    }
    for name in ("bid_Q", "ask_Q", "mark_Q", "implied_vol_Q", "delta_Q", "gamma_Q", "vega_Q", "theta_Q", "rho_Q"):
        changed[name] = scaled(getattr(market, name), row_after, scale)
    if kind == "gone":
        changed["can_buy_Q"] = market.can_buy_Q & ~row_after
        changed["can_sell_Q"] = market.can_sell_Q & ~row_after
        changed["stale_Q"] = market.stale_Q | row_after
        changed["bid_Q"] = torch.where(row_after, 0.0, market.bid_Q)
        changed["ask_Q"] = torch.where(row_after, 0.0, market.ask_Q)
        changed["grid_row_TG"] = torch.where(after[:, None], -1, market.grid_row_TG)
    return dataclasses.replace(market, **changed)
