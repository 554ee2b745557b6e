"""Whole or not at all: what a reader finds after a writer ended well, failed or was killed, and what a lock forbids."""

import json
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from clstm_core.artifacts import folder
from clstm_core.artifacts.folder import (
    canonical_json,
    is_locked,
    json_sha256,
    lock,
    read_json,
    read_jsonl,
    scratch,
    settle,
    sweep,
    whole_folder,
    write_json,
    write_text,
)
from clstm_core.errors import ArtifactError

WRITES = """
with folder.whole_folder(place) as inside:
    (inside / "one").write_text("new")
    wait()
"""
HOLDS = """
with folder.lock(place, "run demo"):
    wait()
"""
SHARES = """
with folder.lock(place, "run demo", shared=True):
    wait()
"""


def kill(process):
    process.kill()
    process.wait()


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


@pytest.fixture
def target(tmp_path):
    """A folder that was written before."""
    with whole_folder(tmp_path / "made") as place:
        (place / "one").write_text("old")
        (place / "two").write_text("old")
    return tmp_path / "made"


def test_a_folder_takes_the_place_of_the_one_before(target):
    with whole_folder(target) as place:
        assert place.parent == target.parent, "one file system: a rename does not copy"
        (place / "one").write_text("new")
        (place / "below").mkdir()
        (place / "below" / "three").write_text("new")
        assert (target / "one").read_text() == "old", "readers see the old one until the new one stands"
    assert names(target) == ["below", "one"], "nothing of the old one is mixed in"
    assert (target / "below" / "three").read_text() == "new"
    assert names(target.parent) == ["made"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_body_that_fails_changes_nothing_and_leaves_nothing(target, error):
    def fail(place):
        (place / "one").write_text("half")
        raise error

    with pytest.raises(type(error)), whole_folder(target) as place:
        fail(place)
    assert (target / "one").read_text() == (target / "two").read_text() == "old"
    assert names(target.parent) == ["made"]


def test_a_killed_writer_leaves_only_what_is_swept(target, elsewhere):
    writer = elsewhere(WRITES, target)
    leftovers = set(names(target.parent)) - {"made"}
    assert all(name.startswith(".made.") for name in leftovers), "hidden from whoever lists folders"
    assert sweep(target.parent) == [], "what a living process writes stays"
    assert set(names(target.parent)) == leftovers | {"made"}
    kill(writer)
    assert (target / "one").read_text() == "old"
    swept = sweep(target.parent)
    assert len(swept) == 1
    assert swept[0] in leftovers
    assert names(target.parent) == ["made"]
    assert sweep(target.parent) == []


def test_sweeping_touches_neither_finished_things_nor_what_lies_below(target):
    (target / ".below.x.tmp").mkdir()
    (target.parent / "made.tmp").write_text("a name of the user's")
    (target.parent / ".hidden").write_text("another")
    assert sweep(target.parent) == []
    assert names(target.parent) == [".hidden", "made", "made.tmp"]
    assert (target / ".below.x.tmp").is_dir()
    assert sweep(target.parent / "nowhere") == []


def test_a_file_that_is_being_written_is_its_writers_for_a_minute(tmp_path):
    young, old = tmp_path / ".a.json.x.tmp", tmp_path / ".b.json.x.tmp"
    young.write_text("half")
    old.write_text("half")
    os.utime(old, (0, 0))
    assert sweep(tmp_path) == [old.name]
    assert names(tmp_path) == [young.name]


def test_a_sweep_in_the_moment_before_the_mark_is_held_costs_a_new_place_and_nothing_else(tmp_path, monkeypatch):
    make, swept = tempfile.mkdtemp, []

    def swept_at_once(**options):
        place = make(**options)
        if not swept:
            swept.extend(sweep(tmp_path))
        return place

    monkeypatch.setattr(tempfile, "mkdtemp", swept_at_once)
    with whole_folder(tmp_path / "made") as place:
        (place / "one").write_text("new")
    assert len(swept) == 1
    assert names(tmp_path) == ["made"]


def test_marks_without_a_place_are_swept(tmp_path):
    (tmp_path / ".made.x.tmp.lock").write_text("")
    assert sweep(tmp_path) == []
    assert names(tmp_path) == []


def test_two_writers_of_one_target_do_not_meet(target):
    with whole_folder(target) as one, whole_folder(target) as other:
        assert one != other
        (one / "one").write_text("first")
        (other / "one").write_text("second")
    assert (target / "one").read_text() == "first", "the last to end stands, whole"
    assert names(target.parent) == ["made"]


def test_what_is_left_in_a_scratch_folder_is_removed(tmp_path):
    with scratch(tmp_path / "deep" / "er", "new") as place:
        (place / "kept").mkdir()
        (place / "dropped").write_text("x")
        settle(place / "kept", tmp_path / "kept")
    assert names(tmp_path / "deep" / "er") == []
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize(("renames", "standing"), [(0, "made"), (1, "made.previous")])
def test_a_death_between_the_renames_loses_nothing(target, monkeypatch, renames, standing):
    rename, done = os.replace, []

    def dying(source, place):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(place)
        rename(source, place)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as place:
        (place / "one").write_text("new")
    assert names(target.parent) == [standing]
    assert (target.with_name(standing) / "two").read_text() == "old"


def test_a_death_after_a_death_between_the_renames_keeps_the_previous_one(target, monkeypatch):
    target.rename(target.with_name("made.previous"))  # as a kill between the two renames leaves it
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as place:
        (place / "one").write_text("new")
    monkeypatch.undo()
    assert (target.with_name("made.previous") / "two").read_text() == "old"
    with whole_folder(target) as place:
        (place / "one").write_text("newest")
    assert names(target.parent) == ["made"]


def test_everything_is_on_disk_before_it_is_renamed(target, monkeypatch):
    done = []
    monkeypatch.setattr(folder, "flush", lambda path: done.append(("flush", path.name)))
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("rename", Path(b).name)), rename(a, b)))
    with whole_folder(target) as place:
        (place / "below").mkdir()
        (place / "below" / "one").write_text("new")
    assert [name for what, name in done[:2]] == ["below", "one"]
    assert [what for what, _ in done] == ["flush"] * 3 + ["rename"] * 2 + ["flush"]
    assert done[-2:] == [("rename", "made"), ("flush", target.parent.name)]


