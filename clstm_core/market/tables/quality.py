"""What is wrong with a table of quotes, row by row: what cannot be traded is quarantined, what is odd is counted.

Quarantined, each with its reason: keys quoted twice, missing or negative prices, contracts past their settlement, rows
without an ask (neither a price to buy at nor a mid to mark with), crossed quotes, prices outside no-arbitrage bounds,
mids above what other strikes allow, and sessions in another unit than the underlying. Only counted: zero bids (such an
option may be bought), locked quotes (they do not fill), missing vendor vols. Whole-table checks (calendar, parity,
stale runs, arbitrage, the underlying) are in `checks.py`.
"""

from dataclasses import replace

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import session_date
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.instrument import instrument_of
from clstm_core.market.source import SourceTables, check_tables, finding
from clstm_core.market.tables import checks as quality_checks
from clstm_core.market.tables.accounting import check_rows
from clstm_core.market.tables.parity import SHORT_DAYS, fit_parity, pairs
from clstm_core.market.tables.plausibility import implausible_prices, implausible_terms, sessions_in_another_unit
from clstm_core.plural import counted

BOUND_SLACK = 1e-4  # of the forward, plus one tick: the forward's own error, not an arbitrage
RATE_SLACK = 0.01  # a year

REASONS: dict[str, tuple[str, str]] = {
    # reason: (severity, what is said); the first that holds is the row's reason
    "missing_price": ("warning", "rows without bid, ask or strike"),
    "negative_price": ("warning", "rows with a negative price, or a strike that is not positive"),
    "duplicate_key": (
        "warning",
        "rows that repeat a (snapshot, contract); conflicting ones all, identical ones but one",
    ),
    "expired": ("warning", "rows of contracts dated before the session"),
    "expired_at_snapshot": ("info", "rows of contracts that settled by the session's close: nothing left to trade"),
    "no_ask": ("warning", "rows with ask = 0: no price to buy at and no mid to mark with"),
    "crossed": ("warning", "rows with bid above a positive ask"),
    "implausible_strike": ("warning", "rows whose strike is 100 times above or below the spot"),
    "implausible_expiry": ("warning", "rows that expire more than 15 years after their session"),
    "implausible_price": ("warning", "rows at odds with the spot or with what their neighbouring strikes bid and ask"),
    "implausible_session": (
        "warning",
        "rows of sessions whose prices or strikes are in another unit, or whose quotes are too wide to say anything",
    ),
    "out_of_bounds": ("warning", "rows that could be bought below, or sold above, their no-arbitrage bounds"),
}


def inspect(tables: SourceTables, *, quoted: bool = True) -> SourceTables:
    """The same tables without the rows that cannot be used; those in `quarantine`, and every check in `findings`.

    `quoted=False` is for model worlds, whose unfloored spreads make negative bids legitimate: they are kept.

    Raises:  MarketDataError when a canonical column is missing or nothing is left
    Assumes: `tables.quarantine` and `tables.findings` already hold what the source itself dropped and found
    """
    check_tables(tables)
    if tables.quotes.is_empty():
        raise MarketDataError("no quotes to inspect: expected at least one session. Check the source and its filters.")
    flagged = _flag(tables.quotes, quoted)
    usable = pl.col("reason").is_null()
    spots = tables.underlyings.select("snapshot", "close")
    flagged = _flag_terms(flagged, spots) if quoted else flagged
    none = spots.clear().select("snapshot", why=pl.lit(""))
    units = sessions_in_another_unit(flagged.filter(usable), spots) if quoted else none
    if units.height:
        odd = pl.col("snapshot").is_in(units["snapshot"].implode())
        flagged = flagged.with_columns(
            reason=pl.when(usable & odd).then(pl.lit("implausible_session")).otherwise("reason")
        )
    near = pairs(flagged.filter(usable))
    fits = fit_parity(near)
    flagged = _flag_prices(_flag_bounds(flagged, fits), spots) if quoted else flagged
    clean = flagged.filter(usable).select(tables.quotes.columns)
    bad = flagged.filter(~usable).select(*tables.quotes.columns, "reason")
    if clean.is_empty():
        worst = bad["reason"].value_counts(sort=True)["reason"][0]
        example = f" ({units['why'][0]})" if worst == "implausible_session" else ""
        raise MarketDataError(
            f"all {bad.height:,} quotes are unusable, most of them {worst}{example}: expected a tradable chain. "
            "Check the source's files."
        )
    whole = quality_checks.run(
        SourceTables(
            quotes=clean,
            underlyings=tables.underlyings,
            rates=tables.rates,
            quarantine=bad,
            findings=tables.findings,
        ),
        near=near,
        fits=fits,
        quoted=quoted,
    )
    findings = [tables.findings, *_row_findings(flagged, quoted, " ".join(units["why"])), *whole]
    check_rows(replace(tables, quotes=clean, quarantine=bad), tables.quotes.height)
    return SourceTables(
        quotes=clean,
        underlyings=tables.underlyings,
        rates=tables.rates,
        quarantine=pl.concat([tables.quarantine, bad], how="diagonal") if tables.quarantine.height else bad,
        findings=pl.concat(findings),
    )


