"""A session that becomes another after it was decided on: the decision stands, and the log names the change once."""

import shutil
from datetime import date

import polars as pl
import pytest

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.places import Places
from clstm_core.errors import ShadowError
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.sources import default_config
from clstm_core.market.tensors import load_market
from clstm_core.shadow.accounts import Feed, log_of, reconcile_account, run_account
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.reconcile import reconcile
from clstm_core.shadow.sources.directory import Directory
from tests.shadow.test_directory import DAYS, drop, evening, folder, run  # noqa: F401 - a fixture

LATER = 4


@pytest.fixture
def watched(folder, bundle, tmp_path):  # noqa: F811
    """An account that decided on four sessions of a folder: (look again on a day, its log, the folder)."""
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)

    def look(at):
        return run(
            tmp_path / "account",
            bundle,
            Directory(settings, tmp_path / "cache", embargo=21, now=evening(DAYS[at]), since=DAYS[0]),
        )

    for at, day in enumerate(DAYS[:LATER]):
        drop(folder, day, 5100.0 + 9 * at)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("clstm_core.shadow.runner.aged", lambda *args: "")
        assert look(LATER - 1) == LATER
    return look, lambda: ShadowLog(tmp_path / "account"), folder, settings


def said(log):
    return [row for row in log.entries if row["kind"] == "changed"]


def test_a_file_that_changed_is_named_once_with_both_hashes_and_the_decision_stands(watched):
    look, log, place, _ = watched
    before, then = log().decided, file_sha256(place / f"{DAYS[1]}.csv")
    drop(place, DAYS[1], 5180.0)
    now = file_sha256(place / f"{DAYS[1]}.csv")
    assert (look(LATER - 1), look(LATER - 1)) == (0, 0)
    (row,) = said(log())
    assert f"{row['snapshot']:%Y-%m-%d}" == str(DAYS[1])
    assert f"{DAYS[1]}.csv" in row["reasons"][0]
    assert f"sha256 {then[:12]} then, {now[:12]} now" in row["reasons"][0]
    assert row["reasons"][1].startswith(f"changed: quotes of {DAYS[1]}")
    assert log().decided == before
    drop(place, DAYS[LATER], 5100.0 + 9 * LATER)
    assert look(LATER) == 1
    assert len(said(log())) == 1
    drop(place, DAYS[1], 5190.0)
    look(LATER)
    assert [now[:12] in one["reasons"][0] for one in said(log())] == [True, True]  # the second begins at the first


def test_one_written_anew_with_the_same_quotes_says_so(watched):
    look, log, place, _ = watched
    path = place / f"{DAYS[1]}.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    look(LATER - 1)
    (row,) = said(log())
    assert row["reasons"][1:] == ["what is read of it is the same"]


def test_a_file_that_is_gone_and_one_that_joins_are_named_once(watched):
    look, log, place, _ = watched
    (place / f"{DAYS[0]}.csv").unlink()
    shutil.copy(place / f"{DAYS[2]}.csv", place / f"{DAYS[2]}-copy.csv")
    for _ in range(3):
        look(LATER - 1)
    gone, joined = said(log())
    assert f"{DAYS[0]}.csv is gone since it was decided on" in gone["reasons"][0]
    assert f"{DAYS[2]}-copy.csv" in joined["reasons"][0]
    assert f"{DAYS[2]}.csv then" in joined["reasons"][0]
    assert len(log().decided) == LATER


def test_closes_that_change_are_a_change_of_the_session_though_its_file_is_the_same(watched):
    look, log, place, _ = watched
    closes = place / "underlyings.csv"
    closes.write_text(closes.read_text().replace(f"{DAYS[1]},5109.0", f"{DAYS[1]},5111.0"))
    look(LATER - 1)
    (row,) = said(log())
    assert f"{row['snapshot']:%Y-%m-%d}" == str(DAYS[1])
    assert row["reasons"][0].startswith(f"changed: quotes of {DAYS[1]} or its underlying's price: content ")


