"""Canonical quotes: terms come from the instrument, and a date that is no session moves back in every respect."""

import dataclasses
from datetime import UTC, date, datetime

import polars as pl
import pytest

from clstm_core.config import MarketConfig
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.cache import to_columns
from clstm_core.market.calendars import trading_days
from clstm_core.market.instrument import INSTRUMENTS, SPX, Instrument
from clstm_core.market.source import SourceTables, empty_findings, empty_quarantine
from clstm_core.market.tables.canonical import canonical_quotes
from clstm_core.market.tables.quality import inspect
from clstm_core.market.tables.schema import QUOTES, RATES, UNDERLYINGS

NIFTY = Instrument(
    name="NIFTY", roots={"NIFTY": "PM"}, multiplier=75.0, currency="INR", tick=0.05, calendar="XBOM", margin="index"
)


def rows(session: date, expiry: date, root: str = "SPX", **changes) -> pl.DataFrame:
    row = {"session": session, "expiry": expiry, "root": root, "strike": 1350.0, "right": "C", "bid": 9.0, "ask": 9.5}
    return pl.DataFrame([row | changes])


def utc(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)


@pytest.mark.parametrize(
    ("root", "listed", "settles"),
    [
        ("SPX", date(2012, 2, 18), utc(2012, 2, 17, 14, 30)),  # Saturday: Friday's open
        ("SPXW", date(2012, 2, 18), utc(2012, 2, 17, 21)),
        ("SPX", date(2008, 3, 22), utc(2008, 3, 20, 13, 30)),  # the Saturday after Good Friday: Thursday's open
        ("SPXW", date(2026, 4, 3), utc(2026, 4, 2, 20)),  # Good Friday
        ("SPXW", date(2012, 2, 17), utc(2012, 2, 17, 21)),
        ("SPXW", date(2012, 10, 29), utc(2012, 10, 29, 20)),  # nobody knew of the storm
        ("SPXW", date(2014, 11, 28), utc(2014, 11, 28, 18)),  # a half day: 13:00
        ("SPXW", date(2024, 7, 3), utc(2024, 7, 3, 17)),
        ("SPXW", date(2014, 11, 29), utc(2014, 11, 28, 18)),  # the Saturday after a half day
        ("SPX", date(2014, 11, 28), utc(2014, 11, 28, 14, 30)),
        ("XYZ", date(2012, 2, 17), utc(2012, 2, 17, 21)),  # a root of nobody's settles at the close
    ],
)
def test_an_expiry_settles_on_a_scheduled_session(root, listed, settles):
    quote = canonical_quotes(rows(date(2008, 3, 3), listed, root), SPX).row(0, named=True)
    assert quote["expiration"] == settles
    assert quote["contract_id"] == f"{root}{listed:%y%m%d}C01350000"  # the venue's name stays


def test_a_saturday_monthly_cannot_be_traded_at_fridays_close():
    """It settled at that morning's open, so that its row of the evening is nothing to trade."""
    friday = canonical_quotes(rows(date(2012, 2, 17), date(2012, 2, 18)), SPX)
    assert (friday["expiration"] <= friday["snapshot"]).all()
    thursday = canonical_quotes(rows(date(2012, 2, 16), date(2012, 2, 18)), SPX)
    left = (thursday["expiration"] - thursday["snapshot"]).item()
    assert left.total_seconds() == 17.5 * 3600


def test_vendors_rows_that_make_no_sense_stay_rows():
    odd = pl.concat([rows(date(2024, 3, 1), date(9999, 12, 31)), rows(date(2024, 3, 1), date(2024, 4, 5))])
    odd = pl.concat([odd, odd.tail(1).with_columns(strike=None, expiry=None).cast(odd.schema)])
    found = canonical_quotes(odd, SPX)
    assert found.height == 3
    kept = canonical_quotes(odd.with_columns(reason=pl.lit("odd"), file=pl.lit("a.csv")), SPX, also=("reason", "file"))
    assert kept.columns == [*QUOTES, "reason", "file"]
    assert kept.drop("reason", "file").equals(found)
    assert found["expiration"].null_count() == 2  # no date, and a date that no clock in nanoseconds holds


def test_terms_of_another_underlying_are_one_declaration():
    quote = canonical_quotes(rows(date(2024, 8, 12), date(2024, 8, 15), "NIFTY"), NIFTY).row(0, named=True)
    assert (quote["underlying"], quote["multiplier"], quote["currency"]) == ("NIFTY", 75.0, "INR")
    assert quote["snapshot"] == utc(2024, 8, 12, 10)  # 15:30 in India
    assert quote["expiration"] == utc(2024, 8, 14, 10)  # the 15th is a holiday there


