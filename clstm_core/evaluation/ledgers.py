"""The four Parquet ledgers of a backtest: what was traded, what it left, what was held, what was decided.

    cash'        = cash + interest + dividends - borrow - sum(quantity x price x multiplier) - sum(fees)
    options_mark = sum(quantity x multiplier x mark)
    equity       = cash + shares x spot + options_mark

`step` k is the transition from the window's snapshot k - 1 to snapshot k; step 0 is the account before it began. The
order decided at snapshot k - 1 is row k of `decisions`, and its fills (at snapshot k - 1 or k, by the fill lag) carry
step k in `fills`, beside expiries and liquidations at snapshot k. `equity` and `positions` are after the step's trades.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from clstm_core.env import state as account
from clstm_core.market.tables.schema import UTC_NS
from clstm_core.market.tensors import MarketTensors

FILLS: dict[str, Any] = {
    "episode": pl.Int32,
    "step": pl.Int32,
    "snapshot": UTC_NS,  # of the quote that filled it
    "kind": pl.String,  # option or underlying
    "contract_id": pl.String,  # null for the underlying
    "quantity": pl.Float64,  # signed contracts or shares
    "price": pl.Float64,  # per share; an expiry's is the settlement value
    "multiplier": pl.Float64,
    "fee_usd": pl.Float64,
    "reason": pl.String,  # open, close, hedge, liquidation, expiry
    "fill_rule": pl.String,
    "bid": pl.Float64,
    "ask": pl.Float64,
    "size_zero": pl.Boolean,  # the side that filled it was quoted with size 0; False where the source gives no sizes
}
EQUITY: dict[str, Any] = {
    "episode": pl.Int32,
    "step": pl.Int32,
    "snapshot": UTC_NS,
    "spot": pl.Float64,
    "cash_usd": pl.Float64,
    "shares": pl.Float64,
    "options_mark_usd": pl.Float64,
    "equity_usd": pl.Float64,
    "interest_usd": pl.Float64,
    "dividends_usd": pl.Float64,
    "borrow_usd": pl.Float64,
    "margin_usd": pl.Float64,
}
POSITIONS: dict[str, Any] = {
    "episode": pl.Int32,
    "step": pl.Int32,
    "contract_id": pl.String,
    "quantity": pl.Float64,
    "multiplier": pl.Float64,
    "mark": pl.Float64,
    "stale": pl.Boolean,
    "snapshot": UTC_NS,
}
DECISIONS: dict[str, Any] = {
    "episode": pl.Int32,
    "step": pl.Int32,
    "action": pl.Int32,  # -1 where a rule wrote its own orders
    "action_name": pl.String,
    "value": pl.Float64,  # the critic's; null for a rule
    "reward": pl.Float64,
    "snapshot": UTC_NS,  # at which it was decided
    "ordered": pl.Boolean,
    "unfilled": pl.Boolean,
    "rejected": pl.Boolean,
}
TABLES: dict[str, dict[str, Any]] = {"fills": FILLS, "equity": EQUITY, "positions": POSITIONS, "decisions": DECISIONS}
"""Columns that every backtest folder has; `equity` has those of EQUITY_DETAIL, BUDGET and FLAGS as well."""

EQUITY_DETAIL: dict[str, str] = {
    "equity_liquidation_usd": "equity_liquidation_N",
    "fees_usd": "fees_N",
    "slippage_usd": "slippage_N",
    "settlement_usd": "settlement_N",
    "option_mark_change_usd": "option_mark_change_N",
    "share_mark_change_usd": "share_mark_change_N",
    "delta_usd": "attribution_delta_N",
    "gamma_usd": "attribution_gamma_N",
    "vega_usd": "attribution_vega_N",
    "theta_usd": "attribution_theta_N",
    "carry_usd": "attribution_carry_N",
    "residual_usd": "attribution_residual_N",
    "book_vega_usd": "book_vega_N",
}
"""Further money columns of `equity` and the StepLedger fields they hold; `cash_return` stands beside them.

