"""Rows in = rows kept + rows in quarantine, whatever the files hold; only cells that are traded on can cost a row."""

import gzip
import json
import shutil
import zipfile
from datetime import date

import polars as pl
import pytest

from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import trading_days
from clstm_core.market.source import SourceTables
from clstm_core.market.sources import default_config, open_source
from clstm_core.market.tables.accounting import check_rows
from clstm_core.market.tables.quality import inspect

MONDAY = date(2026, 7, 20)
DAYS = trading_days(MONDAY, date(2026, 7, 24))
PER_DAY = 5 * 25 * 2
INDEX = "spx_daily/spx_vix_vix9d_daily.csv"


def read(folder, name="spx_cboe"):
    source = open_source(default_config(name, data_dir=str(folder.root)))
    return source.read(source.list_snapshots())


def sessions(tables):
    return sorted(tables.quotes["snapshot"].dt.date().unique().to_list())


def lines_of(folder):
    """Rows that the folder's chains hold, counted in the files themselves."""
    files = (folder.root / "spx_cboe_eod" / "chains").glob("*.csv.gz")
    return sum(len(gzip.decompress(path.read_bytes()).decode().splitlines()) - 1 for path in files)


@pytest.fixture
def week(cboe):
    """Five clean sessions."""
    for day in DAYS:
        cboe.write(day)
    return cboe


def text_of(folder, day):
    return gzip.decompress(folder.path(day).read_bytes()).decode()


def put(folder, day, text):
    data = text if isinstance(text, bytes) else text.encode()
    folder.path(day).write_bytes(gzip.compress(data, mtime=0))


def set_cells(folder, day, rows, **cells):
    """Write cells of some rows (numbered from 0) of a session's file, quoted where they hold a comma."""
    header, *lines = text_of(folder, day).splitlines()
    names = header.split(",")
    for n in rows:
        values = lines[n].split(",")
        for name, cell in cells.items():
            values[names.index(name)] = f'"{cell}"' if "," in cell else cell
        lines[n] = ",".join(values)
    put(folder, day, "\n".join([header, *lines]) + "\n")


@pytest.mark.parametrize(
    ("reason", "cells", "said"),
    [
        ("unknown_root", {"option": "XSP260721C07500000"}, "XSP: 3"),
        ("unknown_root", {"option": "SPXPM260721C07500000"}, "SPXPM: 3"),
        ("unknown_symbol", {"option": "??"}, "'??'"),
        ("unknown_symbol", {"option": ""}, "rows whose option symbol"),
        ("unknown_right", {"right": "X"}, "X: 3"),
        ("unknown_right", {"right": ""}, "empty: 3"),
        ("unknown_right", {"right": "Cabbage"}, "Cabbage: 3"),
        ("no_expiry", {"expiry": ""}, "without an expiry"),
        ("no_expiry", {"expiry": "2026-02-31"}, "'2026-02-31'"),
        ("no_expiry", {"expiry": "0001-01-01"}, "'0001-01-01'"),
        ("missing_price", {"bid": "--"}, "'bid=--'"),
        ("missing_price", {"ask": ""}, "without bid, ask or strike"),
        ("missing_price", {"strike": "null"}, "'strike=null'"),
        ("missing_price", {"ask": "1e999"}, "'ask=1e999'"),
        ("wrong_session", {"session_date": "2026-07-23"}, "'2026-07-23'"),
        ("wrong_session", {"session_date": ""}, "without the session"),
        ("symbol_mismatch", {"strike": "7123.5"}, "disagrees"),
        ("symbol_mismatch", {"expiry": "2026-09-30"}, "disagrees"),
        ("symbol_mismatch", {"right": "P"}, "disagrees"),
    ],
)
def test_a_row_that_cannot_be_used_is_quarantined_with_its_reason_and_its_place(week, found, reason, cells, said):
    calls = [0, 2, 4]
    set_cells(week, DAYS[1], calls, **cells)
    tables = read(week)
    row = found(tables, reason)
    assert (row["count"], row["snapshots"]) == (3, DAYS[1].isoformat())
    assert said in row["detail"]
    assert f"{DAYS[1]}.csv.gz row 2" in row["detail"]
    left = tables.quarantine.filter(pl.col("reason") == reason)
    assert left["row"].to_list() == [n + 2 for n in calls]
    assert found(tables, "rows_read")["count"] == lines_of(week) == tables.quotes.height + tables.quarantine.height
    judged = inspect(tables)
    assert judged.quotes.height + judged.quarantine.height == lines_of(week)


