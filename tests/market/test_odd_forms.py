"""A file is read whatever its form; one that cannot be read, or two that differ, cost their session by name."""

import gzip
import json
import shutil
import zipfile

import pytest

from tests.market.odd import DAYS, MONDAY, PER_DAY, put, read, sessions, text_of


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
        assert "1 line is no row, first row" in found(tables, "file_notes")["detail"]


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