`book_vega_usd` is what a point of implied volatility is worth to the book, signed; books of before it have none."""

BUDGET: dict[str, str] = {
    "net_exposure": "net_exposure_N",
    "gross_exposure": "gross_exposure_N",
    "crash_loss": "crash_loss_N",
    "vega_per_point": "vega_N",
    "premium_sold": "premium_sold_N",
}
"""Columns of `equity` that say what the book takes of its risk budget, in shares of its equity, and their fields."""

FLAGS = ("liquidated", "breached", "over_budget", "budget_breached", "terminated")
"""What befell the account in the step: flags of `equity`, named as in the StepLedger."""

RECORDED: tuple[str, ...] = (
    "snapshot_from_N",
    "snapshot_N",
    "cash_N",
    "shares_N",
    "equity_N",
    "option_mark_N",
    "spot_N",
    "margin_N",
    "interest_N",
    "dividends_N",
    "borrow_N",
    *EQUITY_DETAIL.values(),
    *BUDGET.values(),
    "ordered_N",
    "unfilled_N",
    "rejected_N",
    *(f"{name}_N" for name in FLAGS),
    "truncated_N",
    "fill_contract_NX",
    "fill_quantity_NX",
    "fill_price_NX",
    "fill_multiplier_NX",
    "fill_bid_NX",
    "fill_ask_NX",
    "fill_fee_NX",
    "fill_reason_NX",
    "fill_snapshot_NX",
    "fill_size_zero_NX",
    "leg_contract_NL",
    "leg_quantity_NL",
    "leg_mark_NL",
    "leg_multiplier_NL",
    "leg_stale_NL",
)
"""StepLedger fields that a backtest keeps from every step."""

Record = Mapping[str, np.ndarray]
"""Steps of some lanes: RECORDED fields stacked to [T, N, ...], with `reward`, `action` and `value` [T, N]."""


def contract_names(market: MarketTensors) -> np.ndarray:
    """Symbol of every contract index [K], as objects."""
    raw = market.contract_id_KB.cpu().numpy()
    return np.array([bytes(row).rstrip(b"\0").decode() for row in raw], dtype=object)


def cash_returns(market: MarketTensors) -> np.ndarray:
    """Simple return of cash from snapshot t to t + 1, [T - 1]."""
    rate, clock = market.rate_T.cpu().numpy(), market.time_years_T.cpu().numpy()
    return np.expm1(rate[:-1] * np.diff(clock))


def frames(
    record: Record,
    market: MarketTensors,
    *,
    start: int,
    capital: float,
    fill_rule: str,
    action_names: tuple[str, ...],
    names: np.ndarray | None = None,
) -> dict[str, pl.DataFrame]:
    """The four tables of the lanes in `record`, one episode per lane; steps after an episode's end are left out.

    Args:
        start: snapshot index that every episode began at
        fill_rule: how it is called in `fills`, e.g. `touch` or `fraction 0.56`
        names: `contract_names(market)`, where it is at hand already
    """
    names = contract_names(market) if names is None else names
    ended = record["terminated_N"] | record["truncated_N"]
    # a lane lives up to and including the step that ends it
    alive: np.ndarray = np.cumsum(ended, axis=0) - ended == 0
    snapshots = market.snapshot_T.cpu().numpy()
    step, episode = np.nonzero(alive)
    order = np.lexsort((step, episode))
    step, episode = step[order], episode[order]

    def of(name: str) -> np.ndarray:
        return record[name][step, episode]

    keys = {"episode": episode, "step": step + 1}
    tables = {
        "fills": _fills(record, alive, snapshots, names, fill_rule),
        "equity": _equity(keys, of, market, snapshots, start=start, capital=capital, n=alive.shape[1]),
        "positions": _positions(record, alive, snapshots, names),
        "decisions": _decisions(keys, of, snapshots, action_names),
    }
    return {name: table.cast(TABLES[name]) for name, table in tables.items()}


def _equity(keys: dict, of: Any, market: MarketTensors, snapshots: Any, *, start: int, capital: float, n: int) -> Any:
    zero = np.zeros(n)
    full = np.full(n, capital)
    after = of("snapshot_N")
    columns = {
        "episode": (np.arange(n), keys["episode"]),
        "step": (np.zeros(n, np.int64), keys["step"]),
        "snapshot": (np.full(n, snapshots[start]), snapshots[after]),
        "spot": (np.full(n, float(market.spot_T[start])), of("spot_N")),
        "cash_usd": (full, of("cash_N")),
        "shares": (zero, of("shares_N")),
        "options_mark_usd": (zero, of("option_mark_N")),
        "equity_usd": (full, of("equity_N")),
        "interest_usd": (zero, of("interest_N")),
        "dividends_usd": (zero, of("dividends_N")),
        "borrow_usd": (zero, of("borrow_N")),
        "margin_usd": (zero, of("margin_N")),
        "cash_return": (zero, cash_returns(market)[of("snapshot_from_N")]),
        **{name: (zero, of(field)) for name, field in (EQUITY_DETAIL | BUDGET).items()},
        **{name: (zero > 0, of(f"{name}_N")) for name in FLAGS},
    }
    columns["equity_liquidation_usd"] = (full, of("equity_liquidation_N"))
    return pl.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()}).sort("episode", "step")


def _fills(record: Record, alive: np.ndarray, snapshots: np.ndarray, names: np.ndarray, fill_rule: str) -> pl.DataFrame:
    step, episode, slot = _where(alive[:, :, None] & (record["fill_quantity_NX"] != 0))

    def of(name: str) -> np.ndarray:
        return record[f"fill_{name}_NX"][step, episode, slot]

    option = slot < account.FIRST_SHARE_SLOT
    contract = of("contract")
    reasons = np.array(account.FILL_REASONS, dtype=object)
    frame = pl.DataFrame(
        {
            "episode": episode,
            "step": step + 1,
            "snapshot": snapshots[of("snapshot")],
            "kind": np.where(option, "option", "underlying").astype(object),
            "contract_id": _named(names, contract, option),
            "quantity": of("quantity"),
            "price": of("price"),
            "multiplier": of("multiplier"),
            "fee_usd": of("fee"),
            "reason": reasons[of("reason")],
            "bid": of("bid"),
            "ask": of("ask"),
            "size_zero": of("size_zero"),
        },
        schema_overrides={"kind": pl.String, "contract_id": pl.String, "reason": pl.String},
    )
    return frame.with_columns(fill_rule=pl.lit(fill_rule)).select(list(FILLS))


def _positions(record: Record, alive: np.ndarray, snapshots: np.ndarray, names: np.ndarray) -> pl.DataFrame:
    step, episode, leg = _where(alive[:, :, None] & (record["leg_quantity_NL"] != 0))

    def of(name: str) -> np.ndarray:
        return record[f"leg_{name}_NL"][step, episode, leg]

    return pl.DataFrame(
        {
            "episode": episode,
            "step": step + 1,
            "contract_id": names[of("contract")],
            "quantity": of("quantity"),
            "multiplier": of("multiplier"),
            "mark": of("mark"),
            "stale": of("stale"),
            "snapshot": snapshots[record["snapshot_N"][step, episode]],
        },
        schema_overrides={"contract_id": pl.String},
    )


def _decisions(keys: dict, of: Any, snapshots: np.ndarray, action_names: tuple[str, ...]) -> pl.DataFrame:
    action = of("action")
    labels = np.array([*action_names, "rule"], dtype=object)
    return pl.DataFrame(
        {
            **keys,
            "action": action,
            "action_name": labels[np.where(action < 0, len(action_names), action)],
            "value": of("value"),
            "reward": of("reward"),
            "snapshot": snapshots[of("snapshot_from_N")],
            **{name: of(f"{name}_N") for name in ("ordered", "unfilled", "rejected")},
        },
        schema_overrides={"action_name": pl.String},
    ).with_columns(pl.col("value").fill_nan(None))


def _named(names: np.ndarray, contract: np.ndarray, option: np.ndarray) -> np.ndarray:
    """Symbols of the option fills, None elsewhere."""
    symbols = np.full(option.shape, None, dtype=object)
    symbols[option] = names[contract[option]]
    return symbols


def _where(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices (step, episode, slot) of True, ordered by episode, then step, then slot."""
    step, episode, slot = np.nonzero(mask)
    order = np.lexsort((slot, step, episode))
    return step[order], episode[order], slot[order]