def test_a_session_of_unknown_roots_alone_is_not_said_to_be_empty(week, found):
    set_cells(week, DAYS[2], range(PER_DAY), option="NDX260721C07500000")
    tables = read(week)
    assert sessions(tables) == [day for day in DAYS if day != DAYS[2]]
    assert f"NDX: {PER_DAY}" in found(tables, "unknown_root")["detail"]


def test_when_no_row_can_be_used_the_reason_is_raised(cboe):
    cboe.write(MONDAY)
    set_cells(cboe, MONDAY, range(PER_DAY), option="NDX260721C07500000")
    with pytest.raises(
        MarketDataError, match=r"no row of 1 files .* roots that this source does not know \(NDX: 250\)"
    ):
        read(cboe)


def test_a_row_that_vanishes_is_a_programmers_error(week):
    tables = read(week)
    check_rows(tables, lines_of(week))
    short = SourceTables(
        quotes=tables.quotes.head(-1),
        underlyings=tables.underlyings,
        rates=tables.rates,
        quarantine=tables.quarantine,
        findings=tables.findings,
    )
    with pytest.raises(MarketDataError, match=r"rows vanished: 1,250 read, but 1,249 kept and 0 in quarantine"):
        check_rows(short, lines_of(week))


@pytest.mark.parametrize(
    ("column", "ours", "cell", "value"),
    [
        ("volume", "volume", "1,234", 1234.0),
        ("volume", "volume", "1,234,567", 1234567.0),
        ("volume", "volume", "--", None),
        ("open_interest", "open_interest", "n/a", None),
        ("open_interest", "open_interest", "NaN", None),
        ("iv", "implied_vol", "14.00%", 0.14),
        ("delta", "delta", "50%", None),
        ("last_trade_price", "last", "$96.98", 96.98),
        ("last_trade_price", "last", "1,23", None),
        ("bid_size", "bid_size", "1e400", None),
    ],
)
def test_an_odd_cell_costs_a_cell(week, found, column, ours, cell, value):
    set_cells(week, DAYS[1], [0, 3], **{column: cell})
    tables = read(week)
    assert tables.quarantine.is_empty()
    assert sessions(tables) == DAYS
    row = found(tables, "odd_cells")
    assert (row["count"], row["snapshots"]) == (2, DAYS[1].isoformat())
    assert f"{column} 2 (first {DAYS[1]}.csv.gz row 2: {cell!r})" in row["detail"]
    mine = tables.quotes.filter(pl.col("snapshot").dt.date() == DAYS[1])
    assert mine.filter(pl.col(ours).is_null() if value is None else pl.col(ours) == value).height == 2


def test_traded_cells_with_thousands_separators_are_read(week):
    base = read(week).quotes
    header, *lines = text_of(week, DAYS[1]).splitlines()
    names = header.split(",")
    values = lines[0].split(",")
    values[names.index("strike")] = f'"{float(values[names.index("strike")]):,.1f}"'
    put(week, DAYS[1], "\n".join([header, ",".join(values), *lines[1:]]) + "\n")
    assert read(week).quotes.equals(base)


@pytest.mark.parametrize("columns", [["volume", "iv", "bid_size"], ["last_trade_time"], ["last_trade_price", "ticker"]])
@pytest.mark.parametrize("days", [DAYS[1:2], DAYS])
def test_a_column_that_is_not_traded_on_may_be_missing(week, columns, days):
    base = read(week)
    for day in days:
        lines = [line.split(",") for line in text_of(week, day).splitlines()]
        keep = [n for n, name in enumerate(lines[0]) if name not in columns]
        put(week, day, "\n".join(",".join(cells[n] for n in keep) for cells in lines) + "\n")
    assert read(week).quotes.select("contract_id", "bid", "ask").equals(base.quotes.select("contract_id", "bid", "ask"))


