"""An index file that repeats, contradicts or lacks a day costs the sessions concerned, by name."""

import pytest

from clstm_core.errors import MarketDataError
from tests.market.odd import DAYS, PER_DAY, read, sessions

INDEX = "spx_daily/spx_vix_vix9d_daily.csv"


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
