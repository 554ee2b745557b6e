"""A folder that files arrive in: each session is built with what came before it, and the account is the backtest's."""

import dataclasses
import os
import shutil
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import pytest

from clstm_core.errors import ConfigError
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.sources import default_config
from clstm_core.market.tensors import load_market
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.reconcile import reconcile
from clstm_core.shadow.runner import Opening, ShadowRunner
from clstm_core.shadow.sources.alpaca import SYMBOL
from clstm_core.shadow.sources.directory import Directory, _of_it

sys.path.insert(0, str(Path(__file__).parent))
from chains import chain

DAYS = [date(2024, 3, day) for day in (4, 5, 6, 7, 8, 11)]
REAL = Path(os.environ["CLSTM_REAL_DATA"]) if os.environ.get("CLSTM_REAL_DATA") else None
DROPPED = 60
needs_real_quotes = pytest.mark.skipif(
    REAL is None, reason="CLSTM_REAL_DATA names no folder with spx_barchart_eod/ and spx_daily/: it is not set"
)


def drop(folder, day, spot):
    """A session's table."""
    rows = []
    for symbol, found in chain(day, spot).items():
        root, expiry, right, strike = SYMBOL.fullmatch(symbol).groups()
        quote = found["latestQuote"]
        rows.append(
            {
                "date": day,
                "underlying": "SPX",
                "root": root,
                "contract_id": symbol,
                "expiration": f"20{expiry[:2]}-{expiry[2:4]}-{expiry[4:]}",
                "right": right,
                "strike": int(strike) / 1000,
                "bid": quote["bp"],
                "ask": quote["ap"],
            }
        )
    pl.DataFrame(rows).write_csv(folder / f"{day}.csv")


@pytest.fixture
def folder(tmp_path):
    """An empty folder but for the closes of the sessions to come and of those before."""
    place = tmp_path / "files"
    place.mkdir()
    before = [DAYS[0] - timedelta(days=back) for back in range(90, 0, -1)]
    closes = [{"date": day, "close": 5000.0 + at % 7} for at, day in enumerate(before) if day.weekday() < 5]
    closes += [{"date": day, "close": 5100.0 + 9 * at} for at, day in enumerate(DAYS)]
    pl.DataFrame(closes).write_csv(place / "underlyings.csv")
    return place


def evening(day):
    return lambda: datetime.combine(day, time(22, 30), UTC)


def run(account, bundle, source):
    with ShadowLog.writing(account) as log:
        opening = Opening(
            bundle=bundle, limits=dataclasses.replace(Limits.none(), max_quote_age_s=86_400.0), unqualified=True
        )
        return ShadowRunner(log, opening, source).run()


def test_files_dropped_one_by_one_are_the_backtest(folder, bundle, tmp_path):
    account, cache = tmp_path / "account", tmp_path / "cache"
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)
    for at, day in enumerate(DAYS):
        drop(folder, day, 5100.0 + 9 * at)
        assert run(account, bundle, Directory(settings, cache, embargo=21, now=evening(day))) == 1
        assert run(account, bundle, Directory(settings, cache, embargo=21, now=evening(day))) == 0
    log = ShadowLog(account)
    assert [f"{row['snapshot']:%Y-%m-%d}" for row in log.decided] == [str(day) for day in DAYS]
    assert len({row["source_sha256"] for row in log.decided}) == len(DAYS)  # each saw another folder
    assert sum(len(row["fills"]) for row in log.decided) > 0
    market = load_market(ensure_tensors(ensure_quotes(settings, cache), settings, cache, embargo=21))
    found = reconcile(log, market, bundle, tmp_path / "backtests")
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.words