@pytest.mark.parametrize("keys", [["lastPrice", "volume"], ["volatility", "delta", "openInterest", "gamma"]])
def test_barcharts_columns_that_are_not_traded_on_may_be_missing(barchart, keys):
    barchart.write_days(MONDAY, DAYS[-1])
    base = read(barchart, "spx_barchart")
    for day in DAYS:
        document = barchart.document(day)
        for rows in document["expiries"].values():
            for row in rows:
                for key in keys:
                    del row[key]
        document |= {"spot": None, "timestamp": None}
        barchart.path(day).write_bytes(gzip.compress(json.dumps(document).encode()))
    tables = read(barchart, "spx_barchart")
    assert tables.quotes.select("contract_id", "bid", "ask").equals(base.quotes.select("contract_id", "bid", "ask"))


# Option symbols, case 3


@pytest.mark.parametrize(
    "form",
    [
        lambda s: f"{s[:4]}  {s[4:]}",
        lambda s: f"O:{s}",
        lambda s: s.lower(),
        lambda s: f"  {s} ",
        lambda s: f'"{s[:4]}  {s[4:]}"',
        lambda s: f".{s}",
    ],
)
def test_symbols_are_read_in_every_usual_form(week, form):
    base = read(week).quotes
    header, *lines = text_of(week, DAYS[1]).splitlines()
    at = header.split(",").index("option")
    rows = [line.split(",") for line in lines]
    put(
        week,
        DAYS[1],
        "\n".join([header, *(",".join([*cells[:at], form(cells[at]), *cells[at + 1 :]]) for cells in rows)]),
    )
    assert read(week).quotes.equals(base)


# Files of one session, case 2


def test_identical_files_of_a_session_are_read_once_and_named(week, found):
    base = read(week).quotes
    chains = week.root / "spx_cboe_eod" / "chains"
    shutil.copy(chains / f"{DAYS[1]}.csv.gz", chains / f"{DAYS[1]} (1).csv.gz")
    (chains / f"{DAYS[2]}.csv").write_text(text_of(week, DAYS[2]))
    tables = read(week)
    assert tables.quotes.equals(base)
    row = found(tables, "session_twice")
    assert (row["count"], row["snapshots"]) == (4, f"{DAYS[1]}, {DAYS[2]}")
    for name in (f"{DAYS[1]}.csv.gz", f"{DAYS[1]} (1).csv.gz", f"{DAYS[2]}.csv"):
        assert name in row["detail"]


@pytest.mark.parametrize("name", ["{}_old.csv", "{} copy.csv.gz", "{}-v2.csv", "{}_old.txt"])
def test_of_differing_files_the_one_named_by_its_date_wins_with_a_warning(week, found, name):
    base = read(week).quotes
    other = week.root / "spx_cboe_eod" / "chains" / name.format(DAYS[1])
    doubled = text_of(week, DAYS[1]).replace(",1,", ",2,")
    other.write_bytes(gzip.compress(doubled.encode()))
    tables = read(week)
    assert tables.quotes.equals(base)
    row = found(tables, "session_conflict")
    assert (row["severity"], row["snapshots"]) == ("warning", DAYS[1].isoformat())
    assert other.name in row["detail"]
    assert f"{DAYS[1]}.csv.gz is read" in row["detail"]


def test_differing_files_of_equal_right_are_refused_by_name(week, found):
    chains = week.root / "spx_cboe_eod" / "chains"
    (chains / f"{DAYS[1]}.csv").write_text(text_of(week, DAYS[1]).replace(",1,", ",2,"))
    tables = read(week)
    assert sessions(tables) == [day for day in DAYS if day != DAYS[1]]
    row = found(tables, "unreadable_file")
    assert f"{DAYS[1]}.csv, {DAYS[1]}.csv.gz differ" in row["detail"]
    assert row["snapshots"] == DAYS[1].isoformat()


