"""A stranger's table becomes a market without code."""

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from clstm_core.artifacts.manifests import QuotesManifest
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market import cache
from clstm_core.market.calendars import trading_days
from clstm_core.market.sources import default_config, open_source
from clstm_core.market.sources.table import tenor_targets
from clstm_core.market.tables import parquet_check
from clstm_core.market.tables.parquet_check import require_harmless
from clstm_core.market.tables.spot import listed_targets
from clstm_core.market.tables.user_table import LONGEST_ID
from clstm_core.market.tensors import ID_BYTES, load_market

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "table"
MONDAY = date(2024, 3, 4)
DAYS = trading_days(MONDAY, date(2024, 3, 8))
EXPIRY = date(2024, 4, 5)
STRIKES = (480.0, 490.0, 500.0, 510.0, 520.0)
SPOTS = dict(zip(DAYS, (500.0, 503.2, 501.1, 504.0, 502.5), strict=True))


@pytest.fixture
def rows(vendor):
    """Rows of a small table, as dictionaries of text: `rows()` or `rows(days, expiries, strikes)`."""

    def build(days=DAYS[:3], expiries=(EXPIRY,), strikes=STRIKES):
        out = []
        for day in days:
            for expiry in expiries:
                for strike in strikes:
                    for right in "CP":
                        mid = vendor.price(SPOTS[day], strike, max((expiry - day).days, 0) / 365, right)
                        half = max(0.05, 0.015 * mid)
                        out.append(
                            {
                                "date": str(day),
                                "expiration": str(expiry),
                                "strike": f"{strike:g}",
                                "right": right,
                                "bid": f"{max(mid - half, 0):.2f}",
                                "ask": f"{mid + half:.2f}",
                            }
                        )
        return out

    return build


@pytest.fixture
def table(tmp_path):
    """Writes a table; `table(rows)` is its path."""

    def write(rows, name="quotes.csv", **more):
        frame = pl.DataFrame([row | {key: str(value) for key, value in more.items()} for row in rows])
        path = tmp_path / name
        if path.suffix == ".parquet":
            frame.write_parquet(path)
        else:
            frame.write_csv(path)
        return path

    return write


def read(path, **overrides):
    source = open_source(default_config("table", data_dir=str(path), **overrides))
    return source.read(source.list_snapshots())


def market(path, home, **overrides):
    """The tensors that a table becomes."""
    config = default_config("table", data_dir=str(path), **overrides)
    quotes = cache.ensure_quotes(config, home)
    return load_market(cache.ensure_tensors(quotes, config, home, embargo=5)), QuotesManifest.read(
        quotes / "manifest.json"
    )


