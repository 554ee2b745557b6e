"""CBOE's files: sessions fetched after midnight, two roots, tables that are missing."""

import gzip
from datetime import date

import polars as pl
import pytest

from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import trading_days
from clstm_core.market.file_source import spx_quotes
from clstm_core.market.sources import default_config, open_source

MONDAY = date(2026, 7, 20)
DAYS = trading_days(MONDAY, date(2026, 7, 24))


def read(folder):
    source = open_source(default_config("spx_cboe", data_dir=str(folder.root)))
    return source.read(source.list_snapshots())


def sessions(tables):
    return sorted(tables.quotes["snapshot"].dt.date().unique().to_list())


def test_a_clean_set_is_read_whole(cboe, found):
    for day in DAYS:
        cboe.write(day)
    tables = read(cboe)
    assert sessions(tables) == DAYS
    assert tables.quarantine.is_empty()
    assert found(tables, "misdated_session") is None
    assert found(tables, "vendor_close") is None
    quoted_at = tables.quotes["quoted_at"][0]
    assert (quoted_at.hour, quoted_at.minute) == (22, 40)


def test_a_file_that_holds_the_evening_before_is_dropped_where_that_has_its_own(cboe, found):
    for day in DAYS[:4]:
        cboe.write(day)
    cboe.write(DAYS[4], session=DAYS[3])
    tables = read(cboe)
    row = found(tables, "copied_session")
    assert row["snapshots"] == DAYS[4].isoformat()
    assert f"evening of {DAYS[3]}" in row["detail"]
    assert sessions(tables) == DAYS[:4]
    assert tables.quarantine.height == 5 * 25 * 2
    assert tables.quarantine["reason"].unique().to_list() == ["copied_session"]


def test_a_misdated_file_is_relabelled_where_its_session_has_none(cboe, found):
    for day in DAYS[:3]:
        cboe.write(day)
    cboe.write(DAYS[4], session=DAYS[3])
    tables = read(cboe)
    assert sessions(tables) == DAYS[:4]
    row = found(tables, "misdated_session")
    assert row["detail"].endswith(f"{DAYS[4]} holds {DAYS[3]} and is relabelled.")
    last = tables.quotes.filter(tables.quotes["snapshot"].dt.date() == DAYS[3])
    assert last["quoted_at"][0].day == DAYS[4].day  # taken after midnight UTC, and still said so


def test_without_the_vendors_row_the_chains_last_trade_decides(cboe, found):
    for day in DAYS[:3]:
        cboe.write(day)
    cboe.write(DAYS[4], session=DAYS[3])
    table = cboe.root / "spx_cboe_eod" / "underlying.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert found(read(cboe), "misdated_session")["count"] == 1


def test_roots_settle_at_the_open_and_at_the_close(cboe, vendor, found):
    monthly = date(2026, 8, 21)
    rows = vendor.chain(MONDAY, [*vendor.next_expiries(MONDAY), monthly])
    am = [row | {"root": "SPX"} for row in vendor.chain(MONDAY, [monthly])]
    cboe.write(MONDAY, rows=rows + am)
    tables = read(cboe)
    of_month = tables.quotes.filter(tables.quotes["expiration"].dt.date() == monthly)
    times = {root: (t.hour, t.minute) for root, t in of_month.select("root", "expiration").unique().iter_rows()}
    assert times == {"SPX": (13, 30), "SPXW": (20, 0)}
    assert of_month["contract_id"].n_unique() == of_month.height
    assert found(tables, "settlement_roots")["count"] == 50


def test_a_vendors_close_that_is_not_the_official_one_is_said(cboe, found):
    for day in DAYS:
        cboe.write(day)
    path = cboe.root / "spx_daily" / "spx_vix_vix9d_daily.csv"
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(f"^GSPC,{DAYS[1]}"))
    fields = lines[at].split(",")
    fields[5] = f"{float(fields[5]) - 3:.2f}"
    lines[at] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    row = found(read(cboe), "vendor_close")
    assert (row["count"], row["snapshots"]) == (1, DAYS[1].isoformat())
    assert "+3.00" in row["detail"]


@pytest.mark.parametrize("damage", ["cut", "torn", "column"])
def test_one_bad_file_is_left_out_and_named(cboe, vendor, found, damage):
    for day in DAYS:
        cboe.write(day)
    path = cboe.path(DAYS[2])
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "torn":
        vendor.write(path, gzip.decompress(path.read_bytes()).decode()[:-1500])
    else:
        vendor.write(path, "session_date,expiry\n2026-07-22,2026-07-23\n")
    tables = read(cboe)
    row = found(tables, "unreadable_file")
    assert (row["count"], row["snapshots"]) == (1, DAYS[2].isoformat())
    assert sessions(tables) == [day for day in DAYS if day != DAYS[2]]
    if damage == "column":
        assert "missing column right, option" in row["detail"]


def test_a_strike_that_is_no_number_names_no_contract(cboe):
    cboe.write(MONDAY)
    rows = read(cboe).quotes.filter(pl.col("root") == "SPXW")
    contracts = spx_quotes(
        rows.select("root", "right", "bid", "ask", strike=pl.lit(float("nan")), session=pl.lit(MONDAY)).with_columns(
            expiry=pl.lit(DAYS[1])
        )
    )
    assert contracts["contract_id"].is_null().all()


@pytest.mark.parametrize("side", ["spx_cboe_eod/underlying.csv", "spx_daily/spx_vix_vix9d_daily.csv"])
@pytest.mark.parametrize(("keep", "said"), [(0, "empty file .*: found no text"), (100, "truncated file .*")])
def test_a_cut_side_file_is_named(cboe, side, keep, said):
    cboe.write(MONDAY)
    path = cboe.root / side
    path.write_text(path.read_text()[:keep])
    with pytest.raises(MarketDataError, match=said + r".*Download it again"):
        read(cboe)


def test_prices_that_cannot_be_traded_are_counted(cboe):
    cboe.write(MONDAY, rows=[{"expiry": DAYS[3], "strike": 7000.0, "right": "C", "bid": -1.0, "ask": 1.0}])
    with pytest.raises(MarketDataError, match=r"found 1 row, 0 of them with prices that can be traded"):
        read(cboe)


def test_a_missing_table_of_snapshots_is_named(cboe):
    cboe.write(MONDAY)
    (cboe.root / "spx_cboe_eod" / "underlying.csv").unlink()
    with pytest.raises(MarketDataError, match=r"no file .*underlying.csv"):
        read(cboe)