def test_barcharts_files_follow_the_same_rule(barchart, found):
    barchart.write_days(MONDAY, DAYS[-1])
    folder = barchart.root / "spx_barchart_eod"
    (folder / f"{DAYS[1]}.json").write_text(gzip.decompress(barchart.path(DAYS[1]).read_bytes()).decode())
    (folder / f"{DAYS[2]}.json").write_text(json.dumps(barchart.document(DAYS[2], spot=1.0)))
    tables = read(barchart, "spx_barchart")
    assert found(tables, "session_twice")["snapshots"] == DAYS[1].isoformat()
    assert f"{DAYS[2]}.json, {DAYS[2]}.json.gz differ" in found(tables, "unreadable_file")["detail"]


def test_files_that_name_no_session_are_named(week, found):
    chains = week.root / "spx_cboe_eod" / "chains"
    for name in ("0001-01-01.csv", "latest.csv", "2026-13-01.csv.gz"):
        (chains / name).write_text("x")
    row = found(read(week), "file_without_session")
    assert row["count"] == 3
    assert "0001-01-01.csv, 2026-13-01.csv.gz, latest.csv" in row["detail"]


# Barchart's rows


def barchart_day(barchart, change):
    """A week whose second session's document is changed."""
    barchart.write_days(MONDAY, DAYS[-1])
    document = barchart.document(DAYS[1])
    change(document, next(iter(document["expiries"].values())))
    barchart.path(DAYS[1]).write_bytes(gzip.compress(json.dumps(document).encode()))
    return read(barchart, "spx_barchart")


@pytest.mark.parametrize(
    ("reason", "key", "cell"),
    [
        ("unknown_right", "optionType", "X"),
        ("unknown_right", "optionType", None),
        ("no_expiry", "expirationDate", None),
        ("no_expiry", "expirationDate", "0001-01-01"),
        ("missing_price", "bidPrice", None),
        ("missing_price", "askPrice", "n/a"),
        ("missing_price", "strikePrice", 10**400),
        ("missing_price", "strikePrice", [[1]]),
        ("missing_price", "bidPrice", True),
        ("missing_price", "askPrice", float("nan")),
    ],
)
def test_barcharts_rows_are_accounted_for(barchart, found, reason, key, cell):
    tables = barchart_day(barchart, lambda _, rows: rows[0].update({key: cell}))
    assert found(tables, reason)["count"] == 1
    assert f"{DAYS[1]}.json.gz row 1" in found(tables, reason)["detail"]
    assert found(tables, "rows_read")["count"] == 5 * PER_DAY == tables.quotes.height + 1


def test_barcharts_odd_cells_cost_a_cell(barchart, found):
    def change(document, rows):
        document["spot"] = "n/a"
        rows[0]["volume"], rows[1]["lastPrice"], rows[2]["volatility"] = "1,234", "--", "14.00%"

    tables = barchart_day(barchart, change)
    assert tables.quarantine.is_empty()
    assert found(tables, "odd_cells")["count"] == 4
    assert sessions(tables) == DAYS


def test_a_row_that_is_no_object_is_quarantined(barchart, found):
    tables = barchart_day(barchart, lambda _, rows: rows.extend([None, 7, [1]]))
    assert found(tables, "unreadable_row")["count"] == 3
    assert found(tables, "rows_read")["count"] == 5 * PER_DAY + 3


# The index file, case 8


def index_lines(folder):
    return (folder.root / INDEX).read_text().splitlines()


def write_index(folder, lines):
    (folder.root / INDEX).write_text("\n".join(lines) + "\n")


def index_row(folder, day):
    return next(n for n, line in enumerate(index_lines(folder)) if line.startswith(f"^GSPC,{day}"))


