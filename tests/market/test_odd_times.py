"""Times that cannot be of their session are named, and cost no quote."""

import polars as pl
import pytest

from tests.market.odd import DAYS, PER_DAY, barchart_day, read


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
