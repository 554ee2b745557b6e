"""The canonical tables, their columns and their meaning. Everything downstream reads these and nothing of a vendor's.

One clock: `snapshot` is the session's close (16:00 New York) in UTC whatever minute the vendor's file was taken at
(`quoted_at` keeps that); `expiration` is the settlement instant in UTC (PM: 16:00, or 13:00 on a half day, AM: 09:30
New York on that date).
"""

import polars as pl

UTC_NS = pl.Datetime("ns", "UTC")

QUOTES: dict[str, pl.DataType] = {
    "snapshot": UTC_NS,
    "underlying": pl.String(),
    "contract_id": pl.String(),  # OCC/OSI symbol or the venue's own
    "root": pl.String(),
    "expiration": UTC_NS,
    "strike": pl.Float64(),
    "right": pl.String(),  # C or P
    "bid": pl.Float64(),
    "ask": pl.Float64(),
    "multiplier": pl.Float64(),
    "exercise": pl.String(),  # european or american
    "settlement": pl.String(),  # cash or physical
    "currency": pl.String(),
}
"""Required columns of `quotes`."""

QUOTES_OPTIONAL: dict[str, pl.DataType] = {
    "quoted_at": UTC_NS,
    "bid_size": pl.Float64(),
    "ask_size": pl.Float64(),
    "last": pl.Float64(),
    "volume": pl.Float64(),
    "open_interest": pl.Float64(),
    "implied_vol": pl.Float64(),  # the vendor's, kept beside ours; a fraction
    "delta": pl.Float64(),  # the vendor's
}

SIZES = ("bid_size", "ask_size")
"""Of QUOTES_OPTIONAL, what the tensors keep a flag of: a price whose size is 0."""

UNDERLYINGS: dict[str, pl.DataType] = {
    "snapshot": UTC_NS,
    "underlying": pl.String(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "dividend": pl.Float64(),
    "split": pl.Float64(),
}

RATES: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "tenor_days": pl.Float64(),
    "rate": pl.Float64(),  # continuously compounded, a year
    "dividend_yield": pl.Float64(),  # implied or assumed, continuous, a year
}