def test_the_sample_is_what_its_metadata_says():
    stated = json.loads((SAMPLE / "metadata.json").read_text())
    assert hashlib.sha256((SAMPLE / "quotes.csv").read_bytes()).hexdigest() == stated["files"]["quotes.csv"]
    assert stated["licence"] == "CC0-1.0"
    assert len((SAMPLE / "quotes.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize("place", [SAMPLE / "quotes.csv", SAMPLE])
def test_thirty_lines_become_a_market(place, tmp_path):
    tensors, manifest = market(place, tmp_path)
    assert tensors.n_snapshots == 3
    assert manifest.counts["rows"] == 30
    assert manifest.label == "simulated quotes (user's table)"
    assert bool((tensors.grid_row_TG >= 0).any(dim=1).all())
    assert (tensors.info["near_days"], tensors.info["far_days"]) == (30.0, 30.0)
    assert tensors.info["splits"] == {"test": [0, 3]}
    # 32 days from expiry parity's forward stands 0.3% above the 500 that the sample was priced at.
    assert tensors.spot_T[0].item() == pytest.approx(500.0, rel=0.004)


def test_a_table_too_short_to_train_is_judged_with_training_elsewhere(table, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FALLBACK_SOURCE", "simulated")
    config = default_config("table", data_dir=str(table(rows())), n_snapshots=120)
    training, evaluation, reason = cache.training_tensors(config, tmp_path, 5)
    assert training != evaluation
    assert "table has 3 snapshots, too few to train on" in reason


@pytest.mark.parametrize("typed", [False, True])
def test_parquet_and_csv_give_the_same(table, rows, tmp_path, typed):
    base = read(table(rows()))
    path = tmp_path / "other" / "quotes.parquet"
    path.parent.mkdir()
    frame = pl.DataFrame(rows())
    if typed:
        frame = frame.with_columns(
            pl.col("date").str.to_date(),
            pl.col("expiration").str.to_datetime("%Y-%m-%d").dt.replace_time_zone("America/New_York"),
            pl.col("strike").cast(pl.Int32),
            pl.col("right").cast(pl.Categorical),
            pl.col("bid", "ask").cast(pl.Float64),
            nested=pl.lit([1, 2]),
        )
    frame.write_parquet(path)
    assert read(path).quotes.equals(base.quotes)


def test_columns_are_known_by_their_usual_names(table, rows):
    names = {"date": "Quote Date", "expiration": "expiry", "right": "Option Type", "bid": "best_bid", "ask": "Offer"}
    words = {"C": "call", "P": "Put"}
    renamed = [{names.get(k, k): words.get(v, v) for k, v in row.items()} for row in rows()]
    base = read(table(rows()))
    assert read(table(renamed, "renamed.csv")).quotes.equals(base.quotes)


def test_terms_are_assumed_and_said_or_stated(table, rows, found):
    tables = read(table(rows()))
    row = tables.quotes.row(0, named=True)
    assert (row["multiplier"], row["exercise"], row["settlement"], row["currency"]) == (100, "european", "cash", "USD")
    assert row["contract_id"] == f"UNDERL240405{row['right']}00480000"
    assert "multiplier 100, exercise european" in found(tables, "assumed_terms")["detail"]
    stated = {"multiplier": 10, "exercise": "European", "settlement": "Cash", "currency": "EUR", "settles": "close"}
    tables = read(table(rows(), underlying="SX5E", **stated))
    row = tables.quotes.row(0, named=True)
    assert (row["multiplier"], row["currency"], row["underlying"]) == (10.0, "EUR", "SX5E")
    assert found(tables, "assumed_terms") is None


def test_metadata_states_terms_once(table, rows, tmp_path):
    path = table(rows())
    stated = {"label": "modelled", "underlying": "ABC", "multiplier": 50, "currency": "CHF"}
    (tmp_path / "metadata.json").write_text(json.dumps(stated))
    source = open_source(default_config("table", data_dir=str(path)))
    row = source.read(source.list_snapshots()).quotes.row(0, named=True)
    assert source.label == "modelled quotes (user's table)"
    assert (row["underlying"], row["multiplier"], row["currency"]) == ("ABC", 50.0, "CHF")


def test_a_label_column_is_the_label(table, rows):
    source = open_source(default_config("table", data_dir=str(table(rows(), label="simulated quotes"))))
    source.read(source.list_snapshots())
    assert source.label == "simulated quotes (user's table)"
    with pytest.raises(MarketDataError, match=r"label 'great' in the column label: expected one of real quotes"):
        read(table(rows(), label="great"))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("exercise", "american", "American"),
        ("exercise", "A", "American"),
        ("settlement", "physical", "settled in shares"),
    ],
)
def test_contracts_that_are_not_traded_are_refused_with_the_reason(table, rows, found, column, value, reason):
    with pytest.raises(MarketDataError, match=rf"{reason}.*quotes.csv row 2"):
        read(table(rows(), **{column: value}))
    mixed = [row | {column: value if n < 2 else ""} for n, row in enumerate(rows())]
    tables = read(table(mixed))
    assert tables.quarantine.height == 2
    assert found(tables, "rows_read")["count"] == 30


@pytest.mark.parametrize(
    ("reason", "cells"),
    [
        ("no_session", {"date": "soon"}),
        ("no_session", {"date": "0001-01-01"}),
        ("unknown_right", {"right": "X"}),
        ("no_expiry", {"expiration": ""}),
        ("missing_price", {"bid": "n/a"}),
        ("missing_price", {"strike": ""}),
        ("unknown_terms", {"multiplier": "many"}),
        ("unknown_terms", {"multiplier": "-100"}),
        ("unknown_terms", {"exercise": "asian"}),
        ("unknown_terms", {"settles": "noon"}),
        ("symbol_mismatch", {"contract_id": "ABC240405C00490000"}),
    ],
)
def test_rows_that_cannot_be_used_are_quarantined(table, rows, found, reason, cells):
    empty = dict.fromkeys(cells, "")
    odd = [empty | row | (cells if n == 4 else {}) for n, row in enumerate(rows())]
    tables = read(table(odd))
    assert tables.quarantine["reason"].to_list() == [reason]
    assert tables.quarantine["row"].to_list() == [6]
    assert "quotes.csv row 6" in found(tables, reason)["detail"]
    assert tables.quotes.height == 29


def test_an_id_of_two_contracts_is_quarantined(table, rows, found):
    named = [row | {"contract_id": "X1" if row["strike"] in ("480", "490") else ""} for row in rows()]
    tables = read(table(named))
    assert found(tables, "ambiguous_contract_id")["count"] == 12
    assert tables.quotes.height == 18
    assert LONGEST_ID == ID_BYTES


def test_a_missing_column_is_named_with_what_was_found(table, rows):
    with pytest.raises(MarketDataError, match=r"missing column right in quotes.csv: found date, expiration"):
        read(table([{k: v for k, v in row.items() if k != "right"} for row in rows()]))
    with pytest.raises(MarketDataError, match=r"columns expiry, exdate of quotes.csv all mean expiration"):
        read(table([{"expiry" if k == "expiration" else k: v for k, v in row.items()} for row in rows()], exdate="x"))


def test_several_underlyings_or_times_are_refused(table, rows):
    two = [row | {"underlying": "AB"[n % 2]} for n, row in enumerate(rows())]
    with pytest.raises(MarketDataError, match=r"2 values of underlying in the table \(A, B\).*Split the table"):
        read(table(two))
    twice = [row | {"date": f"{row['date']} {hour}:00:00"} for row in rows() for hour in (11, 16)]
    with pytest.raises(MarketDataError, match=rf"several times on {MONDAY} in quotes.csv"):
        read(table(twice))


def test_a_stated_spot_is_the_price_and_gives_the_carry(table, rows, vendor, found):
    spots = [row | {"spot": str(SPOTS[date.fromisoformat(row["date"])])} for row in rows()]
    tables = read(table(spots))
    assert tables.underlyings["close"].to_list() == [500.0, 503.2, 501.1]
    carry = tables.rates["rate"] - tables.rates["dividend_yield"]
    assert carry.to_list() == pytest.approx([vendor.rate - vendor.dividend_yield] * 3, abs=0.003)
    assert "come from the column spot" in found(tables, "spot_source")["detail"]


def test_prices_and_rates_beside_the_table_are_used(table, rows, tmp_path, found):
    path = table(rows(DAYS))
    lines = [f"{day},{spot - 1},{spot + 2},{spot - 2},{spot}" for day, spot in SPOTS.items()]
    (tmp_path / "underlyings.csv").write_text("\n".join(["Date,Open,High,Low,Close", *lines]))
    (tmp_path / "rates.csv").write_text(f"date,rate,dividend_yield\n{DAYS[0] - timedelta(days=9)},4%,0.012\n")
    tables = read(path)
    assert tables.underlyings["open"].to_list() == [spot - 1 for spot in SPOTS.values()]
    assert (tables.rates["rate"][0], tables.rates["dividend_yield"][0]) == (0.04, 0.012)
    detail = found(tables, "spot_source")["detail"]
    assert "underlyings.csv" in detail
    assert "rates.csv" in detail


def test_rates_in_percent_or_too_late_are_refused(table, rows, tmp_path):
    path = table(rows())
    (tmp_path / "rates.csv").write_text(f"date,rate\n{MONDAY},4.5\n")
    with pytest.raises(MarketDataError, match=r"rate 4.5 .* in rates.csv: expected fractions per year"):
        read(path)
    (tmp_path / "rates.csv").write_text(f"date,rate\n{DAYS[1]},0.045\n")
    with pytest.raises(MarketDataError, match=rf"no rate on or before the first session {MONDAY} in rates.csv"):
        read(path)


def test_a_contract_settles_on_the_parity_spot_of_its_last_session(table, rows, tmp_path, found):
    friday = DAYS[4]
    tensors, _ = market(table(rows(DAYS, (friday, EXPIRY))), tmp_path / "cache", near_days=3.0, far_days=30.0)
    settled = tensors.settle_index_K == 4
    assert int(settled.sum()) > 0
    spot = tensors.spot_T[4].item()
    expected = (tensors.right_K[settled] * (spot - tensors.strike_K[settled])).clamp(min=0)
    assert tensors.settle_value_K[settled].tolist() == pytest.approx(expected.tolist())


def test_a_contract_whose_settlement_nobody_states_is_set_aside(table, rows, found):
    wednesday = DAYS[2]
    days = [day for day in DAYS if day != wednesday]
    tables = read(table(rows(days, (wednesday, EXPIRY))))
    row = found(tables, "no_settlement_price")
    assert row["count"] == 2 * 10
    before = tables.quotes.filter(pl.col("snapshot").dt.date() < wednesday)
    assert wednesday not in before["expiration"].dt.date().to_list()


def test_the_open_must_be_stated_for_contracts_that_settle_on_it(table, rows, tmp_path, found):
    am = table(rows(DAYS, (DAYS[3], EXPIRY)), settles="open")
    assert found(read(am), "no_settlement_price")["count"] == 3 * 10
    lines = [f"{day},{spot - 1},{spot}" for day, spot in SPOTS.items()]
    (tmp_path / "underlyings.csv").write_text("\n".join(["date,open,close", *lines]))
    tables = read(am)
    assert found(tables, "no_settlement_price") is None
    assert set(tables.quotes["expiration"].dt.hour()) == {13, 14}


@pytest.mark.parametrize(("clock", "hour"), [("09:30:00", 13), ("16:00:00", 20), ("00:00:00", 20)])
def test_an_expiration_with_a_clock_says_when_it_settles(table, rows, clock, hour):
    stamped = [row | {"expiration": f"{row['expiration']} {clock}"} for row in rows()]
    assert set(read(table(stamped)).quotes["expiration"].dt.hour()) == {hour}


def test_without_calls_and_puts_there_is_no_spot(table, rows):
    calls = [row for row in rows() if row["right"] == "C"]
    with pytest.raises(MarketDataError, match=r"no price to mark or settle .* Add a column spot"):
        read(table(calls))


def test_a_folder_of_files_is_one_table(table, rows, tmp_path, found):
    base = read(table(rows()))
    folder = tmp_path / "folder"
    folder.mkdir()
    for day in DAYS[:3]:
        table(rows([day]), f"folder/{day}.csv")
    tables = read(folder)
    assert tables.quotes.equals(base.quotes)
    table(rows([DAYS[0]]), "folder/again.csv")
    tables = read(folder)
    row = found(tables, "session_in_two_files")
    assert row["snapshots"] == MONDAY.isoformat()
    assert f"{MONDAY}.csv, again.csv quote the same contracts" in row["detail"]
    (folder / "broken.csv").write_bytes(b"\x1f\x8bbroken")
    tables = read(folder)
    assert "broken.csv" in found(tables, "unreadable_file")["detail"]


@pytest.mark.parametrize("name", ["quotes.csv", "quotes.parquet"])
def test_a_damaged_table_is_a_sentence(tmp_path, name):
    path = tmp_path / name
    for data in (b"", b"PAR1garbagePAR1", b"\x00" * 99, b"just a line\nof text\n"):
        path.write_bytes(data)
        with pytest.raises(MarketDataError, match=name):
            default_config("table", data_dir=str(path))


def test_a_torn_last_row_is_quarantined_and_named(table, rows, found):
    path = table(rows())
    path.write_text(path.read_text().rstrip("\n").rsplit(",", 1)[0])
    tables = read(path)
    assert tables.quotes.height == 29
    assert "quotes.csv row 31" in found(tables, "torn_row")["detail"]


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MarketDataError, match=r"no file or folder .*nowhere.csv.*DATA="):
        default_config("table", data_dir=str(tmp_path / "nowhere.csv"))
    with pytest.raises(ConfigError, match=r"no data folder for table"):
        open_source(default_config("table"))