def test_a_text_is_whole_or_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "below" / "a.json"
    write_text(path, "olé\n")
    assert path.read_text() == "olé\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    for what in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, what, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OSError, match="No space left"):
                write_text(path, "new")
        assert path.read_text() == "olé\n"
        assert names(path.parent) == ["a.json"]


def test_readers_of_a_text_that_is_rewritten_never_see_a_half(tmp_path):
    path = tmp_path / "a.json"
    contents = [{"n": n, "long": str(n) * 20_000} for n in (1, 2)]
    write_json(path, contents[0])
    ended = threading.Event()

    def write():
        for turn in range(60):
            write_json(path, contents[turn % 2])
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not ended.is_set():
        assert read_json(path) in contents
        seen += 1
    writer.join()
    assert seen > 10


def test_one_content_has_one_text_and_one_hash():
    one, other = {"b": [1, 2.5], "a": {"y": None, "x": "é"}}, {"a": {"x": "é", "y": None}, "b": [1, 2.5]}
    assert canonical_json(one) == canonical_json(other)
    assert json.loads(canonical_json(one)) == one
    assert canonical_json(one).endswith("}\n")
    assert json_sha256(one) == json_sha256(other) != json_sha256(one | {"b": [2.5, 1]})
    assert json_sha256({"place": Path("a/b")}) == json_sha256({"place": "a/b"})