def blocking(findings: pl.DataFrame) -> list[str]:
    """Sentences of the findings that must stop the chain: severity error."""
    return [f"{row['check']}: {row['detail']}" for row in findings.filter(pl.col("severity") == "error").to_dicts()]


def _flag(quotes: pl.DataFrame, quoted: bool) -> pl.DataFrame:
    """Adds `reason`, null where the row is usable as far as the row itself tells."""
    bid, ask = pl.col("bid"), pl.col("ask")
    same_day = session_date(pl.col("expiration")) == session_date(pl.col("snapshot"))
    negative = (ask < 0) | (pl.col("strike") <= 0) | ((bid < 0) if quoted else pl.lit(False))
    rules = {
        "missing_price": ~(bid.is_finite() & ask.is_finite() & pl.col("strike").is_finite()).fill_null(False),
        "negative_price": negative,
        "duplicate_key": pl.col("repeated"),
        "expired": (pl.col("expiration") <= pl.col("snapshot")) & ~same_day,
        "expired_at_snapshot": (pl.col("expiration") <= pl.col("snapshot")) & same_day,
        "no_ask": ask == 0,
        "crossed": bid > ask,
    }
    reason = pl.coalesce(pl.when(rule).then(pl.lit(name)) for name, rule in rules.items())
    return _mark_repeats(quotes).with_columns(reason=reason).drop("repeated")


def _mark_repeats(quotes: pl.DataFrame) -> pl.DataFrame:
    """Adds `repeated`: rows of a key quoted twice, save one where all its quotes are identical."""
    key = ["snapshot", "contract_id"]
    # A hash of the key is many times cheaper than the key; rows that collide are then compared exactly.
    doubled = quotes.select(pl.struct("snapshot", pl.col("contract_id").hash()).hash().is_duplicated()).to_series()
    if not doubled.any():
        return quotes.with_columns(repeated=pl.lit(False))
    numbered = quotes.with_row_index("row_number")
    copies = numbered.filter(doubled).filter(pl.struct(key).is_duplicated())
    conflicting = (pl.struct("bid", "ask").n_unique() > 1).over(key)
    later = ~pl.struct(key).is_first_distinct()
    rows = copies.filter(conflicting | later)["row_number"]
    return numbered.with_columns(repeated=pl.col("row_number").is_in(rows.implode())).drop("row_number")


def _flag_bounds(flagged: pl.DataFrame, fits: pl.DataFrame) -> pl.DataFrame:
    """Reason `out_of_bounds` where parity's forward shows a riskless profit at the touch."""
    rate = (
        fits.filter(pl.col("tte_years") <= SHORT_DAYS / 365)
        .group_by("snapshot")
        .agg(day_rate=(-pl.col("discount").log() / pl.col("tte_years")).median().clip(-0.05, 0.20))
    )
    joined = (
        flagged.with_columns(expiry=session_date(pl.col("expiration")))
        .join(
            fits.select("snapshot", "root", "expiry", "forward", fitted="discount"),
            on=["snapshot", "root", "expiry"],
            how="left",
        )
        .join(rate, on="snapshot", how="left")
    )
    years = (pl.col("expiration") - pl.col("snapshot")).dt.total_nanoseconds() / YEAR_NS
    # Over days the slope of one chain says little about the rate; over months it says more than the front's rate.
    short = years <= SHORT_DAYS / 365
    discount = pl.when(short).then((-pl.col("day_rate") * years).exp()).otherwise("fitted")
    side = pl.when(pl.col("right") == "C").then(1.0).otherwise(-1.0)
    floor = (discount * side * (pl.col("forward") - pl.col("strike"))).clip(0)
    ceiling = discount * pl.when(pl.col("right") == "C").then("forward").otherwise("strike")
    # A rate that is wrong by 1% a year moves the floor of a far strike, hence the term in time.
    tick = instrument_of(flagged["underlying"][0]).tick
    slack = tick + (BOUND_SLACK + RATE_SLACK * years.clip(0, SHORT_DAYS / 365)) * pl.max_horizontal("forward", "strike")
    outside = ((pl.col("ask") < floor - slack) | (pl.col("bid") > ceiling + slack)).fill_null(False)
    reason = pl.when(pl.col("reason").is_null() & outside).then(pl.lit("out_of_bounds")).otherwise("reason")
    return joined.with_columns(reason=reason).select(flagged.columns)


