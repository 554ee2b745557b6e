"""What is traded, marked and settled on: odd quotes cost their rows, other units and wrong closes the session."""

import math
from datetime import date

import polars as pl
import pytest

from clstm_core.market.calendars import trading_days
from clstm_core.market.sources import default_config, open_source
from clstm_core.market.tables.index_file import daily_prices
from clstm_core.market.tables.plausibility import doubtful_closes
from clstm_core.market.tables.quality import blocking, inspect

DAYS = trading_days(date(2026, 7, 20), date(2026, 7, 31))
DAY = DAYS[4]
INDEX = "spx_daily/spx_vix_vix9d_daily.csv"


def judged(cboe):
    source = open_source(default_config("spx_cboe", data_dir=str(cboe.root)))
    read = source.parse_all(source.raw_files())
    out = inspect(read)
    assert out.quotes.height + out.quarantine.height == read.quotes.height + read.quarantine.height
    return out


def write(cboe, vendor, change=lambda row: row):
    """Ten sessions; the rows of DAY as `change` makes them."""
    for day in DAYS:
        rows = vendor.chain(day, vendor.next_expiries(day, 4), step=50)
        cboe.write(day, rows=[change(dict(row)) if day == DAY else row for row in rows])


def write_close(cboe, close, day=DAY):
    """The index's close of a day; its open, high and low follow."""
    path = cboe.root / INDEX
    lines = [
        f"^GSPC,{day},{close},{1.01 * close},{0.99 * close},{close},1" if line.startswith(f"^GSPC,{day}") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("strike", "right", "quote"),
    [
        (6600.0, "P", {"ask": 50_000.0}),
        (6600.0, "P", {"ask": lambda row: 30 * row["ask"]}),  # 30 x its neighbours: a few dollars
        (7000.0, "C", {"ask": lambda row: 30 * row["ask"]}),
        (7000.0, "P", {"bid": 0.0, "ask": 0.05}),  # at the money for nothing
        (7550.0, "P", {"bid": 1.0}),  # a mid far below the intrinsic value
        (6450.0, "C", {"bid": lambda row: row["bid"] / 30, "ask": lambda row: row["ask"] / 30}),
    ],
)
@pytest.mark.parametrize("nth", [0, 3])
def test_a_fat_finger_costs_its_own_row(cboe, vendor, strike, right, quote, nth):
    expiry = vendor.next_expiries(DAY, 4)[nth]

    def change(row):
        if (row["expiry"], row["strike"], row["right"]) != (expiry, strike, right):
            return row
        return row | {name: value(row) if callable(value) else value for name, value in quote.items()}

    write(cboe, vendor, change)
    out = judged(cboe)
    left = out.quarantine.filter(pl.col("reason").is_in(["implausible_price", "out_of_bounds"]))
    assert left.select(pl.col("snapshot").dt.date(), "strike", "right").rows() == [(DAY, strike, right)]


def test_clean_sets_lose_nothing(cboe, vendor, found):
    write(cboe, vendor)
    out = judged(cboe)
    assert out.quarantine.filter(pl.col("reason").str.starts_with("implausible")).is_empty()
    assert found(out, "close_contradicted") is None


@pytest.mark.parametrize("times", [0.01, 0.1, 0.5, 1.5, 10, 100])
@pytest.mark.parametrize("names", [("bid", "ask"), ("strike",)])
def test_a_session_in_another_unit_is_quarantined_by_name(cboe, vendor, found, names, times):
    write(cboe, vendor, lambda row: row | {name: round(row[name] * times, 3) for name in names})
    out = judged(cboe)
    assert DAY not in out.quotes["snapshot"].dt.date().to_list()
    check = "symbol_mismatch" if names == ("strike",) and times == 100 else "implausible_session"  # too many digits
    if not (names == ("strike",) and times in (0.01, 100)):
        assert found(out, check)["snapshots"] == DAY.isoformat()
    assert blocking(out.findings) == []


def test_a_session_of_one_ask_is_quarantined_by_name(cboe, vendor, found):
    write(cboe, vendor, lambda row: row | {"ask": 1234.0})
    row = found(judged(cboe), "implausible_session")
    assert row["snapshots"] == DAY.isoformat()
    assert "quoted" in row["detail"]


