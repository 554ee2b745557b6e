"""The cache: what it keys on, what it parses again, and what a damaged file does."""

import dataclasses
import subprocess
import sys
import warnings
from datetime import date

import polars as pl
import pytest

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import QuotesManifest, TensorsManifest
from clstm_core.artifacts.places import DIGITS
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market import cache
from clstm_core.market.calendars import trading_days
from clstm_core.market.sources import default_config
from clstm_core.market.sources.spx_barchart import SPXBarchart
from clstm_core.market.tensors import load_market

MONDAY = date(2026, 3, 2)
DAYS = trading_days(MONDAY, date(2026, 3, 13))
TABLES = ["findings", "quarantine", "quotes", "rates", "underlyings"]


@pytest.fixture
def config(barchart):
    barchart.write_days(MONDAY, DAYS[-1])
    return default_config("spx_barchart", data_dir=str(barchart.root), near_days=3.0, far_days=5.0)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def parsed(monkeypatch):
    """Names of the files that were really parsed."""
    names = []
    original = SPXBarchart.parse

    def spy(self, path):
        names.append(path.name[:10])
        return original(self, path)

    monkeypatch.setattr(SPXBarchart, "parse", spy)
    return names


@pytest.fixture(autouse=True)
def _no_unexpected_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_folder_holds_the_tables_and_their_manifest(config, home):
    folder = cache.ensure_quotes(config, home)
    assert sorted(path.stem for path in folder.glob("*.parquet")) == TABLES
    manifest = QuotesManifest.read(folder / FILE)
    assert sorted(manifest.files) == [f"{name}.parquet" for name in TABLES]
    assert (manifest.source, manifest.label, manifest.spread) == ("spx_barchart", "real quotes", "quoted")
    assert manifest.counts["snapshots"] == len(DAYS)
    assert manifest.counts["rows"] == pl.read_parquet(folder / "quotes.parquet").height
    assert len(manifest.raw_files) == len(DAYS) + 1
    assert folder == home / "quotes" / manifest.identity[:DIGITS]
    assert str(home.parent) not in (folder / FILE).read_text()  # no path of this machine
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing temporary is left


def test_a_second_call_reads_nothing_again(config, home, parsed):
    first = cache.ensure_quotes(config, home)
    assert len(parsed) == len(DAYS)
    assert cache.ensure_quotes(config, home) == first
    assert len(parsed) == len(DAYS)


def test_progress_counts_files(config, home):
    seen = []
    cache.ensure_quotes(config, home, lambda done, total: seen.append((done, total)))
    assert seen == [(n, len(DAYS)) for n in range(1, len(DAYS) + 1)]
    seen.clear()
    cache.ensure_quotes(config, home, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]


def test_only_new_and_changed_files_are_parsed(config, home, barchart, vendor, parsed):
    first = cache.ensure_quotes(config, home)
    parsed.clear()
    new = trading_days(DAYS[-1], date(2026, 3, 16))[-1]
    barchart.write(new)
    barchart.write(DAYS[0], vendor.chain(DAYS[0], vendor.next_expiries(DAYS[0]), half_spread=0.6))
    second = cache.ensure_quotes(config, home)
    assert second != first
    assert parsed == [str(DAYS[0]), str(new)]
    assert QuotesManifest.read(second / FILE).counts["snapshots"] == len(DAYS) + 1


def test_the_place_of_the_files_does_not_matter_their_content_does(config, home, barchart, tmp_path):
    first = cache.ensure_quotes(config, home)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("spx_barchart_eod", "spx_daily"):
        (barchart.root / name).rename(moved / name)
    assert cache.ensure_quotes(dataclasses.replace(config, data_dir=str(moved)), home) == first
    index = moved / "spx_daily" / "spx_vix_vix9d_daily.csv"
    index.write_text(index.read_text().replace("1000000", "2000000"))
    assert cache.ensure_quotes(dataclasses.replace(config, data_dir=str(moved)), home) != first


def test_changed_code_finds_no_old_result(config, home, parsed, monkeypatch):
    first = cache.ensure_quotes(config, home)
    built = cache.ensure_tensors(first, config, home, embargo=5)
    parsed.clear()
    monkeypatch.setattr(cache, "code_sha256", lambda *modules: "other")
    with pytest.raises(MarketDataError, match="no canonical quotes of spx_barchart"):
        cache.ensure_quotes(config, home, make=False)
    with pytest.raises(MarketDataError, match="no market tensors of spx_barchart"):
        cache.ensure_tensors(first, config, home, embargo=5, make=False)
    assert parsed == []
    # made again: code that does the same gives the same content, and so the same folder
    assert cache.ensure_quotes(config, home) == first
    assert len(parsed) == len(DAYS)
    assert cache.ensure_tensors(first, config, home, embargo=5) == built


