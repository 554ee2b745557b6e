"""The log: appended to, chained, verified; and what is lost or altered is found by name."""

import json
import shutil

import polars as pl
import pytest

from clstm_core.artifacts.folder import file_sha256
from clstm_core.errors import ArtifactError, ShadowError
from clstm_core.shadow.log import ShadowLog


@pytest.fixture(scope="module")
def written(bundle, market, tmp_path_factory):
    from clstm_core.shadow.limits import Limits
    from clstm_core.shadow.runner import Opening, ShadowRunner
    from clstm_core.shadow.sources.replay import Replay

    folder = tmp_path_factory.mktemp("log") / "account"
    with ShadowLog.writing(folder) as log:
        ShadowRunner(log, Opening(bundle=bundle, limits=Limits.none(), unqualified=True), Replay(market)).run(most=6)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "account")


def test_every_entry_says_that_its_fills_are_simulated(folder):
    table = ShadowLog(folder).table()
    assert table.height == 7
    assert table["simulated"].all()
    assert table["kind"].to_list() == ["opened", *["decided"] * 6]


@pytest.mark.parametrize("number", [1, 4, 7])
def test_an_altered_entry_is_found(folder, number):
    path = folder / "log" / f"{number:08}.parquet"
    frame = pl.read_parquet(path)
    frame.with_columns(equity_usd=pl.col("equity_usd").fill_null(0.0) + 1.0).write_parquet(path)
    with pytest.raises(ShadowError, match="altered"):
        ShadowLog(folder)


@pytest.mark.parametrize("number", [1, 4, 7])
def test_a_missing_entry_is_found(folder, number):
    (folder / "log" / f"{number:08}.parquet").unlink()
    with pytest.raises(ShadowError, match="missing"):
        ShadowLog(folder)


def test_entries_in_each_others_place_are_found(folder):
    one, other = (folder / "log" / f"{number:08}.parquet" for number in (3, 4))
    one.rename(folder / "kept")
    other.rename(one)
    (folder / "kept").rename(other)
    with pytest.raises(ShadowError, match="altered"):
        ShadowLog(folder)


def test_a_torn_file_is_found(folder):
    path = folder / "log" / "00000005.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ShadowError, match="unreadable entry"):
        ShadowLog(folder)


def test_a_log_without_its_head_is_refused(folder):
    """Else its newest entries could be taken away, or altered, unseen."""
    (folder / "head.json").unlink()
    with pytest.raises(ShadowError, match=r"no readable head.json .*found 7 entries"):
        ShadowLog(folder)
    (folder / "head.json").write_text("{")
    with pytest.raises(ShadowError, match=r"no readable head.json"):
        ShadowLog(folder)


def test_a_head_that_is_more_than_one_entry_behind_is_refused(folder):
    (folder / "head.json").write_text(
        json.dumps({"entries": 5, "sha256": file_sha256(folder / "log/00000005.parquet")})
    )
    with pytest.raises(ShadowError, match="entries beyond the end"):
        ShadowLog(folder)


def test_the_next_writer_mends_a_head_that_a_kill_left_behind(folder):
    """Else two kills at that moment would look like an alteration."""
    whole = (folder / "head.json").read_text()
    (folder / "head.json").write_text(
        json.dumps({"entries": 6, "sha256": file_sha256(folder / "log/00000006.parquet")})
    )
    assert len(ShadowLog(folder).entries) == 7
    with ShadowLog.writing(folder) as log:
        assert len(log.entries) == 7
    assert (folder / "head.json").read_text() == whole


def test_an_entry_that_is_written_while_the_log_is_read_is_no_loss(folder, monkeypatch):
    """A page is drawn while the account is at work."""
    real, written = ShadowLog._head, []

    def late(self, files, *said):
        if not written:
            written.append(True)
            with ShadowLog.writing(folder) as log:
                log.append({"kind": "switched", "switch": "ACTIVE", "reasons": ["meanwhile"]})
        return real(self, files, *said)

    monkeypatch.setattr(ShadowLog, "_head", late)
    assert len(ShadowLog(folder).entries) == 7
    assert len(ShadowLog(folder).entries) == 8


def test_an_entry_that_an_older_version_wrote_is_read(folder):
    """It lacks a column: null."""
    path = folder / "log" / "00000007.parquet"
    pl.read_parquet(path).drop("session_sha256").write_parquet(path)
    (folder / "head.json").write_text(json.dumps({"entries": 7, "sha256": file_sha256(path)}))
    assert ShadowLog(folder).entries[-1]["session_sha256"] is None


def test_one_process_writes(folder):
    with (
        ShadowLog.writing(folder),
        pytest.raises(ArtifactError, match="in use by another process"),
        ShadowLog.writing(folder),
    ):
        pass


def test_an_unknown_column_and_a_second_opening_are_refused(folder):
    with ShadowLog.writing(folder) as log:
        with pytest.raises(ShadowError, match="unknown columns profit"):
            log.append({"kind": "decided", "profit": 1.0})
        with pytest.raises(ShadowError, match="begins with the opening"):
            log.append({"kind": "opened"})
    assert len(ShadowLog(folder).entries) == 7
