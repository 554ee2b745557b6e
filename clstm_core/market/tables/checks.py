"""Checks over whole tables: calendar, thin sessions, spreads, parity, stale runs, arbitrage, the underlying."""

import polars as pl

from clstm_core.market.calendars import XNYS, is_trading_day, session_date, trading_days
from clstm_core.market.clock import AM_BEFORE_CLOSE_NS, DAYS_YEAR, YEAR_NS
from clstm_core.market.instrument import instrument_of
from clstm_core.market.source import (
    SNAPSHOTS_SHOWN,
    SourceTables,
    empty_findings,
    finding,
    limits,
    sessions_text,
)
from clstm_core.market.tables.parity import SHORT_DAYS, fit_parity, pairs, parity_spots, residuals

THIN_SHARE = 0.5  # of the median session's rows
WIDE_TIMES = 3.0  # the median session's mean spread
WIDE_MONEY = 0.01  # spreads are compared within +- this share of the forward
STALE_SESSIONS = 3  # sessions in a row with the same bid and ask
HALF_CENT = 0.005  # no price lies so near a tick without being it
SPOT_OFF = 0.005  # parity spot against the official close, as a share
SPLIT_MOVE = 0.25  # log return that looks like a split
OSI_DATE = r"(\d{6})[CP]\d{8}$"  # of a contract's symbol: the date it is listed under
PARITY_INSIDE = 0.90  # share of residuals inside the half-spreads below which parity is said to fail


def run(tables: SourceTables, *, near: pl.DataFrame, fits: pl.DataFrame, quoted: bool) -> list[pl.DataFrame]:
    """Findings of every whole-table check, in reading order; `near` and `fits` are the quotes' parity pairs by root."""
    quotes = tables.quotes
    calendar = instrument_of(quotes["underlying"][0]).calendar
    return [
        missing_days(quotes, quoted, calendar),
        holiday_expiries(quotes, quoted, calendar),
        settlement_prices(tables, quoted, calendar),
        thin_sessions(quotes),
        wide_sessions(quotes, fits),
        stale_runs(quotes, quoted),
        *parity(quotes, near, fits),
        butterflies(quotes),
        calendars(quotes, tables.rates),
        spot_against_close(tables, fits),
        *underlying_consistency(tables.underlyings),
    ]


def _dates(quotes: pl.DataFrame) -> pl.Series:
    return quotes.select(session_date(pl.col("snapshot")).alias("date")).to_series()


def missing_days(quotes: pl.DataFrame, quoted: bool, calendar: str = XNYS) -> pl.DataFrame:
    """Sessions of the exchange between the first and the last snapshot that have no quotes."""
    if not quoted:
        return empty_findings()
    have = set(quotes.select(session_date(pl.col("snapshot").unique())).to_series().to_list())
    expected = trading_days(min(have), max(have), calendar)
    missing = [day for day in expected if day not in have]
    if not missing:
        return empty_findings()
    detail = f"no quotes on {sessions_text(missing)}: settlement uses the official prices, positions wait."
    return finding("missing_session", "warning", len(missing), len(expected), missing, detail)


def holiday_expiries(quotes: pl.DataFrame, quoted: bool, calendar: str = XNYS) -> pl.DataFrame:
    """Expirations dated on a day on which the exchange is closed, by the date in an OSI symbol, else their own."""
    if not quoted:
        return empty_findings()
    dated = pl.col("contract_id").str.extract(OSI_DATE).str.to_date("%y%m%d", strict=False)
    expiries = quotes.select(pl.coalesce(dated, session_date(pl.col("expiration")))).to_series().unique().drop_nulls()
    closed = [day for day in expiries.to_list() if not is_trading_day(day, calendar)]
    if not closed:
        return empty_findings()
    detail = "expirations dated on a closed day: settled on the session before."
    return finding("expiry_on_holiday", "warning", len(closed), len(expiries), closed, detail)