def test_tenors_are_those_that_most_sessions_fill(table, rows):
    path = table(rows(DAYS, (date(2024, 3, 15), EXPIRY)))
    assert tenor_targets(path) == (default_config("table", data_dir=str(path)).near_days, 30.0)
    assert default_config("table", data_dir=str(path), near_days=4.0, far_days=8.0).near_days == 4.0

    def listed(*ahead):
        return pl.DataFrame({"session": [MONDAY] * len(ahead), "expiry": [MONDAY + timedelta(days=n) for n in ahead]})

    assert listed_targets(listed(7, 30, 60), 0.5) == (30.0, 60.0)
    assert listed_targets(listed(3, 7), 0.5) == (7.0, 7.0)
    assert listed_targets(listed(5), 0.5) == (5.0, 5.0)
    assert listed_targets(listed(0), 0.5) is None


def test_prices_of_the_cache_name_their_files(table, rows, tmp_path):
    path = table(rows())
    first = cache.ensure_quotes(default_config("table", data_dir=str(path)), tmp_path / "cache")
    assert list(QuotesManifest.read(first / "manifest.json").raw_files) == ["quotes.csv"]
    (tmp_path / "rates.csv").write_text(f"date,rate\n{MONDAY},0.04\n")
    second = cache.ensure_quotes(default_config("table", data_dir=str(path)), tmp_path / "cache")
    assert second != first
    assert sorted(QuotesManifest.read(second / "manifest.json").raw_files) == ["quotes.csv", "rates.csv"]


