"""Rows in = rows kept + rows in quarantine, whatever the files hold; only cells that are traded on can cost a row."""

import gzip
import json

import polars as pl
import pytest

from clstm_core.errors import MarketDataError
from clstm_core.market.source import SourceTables
from clstm_core.market.tables.accounting import check_rows
from clstm_core.market.tables.quality import inspect
from tests.market.odd import DAYS, MONDAY, PER_DAY, barchart_day, lines_of, put, read, sessions, set_cells, text_of


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
    with pytest.raises(MarketDataError, match=r"no row of 1 file .* roots that this source does not know \(NDX: 250\)"):
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