def settlement_prices(tables: SourceTables, quoted: bool, calendar: str = XNYS) -> pl.DataFrame:
    """Contracts that expire, before the quotes end, on a session without the price that they settle on: an error."""
    if not quoted:
        return empty_findings()
    last = tables.quotes["snapshot"].max()
    contracts = tables.quotes.filter(pl.col("expiration") <= last).unique("contract_id", maintain_order=True)
    days = tables.underlyings.sort("snapshot").with_columns(date=session_date(pl.col("snapshot")))
    at_open = pl.col("expiration") < pl.col("close_at") - pl.duration(nanoseconds=AM_BEFORE_CLOSE_NS)
    price = pl.when(at_open.fill_null(False)).then("open").otherwise("close")
    unpriced = (
        contracts.with_columns(date=session_date(pl.col("expiration")))
        .join(days.select("date", "open", "close", close_at="snapshot"), on="date", how="left")
        .filter(~(price.fill_nan(None) > 0).fill_null(False))
    )
    held = [day for day in unpriced["date"].unique().sort().to_list() if is_trading_day(day, calendar)]
    if not held:
        return empty_findings()
    said = []
    for day in held[:SNAPSHOTS_SHOWN]:
        there = unpriced.filter(pl.col("date") == day)
        before = days.filter((pl.col("date") < day) & (pl.col("close") > 0)).tail(1).to_dicts()
        known = f"{before[0]['close']:g}, the close of {before[0]['date']}" if before else "no earlier one"
        others = f" and {there.height - 1:,} more" if there.height > 1 else ""
        said.append(f"{there['contract_id'][0]}{others} on {day} (the last price before it is {known})")
    count = unpriced.filter(pl.col("date").is_in(held)).height
    detail = (
        "contracts that expire on a session without the underlying's open (AM) or close (PM), so that nobody knows "
        f"what they pay: {'; '.join(said)}. Add the session's prices to the underlying's file."
    )
    return finding("settlement_price_missing", "error", count, contracts.height, held, detail)


def thin_sessions(quotes: pl.DataFrame) -> pl.DataFrame:
    """Sessions with far fewer rows than the median one, as a truncated file would give."""
    counts = quotes.group_by("snapshot").len().with_columns(date=session_date(pl.col("snapshot")))
    thin = counts.filter(pl.col("len") < THIN_SHARE * pl.col("len").median())
    if thin.is_empty():
        return empty_findings()
    low, _ = limits(thin["len"])
    usual = counts.select(pl.col("len").median()).item()
    detail = f"sessions with less than half of the median {float(usual):,.0f} rows (least {low:,.0f}): kept."
    return finding("thin_session", "warning", thin.height, counts.height, thin["date"], detail)


