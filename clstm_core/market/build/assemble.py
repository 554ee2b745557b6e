"""Canonical columns -> MarketTensors: the grid, the rows a book can hold, settlement, features and splits."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from clstm_core.config import MarketConfig
from clstm_core.market.build import features, grid
from clstm_core.market.build.columns import Contracts, PerSnapshot, Rows, read_columns, settlement_notes
from clstm_core.market.build.splits import fit_scaler, split_windows
from clstm_core.market.clock import DAY_NS, YEAR_NS
from clstm_core.market.tensors import MarketTensors, encode_contract_ids
from clstm_core.options import black_scholes
from clstm_core.options.implied_vol import implied_vol
from clstm_core.specs import CELL_INDEX, TENORS

SEGMENT_GAP_DAYS = 10.0
"""Snapshots farther apart than this belong to two histories; no position is carried across."""


def build_market_tensors(
    quotes: Mapping[str, np.ndarray],
    underlyings: Mapping[str, np.ndarray],
    rates: Mapping[str, np.ndarray],
    config: MarketConfig,
    *,
    embargo: int,
    info: dict[str, Any],
) -> MarketTensors:
    """Turn one source's canonical tables into tensors that a batched environment can trade.

    Shapes:  columns of schema.QUOTES, UNDERLYINGS and RATES, one-dimensional; times int64 UTC nanoseconds or
             datetime64; strings as objects. `underlyings` may begin before the first quote and may hold `parity_spot`,
             which then marks the book in place of `close`.
    Units:   embargo in snapshots (episode horizon + feature lookback)
    Raises:  MarketDataError for what this release cannot trade (American or physical contracts, several underlyings),
             for sessions or rates that are missing, and for duplicate rows
    Assumes: rows at or after their settlement are not tradable and are left out. A contract has rows from the first
             snapshot at which the grid points at it, whatever comes later, numbered in that order: no index at
             snapshot t depends on what follows t.
    """
    per, rows, contracts = read_columns(quotes, underlyings, rates, config)
    n_snapshots = len(per.snapshot)
    quoted = np.isfinite(rows.bid) & np.isfinite(rows.ask) & (rows.ask > 0) & (rows.ask >= rows.bid) & (rows.bid >= 0)
    two_sided = quoted & (rows.ask > rows.bid) & (rows.bid > 0)
    pointed = _grid(per, rows, contracts, np.flatnonzero(two_sided), config)

    segment_end, segment_stop = _segments(per.snapshot)
    life = _lives(pointed, rows, contracts, segment_stop)
    panel = _panel(life, rows, quoted, contracts, n_snapshots)
    values = _values(panel, rows, per, contracts)

    lookup = np.full(len(rows.snapshot) + 1, -1, dtype=np.int64)
    lookup[panel.source[panel.source >= 0]] = np.flatnonzero(panel.source >= 0)
    grid_row = lookup[pointed]
    features_TF = _features(per, grid_row, values, panel, config)

    windows = split_windows(per.snapshot.astype("datetime64[ns]").astype("datetime64[D]"), config, embargo)
    contract = panel.contracts
    facts = {
        "near_days": config.near_days,
        "far_days": config.far_days,
        **info,
        "notes": [*info.get("notes", ()), *settlement_notes(per, contracts)],
        "splits": {name: [int(start), int(stop)] for name, (start, stop) in windows.items()},
        "embargo": embargo,
    }
    facts.pop("scaler", None)
    if "train" in windows:
        facts["scaler"] = fit_scaler(features_TF, windows["train"])
    return MarketTensors(
        snapshot_T=torch.from_numpy(per.snapshot),
        time_years_T=torch.from_numpy((per.snapshot - per.snapshot[0]) / YEAR_NS),
        spot_T=torch.from_numpy(per.spot),
        rate_T=torch.from_numpy(per.rate),
        dividend_yield_T=torch.from_numpy(per.dividend_yield),
        features_TF=torch.from_numpy(features_TF),
        segment_end_T=torch.from_numpy(segment_end),
        row_offset_T1=torch.from_numpy(np.searchsorted(panel.snapshot, np.arange(n_snapshots + 1)).astype(np.int64)),
        grid_row_TG=torch.from_numpy(grid_row),
        row_snapshot_Q=torch.from_numpy(panel.snapshot),
        row_contract_Q=torch.from_numpy(panel.contract),
        next_row_Q=torch.from_numpy(panel.next_row),
        **values,
        contract_id_KB=encode_contract_ids(contracts.name[contract].tolist()),
        strike_K=torch.from_numpy(contracts.strike[contract]),
        right_K=torch.from_numpy(contracts.right[contract]),
        multiplier_K=torch.from_numpy(contracts.multiplier[contract]),
        expiration_K=torch.from_numpy(contracts.expiration[contract]),
        settle_index_K=torch.from_numpy(contracts.settle_index[contract]),
        settle_value_K=torch.from_numpy(contracts.settle_value[contract]),
        info=facts,
    )


def _grid(per: PerSnapshot, rows: Rows, contracts: Contracts, tradable: np.ndarray, config: MarketConfig) -> np.ndarray:
    """The row index [T, G] that each cell points at, -1 where none."""
    expiration, right = contracts.expiration[rows.contract[tradable]], contracts.right[rows.contract[tradable]]
    snapshot = rows.snapshot[tradable]
    tte = (expiration - per.snapshot[snapshot]) / YEAR_NS
    targets = {"near": config.near_days, "far": config.far_days}
    chosen = {
        tenor: grid.choose_expirations(
            snapshot,
            expiration,
            right,
            tte,
            len(per.snapshot),
            target_days=targets[tenor],
            tolerance=config.tenor_tolerance,
        )
        for tenor in TENORS
    }
    wanted = (expiration == chosen["near"][snapshot]) | (expiration == chosen["far"][snapshot])
    row, tte, snapshot = tradable[wanted], tte[wanted], snapshot[wanted]
    strike, side = contracts.strike[rows.contract[row]], right[wanted]
    spot, rate, carry = per.spot[snapshot], per.rate[snapshot], per.dividend_yield[snapshot]
    s, k, years, r, q, w = (torch.from_numpy(x) for x in (spot, strike, tte, rate, carry, side.astype(np.float64)))
    vol = _vol(rows, row, torch.from_numpy(0.5 * (rows.bid[row] + rows.ask[row])), s, k, years, r, q, w)
    delta = black_scholes.greeks(s, k, years, vol, r, q, w).delta.numpy()
    solved = np.isfinite(delta)
    chain = grid.Chain(
        snapshot=snapshot[solved],
        expiration=expiration[wanted][solved],
        strike=strike[solved],
        right=side[solved],
        tte_years=tte[solved],
        forward=(spot * np.exp((rate - carry) * tte))[solved],
        delta=delta[solved],
    )
    index = grid.build_grid(chain, chosen)
    return np.append(row[solved], -1)[index]


def _vol(rows: Rows, row: np.ndarray, mid: torch.Tensor, *terms: torch.Tensor) -> torch.Tensor:
    """Implied volatility of rows (-1 = no quote): the world's own where it states one, else solved from mids.

    Solving loses digits where an option is worth its intrinsic value but for rounding.
    """
    if rows.model_vol is None:
        return implied_vol(mid, *terms)
    return torch.from_numpy(np.where(row >= 0, rows.model_vol[row], np.nan))


def _segments(snapshot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each snapshot ends its history, and the first index after that history [T]."""
    end = np.append(np.diff(snapshot) > SEGMENT_GAP_DAYS * DAY_NS, True)
    stops = np.flatnonzero(end) + 1
    return end, stops[np.searchsorted(stops, np.arange(len(snapshot)), side="right")]