def test_another_underlying_costs_one_declaration(monkeypatch, vendor, found):
    """From a vendor's rows to tensors: terms, calendar, hours and tick of Mumbai, and not one file of code."""
    monkeypatch.setitem(INSTRUMENTS, "NIFTY", NIFTY)
    sessions = trading_days(date(2024, 8, 1), date(2024, 8, 30), "XBOM")
    assert date(2024, 8, 15) not in sessions
    spot = {day: 24_000.0 + 10.0 * n for n, day in enumerate(sessions)}
    raw = []
    for day in sessions:
        for expiry in (date(2024, 8, 15), date(2024, 8, 29), date(2024, 9, 26)):
            for strike in range(23_000, 25_001, 200):
                for right in "CP":
                    years = max((expiry - day).days, 0) / 365
                    mid = vendor.price(spot[day], strike, years, right)
                    raw.append((day, expiry, "NIFTY", float(strike), right, mid - 0.5, mid + 0.5))
    columns = ["session", "expiry", "root", "strike", "right", "bid", "ask"]
    quotes = canonical_quotes(pl.DataFrame(raw, schema=columns, orient="row").filter(pl.col("bid") > 0), NIFTY)
    closes = [utc(day.year, day.month, day.day, 10) for day in sessions]
    underlyings = pl.DataFrame(
        [(when, "NIFTY", *[spot[day]] * 4, 0.0, 0.0, 1.0) for when, day in zip(closes, sessions, strict=True)],
        schema=UNDERLYINGS,
        orient="row",
    )
    rates = pl.DataFrame([(sessions[0], 30.0, vendor.rate, vendor.dividend_yield)], schema=RATES, orient="row")
    tables = inspect(
        SourceTables(
            quotes=quotes,
            underlyings=underlyings,
            rates=rates,
            quarantine=empty_quarantine(),
            findings=empty_findings(),
        )
    )
    assert found(tables, "missing_session") is None
    assert found(tables, "settlement_price_missing") is None
    assert found(tables, "expiry_on_holiday")["snapshots"] == "2024-08-15"
    market = build_market_tensors(
        *(to_columns(frame) for frame in (tables.quotes.select(list(QUOTES)), tables.underlyings, tables.rates)),
        MarketConfig(source="nifty", near_days=12.0, far_days=40.0),
        embargo=2,
        info={"source": "nifty"},
    )
    assert set(market.multiplier_K.tolist()) == {75.0}
    names = [market.contract_id(k) for k in range(len(market.strike_K))]
    k = names.index("NIFTY240815C24000000")
    settled = sessions[int(market.settle_index_K[k])]
    assert settled == date(2024, 8, 14)
    assert market.settle_value_K[k].item() == spot[settled] - 24_000.0


def test_a_contract_id_of_the_venues_own_is_kept():
    quote = canonical_quotes(rows(date(2024, 8, 12), date(2024, 8, 15)).with_columns(contract_id=pl.lit("X1")), SPX)
    assert quote["contract_id"].to_list() == ["X1"]
    assert dict(quote.schema) == QUOTES


def tables(root: str, index_days: list[date]) -> SourceTables:
    """Contracts dated Friday 2024-03-08, quoted on the days around it; the index has a price on `index_days`."""
    sessions = [date(2024, 3, day) for day in (6, 7, 11, 12)]
    dying = [rows(day, date(2024, 3, 8), root, strike=5000.0 + k) for day in sessions[:2] for k in range(3)]
    living = [rows(day, date(2024, 4, 5), "SPXW", strike=5000.0) for day in sessions]
    underlyings = pl.DataFrame(
        [(datetime(day.year, day.month, day.day, 21, tzinfo=UTC), "SPX", *[5100.0 + day.day] * 4, 0.0, 0.0, 1.0)
         for day in index_days],
        schema=UNDERLYINGS,
        orient="row",
    )  # fmt: skip
    return SourceTables(
        quotes=canonical_quotes(pl.concat([*dying, *living]), SPX),
        underlyings=underlyings,
        rates=pl.DataFrame([(sessions[0], 30.0, 0.05, 0.01)], schema=RATES, orient="row"),
        quarantine=empty_quarantine(),
        findings=empty_findings(),
    )


WEEK = [date(2024, 3, day) for day in (5, 6, 7, 8, 11, 12)]


@pytest.mark.parametrize("root", ["SPX", "SPXW"])
def test_an_expiry_session_without_a_price_is_an_error_by_contract_date_and_price(root, found):
    row = found(inspect(tables(root, [day for day in WEEK if day.day != 8])), "settlement_price_missing")
    assert row["severity"] == "error"
    assert row["count"] == 3
    assert row["snapshots"] == "2024-03-08"
    assert f"{root}240308C05000000 and 2 more on 2024-03-08" in row["detail"]
    assert "5107, the close of 2024-03-07" in row["detail"]