def test_a_file_that_is_not_whole_is_refused_and_decided_on_once_it_is(folder, bundle, tmp_path):
    cache = tmp_path / "cache"
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)

    def look(name, day):
        return run(tmp_path / name, bundle, Directory(settings, cache, embargo=21, now=evening(day)))

    drop(folder, DAYS[0], 5100.0)
    assert look("patient", DAYS[0]) == look("hasty", DAYS[0]) == 1
    drop(folder, DAYS[1], 5109.0)
    place = folder / f"{DAYS[1]}.csv"
    whole = place.read_text()
    place.write_text("".join(whole.splitlines(keepends=True)[:100]))
    assert look("hasty", DAYS[1]) == 1
    assert look("hasty", DAYS[1]) == 0  # the same file is the same session
    place.write_text(whole)
    assert look("hasty", DAYS[1]) == look("patient", DAYS[1]) == 1
    hasty, patient = ShadowLog(tmp_path / "hasty"), ShadowLog(tmp_path / "patient")
    assert [row["kind"] for row in hasty.entries] == ["opened", "decided", "refused", "decided"]
    assert hasty.entries[2]["reasons"][0].startswith("torn: 99 rows, ")
    assert [row["logits"] for row in hasty.decided] == [row["logits"] for row in patient.decided]


def spoil(path, how):
    """The same file as a vendor's mistake leaves it."""
    table, fifths = pl.read_csv(path), pl.int_range(pl.len()) % 5 < 2
    altered = {
        "crossed": {"bid": pl.when(fifths).then(pl.col("ask") + 5).otherwise("bid")},
        "negative": {"bid": pl.when(fifths).then(-1.0).otherwise("bid")},
        "no strike": {"strike": pl.when(fifths).then(0.0).otherwise("strike")},
        "not finite": {"bid": pl.lit(float("nan")), "ask": pl.lit(float("inf"))},
        "zeros": {"bid": pl.lit(0.0), "ask": pl.lit(0.0)},
    }
    if how in altered:
        table.with_columns(**altered[how]).write_csv(path)
    elif how == "twice with other quotes":
        pl.concat([table, table.with_columns(pl.col("bid", "ask") + 0.01)]).write_csv(path)
    else:
        path.write_bytes({"bytes": b"\x00\xff\xfejunk\n" * 100, "empty": b"", "header": b"date,bid,ask\n"}[how])


@pytest.mark.parametrize(
    "how",
    [
        *("crossed", "negative", "no strike", "not finite", "zeros", "twice with other quotes"),
        *("bytes", "empty", "header"),
    ],
)
def test_a_spoilt_file_is_named_in_the_log_once_and_leaves_the_account_as_it_was(folder, bundle, tmp_path, how):
    """Of a table too, whose files no source goes by: and not again when another file comes."""
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)
    for at, day in enumerate(DAYS[:4]):
        drop(folder, day, 5100.0 + 9 * at)
        if at == 2:
            spoil(folder / f"{day}.csv", how)
        run(tmp_path / "account", bundle, Directory(settings, tmp_path / "cache", embargo=21, now=evening(day)))
    entries = ShadowLog(tmp_path / "account").entries
    assert [row["kind"] for row in entries] == ["opened", "decided", "decided", "refused", "decided"]
    assert f"{entries[3]['snapshot']:%Y-%m-%d}" == str(DAYS[2])
    assert entries[3]["reasons"][0].startswith(("spoilt: the prices of ", "unusable: "))
    assert entries[4]["missing_sessions"] == 1


def test_a_second_torn_file_is_found_beside_the_first(tmp_path):
    from clstm_core.shadow.sources.directory import _torn

    rows = [300, 290, 90, 100, 280, 120]
    snapshots = [at for at, count in enumerate(rows) for _ in range(count)]
    pl.DataFrame({"snapshot": snapshots}).write_parquet(tmp_path / "quotes.parquet")
    assert sorted(_torn(tmp_path)) == [2, 3, 5]


def test_a_file_that_is_completed_after_it_was_read_is_looked_at_again(folder, bundle, tmp_path, monkeypatch):
    """What was refused is the torn file's hash, not that of what stood there when the log was written."""
    from clstm_core.shadow.sources import directory

    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)
    for at, day in enumerate(DAYS[:2]):
        drop(folder, day, 5100.0 + 9 * at)
    place = folder / f"{DAYS[1]}.csv"
    whole, real = place.read_text(), directory.load_market
    place.write_text("".join(whole.splitlines(keepends=True)[:100]))

    def completed(path):
        place.write_text(whole)
        return real(path)

    def look():
        source = Directory(settings, tmp_path / "cache", embargo=21, now=evening(DAYS[1]), since=DAYS[1])
        return run(tmp_path / "account", bundle, source)

    monkeypatch.setattr(directory, "load_market", completed)
    assert (look(), look()) == (1, 1)
    assert [row["kind"] for row in ShadowLog(tmp_path / "account").entries] == ["opened", "refused", "decided"]