def test_a_table_of_many_sessions_that_grows_changes_none_of_them(bundle, folder, tmp_path):  # noqa: F811
    for at, day in enumerate(DAYS[:2]):
        drop(folder, day, 5100.0 + 9 * at)
    texts = [(folder / f"{day}.csv").read_text() for day in DAYS[:2]]
    for day in DAYS[:2]:
        (folder / f"{day}.csv").unlink()
    table = folder / "quotes.csv"
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)

    def look(at):
        return run(tmp_path / "many", bundle, Directory(settings, tmp_path / "c", embargo=21, now=evening(DAYS[at])))

    table.write_text(texts[0])
    assert look(0) == 1
    table.write_text(texts[0] + texts[1].split("\n", 1)[1])
    assert look(1) == 1
    log = ShadowLog(tmp_path / "many")
    assert [row["kind"] for row in log.entries] == ["opened", "decided", "decided"]


def test_stopped_between_two_changes_the_other_is_named_afterwards(watched, monkeypatch):
    look, log, place, _ = watched
    for day in DAYS[:2]:
        drop(place, day, 5170.0)
    with monkeypatch.context() as patched:
        real, left = ShadowLog._write_head, [1]

        def dies(self):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            real(self)

        patched.setattr(ShadowLog, "_write_head", dies)
        with pytest.raises(KeyboardInterrupt):
            look(LATER - 1)
    look(LATER - 1)
    assert [f"{row['snapshot']:%Y-%m-%d}" for row in said(log())] == [str(day) for day in DAYS[:2]]


def test_a_name_that_cannot_be_written_down_is_named_all_the_same(watched):
    look, log, place, _ = watched
    (place / f"{DAYS[1]}.csv").rename(place / f"{DAYS[1]}\x1b[31m\n<b>.csv")
    look(LATER - 1)
    assert said(log()) == []  # the same file by another name


def test_files_that_list_other_expiries_do_not_move_the_grid_of_an_account(folder, bundle, tmp_path):  # noqa: F811
    """Targets of a table's tenors follow from what it lists: an account keeps those that it was opened with."""
    places, limits = Places(tmp_path / "data"), tmp_path / "limits.json"
    shutil.copytree(bundle, places.bundle("small"))
    limits.write_text('{"max_quote_age_s": null}')
    feed = Feed(kind="directory", market="table", data=str(folder), since=DAYS[0])
    days = (pl.col("expiration").str.to_date() - pl.col("date").str.to_date()).dt.total_days()
    for at, day in enumerate(DAYS[:LATER]):
        drop(folder, day, 5100.0 + 9 * at)
        path = folder / f"{day}.csv"
        pl.read_csv(path).filter(days < 35 if at < 2 else days > 20).write_csv(path)
        options = {"unqualified": True, "limits": None if at else limits}
        run_account(places, "grid", places.bundle("small"), feed, **options)
    assert [row["kind"] for row in log_of(places, "grid").entries] == ["opened", *["decided"] * LATER]
    found = reconcile_account(places, "grid", places.bundle("small"), feed)
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.answer


def test_a_gap_of_weeks_changes_no_session_before_it(watched):
    """What settles in the gap leaves the grid of the sessions before: their quotes are what they were."""
    look, log, place, _ = watched
    closes, later = place / "underlyings.csv", date(2024, 4, 15)
    closes.write_text(closes.read_text() + f"{later},5200.0\n")
    drop(place, later, 5200.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(globals(), "DAYS", [*DAYS, later])
        look(-1)
    assert said(log()) == []
    assert log().entries[-1]["kind"] == "refused"


def test_reconciliation_tells_the_change_as_its_reason(watched, bundle, tmp_path):
    look, log, place, settings = watched

    def compare():
        cache = tmp_path / "cache"
        market = load_market(ensure_tensors(ensure_quotes(settings, cache), settings, cache, embargo=21))
        return reconcile(log(), market, bundle, tmp_path / "backtests")

    assert compare().to_the_cent
    drop(place, DAYS[1], 5180.0)
    untold = compare()  # before any run looked at the folder
    assert not (untold.decisions_equal and untold.to_the_cent)
    assert f"{DAYS[1]}: changed since it was decided on" in untold.words
    look(LATER - 1)
    told = compare()
    assert f"{DAYS[1]}.csv" in told.words
    assert "then" in told.rows.filter(told.rows["explanation"] != "")["explanation"][0]
    shutil.move(place / f"{DAYS[1]}.csv", tmp_path)
    look(LATER - 1)
    with pytest.raises(ShadowError, match=f"{DAYS[1]}.csv is gone"):
        compare()