def test_index_rows_that_repeat_are_read_once_by_a_finding(week, found):
    base = read(week).underlyings
    lines = index_lines(week)
    at = index_row(week, DAYS[2])
    write_index(week, [*lines, lines[at]])
    tables = read(week)
    assert tables.underlyings.equals(base)
    row = found(tables, "index_rows_repeated")
    assert "spx_vix_vix9d_daily.csv: rows that repeat a date with the same open and close" in row["detail"]
    assert f"row {len(lines) + 1} ({DAYS[2]})" in row["detail"]


def test_two_index_prices_for_a_date_are_refused_by_file_rows_and_date(week):
    lines = index_lines(week)
    at = index_row(week, DAYS[2])
    cells = lines[at].split(",")
    cells[5] = "7010.25"
    write_index(week, [*lines, ",".join(cells)])
    with pytest.raises(
        MarketDataError,
        match=rf"two prices for {DAYS[2]} in spx_vix_vix9d_daily.csv: found closes .*7010.25.* in rows {at + 1}, "
        rf"{len(lines) + 1}",
    ):
        read(week)


def test_an_index_that_is_a_day_behind_costs_the_sessions_concerned(week, found):
    last = index_row(week, DAYS[-1])
    write_index(week, index_lines(week)[:last])
    tables = read(week)
    assert sessions(tables) == DAYS[:-1]
    row = found(tables, "no_index_price")
    assert (row["count"], row["snapshots"]) == (PER_DAY, DAYS[-1].isoformat())
    assert f"spx_vix_vix9d_daily.csv, which ends on {DAYS[-2]}" in row["detail"]


def test_an_index_that_ends_before_the_quotes_is_named(week):
    write_index(week, index_lines(week)[: index_row(week, DAYS[0])])
    with pytest.raises(MarketDataError, match=r"no session of .* with a close in spx_vix_vix9d_daily.csv"):
        read(week)


@pytest.mark.parametrize("close", ["", "--", "0", "n/a", "-5"])
def test_an_index_row_without_close_is_as_if_missing(week, found, close):
    lines = index_lines(week)
    at = index_row(week, DAYS[2])
    cells = lines[at].split(",")
    cells[5] = close
    lines[at] = ",".join(cells)
    write_index(week, lines)
    tables = read(week)
    assert sessions(tables) == [day for day in DAYS if day != DAYS[2]]
    assert f"row {at + 1} ({DAYS[2]})" in found(tables, "index_rows_unusable")["detail"]
    # Contracts that expire that day cannot be settled: they are set aside, by name.
    assert found(tables, "no_settlement_price")["count"] == 2 * 50
    assert DAYS[2] not in tables.quotes["expiration"].dt.date().to_list()


def test_index_prices_with_thousands_separators_are_read(week):
    base = read(week).underlyings
    lines = index_lines(week)
    for n, line in enumerate(lines):
        if line.startswith("^GSPC"):
            symbol, day, *prices = line.split(",")
            lines[n] = ",".join([symbol, day, *(f'"{float(price):,.2f}"' for price in prices[:4]), prices[4]])
    write_index(week, lines)
    assert read(week).underlyings.equals(base)


@pytest.mark.parametrize("close", ["1e308", "69.1"])
def test_an_index_close_out_of_all_proportion_is_as_if_missing(week, found, close):
    lines = index_lines(week)
    at = index_row(week, DAYS[2])
    cells = lines[at].split(",")
    cells[5] = close
    lines[at] = ",".join(cells)
    write_index(week, lines)
    tables = read(week)
    assert DAYS[2] not in sessions(tables)
    assert str(DAYS[2]) in found(tables, "index_implausible")["detail"]


# What a file may be, case 11


def packed_zip(data, name="chain.csv"):
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