def wide_sessions(quotes: pl.DataFrame, fits: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose quotes at the money are far wider than on the other ones."""
    short = fits.filter(pl.col("tte_years") <= SHORT_DAYS / DAYS_YEAR).select("snapshot", "root", "expiry", "forward")
    near = (
        quotes.lazy()
        .filter((pl.col("bid") > 0) & (pl.col("ask") > pl.col("bid")))
        .with_columns(expiry=session_date(pl.col("expiration")))
        .join(short.lazy(), on=["snapshot", "root", "expiry"])
        .filter((pl.col("strike") / pl.col("forward") - 1).abs() <= WIDE_MONEY)
        .group_by("snapshot")
        .agg(spread=(pl.col("ask") - pl.col("bid")).mean())
        .with_columns(date=session_date(pl.col("snapshot")), usual=pl.col("spread").median())
        .collect()
    )
    wide = near.filter(pl.col("spread") > WIDE_TIMES * pl.col("usual"))
    if wide.is_empty():
        return empty_findings()
    sizes = ", ".join(f"{row['date']} {row['spread']:.2f}" for row in wide.sort("date").head(8).to_dicts())
    detail = f"mean spread at the money against {wide['usual'][0]:.2f} usually: {sizes}. Kept: fills there cost more."
    return finding("wide_spread_session", "warning", wide.height, near.height, wide["date"], detail)


def stale_runs(quotes: pl.DataFrame, quoted: bool = True) -> pl.DataFrame:
    """Rows that repeat bid and ask for STALE_SESSIONS sessions or more, those that bid no more than a tick aside.

    A bid of one tick can only stand or vanish: that it stands says nothing of the venue. In a model world, where every
    session is priced anew, the tick hides what a far quote moves above it too: counted, and no fault.
    """
    tick = instrument_of(quotes["underlying"][0]).tick
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in ("code", "bid", "ask"))
    runs = (
        quotes.lazy()
        .filter(pl.col("bid") > 0)
        .select("snapshot", "bid", "ask", code=pl.col("contract_id").cast(pl.Categorical).to_physical())
        .sort("code", "snapshot")
        .with_columns(same=same.fill_null(False))
        .with_columns(
            run=pl.all_horizontal(pl.col("same").shift(n, fill_value=False) for n in range(STALE_SESSIONS - 1))
        )
    )
    # told apart last: a session at the floor still ends the run of the quotes around it
    above = pl.col("bid") > tick + HALF_CENT
    rows = runs.filter(pl.col("run") & above).select(session_date(pl.col("snapshot")).alias("date")).collect()
    if rows.is_empty():
        return empty_findings()
    why = "kept" if quoted else "a model's, priced anew in every session, whose moves the tick hides: no fault"
    detail = f"rows above the lowest bid of {tick:g} that stand unchanged for {STALE_SESSIONS} sessions or more: {why}."
    return finding("stale_run", "warning" if quoted else "info", rows.height, quotes.height, rows["date"], detail)


def parity(quotes: pl.DataFrame, near: pl.DataFrame, fits: pl.DataFrame) -> list[pl.DataFrame]:
    """Median absolute put-call-parity residual and the share inside the summed half-spreads.

    Near the money (+-4%), two-sided, up to SHORT_DAYS to expiry; one weighted line C - P = D (F - K) a chain. Once with
    the roots of one expiry date joined, as a file without a root column must be read, and once with roots apart.
    """
    apart = near.filter(pl.col("tte_years") <= SHORT_DAYS / DAYS_YEAR)
    one_root = apart.select(
        pl.struct("snapshot", "expiry").n_unique() == pl.struct("snapshot", "expiry", "root").n_unique()
    )
    if one_root.item():
        joined = apart.drop("root")
    else:
        joined = pairs(quotes, by_root=False).filter(pl.col("tte_years") <= SHORT_DAYS / DAYS_YEAR)
    return [
        _parity_finding("parity_median_abs_residual", joined, fit_parity(joined), "roots of one expiry joined"),
        _parity_finding("parity_median_abs_residual_by_root", apart, fits, "roots apart"),
    ]


def _parity_finding(check: str, near: pl.DataFrame, fits: pl.DataFrame, which: str) -> pl.DataFrame:
    left = residuals(near, fits)
    if left.is_empty():
        detail = f"{which}: no chain has five strikes quoted on both sides near the money."
        return finding(check, "warning", 0, 0, (), detail)
    size = left.select(pl.col("residual").abs().median()).item()
    inside = left.filter(pl.col("residual").abs() <= pl.col("half_spreads") + 1e-9).height
    detail = (
        f"{float(size):.3f} points over {left.height:,} pairs within 4% of the forward and {SHORT_DAYS:.0f} days "
        f"({which}); {inside / left.height:.2%} inside the summed half-spreads."
    )
    severity = "info" if inside >= PARITY_INSIDE * left.height else "warning"
    outside = left.filter(pl.col("residual").abs() > pl.col("half_spreads") + 1e-9)
    return finding(check, severity, outside.height, left.height, _dates(outside), detail)


def butterflies(quotes: pl.DataFrame) -> pl.DataFrame:
    """Neighbouring strikes where the wings can be bought for less than the body is sold at: a free butterfly."""
    chain = ["snapshot", "expiration", "root", "right"]
    same = pl.all_horizontal(
        *(pl.col(name) == pl.col(name).shift(1) for name in chain),
        *(pl.col(name) == pl.col(name).shift(-1) for name in chain),
    )
    low, high = pl.col("strike").shift(1), pl.col("strike").shift(-1)
    weight = (high - pl.col("strike")) / (high - low)
    wings = weight * pl.col("ask").shift(1) + (1 - weight) * pl.col("ask").shift(-1)
    rows = (
        quotes.lazy()
        .select(*chain, "strike", "bid", "ask")
        .sort(*chain, "strike")
        .filter((same & (pl.col("bid") > 0) & (wings < pl.col("bid") - 1e-9)).fill_null(False))
        .select(session_date(pl.col("snapshot")).alias("date"))
        .collect()
    )
    detail = "strikes whose neighbours cost less at the ask than they bring at the bid: kept; fills take the touch."
    return _violations("butterfly_violation", rows, quotes.height, detail)


def calendars(quotes: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """Puts of one strike and root whose next expiry can be bought for less than the earlier one sells at, after carry.

        bid(T1) - ask(T2) > K (D(T1) - D(T2))

    Assumes: European: a put may be worth less later, though by no more than the interest on its strike; dividends only
             help. Calls have no such bound at a fixed strike.
    """
    key = ["snapshot", "root", "strike"]
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in key)
    daily = rates.lazy().group_by("date").agg(pl.col("rate").max()).sort("date")
    years = (pl.col("expiration") - pl.col("expiration").shift(1)).dt.total_nanoseconds() / YEAR_NS
    interest = pl.col("strike") * (pl.col("rate").clip(0) * years)
    puts = quotes.lazy().filter(pl.col("right") == "P").select(*key, "expiration", "bid", "ask")
    rows = (
        puts.with_columns(date=session_date(pl.col("snapshot")))
        .sort("date")
        .join_asof(daily, on="date", strategy="backward")
        .sort(*key, "expiration")
        .filter((same & (pl.col("bid").shift(1) - pl.col("ask") > interest.fill_null(0) + 1e-9)).fill_null(False))
        .select("date")
        .collect()
    )
    detail = "puts that ask less than the expiry before them bids, interest allowed for: kept; fills take the touch."
    return _violations("calendar_violation", rows, quotes.height, detail)


def _violations(check: str, rows: pl.DataFrame, total: int, detail: str) -> pl.DataFrame:
    return finding(check, "warning" if rows.height else "info", rows.height, total, rows["date"], detail)


def spot_against_close(tables: SourceTables, fits: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose parity spot is far from the underlying's close, and the range of the difference."""
    if "parity_spot" in tables.underlyings.columns:
        spots = tables.underlyings.select("snapshot", "close", "parity_spot").drop_nulls()
    else:
        close = tables.underlyings.select("snapshot", "close", date=session_date(pl.col("snapshot")))
        spots = close.join(parity_spots(fits, tables.rates), on="date").drop_nulls()
    if spots.is_empty():
        return empty_findings()
    off = spots.with_columns(date=session_date(pl.col("snapshot")), off=pl.col("parity_spot") - pl.col("close"))
    far = off.filter(pl.col("off").abs() > SPOT_OFF * pl.col("close"))
    low, high = limits(off["off"])
    detail = (
        f"sessions whose parity spot is more than {SPOT_OFF:.1%} from the close; over all sessions it differs by "
        f"{low:+.1f} to {high:+.1f}."
    )
    severity = "warning" if far.height else "info"
    return finding("spot_against_close", severity, far.height, off.height, far["date"], detail)


def underlying_consistency(underlyings: pl.DataFrame) -> list[pl.DataFrame]:
    """Sessions whose open or close lies outside low .. high, and moves that look like a split not applied."""
    slack = 1e-6 * pl.col("close")
    days = underlyings.with_columns(date=session_date(pl.col("snapshot")))
    outside = days.filter(
        (pl.min_horizontal("open", "close") < pl.col("low") - slack)
        | (pl.max_horizontal("open", "close") > pl.col("high") + slack)
    )
    move = (pl.col("close") / pl.col("close").shift(1)).log().abs()
    jumps = days.sort("underlying", "snapshot").filter(
        (pl.col("underlying") == pl.col("underlying").shift(1)) & (move > SPLIT_MOVE) & (pl.col("split") == 1)
    )
    out = []
    if outside.height:
        detail = "sessions of the underlying with open or close outside low .. high: kept."
        out.append(finding("ohlc_inconsistent", "warning", outside.height, days.height, outside["date"], detail))
    if jumps.height:
        detail = f"closes that move more than {SPLIT_MOVE:.0%} without a split on record: kept."
        out.append(finding("split_not_applied", "warning", jumps.height, days.height, jumps["date"], detail))
    return out