@pytest.mark.parametrize("form", ["%m/%d/%Y", "%d/%m/%Y", "%Y%m%d", "%d-%b-%Y", "%Y/%m/%d"])
def test_dates_are_read_in_every_form_that_can_mean_one_thing(table, rows, form):
    expiry = date(2024, 3, 28)  # tells day from month; 4 to 6 March alone would not
    base = read(table(rows(expiries=(expiry,))))
    written = [
        row | {name: date.fromisoformat(row[name]).strftime(form) for name in ("date", "expiration")}
        for row in rows(expiries=(expiry,))
    ]
    assert read(table(written, "written.csv")).quotes.equals(base.quotes)


def test_roots_of_several_underlyings_are_refused(table, rows):
    def named(*roots):
        out = []
        for n, row in enumerate(rows()):
            symbol = f"{roots[n % len(roots)]}240405{row['right']}{int(float(row['strike']) * 1000):08d}"
            out.append(row | {"contract_id": symbol})
        return out

    with pytest.raises(MarketDataError, match=r"roots of several underlyings in the table \(QQQ, SPY\)"):
        read(table(named("SPY", "QQQ")))
    for family in (("SPX", "SPXW"), ("SPXPM", "SPXW"), ("V",)):
        assert read(table(named(*family))).quotes.height == 30


