"""Barchart's files: every fault of the real set, planted in a tiny one."""

from datetime import date, timedelta

import polars as pl
import pytest

from clstm_core.config import MarketConfig
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.calendars import trading_days
from clstm_core.market.sources import default_config, open_source

MONDAY = date(2026, 3, 2)
DAYS = trading_days(MONDAY, date(2026, 3, 6))


def read(folder, days=None):
    source = open_source(default_config("spx_barchart", data_dir=str(folder.root)))
    return source.read(days or source.list_snapshots())


def sessions(tables):
    return sorted(tables.quotes["snapshot"].dt.date().unique().to_list())


def test_a_clean_set_is_read_whole(barchart, found):
    barchart.write_days(MONDAY, DAYS[-1])
    tables = read(barchart)
    assert sessions(tables) == DAYS
    assert tables.quotes.height == 5 * 5 * 25 * 2
    assert tables.quarantine.is_empty()
    assert found(tables, "copied_session") is None
    row = tables.quotes.row(0, named=True)
    assert row["contract_id"] == f"SPXW260303{row['right']}{int(row['strike'] * 1000):08d}"
    assert (row["exercise"], row["settlement"], row["multiplier"]) == ("european", "cash", 100.0)
    assert row["snapshot"].hour == 21
    assert row["expiration"].date() == date(2026, 3, 3)


def test_rates_and_spot_come_from_parity(barchart, vendor):
    barchart.write_days(MONDAY, DAYS[-1])
    tables = read(barchart)
    quoted = tables.underlyings.drop_nulls("parity_spot")
    assert quoted.height == 5
    assert (quoted["parity_spot"] - quoted["close"]).abs().max() < 0.5
    # Over days the discount says little: a cent of rounding is half a percent a year.
    assert (tables.rates["rate"] - vendor.rate).abs().max() < 0.03
    carry = tables.rates["rate"] - tables.rates["dividend_yield"]
    assert (carry - (vendor.rate - vendor.dividend_yield)).abs().max() < 0.02


def test_underlyings_begin_before_and_end_with_the_quotes(barchart):
    barchart.write_days(MONDAY, DAYS[-1])
    dates = read(barchart).underlyings["snapshot"].dt.date()
    assert dates.min() == date(2025, 12, 1)
    assert dates.max() == DAYS[-1]


def test_a_holiday_that_repeats_the_session_before_is_dropped_and_named(barchart, found):
    days = barchart.write_days(date(2026, 4, 1), date(2026, 4, 7))
    thursday, holiday = date(2026, 4, 2), date(2026, 4, 3)
    barchart.write(holiday, barchart_rows(barchart, thursday))
    tables = read(barchart)
    row = found(tables, "copied_session")
    assert (row["count"], row["snapshots"]) == (1, "2026-04-03")
    assert "2026-04-02" in row["detail"]
    assert "closed" in row["detail"]
    assert sessions(tables) == days
    assert set(tables.quarantine["reason"]) == {"copied_session"}


def test_a_copy_on_a_trading_day_is_found_by_its_content_alone(barchart, found):
    barchart.write_days(MONDAY, DAYS[-1])
    barchart.write(DAYS[2], barchart_rows(barchart, DAYS[1]))
    row = found(read(barchart), "copied_session")
    assert row["snapshots"] == DAYS[2].isoformat()
    assert "closed" not in row["detail"]


def test_a_file_of_a_closed_day_is_dropped_by_the_calendar_alone(barchart, found):
    barchart.write_days(MONDAY, DAYS[-1])
    saturday = DAYS[-1] + timedelta(days=1)
    barchart.write(saturday)
    row = found(read(barchart), "copied_session")
    assert row["snapshots"] == saturday.isoformat()
    assert "quoted as on" not in row["detail"]


def test_monthly_expiries_are_quarantined_as_root_unknown(barchart, vendor, found):
    day = date(2026, 6, 15)  # its Friday is a holiday: the monthly expiration is the Thursday
    monthly = date(2026, 6, 18)
    barchart.write(day, vendor.chain(day, vendor.next_expiries(day, monthly=True)))
    tables = read(barchart)
    row = found(tables, "root_unknown")
    assert "2026-06-18" in row["detail"]
    assert row["count"] == 50
    assert tables.quarantine["reason"].unique().to_list() == ["root_unknown"]
    assert monthly not in tables.quotes["expiration"].dt.date().to_list()


def test_expiries_cut_at_the_cap_and_without_puts_are_counted(barchart, vendor, found):
    barchart.write_days(MONDAY, DAYS[-1])
    rows = vendor.chain(MONDAY, vendor.next_expiries(MONDAY))
    last = max(row["expiry"] for row in rows)
    kept = [row for row in rows if row["expiry"] != last]
    calls = [{"expiry": last, "strike": 4000.0 + 5 * n, "right": "C", "bid": 1.0, "ask": 2.0} for n in range(500)]
    barchart.write(MONDAY, kept + calls)
    tables = read(barchart)
    for check in ("row_cap", "expiry_without_puts"):
        row = found(tables, check)
        assert (row["count"], row["snapshots"]) == (1, MONDAY.isoformat())