def test_a_session_whose_close_comes_after_its_file_is_looked_at_again(folder, bundle, tmp_path):
    """The file is the same: what was missing lies beside it."""
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)
    closes = folder / "underlyings.csv"
    whole = closes.read_text()
    closes.write_text("".join(line for line in whole.splitlines(True) if not str(DAYS[1]) <= line[:10] <= "2099"))
    for at, day in enumerate(DAYS[:2]):
        drop(folder, day, 5100.0 + 9 * at)

    def look():
        source = Directory(settings, tmp_path / "cache", embargo=21, now=evening(DAYS[1]), since=DAYS[1])
        return run(tmp_path / "account", bundle, source)

    assert (look(), look()) == (1, 0)
    closes.write_text(whole)
    assert (look(), look()) == (1, 0)
    entries = ShadowLog(tmp_path / "account").entries
    assert [row["kind"] for row in entries] == ["opened", "refused", "decided"]
    assert entries[1]["reasons"][0].startswith("unusable: no_index_price")


def test_an_account_begins_at_the_newest_session_or_where_it_is_told(folder, tmp_path):
    for at, day in enumerate(DAYS[:3]):
        drop(folder, day, 5100.0 + 9 * at)
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)
    now = evening(DAYS[2])
    newest = list(Directory(settings, tmp_path / "cache", embargo=21, now=now).arrivals(None))
    assert [one.age_s for one in newest] == [5400.0]
    since = list(Directory(settings, tmp_path / "cache", embargo=21, now=now, since=DAYS[1]).arrivals(None))
    assert [one.age_s for one in since] == [5400.0 + 86_400.0, 5400.0]
    after = Directory(settings, tmp_path / "cache", embargo=21, now=now).arrivals(since[0].snapshot)
    assert [one.snapshot for one in after] == [newest[0].snapshot]


def test_a_refusal_tells_of_its_own_session_alone():
    told = "dropped, 2026-04-03: the exchange was closed; 2026-05-25: 100.0% are quoted as on 2026-05-22."
    assert _of_it(told, ("2026-05-25",)) == "2026-05-25: 100.0% are quoted as on 2026-05-22."
    assert _of_it(told, ("2026-04-03",)) == "dropped, 2026-04-03: the exchange was closed"
    assert _of_it(told, ("another",)) == told


def test_a_source_without_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="reads no files by session"):
        Directory(default_config("simulated"), tmp_path, embargo=21)


@pytest.mark.slow
@needs_real_quotes
def test_sixty_real_sessions_dropped_one_by_one(bundle, tmp_path):
    files, account, cache = tmp_path / "data", tmp_path / "account", tmp_path / "cache"
    shutil.copytree(REAL / "spx_daily", files / "spx_daily")
    (files / "spx_barchart_eod").mkdir()
    settings = default_config("spx_barchart", data_dir=str(files))
    names = sorted((REAL / "spx_barchart_eod").glob("20*.json.gz"))[:DROPPED]
    for name in names:
        shutil.copy(name, files / "spx_barchart_eod")
        run(account, bundle, Directory(settings, cache, embargo=21, now=evening(date.fromisoformat(name.name[:10]))))
    log = ShadowLog(account)
    assert len(log.entries) == DROPPED + 1
    refused = [row["reasons"][0] for row in log.entries if row["kind"] == "refused"]
    assert len(refused) == 1
    assert "copied_session" in refused[0]  # Good Friday: the file of the day before, again
    market = load_market(ensure_tensors(ensure_quotes(settings, cache), settings, cache, embargo=21))
    found = reconcile(log, market, bundle, tmp_path / "backtests")
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.words


@pytest.mark.slow
@needs_real_quotes
def test_all_real_sessions_replayed_are_the_backtest_to_the_cent(bundle, shadow, tmp_path):
    from clstm_core.shadow.sources.replay import Replay

    settings, cache = default_config("spx_barchart", data_dir=str(REAL)), tmp_path / "cache"
    market = load_market(ensure_tensors(ensure_quotes(settings, cache), settings, cache, embargo=21))
    found = reconcile(shadow(source=Replay(market)), market, bundle, tmp_path / "backtests")
    assert found.sessions == market.n_snapshots > 100
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.words
