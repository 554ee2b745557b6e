"""What one entry of a shadow log says, a row of a Parquet file. Every fill in it is simulated; nothing was sent."""

from datetime import datetime
from typing import Any

import polars as pl

from clstm_core.evaluation.ledgers import BUDGET, EQUITY_DETAIL, FLAGS
from clstm_core.market.tables.schema import UTC_NS

OPENED, DECIDED, REFUSED, SWITCHED, CHANGED = "opened", "decided", "refused", "switched", "changed"
KINDS = (OPENED, DECIDED, REFUSED, SWITCHED, CHANGED)
"""An account was opened; a session was decided on; one was refused and left it as it was; a person switched; a session
is another than when it was decided on, and the decision stands."""

ORDER = pl.Struct(
    {
        "contract": pl.String,
        "side": pl.String,
        "quantity": pl.Float64,
        "limit_price": pl.Float64,  # the price that backtests assume at the quotes it was decided on
        "why": pl.String,
        "bid": pl.Float64,
        "ask": pl.Float64,
    }
)
FILL = pl.Struct(
    {
        "snapshot": UTC_NS,
        "kind": pl.String,
        "contract_id": pl.String,
        "quantity": pl.Float64,
        "price": pl.Float64,
        "multiplier": pl.Float64,
        "fee_usd": pl.Float64,
        "reason": pl.String,
        "bid": pl.Float64,
        "ask": pl.Float64,
    }
)
LEG = pl.Struct(
    {
        "slot": pl.Int32,
        "contract_id": pl.String,
        "quantity": pl.Float64,
        "entry_price": pl.Float64,
        "multiplier": pl.Float64,
        "mark": pl.Float64,
        "stale": pl.Boolean,
    }
)
GREEKS = ("delta_shares", "dollar_delta", "dollar_gamma_per_percent", "vega_per_point", "theta_per_day", "hedge_ratio")
"""Of the book after the session, in the units of `deployment.shown.after_of`; `hedge_ratio` is minus the shares over
the options' delta: 1 where shares offset it whole, null where there is less than one share's worth."""

ENTRY: dict[str, Any] = {
    "sequence": pl.Int64,
    "kind": pl.String,
    "previous": pl.String,  # sha256 of the file before; empty for the first
    "simulated": pl.Boolean,  # always true: fills are a simulator's
    "snapshot": UTC_NS,
    "seen_at": UTC_NS,
    "quote_age_s": pl.Float64,
    "source": pl.String,
    "source_sha256": pl.String,  # of all that the session was built from
    "session_sha256": pl.String,  # of what arrived of this session alone
    "session_files": pl.String,  # the names of that; null where nothing is of this session alone
    "content_sha256": pl.String,  # of what was read of it: `changes.content_of`
    "label": pl.String,
    "reasons": pl.List(pl.String),  # why it was refused, switched, or limited
    "switch": pl.String,  # after the entry
    "facts": pl.String,  # JSON of an opening: bundle, standing, account, limits
    "missing_sessions": pl.Int32,
    "observation": pl.List(pl.Float32),
    "observation_sha256": pl.String,
    "mask": pl.List(pl.Boolean),
    "allowed": pl.List(pl.Boolean),  # what the mask and the switch leave
    "action": pl.Int32,
    "action_name": pl.String,
    "logits": pl.List(pl.Float64),
    "probabilities": pl.List(pl.Float64),
    "value": pl.Float64,
    "reward": pl.Float64,  # of the step that led here; null where the account begins
    "orders": pl.List(ORDER),  # of this decision: carried out at the next session
    "fills": pl.List(FILL),  # of the decision before
    "legs": pl.List(LEG),
    "ordered": pl.Boolean,
    "unfilled": pl.Boolean,
    "rejected": pl.Boolean,
    "regime": pl.String,
    "spot": pl.Float64,
    "cash_usd": pl.Float64,
    "shares": pl.Float64,
    "options_mark_usd": pl.Float64,
    "equity_usd": pl.Float64,
    "entry_equity_usd": pl.Float64,
    "age": pl.Int64,
    "premium_sold_usd": pl.Float64,
    "margin_usd": pl.Float64,
    "interest_usd": pl.Float64,
    "dividends_usd": pl.Float64,
    "borrow_usd": pl.Float64,
    "cash_return": pl.Float64,
    **{name: pl.Float64 for name in EQUITY_DETAIL},
    **{name: pl.Float64 for name in BUDGET},
    **{f"book_{name}" if name in BUDGET else name: pl.Float64 for name in GREEKS},
    **{name: pl.Boolean for name in FLAGS},
}
"""Columns in order; those that an entry does not have are null."""


def nanoseconds(at: datetime | int) -> int:
    """An instant of the log as int64 UTC nanoseconds; sessions end on whole seconds."""
    return at if isinstance(at, int) else int(at.timestamp()) * 10**9 + at.microsecond * 1000