def test_a_spot_that_is_not_the_index_is_reported_with_its_range(barchart, vendor, found):
    barchart.write_days(MONDAY, DAYS[-1])
    barchart.write(DAYS[0], spot=vendor.spot_on(DAYS[0]) + 70.4)
    barchart.write(DAYS[1], spot=vendor.spot_on(DAYS[1]) - 35.6)
    row = found(read(barchart), "spot_not_index")
    assert row["count"] == 2
    assert "-35.6 to +70.4" in row["detail"]


def test_quotes_taken_after_hours_are_said(barchart, found):
    barchart.write_days(MONDAY, DAYS[-1])
    assert "45 to 45 minutes after" in found(read(barchart), "after_hours")["detail"]


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_vols_are_fractions_whatever_unit_the_file_uses(barchart, vendor, unit):
    rows = vendor.chain(MONDAY, vendor.next_expiries(MONDAY))
    for n, row in enumerate(rows):
        row["vol"] = 0.0 if n == 0 else 0.15 * unit
    barchart.write(MONDAY, rows)
    vols = read(barchart).quotes["implied_vol"]
    assert vols.null_count() == 1
    assert vols.drop_nulls().to_list() == pytest.approx([0.15] * (len(rows) - 1))


@pytest.mark.parametrize("damage", ["cut", "json", "list", "rows", "date", "column", "empty"])
def test_one_bad_file_is_left_out_and_named_and_nothing_else_is_lost(barchart, vendor, found, damage):
    barchart.write_days(MONDAY, DAYS[-1])
    bad, path = DAYS[3], barchart.path(DAYS[3])
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "json":
        vendor.write(path, '{"date": "2026-03-05", "spot": ')
    elif damage == "list":
        vendor.write(path, "[1, 2]")
    elif damage == "rows":
        barchart.write(bad, expiries={"2026-03-09": None})
    elif damage == "date":
        barchart.write(bad, date="2026-03-04")
    elif damage == "column":
        document = barchart.document(bad)
        for rows in document["expiries"].values():
            for row in rows:
                del row["bidPrice"]
        barchart.write(bad, expiries=document["expiries"])
    else:
        barchart.write(bad, [])
    tables = read(barchart)
    row = found(tables, "unreadable_file")
    assert (row["count"], row["snapshots"]) == (1, bad.isoformat())
    assert path.name in row["detail"]
    assert "again" in row["detail"]
    assert sessions(tables) == [day for day in DAYS if day != bad]
    if damage == "column":
        assert "missing column bidPrice" in row["detail"]


def test_many_bad_files_are_an_error(barchart, found):
    for day in barchart.write_days(MONDAY, DAYS[-1])[:2]:
        barchart.path(day).write_bytes(b"\x1f\x8b")
    assert found(read(barchart), "unreadable_file")["severity"] == "error"


def test_when_no_file_can_be_read_the_first_sentence_is_raised(barchart):
    for day in barchart.write_days(MONDAY, DAYS[-1]):
        barchart.path(day).write_bytes(barchart.path(day).read_bytes()[:500])
    with pytest.raises(MarketDataError, match=r"unreadable file 2026-03-02.json.gz.*4 more files"):
        read(barchart)


def test_an_empty_folder_says_what_it_expected(barchart):
    with pytest.raises(MarketDataError, match=r"no session files .* expected names like"):
        read(barchart)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MarketDataError, match=r"no folder .*spx_barchart_eod.*DATA="):
        open_source(default_config("spx_barchart", data_dir=str(tmp_path / "nowhere")))


def test_no_folder_given_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"no data folder for spx_barchart.*DATA="):
        open_source(MarketConfig(source="spx_barchart"))


def test_the_sets_own_folder_may_be_given_too(barchart):
    barchart.write(MONDAY)
    config = default_config("spx_barchart", data_dir=str(barchart.root / "spx_barchart_eod"))
    assert open_source(config).list_snapshots() == [MONDAY]


def test_missing_settlement_prices_are_named(barchart):
    barchart.write(MONDAY)
    (barchart.root / "spx_daily" / "spx_vix_vix9d_daily.csv").unlink()
    with pytest.raises(MarketDataError, match=r"no file .*spx_vix_vix9d_daily.csv"):
        read(barchart)


def test_a_session_without_a_file_is_refused(barchart):
    barchart.write(MONDAY)
    with pytest.raises(MarketDataError, match=r"no file for 2026-03-03"):
        read(barchart, [MONDAY, DAYS[1]])


def test_tenor_targets_belong_to_the_source():
    short, full = default_config("spx_barchart", data_dir="x"), default_config("spx_cboe", data_dir="x")
    assert (short.near_days, short.far_days) == (5.0, 9.0)
    assert (full.near_days, full.far_days) == (30.0, 60.0)
    assert default_config("spx_barchart", near_days=4.0).near_days == 4.0


def test_unknown_sources_and_settings_are_named():
    with pytest.raises(ConfigError, match=r"unknown market source 'spx'"):
        default_config("spx")
    with pytest.raises(ConfigError, match=r"unknown market setting nera_days"):
        default_config("spx_barchart", nera_days=3)


def barchart_rows(folder, day):
    """The rows of a session already written, as `folder.write` takes them."""
    source = open_source(default_config("spx_barchart", data_dir=str(folder.root)))
    frame = source.parse(folder.path(day)).filter(pl.col("expiry") > day)
    return frame.select("expiry", "strike", "right", "bid", "ask", "last").to_dicts()