@pytest.mark.parametrize("raw", [b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_none(tmp_path, raw):
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    assert read_json(path) is None
    assert read_json(tmp_path / "nowhere.json") is None
    assert read_json(tmp_path) is None


def test_torn_and_foreign_lines_are_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n\n[2]\n"x"\n{"n": \xff3}\n' + b"[" * 100_000 + b'\n{"n": 4}\n{"n": 5, "tor')
    assert read_jsonl(path) == [{"n": 1}, {"n": 4}]
    assert read_jsonl(tmp_path / "nowhere.jsonl") == []


def test_a_lock_is_one_processs_and_falls_free_when_it_is_killed(tmp_path, elsewhere):
    place = tmp_path / "below" / "lock"
    assert not is_locked(place)
    holder = elsewhere(HOLDS, place)
    assert is_locked(place)
    with (
        pytest.raises(
            ArtifactError, match=rf"run demo is in use by another process \(pid {holder.pid}\): expected one"
        ),
        lock(place, "run demo"),
    ):
        pytest.fail("two hold it")
    with pytest.raises(ArtifactError, match="Wait for it, stop it"), lock(place, "run demo", shared=True):
        pytest.fail("shared with one who holds it alone")
    assert place.read_text() == str(holder.pid), "whoever was refused has not written over the holder's number"
    kill(holder)
    assert place.exists(), "a file proves nothing"
    assert not is_locked(place)
    with lock(place, "run demo"):
        assert is_locked(place)
        assert place.read_text() == str(os.getpid())
    assert not is_locked(place)


def test_shared_holders_exclude_who_wants_it_alone(tmp_path, elsewhere):
    place = tmp_path / "lock"
    one, other = elsewhere(SHARES, place), elsewhere(SHARES, place)
    with lock(place, "run demo", shared=True):
        assert is_locked(place)
    for left in (one, other):
        with pytest.raises(ArtifactError, match="in use by another process"), lock(place, "run demo"):
            pytest.fail("alone beside others")
        kill(left)
    with lock(place, "run demo"):
        pass


def test_a_lock_is_freed_by_an_error_in_the_body(tmp_path):
    with pytest.raises(ValueError, match="mine"), lock(tmp_path / "lock", "run demo"):
        raise ValueError("mine")
    assert not is_locked(tmp_path / "lock")


@pytest.mark.parametrize("name", ["target", "target.previous"])
@pytest.mark.parametrize("what", ["file", "link to nothing", "link to a folder"])
def test_a_folder_takes_the_place_of_whatever_is_no_folder(tmp_path, name, what):
    """A person may have put it there: it would make every writing fail, and every resume after that."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one").write_text("other")
    if name != "target":
        (tmp_path / "target").mkdir()
    place = tmp_path / name
    if what == "file":
        place.write_text("")
    else:
        place.symlink_to("other" if what == "link to a folder" else "nothing")
    with whole_folder(tmp_path / "target") as inside:
        (inside / "one").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "target"]
    assert (tmp_path / "target" / "one").read_text() == "new"
    assert (tmp_path / "other" / "one").read_text() == "other"


def test_whoever_only_looks_at_a_lock_refuses_it_to_nobody(tmp_path, monkeypatch):
    """To look is to hold it for a moment: a launch that falls into that moment goes on."""
    place, take = tmp_path / "lock", folder.fcntl.flock
    with place.open("a") as other:
        take(other, folder.fcntl.LOCK_EX)

        def looked(seconds):
            take(other, folder.fcntl.LOCK_UN)

        monkeypatch.setattr(folder.time, "sleep", looked)
        with lock(place, "run demo"):
            pass
        take(other, folder.fcntl.LOCK_EX)
        assert not is_locked(place)
        take(other, folder.fcntl.LOCK_EX)
        monkeypatch.setattr(folder.time, "sleep", lambda seconds: None)
        assert is_locked(place)
        with pytest.raises(ArtifactError, match="in use by another process"), lock(place, "run demo"):
            pass


def test_a_lock_knows_whether_it_lies_where_it_was_taken(tmp_path):
    place = tmp_path / "run" / "lock"
    with lock(place, "run demo") as is_there:
        assert is_there()
        place.parent.rename(tmp_path / "moved")
        assert not is_there()
        place.parent.mkdir()
        place.touch()
        assert not is_there(), "another's"
        place.unlink()
        (tmp_path / "moved" / "lock").rename(place)
        assert is_there()