@pytest.mark.parametrize("table", TABLES)
def test_an_altered_table_is_said_and_rebuilt(config, home, table):
    folder = cache.ensure_quotes(config, home)
    expected = pl.read_parquet(folder / f"{table}.parquet")
    path = folder / f"{table}.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match=rf"corrupt cache: altered file .*{table}.parquet.*rebuilt") as said:
        assert cache.ensure_quotes(config, home) == folder
    assert len(said) == 1
    assert pl.read_parquet(path).equals(expected)


@pytest.mark.parametrize("damage", ["manifest gone", "manifest cut", "table gone"])
def test_a_half_written_folder_is_said_and_rebuilt(config, home, damage):
    folder = cache.ensure_quotes(config, home)
    manifest = folder / "manifest.json"
    if damage == "manifest gone":
        manifest.unlink()
    elif damage == "manifest cut":
        manifest.write_text(manifest.read_text()[:100])
    else:
        (folder / "rates.parquet").unlink()
    with pytest.warns(UserWarning, match=r"corrupt cache: .*rebuilt"):
        cache.ensure_quotes(config, home)
    cache.load_tables(folder)


def test_a_manifest_that_was_replaced_whole_is_said_and_rebuilt(config, home):
    """A seal that fits does not help: the folder's name and the index say which content it was."""
    folder = cache.ensure_quotes(config, home)
    manifest = QuotesManifest.read(folder / FILE)
    dataclasses.replace(manifest, label="modelled quotes").write(folder / FILE)
    with pytest.warns(UserWarning, match=r"corrupt cache: altered manifest .*rebuilt"):
        assert cache.ensure_quotes(config, home) == folder
    assert QuotesManifest.read(folder / FILE) == manifest


def test_an_altered_session_is_said_and_parsed_again(config, home, parsed):
    folder = cache.ensure_quotes(config, home)
    expected = pl.read_parquet(folder / "quotes.parquet")
    session = sorted((home / "sessions" / "spx_barchart").glob("*.parquet"))[0]
    session.write_bytes(session.read_bytes()[:-30])
    (folder / "manifest.json").unlink()
    parsed.clear()
    with pytest.warns(UserWarning, match="corrupt cache") as said:
        cache.ensure_quotes(config, home)
    assert any(str(session) in str(warning.message) for warning in said)
    assert len(parsed) == 1
    assert pl.read_parquet(folder / "quotes.parquet").equals(expected)


def test_an_unreadable_file_is_warned_about_and_the_rest_is_built(config, home, barchart):
    barchart.path(DAYS[3]).write_bytes(barchart.path(DAYS[3]).read_bytes()[:900])
    with pytest.warns(UserWarning, match=rf"unreadable file {DAYS[3]}.json.gz.*again"):
        folder = cache.ensure_quotes(config, home)
    assert QuotesManifest.read(folder / FILE).counts["snapshots"] == len(DAYS) - 1