def test_a_price_called_settlement_is_no_term(table, rows):
    assert read(table(rows(), settlement="12.5")).quotes["settlement"].unique().to_list() == ["cash"]


@pytest.mark.parametrize(
    ("stated", "symbol", "agree"),
    [
        ("2024-04-19", "240420", True),  # the Saturday after, as symbols said before 2015
        ("2024-04-20", "240419", True),
        ("2024-04-18", "240420", True),  # Good Fridays
        ("2024-04-19", "240419", True),
        ("2024-04-19", "240421", False),
        ("2024-04-17", "240420", False),
        ("2024-04-19", "240418", False),
    ],
)
def test_a_symbol_may_carry_the_saturday_of_its_expiry(table, rows, stated, symbol, agree):
    named = [
        row | {"contract_id": f"ABC{symbol}{row['right']}{int(float(row['strike']) * 1000):08d}"}
        for row in rows(expiries=(date.fromisoformat(stated),))
    ]
    if agree:
        assert read(table(named)).quarantine.is_empty()
    else:
        with pytest.raises(MarketDataError, match="symbol disagrees"):
            read(table(named))


def test_a_parquet_file_says_what_it_lacks_and_how_much_is_too_much(table, rows, monkeypatch):
    from clstm_core.market.tables import user_table

    path = table(rows(), "quotes.parquet", other="x")
    renamed = path.rename(path.with_suffix(".csv"))
    assert read(renamed).quotes.height == 30
    lacking = table([{k: v for k, v in row.items() if k != "ask"} for row in rows()], "lacking.parquet", other="x")
    with pytest.raises(MarketDataError, match=r"missing column ask in lacking.parquet: found date.* other\."):
        read(lacking)
    monkeypatch.setattr(user_table, "MAX_ROWS", 29)
    with pytest.raises(MarketDataError, match=r"30 rows in quotes.csv: expected 1 to 29"):
        read(renamed)