@pytest.mark.parametrize("close", [69.1, 1e308, 703.1, 70310.0, 6100.0, 6500.0, 7350.0], ids=lambda close: f"{close:g}")
@pytest.mark.parametrize("day", [DAY, DAYS[-1]], ids=["within", "last"])
def test_a_wrong_close_is_as_if_missing_and_nothing_settles_on_it(cboe, vendor, close, day):
    write(cboe, vendor)
    write_close(cboe, close, day)
    out = judged(cboe)
    said = out.findings.filter(pl.col("check").is_in(["index_implausible", "close_contradicted"]))
    assert any(day.isoformat() in row["snapshots"] for row in said.to_dicts())
    assert day not in out.quotes["snapshot"].dt.date().to_list()
    assert day == DAYS[-1] or day not in out.quotes["expiration"].dt.date().to_list()  # nothing settles after the last
    assert not out.underlyings.filter(pl.col("snapshot").dt.date() == day)["close"].is_in([close]).any()
    assert blocking(out.findings) == []


def test_a_crash_that_the_quotes_agree_with_is_kept():
    days = pl.DataFrame({"date": DAYS, "close": [7000.0] * 5 + [5600.0] * (len(DAYS) - 5)})
    text = days.select(
        pl.col("date").cast(str),
        **{name: pl.col("close").cast(str) for name in ("open", "high", "low", "close")},
        volume=pl.lit("1"),
        row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    )
    assert daily_prices(text, "index.csv").prices["close"].to_list() == days["close"].to_list()


@pytest.mark.parametrize(("opening", "kept"), [("6990", True), ("699", False), ("5200", False), ("7100", False)])
def test_an_open_far_from_its_day_is_as_if_missing(opening, kept):
    rows = [(day, "7000", "7030", "6970", "7000") for day in DAYS]
    rows[4] = (DAY, opening, "7030", "6970", "7000")
    names = ("date", "open", "high", "low", "close")
    text = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.col("date").cast(str), volume=pl.lit("1"), row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    )
    found = daily_prices(text, "index.csv").prices.filter(pl.col("date") == DAY)
    assert found["close"].to_list() == [7000.0]
    assert (found["open"][0] is not None) == kept


def test_a_session_in_another_unit_does_not_cost_the_close(cboe, vendor):
    write(cboe, vendor, lambda row: row | {"strike": row["strike"] * 10})
    read = open_source(default_config("spx_cboe", data_dir=str(cboe.root)))
    tables = read.parse_all(read.raw_files())
    prices = tables.underlyings.select(date=pl.col("snapshot").dt.date(), close="close")
    assert DAY in prices["date"].to_list()
    assert doubtful_closes(tables.quotes, prices).is_empty()


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("implausible_strike", {"strike": 60.0, "bid": 6900.0, "ask": 6940.0}),
        ("implausible_strike", {"strike": 99_999.0 * 9, "bid": 0.0, "ask": 0.05}),
        ("implausible_expiry", {"expiry": date(2051, 1, 18)}),
    ],
)
def test_terms_that_nobody_lists_are_quarantined(barchart, vendor, reason, change):
    for day in DAYS:
        rows = vendor.chain(day, vendor.next_expiries(day, 4), step=50)
        barchart.write(day, [rows[0] | change, *rows[1:]] if day == DAY else rows)
    source = open_source(default_config("spx_barchart", data_dir=str(barchart.root)))
    out = inspect(source.parse_all(source.raw_files()))
    left = out.quarantine.filter(pl.col("reason") == reason)
    assert left.height == 1
    assert math.isclose(left["strike"][0], change.get("strike", left["strike"][0]))


def test_several_wrong_closes_in_a_row_are_found(cboe, vendor):
    """Last year's, on three days."""
    write(cboe, vendor)
    for day in DAYS[3:6]:
        write_close(cboe, 5900.0, day)
    out = judged(cboe)
    assert not set(DAYS[3:6]) & set(out.quotes["snapshot"].dt.date())
    assert not set(DAYS[3:6]) & set(out.quotes["expiration"].dt.date())
    assert set(out.quotes["snapshot"].dt.date()) == set(DAYS) - set(DAYS[3:6])