def test_a_failure_leaves_nothing_behind(config, home, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(cache, "files_of", fail)  # all tables are written, the manifest is not
    with pytest.raises(RuntimeError, match="disk full"):
        cache.ensure_quotes(config, home)
    assert list((home / "quotes").iterdir()) == []
    assert not (home / "index").exists()


def test_a_killed_writer_leaves_nothing_that_is_read_and_the_next_one_sweeps(config, home):
    code = """
import sys, time
from pathlib import Path
from clstm_core.artifacts.manifest import write_named_by_content
def write(place):
    (place / "quotes.parquet").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)
write_named_by_content(Path(sys.argv[1]), write)
"""
    writer = subprocess.Popen([sys.executable, "-c", code, str(home / "quotes")], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "writing\n"
    folder = cache.ensure_quotes(config, home)
    living = sorted(path.name for path in folder.parent.glob(".*"))
    assert len(living) == 2, "what a living writer fills stays, with its mark"
    writer.kill()
    writer.communicate()
    (folder / FILE).unlink()
    with pytest.warns(UserWarning, match="corrupt cache"):
        cache.ensure_quotes(config, home)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_only_looking_makes_nothing(config, home, parsed):
    with pytest.raises(MarketDataError, match=r"no canonical quotes of spx_barchart .*market_quotes"):
        cache.ensure_quotes(config, home, make=False)
    assert parsed == []
    assert not home.exists()
    quotes = cache.ensure_quotes(config, home)
    with pytest.raises(MarketDataError, match=r"no market tensors of spx_barchart .*market_tensors"):
        cache.ensure_tensors(quotes, config, home, embargo=5, make=False)
    tensors = cache.ensure_tensors(quotes, config, home, embargo=5)
    assert cache.ensure_quotes(config, home, make=False) == quotes
    assert cache.ensure_tensors(quotes, config, home, embargo=5, make=False) == tensors


def test_tensors_are_built_once_and_name_their_parents(config, home):
    quotes = cache.ensure_quotes(config, home)
    folder = cache.ensure_tensors(quotes, config, home, embargo=5)
    assert cache.ensure_tensors(quotes, config, home, embargo=5) == folder
    assert cache.ensure_tensors(quotes, config, home, embargo=6) != folder
    market = load_market(folder)
    assert market.n_snapshots == len(DAYS)
    assert market.info["label"] == "real quotes"
    parent, manifest = QuotesManifest.read(quotes / FILE), TensorsManifest.read(folder / FILE)
    assert manifest.parents == {"quotes": parent.identity}
    manifest.require_parent("quotes", parent)
    assert market.identity == manifest.identity
    assert folder == home / "tensors" / manifest.identity[:DIGITS]
    assert market.info["quotes_sha256"] == parent.files["quotes.parquet"]
    assert home.parent / market.info["quotes_path"] == quotes / "quotes.parquet"
    assert file_sha256(quotes / "quotes.parquet") == market.info["quotes_sha256"]
    assert any("minutes after" in note for note in market.info["notes"])
    spots = pl.read_parquet(quotes / "underlyings.parquet").drop_nulls("parity_spot")["parity_spot"]
    assert market.spot_T.tolist() == spots.to_list()
    assert int((market.grid_row_TG >= 0).sum()) > 0


def test_altered_tensors_are_said_and_rebuilt(config, home):
    quotes = cache.ensure_quotes(config, home)
    folder = cache.ensure_tensors(quotes, config, home, embargo=5)
    path = folder / "market.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 0xFF
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match=r"corrupt cache: altered file .*market\.safetensors.* rebuilt"):
        cache.ensure_tensors(quotes, config, home, embargo=5)
    assert load_market(folder).n_snapshots == len(DAYS)


def test_tensors_are_not_built_from_altered_tables(config, home):
    quotes = cache.ensure_quotes(config, home)
    path = quotes / "rates.parquet"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(MarketDataError, match=r"altered file .*rates.parquet.*market_quotes again"):
        cache.ensure_tensors(quotes, config, home, embargo=5)
    with pytest.raises(MarketDataError, match=r"no canonical quotes at .*nowhere.*market_quotes again"):
        cache.ensure_tensors(home / "nowhere", config, home, embargo=5)


def test_columns_keep_their_meaning():
    frame = pl.DataFrame(
        {
            "at": pl.Series([1_000_000_001, 2], dtype=pl.Datetime("ns", "UTC")),
            "day": [MONDAY, MONDAY],
            "same": ["x", "x"],
            "other": ["x", "y"],
            "number": [1.5, None],
        }
    )
    columns = cache.to_columns(frame)
    assert columns["at"].tolist() == [1_000_000_001, 2]
    assert str(columns["day"][0]) == "2026-03-02"
    assert columns["same"].strides == (0,)
    assert columns["same"].tolist() == ["x", "x"]
    assert columns["other"].tolist() == ["x", "y"]
    assert columns["number"][0] == 1.5
    assert columns["number"][1] != columns["number"][1]


def test_a_short_set_is_trained_on_the_modelled_market(config, home, monkeypatch):
    monkeypatch.setattr(cache, "FALLBACK_SOURCE", "simulated")  # the same road, in seconds
    short = dataclasses.replace(config, n_snapshots=120)
    training, evaluation, reason = cache.training_tensors(short, home, 5)
    assert training != evaluation
    learned, judged = load_market(training), load_market(evaluation)
    assert "train" in learned.info["splits"]
    assert judged.info["splits"] == {"test": [0, len(DAYS)]}
    assert (learned.info["near_days"], learned.info["far_days"]) == (3.0, 5.0)
    assert learned.info["label"] == "simulated quotes"
    assert f"{len(DAYS)} snapshots, too few" in reason
    assert "trained on simulated with tenors of 3 and 5 days" in reason


def test_a_long_set_trains_itself(home):
    config = default_config("simulated", n_snapshots=120)
    training, evaluation, reason = cache.training_tensors(config, home, 5)
    assert training == evaluation
    start, stop = load_market(training).split("train")
    assert reason == f"simulated trains on its own first {stop - start} of 120 snapshots."


def test_a_fallback_that_is_too_short_itself_is_refused(home, monkeypatch):
    monkeypatch.setattr(cache, "FALLBACK_SOURCE", "simulated")
    with pytest.raises(MarketDataError, match=r"no train window in simulated: found 40 snapshots"):
        cache.training_tensors(default_config("simulated", n_snapshots=40), home, 5)


def test_a_missing_data_folder_reaches_the_user_as_a_sentence(home, tmp_path):
    with pytest.raises(MarketDataError, match=r"no folder .*spx_cboe_eod"):
        cache.ensure_quotes(default_config("spx_cboe", data_dir=str(tmp_path)), home)
    with pytest.raises(ConfigError, match=r"no data folder for spx_cboe"):
        cache.ensure_quotes(default_config("spx_cboe"), home)
