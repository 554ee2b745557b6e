"""A vendor's rows as canonical quotes: named, timed and given the terms of their instrument."""

from collections.abc import Sequence

import polars as pl

from clstm_core.market.calendars import (
    XNYS,
    exchange,
    local_instant,
    scheduled_sessions,
    session_close,
    settlement_minutes,
)
from clstm_core.market.clock import session_on_or_before
from clstm_core.market.instrument import Instrument
from clstm_core.market.tables.schema import QUOTES, QUOTES_OPTIONAL
from clstm_core.market.tables.symbols import contract_id


def settlement_days(expiry: pl.Series, calendar: str = XNYS) -> pl.Series:
    """The scheduled session on which contracts of each date settle: that date, or the session before it.

    Assumes: as `calendars.settlement_date`; nulls stay, and so do dates beyond the calendar
    """
    dated = expiry.drop_nulls().unique()
    settles = session_on_or_before(dated.to_numpy().astype("datetime64[D]"), scheduled_sessions(calendar))
    return expiry.replace(dated, pl.Series(settles).cast(pl.Date))


def canonical_quotes(rows: pl.DataFrame, instrument: Instrument, *, also: Sequence[str] = ()) -> pl.DataFrame:
    """Quotes with the columns of `schema.QUOTES`, of QUOTES_OPTIONAL where `rows` has them, and those named in `also`.

    `rows` has session and expiry (dates, as the vendor writes them), root, strike, right, bid and ask; a contract_id of
    its own is kept, otherwise the OSI symbol names the contract by the expiry as written.

    Units:   prices in the instrument's currency per share
    Assumes: an expiry that is no scheduled session (a Saturday before 2015, a holiday) settles on the session before in
             every respect: instant, time to expiry, tradability and the day that cash arrives; a closure that nobody
             could foresee moves nothing. On a half day what settles at the close does at the early one. A root that the
             instrument does not list settles at the close.
    """
    hours = exchange(instrument.calendar).hours
    days = settlement_days(rows["expiry"], instrument.calendar)
    settlement, closes = pl.lit(days), pl.lit(settlement_minutes(days, instrument.calendar))
    minutes = pl.when(pl.col("root").is_in(instrument.am_roots)).then(hours.open_minutes).otherwise(closes)
    optional = {name: kind for name, kind in QUOTES_OPTIONAL.items() if name in rows.columns}
    return (
        rows.with_columns(
            snapshot=session_close(pl.col("session"), hours),
            expiration=local_instant(settlement, minutes, hours.zone),
            contract_id=pl.col("contract_id") if "contract_id" in rows.columns else contract_id(),
            **{name: pl.lit(value) for name, value in instrument.terms.items()},
        )
        .select(*QUOTES, *optional, *also)
        .cast(
            pl.Schema(QUOTES | {name: QUOTES_OPTIONAL[name] for name in optional} | {n: rows.schema[n] for n in also})
        )
        .sort("snapshot", "expiration", "root", "strike", "right")
    )