FORMS = {
    "no final line break": lambda text: text.rstrip("\n").encode(),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without mark": lambda text: text.encode("utf-16-le"),
    "UTF-16 big": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "semicolons and decimal commas": lambda text: text.replace(",", ";").replace(".", ",").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "bars": lambda text: text.replace(",", "|").encode(),
    "capitals": lambda text: text.replace("session_date,", "Session Date ,", 1).replace("bid,", " BID,", 1).encode(),
    "quoted header": lambda text: text.replace("session_date,ticker", '"session_date","Ticker"', 1).encode(),
    "title": lambda text: ("Chain of the day\n\n" + text).encode(),
    "footer": lambda text: (text + "Total rows: 250\n").encode(),
    "footer without break": lambda text: (text + "-- end of file --").encode(),
    "comment": lambda text: ("# made by us\n" + text).encode(),
    "Latin-1": lambda text: (text + "© Börse\n").encode("latin-1"),
    "blank lines": lambda text: (text + "\n\n").encode(),
    "trailing delimiter": lambda text: text.replace("\n", ",\n").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zip": lambda text: packed_zip(text),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_read_whatever_its_form(week, found, form):
    base = read(week).quotes
    text = text_of(week, DAYS[1])
    week.path(DAYS[1]).unlink()
    (week.root / "spx_cboe_eod" / "chains" / f"{DAYS[1]}.csv").write_bytes(FORMS[form](text))
    tables = read(week)
    assert tables.quotes.equals(base)
    assert tables.quarantine.is_empty()
    assert found(tables, "unreadable_file") is None
    if form.startswith("footer") or form in ("title", "comment"):
        assert "lines are no rows, first row" in found(tables, "file_notes")["detail"]


@pytest.mark.parametrize("ending", [".csv.zip", ".zip", ".CSV.GZ", ".csv"])
def test_a_packed_file_is_read_whatever_its_name(week, ending):
    base = read(week).quotes
    text = text_of(week, DAYS[1])
    week.path(DAYS[1]).unlink()
    path = week.root / "spx_cboe_eod" / "chains" / f"{DAYS[1]}{ending}"
    path.write_bytes(packed_zip(text))
    assert read(week).quotes.equals(base)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty file"),
        (b"\n\n", "empty file"),
        (b"\x00\x01\x02\x00\x00\x05" * 50, "no text in"),
        (b"<html><body>Too many requests</body></html>", "missing column session_date"),
        (b"PK\x03\x04broken", "unreadable file"),
        (b"\x1f\x8b\x08\x00broken", "unreadable file"),
        (b"session_date,expiry,right,option,strike,bid,ask,bid\n1,2,3,4,5,6,7,8\n", "column bid stands twice"),
        (b"session_date,expiry,right,option,strike,bid,ask\n", "no rows in"),
        (b"session_date,expiry,right,option,strike,bid,ask\n2026-07-21,2026-07", "truncated file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_costs_its_session(week, found, data, said):
    week.path(DAYS[1]).unlink()
    (week.root / "spx_cboe_eod" / "chains" / f"{DAYS[1]}.csv").write_bytes(data)
    tables = read(week)
    row = found(tables, "unreadable_file")
    assert said in row["detail"]
    assert f"{DAYS[1]}.csv" in row["detail"]
    assert sessions(tables) == [day for day in DAYS if day != DAYS[1]]


def test_a_line_of_another_width_is_quarantined(week, found):
    header, *lines = text_of(week, DAYS[1]).splitlines()
    lines[3] += ",7"
    lines[5] = lines[5].rsplit(",", 2)[0]
    lines[7] = lines[7].replace("_SPX", '"_SPX')
    put(week, DAYS[1], "\n".join([header, *lines]) + "\n")
    tables = read(week)
    assert found(tables, "unreadable_row")["count"] == 3
    assert f"{DAYS[1]}.csv.gz row 5" in found(tables, "unreadable_row")["detail"]
    assert found(tables, "rows_read")["count"] == 5 * PER_DAY == tables.quotes.height + 3


def test_a_file_that_unpacks_beyond_the_limit_is_named(week, found, monkeypatch):
    from clstm_core.market.tables import reading

    monkeypatch.setattr(reading, "LIMIT_BYTES", 2**20)
    put(week, DAYS[1], b"0" * (2**20 + 1))
    row = found(read(week), "unreadable_file")
    assert f"too large a file {DAYS[1]}.csv.gz: found more than 1 MB" in row["detail"]


@pytest.mark.parametrize(
    "text",
    [
        '{"date": "2026-07-21", "expiries": {"a": [], "a": [1]}}',
        "[" * 5000 + "]" * 5000,
        '{"date": ' * 5000,
        '{"date": "2026-07-21", "expiries": {"a": 5}}',
        '{"date": NaN}',
        "7",
    ],
)
def test_json_of_any_shape_costs_its_file_alone(barchart, found, text):
    barchart.write_days(MONDAY, DAYS[-1])
    barchart.path(DAYS[1]).write_bytes(gzip.compress(text.encode()))
    tables = read(barchart, "spx_barchart")
    assert f"{DAYS[1]}.json.gz" in found(tables, "unreadable_file")["detail"]
    assert sessions(tables) == [day for day in DAYS if day != DAYS[1]]


# Times, row 16


@pytest.mark.parametrize(
    ("stamp", "hour"),
    [
        ("{}T21:45:00", 21),
        ("{}T21:45:00Z", 21),
        ("{}T17:45:00-04:00", 21),
        ("{}T23:45:00.25+02:00", 21),
        ("1970-01-01T00:00:00", None),
        ("9999-12-31T23:59:59", None),
        ("yesterday", None),
    ],
)
def test_the_time_a_file_was_taken_is_checked_against_its_session(barchart, found, stamp, hour):
    stamp = stamp.format(DAYS[1])
    tables = barchart_day(barchart, lambda document, _: document.update(timestamp=stamp))
    quoted_at = tables.quotes.filter(pl.col("snapshot").dt.date() == DAYS[1])["quoted_at"]
    if hour is None:
        assert quoted_at.null_count() == PER_DAY
        assert f"timestamp 1 (first {DAYS[1]}.json.gz row 1: {stamp!r})" in found(tables, "odd_cells")["detail"]
    else:
        assert (quoted_at[0].hour, quoted_at[0].minute) == (hour, 45)


@pytest.mark.parametrize("stamp", ["1970-01-01 00:00:00", "9999-01-01 00:00:00", "soon"])
@pytest.mark.parametrize("column", [2, 4])
def test_cboes_times_are_checked_against_the_session(week, found, stamp, column):
    base = read(week).quotes.drop("quoted_at")
    table = week.root / "spx_cboe_eod" / "underlying.csv"
    lines = table.read_text().splitlines()
    cells = lines[2].split(",")
    cells[column] = stamp
    lines[2] = ",".join(cells)
    table.write_text("\n".join(lines) + "\n")
    tables = read(week)
    assert tables.quotes.drop("quoted_at").equals(base)
    row = found(tables, "odd_times")
    assert (row["count"], row["snapshots"]) == (1, DAYS[1].isoformat())
    assert "row 3" in row["detail"]


# A session of the night among closes


@pytest.mark.parametrize(
    ("stamp", "minutes"),
    [("{} 01:05:00", -1135), ("{} 12:00:00", -480), ("{}T20:10:00-04:00", 250), ("{} 23:55:00", None)],
)
def test_an_overnight_session_among_closes_is_named(week, found, stamp, minutes):
    table = week.root / "spx_cboe_eod" / "underlying.csv"
    lines = [line.split(",") for line in table.read_text().splitlines()]
    for cells in lines[1:]:
        cells[2] = f"{cells[0]} 22:40:00"
    lines[3][2] = stamp.format(DAYS[2])
    table.write_text("\n".join(map(",".join, lines)) + "\n")
    row = found(read(week), "overnight_session")
    if minutes is None:  # 75 minutes after its neighbours is a late fetch
        assert row is None
    else:
        assert (row["severity"], row["count"], row["snapshots"]) == ("warning", 1, DAYS[2].isoformat())
        assert f"{DAYS[2]} {minutes:+d}" in row["detail"]


def test_barcharts_overnight_session_is_named_too(barchart, found):
    tables = barchart_day(barchart, lambda document, _: document.update(timestamp=f"{DAYS[2]}T03:00:00Z"))
    assert found(tables, "overnight_session")["snapshots"] == DAYS[1].isoformat()