def _flag_terms(flagged: pl.DataFrame, spots: pl.DataFrame) -> pl.DataFrame:
    """Reasons `implausible_strike` and `implausible_expiry` where a usable row's strike or expiry cannot be."""
    odd = implausible_terms(flagged, spots)
    if not (odd["strike"].any() or odd["expiry"].any()):
        return flagged
    reasons = {"implausible_strike": odd["strike"], "implausible_expiry": odd["expiry"]}
    said = pl.coalesce(pl.when(rows).then(pl.lit(name)) for name, rows in reasons.items())
    return flagged.with_columns(reason=pl.coalesce("reason", said))


def _flag_prices(flagged: pl.DataFrame, spots: pl.DataFrame) -> pl.DataFrame:
    """Reason `implausible_price` where a usable row's quote is at odds with its neighbours or the spot."""
    numbered = flagged.with_row_index("row_number")
    usable = numbered.filter(pl.col("reason").is_null())
    odd = usable["row_number"].filter(implausible_prices(usable, spots))
    if odd.is_empty():
        return flagged
    hit = pl.int_range(pl.len(), dtype=pl.UInt32).is_in(odd.implode())
    return flagged.with_columns(reason=pl.when(hit).then(pl.lit("implausible_price")).otherwise("reason"))


def _size_zero(quotes: pl.DataFrame) -> pl.Expr | None:
    """Whether a row shows a bid or an ask that nobody stands behind; None where the source gives no sizes."""
    sides = [side for side in ("bid", "ask") if f"{side}_size" in quotes.columns]
    if not sides:
        return None
    return pl.any_horizontal(((pl.col(side) > 0) & (pl.col(f"{side}_size") == 0)).fill_null(False) for side in sides)


def _row_findings(flagged: pl.DataFrame, quoted: bool, units: str) -> list[pl.DataFrame]:
    total = flagged.height
    lazy = flagged.lazy().with_columns(date=session_date(pl.col("snapshot")))
    bad = lazy.filter(pl.col("reason").is_not_null()).collect()
    out = []
    for reason, (severity, text) in REASONS.items():
        rows = bad.filter(pl.col("reason") == reason)
        extra = ""
        if reason == "no_ask":
            crossed = rows.filter(pl.col("bid") > 0).height
            extra = f" ({crossed:,} of them look crossed, the other {rows.height - crossed:,} locked at zero)"
        if reason == "implausible_session":
            extra = f" ({units})"
        if rows.height:
            out.append(finding(reason, severity, rows.height, total, rows["date"], f"{text}{extra}: quarantined."))
    # Counted on every row before its settlement, whatever else is wrong with it.
    alive = lazy.filter(pl.col("expiration") > pl.col("snapshot"))
    n_alive = alive.select(pl.len()).collect().item()
    checks = {
        "zero_bid": (pl.col("bid") == 0, "warning", "rows with bid = 0: kept; they may be bought, not sold"),
        "locked": (
            (pl.col("bid") == pl.col("ask")) & (pl.col("ask") > 0),
            "warning",
            "rows with bid = ask: kept; they do not fill",
        ),
    }
    if "implied_vol" in flagged.columns:
        missing = pl.col("implied_vol").is_null() | (pl.col("implied_vol") <= 0)
        checks["vendor_vol_missing"] = (missing, "info", "rows without the vendor's vol: kept; vols are ours anyway")
    if (size_zero := _size_zero(flagged)) is not None:
        whole = alive.group_by("date").agg(every=size_zero.all()).filter("every").collect()
        said = f" (on every row of {counted(whole.height, 'session')})" if whole.height else ""
        text = f"rows with a price whose size is 0{said}: kept; a fill against one is flagged in the ledger and counted"
        checks["zero_size"] = (size_zero, "warning", text)
    if not quoted:
        checks["negative_bid"] = (pl.col("bid") < 0, "info", "rows of an unfloored model spread: kept")
    for check, (rule, severity, text) in checks.items():
        rows = alive.filter(rule).select("date").collect()
        if rows.height:
            out.append(finding(check, severity, rows.height, n_alive, rows["date"], f"{text}."))
    out.append(
        finding(
            "rows", "info", flagged.filter(pl.col("reason").is_null()).height, total, (), "rows usable of all read."
        )
    )
    return out
