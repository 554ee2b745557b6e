"""Every rule of quality on a clean table with one fault planted."""

import math
from datetime import date, timedelta

import polars as pl
import pytest

from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import session_close, trading_days
from clstm_core.market.file_source import spx_quotes
from clstm_core.market.source import SourceTables, empty_findings, empty_quarantine, finding
from clstm_core.market.tables.checks import stale_runs
from clstm_core.market.tables.quality import blocking, inspect

MONDAY = date(2026, 3, 2)
DAYS = trading_days(MONDAY, date(2026, 3, 13))


@pytest.fixture
def clean(vendor):
    """Ten sessions of five expiries, correct in everything."""
    rows = [
        row | {"session": day, "root": "SPXW"} for day in DAYS for row in vendor.chain(day, vendor.next_expiries(day))
    ]
    quotes = spx_quotes(pl.DataFrame(rows).with_columns(implied_vol=pl.lit(0.15)))
    sessions = pl.DataFrame({"date": DAYS, "close": [vendor.spot_on(day) for day in DAYS]})
    underlyings = sessions.select(
        snapshot=session_close(pl.col("date")),
        underlying=pl.lit("SPX"),
        open="close",
        high=pl.col("close") + 10,
        low=pl.col("close") - 10,
        close="close",
        volume=pl.lit(1e6),
        dividend=pl.lit(0.0),
        split=pl.lit(1.0),
    )
    rates = sessions.select(
        "date", tenor_days=pl.lit(9.0), rate=pl.lit(vendor.rate), dividend_yield=pl.lit(vendor.dividend_yield)
    )
    return SourceTables(
        quotes=quotes,
        underlyings=underlyings,
        rates=rates,
        quarantine=empty_quarantine(),
        findings=empty_findings(),
    )


def but(tables, **frames):
    """The tables with some frames exchanged."""
    names = ("quotes", "underlyings", "rates", "quarantine", "findings")
    return SourceTables(**{name: frames.get(name, getattr(tables, name)) for name in names})


def altered(tables, where, **values):
    """The tables with values set in the quotes where an expression holds."""
    changes = {name: pl.when(where).then(value).otherwise(pl.col(name)) for name, value in values.items()}
    return but(tables, quotes=tables.quotes.with_columns(**changes))


def contract(tables, n=0):
    """Condition of one row, by its position."""
    row = tables.quotes.row(n, named=True)
    return (pl.col("snapshot") == row["snapshot"]) & (pl.col("contract_id") == row["contract_id"])


