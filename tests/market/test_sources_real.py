"""The facts that are known of the real sets, found by the rules alone."""

import gzip
import json

import polars as pl
import pytest

from clstm_core.market.sources import default_config, open_source
from clstm_core.market.tables.quality import blocking, inspect

HOLIDAYS = "2026-04-03, 2026-05-25, 2026-06-19, 2026-07-03"


def load(source, folder):
    opened = open_source(default_config(source, data_dir=str(folder)))
    return inspect(opened.read(opened.list_snapshots()))


@pytest.fixture(scope="module")
def barchart_set(real_data):
    return load("spx_barchart", real_data)


@pytest.fixture(scope="module")
def cboe_set(real_data):
    return load("spx_cboe", real_data)


def test_every_row_of_the_files_is_kept_or_quarantined(barchart_set, cboe_set, real_data, found):
    lines = 0
    for path in (real_data / "spx_cboe_eod" / "chains").glob("*.csv.gz"):
        lines += len(gzip.decompress(path.read_bytes()).splitlines()) - 1
    rows = 0
    for path in (real_data / "spx_barchart_eod").glob("*.json.gz"):
        rows += sum(map(len, json.loads(gzip.decompress(path.read_bytes()))["expiries"].values()))
    for tables, physical in ((cboe_set, lines), (barchart_set, rows)):
        assert found(tables, "rows_read")["count"] == physical
        assert tables.quotes.height + tables.quarantine.height == physical
        assert found(tables, "odd_cells") is None


def test_marks_that_cannot_be_are_four_quotes_of_the_farthest_expiries(cboe_set, barchart_set, found):
    far = cboe_set.quarantine.filter(pl.col("reason") == "implausible_price")
    assert far.select("bid", "ask").rows() == [(0.05, 1734.5), (0.05, 4072.7), (0.05, 2240.9), (0.05, 4766.1)]
    assert found(barchart_set, "implausible_price") is None


def points(row):
    return float(row["detail"].split()[0])


def inside(row):
    return 1 - row["share"]


def test_barchart_has_104_sessions_and_four_copied_holidays(barchart_set, found):
    assert barchart_set.quotes["snapshot"].n_unique() == 104
    row = found(barchart_set, "copied_session")
    assert (row["count"], row["snapshots"]) == (4, HOLIDAYS)
    assert row["detail"].count("100.0% of the") == row["detail"].count("the exchange was closed") == 4
    assert found(barchart_set, "missing_session") is None


def test_barchart_faults_are_named(barchart_set, found):
    assert "-35.6 to +70.4" in found(barchart_set, "spot_not_index")["detail"]
    roots = found(barchart_set, "root_unknown")
    for day in ("2026-02-20", "2026-03-20", "2026-04-17", "2026-05-15", "2026-06-18", "2026-07-17"):
        assert day in roots["detail"]
    for check in ("row_cap", "expiry_without_puts", "after_hours", "expired_at_snapshot", "no_ask", "zero_bid"):
        assert found(barchart_set, check)["count"] > 0
    assert found(barchart_set, "crossed") is None  # crossed: none
    assert found(barchart_set, "vendor_vol_missing")["share"] == pytest.approx(0.19, abs=0.01)
    assert "duplicate_key" not in barchart_set.quarantine["reason"]  # all of them are monthly expiries
    assert blocking(barchart_set.findings) == []


def test_barchart_parity_agrees_with_what_is_known(barchart_set, found):
    row = found(barchart_set, "parity_median_abs_residual")
    assert round(points(row), 2) == 0.14
    assert inside(row) >= 0.997


def test_cboe_has_11_sessions_one_copy_and_one_misdated(cboe_set, found):
    assert cboe_set.quotes["snapshot"].n_unique() == 11
    copied = found(cboe_set, "copied_session")
    assert (copied["count"], copied["snapshots"]) == (1, "2026-07-23")
    assert "evening of 2026-07-22" in copied["detail"]
    misdated = found(cboe_set, "misdated_session")
    assert (misdated["count"], misdated["snapshots"]) == (2, "2026-07-23, 2026-08-07")
    assert "2026-07-23 holds 2026-07-22 and is dropped as a copy" in misdated["detail"]
    assert "2026-08-07 holds 2026-08-06 and is relabelled" in misdated["detail"]
    assert found(cboe_set, "missing_session")["snapshots"] == "2026-07-23"
    assert cboe_set.quotes["snapshot"].max().date().isoformat() == "2026-08-06"


def test_cboe_faults_are_named(cboe_set, found):
    assert found(cboe_set, "wide_spread_session")["snapshots"] == "2026-08-04"
    assert found(cboe_set, "crossed") is None  # crossed rows are ask = 0
    assert "look crossed" in found(cboe_set, "no_ask")["detail"]
    roots = cboe_set.quotes.group_by("root").agg(hours=pl.col("expiration").dt.hour().unique().sort())
    assert dict(roots.iter_rows()) == {"SPX": [13, 14], "SPXW": [20, 21]}
    assert blocking(cboe_set.findings) == []


def test_cboe_parity_agrees_with_what_is_known(cboe_set, found):
    row = found(cboe_set, "parity_median_abs_residual")
    assert round(points(row), 2) == 0.16
    assert inside(row) == pytest.approx(0.967, abs=0.003)
    assert inside(found(cboe_set, "parity_median_abs_residual_by_root")) > 0.999


def test_implied_carry_is_that_of_the_year(cboe_set, barchart_set):
    for tables in (cboe_set, barchart_set):
        rate = tables.rates["rate"].median()
        assert 0.02 < rate < 0.045
        carry = (tables.rates["rate"] - tables.rates["dividend_yield"]).median()
        assert 0.015 < carry < 0.04


def test_the_spot_is_the_indexs_to_what_the_evening_moved(cboe_set, barchart_set):
    for tables in (cboe_set, barchart_set):
        off = (tables.underlyings["parity_spot"] / tables.underlyings["close"] - 1).drop_nulls().abs()
        assert off.median() < 0.0015
        assert off.max() < 0.01


def test_quotes_that_stand_still_above_the_lowest_bid_are_all_counted(barchart_set, cboe_set, found):
    """Counted again contract by contract: 93 and 44 more stand at a bid of one tick."""
    for tables, above, floor in ((barchart_set, 4, 93), (cboe_set, 52, 44)):
        counts = {True: 0, False: 0}
        rows = tables.quotes.filter(pl.col("bid") > 0).sort("contract_id", "snapshot")
        last, length = None, 0
        for quote in rows.select("contract_id", "bid", "ask").iter_rows():
            length = length + 1 if quote == last else 1
            last = quote
            counts[quote[1] > 0.05] += length >= 3
        assert (counts[True], counts[False]) == (above, floor)
        row = found(tables, "stale_run")
        assert (row["count"], row["severity"]) == (above, "warning")