class _Lives(NamedTuple):
    """Spans [start, stop) of snapshots over which a contract has rows; one a contract and segment."""

    contract: np.ndarray  # index into Contracts
    start: np.ndarray
    stop: np.ndarray


def _lives(pointed: np.ndarray, rows: Rows, contracts: Contracts, segment_stop: np.ndarray) -> _Lives:
    """From the first snapshot at which the grid points at a contract until it settles or its segment ends."""
    t, column = np.nonzero(pointed >= 0)
    contract = rows.contract[pointed[t, column]]
    # One life a contract and segment, its first pointing snapshot.
    order = np.lexsort((t, segment_stop[t], contract))
    key = np.stack([contract[order], segment_stop[t[order]]])
    new = np.ones(len(order), dtype=bool)
    new[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
    contract, start = contract[order][new], t[order][new]
    stop = np.minimum(contracts.settle_index[contract], segment_stop[start])
    # Numbered by first appearance, so that no number depends on the future.
    age = np.lexsort((contracts.right[contract], contracts.strike[contract], contracts.expiration[contract], start))
    return _Lives(contract[age], start[age], stop[age])


class _Panel(NamedTuple):
    """Rows of the tensors, sorted by (snapshot, contract)."""

    snapshot: np.ndarray
    contract: np.ndarray  # index into `contracts`
    next_row: np.ndarray
    bid: np.ndarray  # NaN where stale
    ask: np.ndarray
    size_zero: np.ndarray  # int8; any where stale
    source: np.ndarray  # index into Rows, -1 where stale
    contracts: np.ndarray  # index into Contracts of each tensor contract


def _panel(life: _Lives, rows: Rows, quoted: np.ndarray, contracts: Contracts, n_snapshots: int) -> _Panel:
    """A row for every snapshot of every life: the venue's where it quotes, stale otherwise."""
    _, first = np.unique(life.contract, return_index=True)
    numbered = life.contract[np.sort(first)]
    number = np.full(len(contracts.strike), -1, dtype=np.int64)
    number[numbered] = np.arange(len(numbered))
    length = life.stop - life.start
    which = np.repeat(np.arange(len(length)), length)
    snapshot = life.start[which] + np.arange(len(which)) - np.repeat(np.cumsum(length) - length, length)
    contract = number[life.contract[which]]
    last = snapshot == life.stop[which] - 1
    order = np.lexsort((contract, snapshot))
    snapshot, contract, last, which = snapshot[order], contract[order], last[order], which[order]

    # Next row: the row after this one in the same life.
    by_life = np.lexsort((snapshot, which))
    next_row = np.full(len(snapshot), -1, dtype=np.int64)
    inner = ~last[by_life]
    next_row[by_life[inner]] = np.append(by_life[1:], -1)[inner]

    count = max(len(numbered), 1)
    usable = np.flatnonzero(quoted & (number[rows.contract] >= 0))
    key = rows.snapshot[usable] * count + number[rows.contract[usable]]
    usable, key = usable[np.argsort(key, kind="stable")], np.sort(key, kind="stable")
    wanted = snapshot * count + contract
    at = np.searchsorted(key, wanted).clip(0, max(len(key) - 1, 0))
    source = np.where(key[at] == wanted, usable[at], -1) if len(key) else np.full(len(wanted), -1, dtype=np.int64)
    return _Panel(
        snapshot=snapshot,
        contract=contract,
        next_row=next_row,
        bid=np.where(source >= 0, rows.bid[source], np.nan),
        ask=np.where(source >= 0, rows.ask[source], np.nan),
        size_zero=rows.size_zero[source],
        source=source,
        contracts=numbered,
    )


def _values(panel: _Panel, rows: Rows, per: PerSnapshot, contracts: Contracts) -> dict[str, Any]:
    """Quotes, marks, volatilities and Greeks of every row, by field name of MarketTensors."""
    index = panel.contracts[panel.contract]
    stale = panel.source < 0
    tte = (contracts.expiration[index] - per.snapshot[panel.snapshot]) / YEAR_NS
    mid = 0.5 * (panel.bid + panel.ask)
    spot, strike, years, rate, carry, side = (
        torch.from_numpy(x)
        for x in (
            per.spot[panel.snapshot],
            contracts.strike[index],
            tte,
            per.rate[panel.snapshot],
            per.dividend_yield[panel.snapshot],
            contracts.right[index].astype(np.float64),
        )
    )
    quoted = _vol(rows, panel.source, torch.from_numpy(mid), spot, strike, years, rate, carry, side)
    vol = _last_known(quoted.numpy(), panel)
    greeks = black_scholes.greeks(spot, strike, years, torch.from_numpy(vol), rate, carry, side)
    mark = np.where(stale, greeks.price.numpy(), mid)
    bid, ask = np.where(stale, 0.0, panel.bid), np.where(stale, 0.0, panel.ask)
    spread = ~stale & (ask > bid)
    arrays = {
        "bid_Q": bid,
        "ask_Q": ask,
        "mark_Q": mark,
        "can_buy_Q": spread,
        "can_sell_Q": spread & (bid > 0),
        "stale_Q": stale,
        "implied_vol_Q": vol,
        "tte_years_Q": tte,
        "size_zero_Q": np.where(stale, np.int8(0), panel.size_zero),
    }
    sensitivities = {f"{name}_Q": getattr(greeks, name) for name in ("delta", "gamma", "vega", "theta", "rho")}
    return {name: torch.from_numpy(array) for name, array in arrays.items()} | sensitivities


def _last_known(vol: np.ndarray, panel: _Panel) -> np.ndarray:
    """Volatility of each row, or of the contract's last row that had one; its first row always has."""
    order = np.lexsort((panel.snapshot, panel.contract))
    known = np.isfinite(vol[order])
    last = np.maximum.accumulate(np.where(known, np.arange(len(order)), 0))
    out = np.empty_like(vol)
    out[order] = vol[order][last]
    return out


def _features(
    per: PerSnapshot, grid_row: np.ndarray, values: dict[str, torch.Tensor], panel: _Panel, config: MarketConfig
) -> np.ndarray:
    def of_cells(column: np.ndarray) -> np.ndarray:
        return np.where(grid_row >= 0, np.append(column, np.nan)[grid_row], np.nan)

    tte = of_cells(values["tte_years_Q"].numpy())
    return features.market_features(
        session=features.session_features(per.session_close, per.session_ns / YEAR_NS, per.session),
        surface=features.surface_features(of_cells(values["implied_vol_Q"].numpy())),
        rate=per.rate,
        near_tenor_years=tte[:, CELL_INDEX["near_call_atm"]],
        far_tenor_years=tte[:, CELL_INDEX["far_call_atm"]],
        near_days=config.near_days,
        far_days=config.far_days,
        snapshot_ns=per.snapshot,
    )