def at_the_money(tables, right="C", session=DAYS[0], nth=2):
    """Condition of the row nearest the money of the nth expiry."""
    day = tables.quotes.filter((pl.col("snapshot").dt.date() == session) & (pl.col("right") == right))
    expiration = sorted(day["expiration"].unique())[nth]
    chain = day.filter(pl.col("expiration") == expiration).sort("strike")
    row = chain.row(chain.height // 2, named=True)
    return (pl.col("snapshot") == row["snapshot"]) & (pl.col("contract_id") == row["contract_id"])


def test_a_clean_table_passes_whole(clean):
    out = inspect(clean)
    assert out.quotes.equals(clean.quotes)
    assert out.quarantine.is_empty()
    assert set(out.findings["severity"]) == {"info"} | ({"warning"} if "zero_bid" in out.findings["check"] else set())
    assert blocking(out.findings) == []


@pytest.mark.parametrize(
    ("reason", "values"),
    [
        ("negative_price", {"bid": -0.5}),
        ("negative_price", {"bid": -2.0, "ask": -1.0}),
        ("negative_price", {"strike": 0.0}),
        ("missing_price", {"ask": None}),
        ("missing_price", {"bid": math.nan}),
        ("no_ask", {"bid": 0.0, "ask": 0.0}),
        ("no_ask", {"ask": 0.0}),
        ("crossed", {"bid": 90.0, "ask": 80.0}),
        ("out_of_bounds", {"bid": 0.0, "ask": 0.05}),
        ("out_of_bounds", {"bid": 9000.0, "ask": 9001.0}),
    ],
)
def test_unusable_rows_are_quarantined_with_their_reason(clean, found, reason, values):
    deep = contract(clean, 0)  # the lowest strike's call: 300 points in the money
    out = inspect(altered(clean, deep, **values))
    assert out.quarantine["reason"].to_list() == [reason]
    assert out.quotes.height == clean.quotes.height - 1
    row = found(out, reason)
    assert (row["count"], row["snapshots"]) == (1, MONDAY.isoformat())
    assert row["share"] == pytest.approx(1 / clean.quotes.height)


def test_repeated_rows_lose_their_copies_and_conflicting_ones_go_altogether(clean, found):
    same, other = clean.quotes.filter(contract(clean, 5)), clean.quotes.filter(contract(clean, 8))
    wrong = other.with_columns(ask=pl.col("ask") + 1)
    out = inspect(but(clean, quotes=pl.concat([clean.quotes, same, wrong])))
    assert found(out, "duplicate_key")["count"] == 3
    ids = out.quotes.filter(pl.col("snapshot").dt.date() == MONDAY)["contract_id"].to_list()
    assert ids.count(same["contract_id"][0]) == 1
    assert ids.count(other["contract_id"][0]) == 0


def test_contracts_past_their_settlement_are_told_apart(clean, found):
    long_before = pl.lit(MONDAY - timedelta(days=9)).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    same_day = clean.quotes.with_columns(
        expiration=pl.when(contract(clean, 3)).then(pl.col("snapshot")).otherwise("expiration")
    )
    long_ago = same_day.with_columns(expiration=pl.when(contract(clean, 4)).then(long_before).otherwise("expiration"))
    out = inspect(but(clean, quotes=long_ago))
    assert found(out, "expired_at_snapshot")["count"] == 1
    assert found(out, "expired")["count"] == 1
    assert sorted(out.quarantine["reason"]) == ["expired", "expired_at_snapshot"]


def test_zero_bids_and_locked_quotes_are_kept_and_counted(clean, found):
    base = found(inspect(clean), "zero_bid")
    out = inspect(altered(clean, at_the_money(clean), bid=0.0))
    assert found(out, "zero_bid")["count"] == (base["count"] if base else 0) + 1
    locked = inspect(altered(clean, at_the_money(clean), bid=pl.col("ask")))
    assert found(locked, "locked")["count"] == 1
    assert out.quotes.height == locked.quotes.height == clean.quotes.height


def test_rows_without_the_vendors_vol_are_counted(clean, found):
    out = inspect(altered(clean, contract(clean, 3), implied_vol=0.0))
    assert found(out, "vendor_vol_missing")["count"] == 1


def test_model_worlds_keep_their_unfloored_bids(clean, found):
    out = inspect(altered(clean, contract(clean, 3), bid=-0.3), quoted=False)
    assert out.quotes.height == clean.quotes.height
    assert found(out, "negative_bid")["count"] == 1


def test_missing_sessions_are_named(clean, found):
    gone = clean.quotes.filter(pl.col("snapshot").dt.date() != DAYS[4])
    row = found(inspect(but(clean, quotes=gone)), "missing_session")
    assert (row["count"], row["snapshots"]) == (1, DAYS[4].isoformat())


def test_a_session_cut_short_is_named(clean, found):
    day = pl.col("snapshot").dt.date()
    cut = clean.quotes.filter((day != DAYS[6]) | (pl.col("expiration").rank("dense").over("snapshot") <= 2))
    row = found(inspect(but(clean, quotes=cut)), "thin_session")
    assert row["snapshots"] == DAYS[6].isoformat()
    assert "least 100" in row["detail"]


def test_a_session_with_wide_spreads_is_named(clean, found):
    that_day = pl.col("snapshot").dt.date() == DAYS[3]
    assert found(inspect(clean), "wide_spread_session") is None
    out = inspect(altered(clean, that_day, bid=(pl.col("bid") - 2).clip(0.05), ask=pl.col("ask") + 2))
    assert found(out, "wide_spread_session")["snapshots"] == DAYS[3].isoformat()


def standing(clean, bid, ask, *, sessions=5, quoted=False):
    """What is found where a contract quoted on five sessions is quoted so on the first `sessions` of them."""
    names = clean.quotes["contract_id"].value_counts(sort=True).filter(pl.col("count") == 5)["contract_id"].sort()
    mine = pl.col("contract_id") == names[0]
    days = clean.quotes.filter(mine)["snapshot"].sort()[:sessions].implode()
    return inspect(altered(clean, mine & pl.col("snapshot").is_in(days), bid=bid, ask=ask), quoted=quoted)


def test_quotes_that_stand_still_are_counted(clean, found):
    before = found(inspect(clean, quoted=False), "stale_run")
    out = found(standing(clean, 0.10, 0.25), "stale_run")
    assert out["count"] == (before["count"] if before else 0) + 3  # the third to fifth of five
    assert found(inspect(clean), "stale_run") is None
    short = found(standing(clean, 0.10, 0.25, sessions=2), "stale_run")
    assert (short["count"] if short else 0) == (before["count"] if before else 0)


@pytest.mark.parametrize("ask", [0.10, 0.15, 0.25, 5.0])
def test_a_quote_that_bids_the_lowest_tick_does_not_stand_still(clean, found, ask):
    before = found(inspect(clean, quoted=False), "stale_run")
    assert found(standing(clean, 0.05, ask), "stale_run") == before


def test_a_session_at_the_floor_ends_a_run(clean):
    """0.10, 0.10, 0.05, 0.10, 0.10: never three in a row."""
    name = clean.quotes["contract_id"].value_counts(sort=True).filter(pl.col("count") == 5)["contract_id"].sort()[0]
    mine = clean.quotes.filter(pl.col("contract_id") == name).sort("snapshot")
    bids = pl.Series([0.10, 0.10, 0.05, 0.10, 0.10])
    assert stale_runs(mine.with_columns(bid=bids, ask=bids + 0.10)).is_empty()
    assert stale_runs(mine.with_columns(bid=0.10, ask=0.20))["count"].to_list() == [3]


def test_in_a_model_world_standing_still_is_no_fault(clean):
    quotes = clean.quotes.with_columns(bid=0.10, ask=0.20)
    assert stale_runs(quotes)["severity"].to_list() == ["warning"]
    assert stale_runs(quotes, quoted=False)["severity"].to_list() == ["info"]


def test_parity_residuals_are_measured(clean, found):
    good = found(inspect(clean), "parity_median_abs_residual")
    assert good["severity"] == "info"
    assert float(good["detail"].split()[0]) < 0.05  # quotes are rounded to 5 cents
    calls = (pl.col("right") == "C") & (pl.col("strike") % 50 == 0) & (pl.col("ask") > 3)
    moved = altered(clean, calls, bid=pl.col("bid") + 3, ask=pl.col("ask") + 3)
    bad = found(inspect(moved, quoted=False), "parity_median_abs_residual")
    assert bad["severity"] == "warning"
    assert float(bad["detail"].split()[0]) > 1.0


def test_a_free_butterfly_is_counted(clean, found):
    assert found(inspect(clean), "butterfly_violation")["count"] == 0
    body = at_the_money(clean)
    out = inspect(altered(clean, body, bid=pl.col("bid") + 15, ask=pl.col("ask") + 15))
    row = found(out, "butterfly_violation")
    assert (row["count"], row["snapshots"]) == (1, MONDAY.isoformat())


def test_a_put_cheaper_than_the_expiry_before_is_counted(clean, found):
    assert found(inspect(clean), "calendar_violation")["count"] == 0
    put = at_the_money(clean, right="P", nth=3)
    earlier = clean.quotes.filter(at_the_money(clean, right="P", nth=2))["bid"].item()
    out = inspect(altered(clean, put, bid=earlier - 2, ask=earlier - 1))
    assert found(out, "calendar_violation")["count"] == 1


def test_a_spot_far_from_the_close_is_named(clean, found):
    good = found(inspect(clean), "spot_against_close")
    assert (good["count"], good["severity"]) == (0, "info")
    day = pl.col("snapshot").dt.date() == DAYS[2]
    moved = clean.underlyings.with_columns(
        close=pl.when(day).then(pl.col("close") * 1.02).otherwise("close"), high=pl.col("high") * 1.03
    )
    row = found(inspect(but(clean, underlyings=moved)), "spot_against_close")
    assert (row["count"], row["snapshots"]) == (1, DAYS[2].isoformat())


def test_an_underlying_at_odds_with_itself_is_named(clean, found):
    day = pl.col("snapshot").dt.date() == DAYS[2]
    odd = clean.underlyings.with_columns(high=pl.when(day).then(pl.col("close") - 1).otherwise("high"))
    assert found(inspect(but(clean, underlyings=odd)), "ohlc_inconsistent")["snapshots"] == DAYS[2].isoformat()
    later = pl.col("snapshot").dt.date() >= DAYS[5]
    halved = clean.underlyings.with_columns(
        **{name: pl.when(later).then(pl.col(name) / 2).otherwise(name) for name in ("open", "high", "low", "close")}
    )
    assert found(inspect(but(clean, underlyings=halved)), "split_not_applied")["snapshots"] == DAYS[5].isoformat()


def test_an_expiry_on_a_closed_day_is_named(clean, found):
    row = clean.quotes.filter(contract(clean, 3)).with_columns(
        expiration=pl.lit(date(2026, 4, 3)).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
        + pl.duration(hours=20, time_unit="ns"),
        contract_id=pl.lit("SPXW260403C07000000"),
    )
    out = inspect(but(clean, quotes=pl.concat([clean.quotes, row])))
    assert found(out, "expiry_on_holiday")["snapshots"] == "2026-04-03"


def test_what_the_source_dropped_and_found_is_kept(clean, found):
    dropped = clean.quotes.head(3).with_columns(reason=pl.lit("root_unknown"))
    mine = finding("root_unknown", "warning", 3, 10, [MONDAY], "three rows.")
    out = inspect(but(altered(clean, contract(clean, 3), ask=0.0), quarantine=dropped, findings=mine))
    assert sorted(out.quarantine["reason"]) == ["no_ask", *["root_unknown"] * 3]
    assert found(out, "root_unknown")["count"] == 3


def test_errors_block_and_say_why(clean):
    bad = finding("unreadable_file", "error", 3, 4, [MONDAY], "three of four files.")
    assert blocking(inspect(but(clean, findings=bad)).findings) == ["unreadable_file: three of four files."]


def test_tables_that_cannot_be_inspected_are_refused(clean):
    with pytest.raises(MarketDataError, match=r"missing column ask in the quotes table"):
        inspect(but(clean, quotes=clean.quotes.drop("ask")))
    with pytest.raises(MarketDataError, match=r"strike is Int64, expected Float64"):
        inspect(but(clean, quotes=clean.quotes.with_columns(pl.col("strike").cast(pl.Int64))))
    with pytest.raises(MarketDataError, match=r"no quotes to inspect"):
        inspect(but(clean, quotes=clean.quotes.clear()))
    with pytest.raises(MarketDataError, match=r"all 2,500 quotes are unusable, most of them no_ask"):
        inspect(altered(clean, pl.lit(True), ask=0.0))


@pytest.mark.parametrize("ask", [50_000.0, 2_000.0])
@pytest.mark.parametrize("nth", [0, 1, 12, 24])
def test_an_ask_out_of_all_proportion_costs_its_own_row(clean, found, ask, nth):
    chain = clean.quotes.filter((pl.col("right") == "C") & (pl.col("snapshot").dt.date() == MONDAY)).sort(
        "expiration", "strike"
    )
    row = chain.row(25 + nth, named=True)
    mine = (pl.col("snapshot") == row["snapshot"]) & (pl.col("contract_id") == row["contract_id"])
    out = inspect(altered(clean, mine, ask=ask))
    assert out.quarantine.select("contract_id", "reason").rows() == [(row["contract_id"], "implausible_price")]
    assert found(out, "implausible_price")["snapshots"] == MONDAY.isoformat()


def test_a_session_with_prices_in_another_unit_is_quarantined_by_name(clean, found):
    that_day = pl.col("snapshot").dt.date() == DAYS[3]
    out = inspect(altered(clean, that_day, bid=pl.col("bid") * 100, ask=pl.col("ask") * 100))
    assert DAYS[3] not in out.quotes["snapshot"].dt.date().to_list()
    assert set(out.quarantine["reason"]) <= {"implausible_session", "implausible_price"}
    row = found(out, "implausible_session")
    assert row["snapshots"] == DAYS[3].isoformat()
    assert f"{DAYS[3]}: prices are" in row["detail"]


def test_a_session_with_strikes_in_another_unit_is_quarantined_by_name(clean, found):
    that_day = pl.col("snapshot").dt.date() == DAYS[3]
    out = inspect(altered(clean, that_day, strike=pl.col("strike") * 10))
    row = found(out, "implausible_session")
    assert row["snapshots"] == DAYS[3].isoformat()
    assert "times the spot" in row["detail"]
    assert DAYS[3] not in out.quotes["snapshot"].dt.date().to_list()


def test_prices_that_nobody_stands_behind_are_named(clean, found):
    assert found(inspect(clean), "zero_size") is None
    sized = but(clean, quotes=clean.quotes.with_columns(bid_size=pl.lit(3.0), ask_size=pl.lit(3.0)))
    assert found(inspect(sized), "zero_size") is None
    out = inspect(altered(sized, pl.col("snapshot").dt.date() == DAYS[3], ask_size=0.0))
    row = found(out, "zero_size")
    alive = out.quotes.filter(pl.col("snapshot").dt.date() == DAYS[3]).height
    assert (row["severity"], row["count"], row["snapshots"]) == ("warning", alive, DAYS[3].isoformat())
    assert "on every row of 1 session" in row["detail"]
    assert out.quotes.height == inspect(sized).quotes.height  # kept


def test_no_bid_of_no_size_is_no_fault(clean, found):
    sized = but(clean, quotes=clean.quotes.with_columns(bid_size=pl.lit(3.0), ask_size=pl.lit(3.0)))
    nobody = pl.col("bid") < 0.05
    assert found(inspect(altered(sized, nobody, bid=0.0, bid_size=0.0)), "zero_size") is None