@pytest.mark.parametrize(("column", "times"), [("strike", 10), ("strike", 0.001), ("price", 100)])
def test_nothing_is_marked_or_settled_on_a_session_in_another_unit(table, rows, found, column, times):
    wrong = str(DAYS[2])
    scaled = ("strike",) if column == "strike" else ("bid", "ask")
    mixed = [
        row | ({name: str(float(row[name]) * times) for name in scaled} if row["date"] == wrong else {})
        for row in rows(DAYS, (DAYS[2], EXPIRY))
    ]
    tables = read(table(mixed))
    assert found(tables, "parity_price_missing")["snapshots"] == wrong
    assert DAYS[2] not in tables.quotes["snapshot"].dt.date().to_list()
    assert DAYS[2] not in tables.underlyings["snapshot"].dt.date().to_list()
    assert found(tables, "no_settlement_price")["count"] == 2 * 10  # what expired that day


def test_a_whole_table_in_another_unit_is_refused_with_the_reason(table, rows):
    wrong = [row | {"strike": f"{float(row['strike']) * 1000:g}"} for row in rows()]
    with pytest.raises(MarketDataError, match=r"no price to mark or settle|times what the strikes allow"):
        read(table(wrong))


def test_a_vendors_sample_is_a_table_as_it_is(real_data, found):
    path = real_data / "format_samples" / "ivolatility_optionsuite" / "sampleData" / "spx_sample_ivolatility.csv"
    if not path.is_file():
        pytest.skip(f"no sample of iVolatility in {real_data}")
    tables = read(path)
    assert found(tables, "rows_read")["count"] == len(path.read_text().splitlines()) - 1
    assert tables.quarantine.is_empty()
    assert tables.quotes["snapshot"].n_unique() == 5
    assert set(tables.quotes["root"]) == {"SPX", "SPXW", "SPXPM"}


def test_parquet_that_its_reader_cannot_survive_is_left_out_by_name(tmp_path, monkeypatch):
    """Found by a child that dies at it; the files before and after it are read."""
    for name in "abc":
        (tmp_path / f"{name}.parquet").write_bytes(b"PAR1")
    child = "import os, sys\nfor path in sys.argv[1:]:\n    'b.parquet' in path and os.abort()\n    print(flush=True)"
    monkeypatch.setattr(parquet_check, "_READ", child)
    require_harmless(tmp_path / "a.parquet")
    require_harmless(tmp_path / "c.parquet")
    with pytest.raises(MarketDataError, match=r"damaged file b.parquet: found Parquet that its reader cannot survive"):
        require_harmless(tmp_path / "b.parquet")
