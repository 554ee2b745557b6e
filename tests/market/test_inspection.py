"""What is said of a table before it is used."""

from datetime import date
from pathlib import Path

from clstm_core.market.calendars import trading_days
from clstm_core.market.inspection import inspect_data

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "table" / "quotes.csv"


def test_the_sample_is_understood():
    report = inspect_data(SAMPLE)
    assert report.usable
    assert report.lines()[0] == "Usable: 30 quotes on 3 sessions."
    assert report.facts["sessions"] == "3, 2024-03-04 to 2024-03-06"
    assert report.facts["expiries"] == "1, 2024-04-05 to 2024-04-05 (30 to 32 days out)"
    assert report.facts["contracts"] == "10, strikes 480.00 to 520.00"
    assert report.facts["tenors"] == "near 30 and far 30 days to expiry"
    assert report.facts["label"] == "simulated quotes (user's table), spread quoted"
    assert "parity" in report.facts["spot"]
    assert report.reasons == {}


def test_what_is_wrong_is_said_by_file_row_and_cell(tmp_path):
    lines = SAMPLE.read_text().splitlines()
    lines[2] = lines[2].replace(",P,", ",X,")
    lines[5] = lines[5].rsplit(",", 1)[0] + ",n/a"
    lines[9] = lines[9].rsplit(",", 1)[0] + ",0"
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines))
    report = inspect_data(path)
    assert report.usable
    assert report.reasons == {"missing_price": 1, "unknown_right": 1, "no_ask": 1}
    text = "\n".join(report.lines())
    assert "mine.csv row 3: 'X'" in text
    assert "mine.csv row 6: 'ask=n/a'" in text
    assert report.facts["rows read"] == "30"
    assert report.facts["quotes"] == "27"


def test_what_cannot_be_used_says_so_first(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("date,strike\n2024-03-04,500\n")
    report = inspect_data(path)
    assert not report.usable
    assert report.lines()[0].startswith("Not usable: missing column expiration, right, bid, ask in mine.csv")
    lines = SAMPLE.read_text().splitlines()[:11]
    path.write_text("\n".join(lines))
    assert inspect_data(path).answer == "Not usable: found 1 session, expected at least 2. Add sessions."
    assert "unknown market source" in inspect_data(path, "yahoo").answer
    assert "reads no files" in inspect_data(path, "simulated").answer


def test_a_vendors_folder_is_inspected_too(cboe):
    for day in trading_days(date(2026, 7, 20), date(2026, 7, 24)):
        cboe.write(day)
    report = inspect_data(cboe.root, "spx_cboe")
    assert report.usable
    assert report.facts["sessions"] == "5, 2026-07-20 to 2026-07-24"
    assert report.facts["label"] == "real quotes, spread quoted"