@pytest.mark.parametrize(("root", "price", "blocked"), [("SPX", "open", 3), ("SPXW", "close", 3), ("SPXW", "open", 0)])
@pytest.mark.parametrize("missing", [None, float("nan"), 0.0])
def test_the_price_that_a_contract_settles_on_must_be_there(root, price, blocked, missing, found):
    whole = tables(root, WEEK)
    gone = pl.when(pl.col("snapshot") == utc(2024, 3, 8, 21)).then(missing).otherwise(price).alias(price)
    holed = dataclasses.replace(whole, underlyings=whole.underlyings.with_columns(gone))
    row = found(inspect(holed), "settlement_price_missing")
    assert (row["count"] if row else 0) == blocked


def test_an_expiry_session_with_its_price_is_no_finding(found):
    assert found(inspect(tables("SPXW", WEEK)), "settlement_price_missing") is None


def test_contracts_beyond_the_quotes_need_no_price_yet(found):
    early = tables("SPXW", [day for day in WEEK if day.day < 8])
    before = early.quotes.filter(pl.col("snapshot") < utc(2024, 3, 8))
    only = dataclasses.replace(early, quotes=before)
    assert found(inspect(only), "settlement_price_missing") is None


def test_dates_on_a_closed_day_are_said_though_they_were_moved(found):
    saturday = tables("SPXW", WEEK)
    moved = canonical_quotes(rows(date(2024, 3, 6), date(2024, 3, 9), strike=5000.0), SPX)
    both = dataclasses.replace(saturday, quotes=pl.concat([saturday.quotes, moved]))
    assert found(inspect(both), "expiry_on_holiday")["snapshots"] == "2024-03-09"


@pytest.mark.parametrize(
    ("first", "root", "listed", "settles", "at_open"),
    [
        (date(2012, 2, 6), "SPX", date(2012, 2, 18), date(2012, 2, 17), True),  # a Saturday
        (date(2008, 3, 10), "SPX", date(2008, 3, 22), date(2008, 3, 20), True),  # the Saturday after Good Friday
        (date(2026, 3, 23), "SPXW", date(2026, 4, 3), date(2026, 4, 2), False),  # Good Friday
        (date(2024, 6, 24), "SPXW", date(2024, 7, 3), date(2024, 7, 3), False),  # a half day
        (date(2024, 6, 24), "SPX", date(2024, 7, 3), date(2024, 7, 3), True),
    ],
)
def test_from_a_vendors_rows_to_cash_every_date_moves_together(vendor, first, root, listed, settles, at_open):
    """The last snapshot at which it trades, the price it settles at and the snapshot at which cash arrives."""
    sessions = trading_days(first, date.fromordinal(first.toordinal() + 21))
    close = {day: 1350.0 + 3 * n for n, day in enumerate(sessions)}
    later = date.fromordinal(first.toordinal() + 45)
    raw = [
        (day, expiry, root, float(strike), right, mid - 0.1, mid + 0.1)
        for day in sessions
        for expiry in (listed, later)
        for strike in range(1250, 1451, 25)
        for right in "CP"
        if (mid := vendor.price(close[day], strike, max((expiry - day).days, 0) / 365, right)) > 0.1
    ]
    columns = ["session", "expiry", "root", "strike", "right", "bid", "ask"]
    quotes = canonical_quotes(pl.DataFrame(raw, schema=columns, orient="row"), SPX)
    ends = canonical_quotes(
        pl.DataFrame([(day, day, "SPXW", 1.0, "C", 1.0, 1.0) for day in sessions], columns, orient="row"), SPX
    )
    underlyings = pl.DataFrame(
        [
            (when, "SPX", price - 1.5, price + 2, price - 2, price, 0.0, 0.0, 1.0)
            for when, price in zip(ends.sort("snapshot")["snapshot"], close.values(), strict=True)
        ],
        schema=UNDERLYINGS,
        orient="row",
    )
    rates = pl.DataFrame([(sessions[0], 30.0, vendor.rate, vendor.dividend_yield)], schema=RATES, orient="row")
    market = build_market_tensors(
        *(to_columns(frame) for frame in (quotes, underlyings, rates)),
        MarketConfig(source="spx", near_days=9.0, far_days=40.0, tenor_tolerance=0.9),
        embargo=2,
        info={"source": "spx"},
    )
    names = [market.contract_id(k) for k in range(len(market.strike_K))]
    k = next(n for n, name in enumerate(names) if f"{listed:%y%m%d}C" in name)
    price = close[settles] - (1.5 if at_open else 0.0)
    assert market.settle_value_K[k].item() == max(price - market.strike_K[k].item(), 0.0)
    assert sessions[int(market.settle_index_K[k])] == settles
    mine = market.row_contract_Q == k
    before = sessions[sessions.index(settles) - 1]
    assert sessions[int(market.row_snapshot_Q[mine].max())] == before
    left = market.tte_years_Q[mine].min().item() * 365 * 24
    clock = 17.5 if at_open else 21.0 if settles == date(2024, 7, 3) else 24.0
    assert left == pytest.approx(clock + 24 * ((settles - before).days - 1))
