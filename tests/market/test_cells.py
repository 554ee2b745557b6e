"""Cells of text: what can mean one thing only is read, anything else is null."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from clstm_core.market.tables.cells import dates, instants, numbers, rights
from clstm_core.market.tables.symbols import contract_id, parse_symbols


def series(*cells):
    return pl.Series("cell", cells, dtype=pl.String)


@pytest.mark.parametrize(
    ("cell", "value", "odd"),
    [
        ("5", 5.0, False),
        ("-5.25", -5.25, False),
        ("1e-3", 0.001, False),
        (None, None, False),
        ("1,234", 1234.0, True),
        ("-1,234,567.5", -1234567.5, True),
        ("$96.98", 96.98, True),
        ("12,34", None, True),
        ("1,2345", None, True),
        ("1.234,5", None, True),
        ("--", None, True),
        ("n/a", None, True),
        ("nan", None, True),
        ("inf", None, True),
        ("1e400", None, True),
        ("14.00%", None, True),
        ("0x10", None, True),
        ("true", None, True),
    ],
)
def test_numbers(cell, value, odd):
    out = numbers(pl.DataFrame([series(cell)]), {"cell": "value", "absent": "other"})
    assert out["value"][0] == value
    assert out["odd"][0] == (f"cell={cell}" if odd else None)
    assert out["other"].to_list() == [None]


@pytest.mark.parametrize(("cell", "value"), [("14.00%", 0.14), ("4 %", 0.04), ("0.14", 0.14), ("%", None)])
def test_percentages_are_read_where_a_fraction_is_meant(cell, value):
    assert numbers(pl.DataFrame([series(cell)]), {"cell": "value"}, fractions=("cell",))["value"][0] == value


def test_decimal_commas_are_read_where_the_file_writes_them():
    out = numbers(pl.DataFrame([series("96,50", "5000,125")]), {"cell": "value"}, decimal_comma=True)
    assert out["value"].to_list() == [96.5, 5000.125]
    assert out["odd"].null_count() == 2


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2024-03-04", date(2024, 3, 4)),
        ("2024-03-04T16:00:00Z", date(2024, 3, 4)),
        ("2024-03-04 00:00", date(2024, 3, 4)),
        ("20240304", date(2024, 3, 4)),
        ("2024/3/4", date(2024, 3, 4)),
        ("04-Mar-2024", date(2024, 3, 4)),
        ("Mar 4, 2024", date(2024, 3, 4)),
        ("3/25/2024", date(2024, 3, 25)),
        ("25/3/2024", date(2024, 3, 25)),
        ("3/4/2024", None),
        ("2024-02-30", None),
        ("0001-01-01", None),
        ("9999-12-31", None),
        ("2024-03-04x", None),
        ("45355", None),
        ("", None),
    ],
)
def test_dates(cell, day):
    assert dates(series(cell)).to_list() == [day]


def test_the_cells_of_a_column_tell_day_from_month_together():
    assert dates(series("3/4/2024", "3/25/2024")).to_list() == [date(2024, 3, 4), date(2024, 3, 25)]
    assert dates(series("3/4/2024", "25/3/2024")).to_list() == [date(2024, 4, 3), date(2024, 3, 25)]
    assert dates(series("25/3/2024", "3/25/2024")).to_list() == [None, None]


@pytest.mark.parametrize(
    ("cell", "hour"),
    [
        ("2024-03-04 21:30:00", 21),
        ("2024-03-04T21:30:00.123456", 21),
        ("2024-03-04T21:30:00Z", 21),
        ("2024-03-04T16:30:00-05:00", 21),
        ("2024-03-04T23:30:00+0200", 21),
        ("9999-03-04T21:30:00", None),
        ("noon", None),
    ],
)
def test_instants(cell, hour):
    expected = None if hour is None else datetime(2024, 3, 4, hour, 30, tzinfo=UTC)
    assert instants(series(cell)).to_list() == [expected]


def test_rights():
    cells = series("C", "p", "Call", "PUT", "puts", "X", "", None, "Cabbage")
    assert rights(cells).to_list() == ["C", "P", "C", "P", "P", None, None, None, None]


@pytest.mark.parametrize(
    "symbol",
    [
        "SPXW240405C05000500",
        "SPXW  240405C05000500",
        "O:SPXW240405C05000500",
        "opra:spxw240405c05000500",
        " .SPXW240405C5000.5 ",
        "^SPXW 240405 C 05000500",
    ],
)
def test_symbols_in_every_usual_form_make_one_contract(symbol):
    row = parse_symbols(series(symbol))
    assert row.row(0) == ("SPXW", date(2024, 4, 5), "C", 5000.5)
    assert row.select(contract_id()).item() == "SPXW240405C05000500"


@pytest.mark.parametrize("symbol", ["", "SPXW", "SPXW241305C05000000", "240405C05000000", "SPXW240405X05000000", None])
def test_what_is_no_symbol_is_null(symbol):
    assert parse_symbols(series(symbol)).row(0) == (None, None, None, None)


def test_an_adjusted_root_keeps_its_digit():
    assert parse_symbols(series("AAPL7140719C00500000"))["root"].to_list() == ["AAPL7"]


@pytest.mark.parametrize(
    ("name", "cell"),
    [("volume", "-1"), ("strike", "1e8"), ("ask", "1e308"), ("delta", "1e9"), ("implied_vol", "-0.1"), ("last", "-5")],
)
def test_numbers_that_cannot_be_are_odd_and_null(name, cell):
    out = numbers(pl.DataFrame([series(cell, "1")]), {"cell": name})
    assert out[name].to_list() == [None, 1.0]
    assert out["odd"].to_list() == [f"cell={cell}", None]
