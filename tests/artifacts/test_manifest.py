"""A manifest says what an artifact is, and whoever alters it, its files or its parents is found out by name."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clstm_core.artifacts import manifests
from clstm_core.artifacts.folder import canonical_json, whole_folder
from clstm_core.artifacts.manifest import FILE, Manifest, files_of, write_named_by_content
from clstm_core.artifacts.places import DIGITS
from clstm_core.errors import ArtifactError, MarketDataError


@dataclass(frozen=True, kw_only=True)
class Bread(Manifest):
    kind: ClassVar[str] = "bread"
    words: ClassVar[str] = "loaf"
    remedy: ClassVar[str] = "Bake it again."
    error: ClassVar[type[ArtifactError]] = MarketDataError
    version: ClassVar[int] = 3

    flour: str
    weights: Mapping[str, float] = field(default_factory=dict)
    slices: int = 0


@dataclass(frozen=True, kw_only=True)
class Cake(Bread):
    kind: ClassVar[str] = "cake"


def bake(folder: Path, **facts: Any) -> Bread:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crumb.bin").write_bytes(b"crumb")
    (folder / "crust.bin").write_bytes(b"crust")
    facts = {"flour": "rye", "weights": {"b": 2.5, "a": 1}, "parents": {"dough": "ab" * 32}} | facts
    return Bread(files=files_of(folder), **facts).write(folder / FILE)


@pytest.fixture
def loaf(tmp_path):
    return bake(tmp_path / "loaf")


def altered(loaf: Bread, **facts: Any) -> None:
    """Change what stands in the file, in its own canonical form, the seal left as it is."""
    loaf.place.write_text(canonical_json(json.loads(loaf.place.read_text()) | facts))


def forged(loaf: Bread, **facts: Any) -> Bread:
    """The same with a seal that fits."""
    return dataclasses.replace(loaf, **facts).write(loaf.place)


def test_what_is_written_is_read_and_knows_its_place_and_identity(loaf):
    found = Bread.read(loaf.place)
    assert found == loaf
    assert found.content() == loaf.content()
    assert (found.place, found.folder) == (loaf.place, loaf.place.parent)
    assert found.identity == loaf.identity == hashlib.sha256(loaf.place.read_bytes()).hexdigest()
    assert found.files == {
        name: hashlib.sha256(raw).hexdigest() for name, raw in (("crumb.bin", b"crumb"), ("crust.bin", b"crust"))
    }


def test_the_same_facts_have_the_same_bytes_wherever_they_lie_and_in_whatever_order(loaf, tmp_path):
    again = bake(tmp_path / "elsewhere" / "loaf", weights={"a": 1, "b": 2.5})
    assert again.place.read_bytes() == loaf.place.read_bytes()
    assert again.identity == loaf.identity
    assert str(tmp_path) not in loaf.place.read_text()
    other = bake(tmp_path / "other", weights={"a": 1.0000001, "b": 2.5})
    assert other.identity != loaf.identity


@pytest.mark.parametrize(
    "facts",
    [
        {"flour": "wheat"},
        {"slices": 1},
        {"weights": {"a": 1}},
        {"files": {}},
        {"parents": {}},
        {"seal": "0" * 64},
        {"seal": None},
        {"strange": 1},
    ],
    ids=str,
)
def test_an_altered_manifest_does_not_fit_its_seal(loaf, facts):
    altered(loaf, **facts)
    with pytest.raises(
        MarketDataError, match=r"altered manifest .*manifest\.json: its seal does not fit.* Bake it again"
    ):
        Bread.read(loaf.place)
    assert Bread.kept(loaf.place) is None


def test_every_flipped_bit_of_a_manifest_is_refused(loaf):
    raw = loaf.place.read_bytes()
    for at in range(len(raw)):
        loaf.place.write_bytes(raw[:at] + bytes([raw[at] ^ 0x01]) + raw[at + 1 :])
        with pytest.raises(MarketDataError, match="Bake it again"):
            Bread.read(loaf.place)
    loaf.place.write_bytes(raw)
    Bread.read(loaf.place)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text + "\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: json.dumps(json.loads(text)),
        lambda text: text.replace('"flour": "rye"', '"flour": "wheat",\n "flour": "rye"'),
        lambda text: text.replace("rye", "r\\u0079e"),
        lambda text: text.replace("2.5", "2.50"),
    ],
    ids=["line", "line ends", "spaces", "said twice", "escaped", "number"],
)
def test_other_bytes_of_the_same_content_are_no_canonical_manifest(loaf, rewrite):
    """An identity is the hash of the bytes: what has two texts would have two identities."""
    text = loaf.place.read_text()
    rewritten = rewrite(text).encode()
    assert rewritten != text.encode()
    loaf.place.write_bytes(rewritten)
    with pytest.raises(MarketDataError, match="altered manifest"):
        Bread.read(loaf.place)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "unreadable manifest"),
        (b'{"kind": "bre', "unreadable manifest"),
        (b"\xff\xfe\x00", "unreadable manifest"),
        (b"[1, 2]", "unreadable manifest .*: a list instead of an object"),
        (b"null", "unreadable manifest .*: a NoneType instead of an object"),
        (b"[" * 100_000, "unreadable manifest"),
        (b"{}", "holds something else, version None: expected bread, version 3"),
    ],
)
def test_what_is_no_manifest_is_said(loaf, raw, words):
    loaf.place.write_bytes(raw)
    with pytest.raises(MarketDataError, match=rf"{words}.* Bake it again"):
        Bread.read(loaf.place)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(MarketDataError, match=r"no loaf at .*nowhere.*: expected the manifest of .* Bake it again"):
        Bread.read(tmp_path / "nowhere" / FILE)
    with pytest.raises(MarketDataError, match="no loaf at"):
        Bread.read(tmp_path)
    assert Bread.kept(tmp_path / FILE) is None


def test_another_kind_and_another_version_are_refused_before_the_seal_is_looked_at(loaf, monkeypatch):
    with pytest.raises(MarketDataError, match="holds bread, version 3: expected cake, version 3"):
        Cake.read(loaf.place)
    monkeypatch.setattr(Bread, "version", 4)
    with pytest.raises(MarketDataError, match=r"holds bread, version 3: expected bread, version 4\. Bake it again"):
        Bread.read(loaf.place)


def test_facts_that_are_unknown_or_missing_are_named(loaf, monkeypatch):
    content = json.loads(loaf.text())
    del content["seal"]

    def sealed(said):
        seal = hashlib.sha256(canonical_json(said).encode()).hexdigest()
        loaf.place.write_text(canonical_json(said | {"seal": seal}))

    sealed(content | {"salt": 1, "place": "/etc"})
    with pytest.raises(MarketDataError, match=r"unknown facts place, salt: expected a bread\. Bake it again"):
        Bread.read(loaf.place)
    sealed({key: value for key, value in content.items() if key != "flour"})
    with pytest.raises(MarketDataError, match=r"lacks facts: .*'flour'.* Bake it again"):
        Bread.read(loaf.place)
    sealed({key: value for key, value in content.items() if key != "slices"})
    assert Bread.read(loaf.place).slices == 0, "a fact with a default may be missing"


def test_files_are_verified_and_need_not_be(loaf):
    crumb = loaf.folder / "crumb.bin"
    crumb.write_bytes(b"crumB")
    with pytest.raises(MarketDataError, match=r"altered file .*crumb\.bin: sha256 \w{12}, expected \w{12} as manifest"):
        Bread.read(loaf.place)
    assert Bread.kept(loaf.place) is None
    assert Bread.read(loaf.place, files=False) == Bread.kept(loaf.place, files=False) == loaf
    crumb.unlink()
    with pytest.raises(MarketDataError, match=r"missing file .*crumb\.bin: expected it beside manifest\.json\. Bake"):
        Bread.read(loaf.place)
    crumb.mkdir()
    with pytest.raises(MarketDataError, match="missing file"):
        Bread.read(loaf.place)


def test_a_child_knows_its_parents_identity(loaf, tmp_path):
    other = bake(tmp_path / "other", slices=9)
    child = Bread(flour="rye", parents={"loaf": loaf.identity}).write(tmp_path / "toast.json")
    child.require_parent("loaf", loaf)
    assert Bread.read(loaf.place, identity=child.parents["loaf"]) == loaf
    with pytest.raises(
        MarketDataError,
        match=rf"toast\.json was made from another loaf: found .*other.* with sha256 {other.identity[:12]}, "
        rf"expected {loaf.identity[:12]}",
    ):
        child.require_parent("loaf", other)
    with pytest.raises(MarketDataError, match="was made from another butter"):
        child.require_parent("butter", loaf)
    forged(loaf, flour="wheat")  # its own seal fits; what its child says of it does not
    Bread.read(loaf.place)
    with pytest.raises(MarketDataError, match=r"altered manifest .*as what was made from it says"):
        Bread.read(loaf.place, identity=child.parents["loaf"])


def test_a_folder_is_named_by_its_content(tmp_path):
    shelf = tmp_path / "shelf"
    one = write_named_by_content(shelf, bake)
    assert one.folder == shelf / one.identity[:DIGITS]
    assert Bread.read(one.place) == one
    made = one.place.stat().st_ino
    assert write_named_by_content(shelf, bake).place == one.place
    assert one.place.stat().st_ino == made, "what stands whole is left as it is"
    other = write_named_by_content(shelf, lambda place: bake(place, slices=2))
    assert sorted(path.name for path in shelf.iterdir()) == sorted(path.folder.name for path in (one, other))


@pytest.mark.parametrize("damage", ["file", "manifest", "gone"])
def test_a_folder_of_that_name_that_is_not_whole_is_written_again(tmp_path, damage):
    one = write_named_by_content(tmp_path, bake)
    if damage == "file":
        (one.folder / "crust.bin").write_bytes(b"ash")
    elif damage == "manifest":
        altered(one, slices=4)
    else:
        one.place.unlink()
    assert write_named_by_content(tmp_path, bake) == one
    assert Bread.read(one.place) == one
    assert [path.name for path in tmp_path.iterdir()] == [one.folder.name]


def test_a_writer_that_fails_leaves_no_folder(tmp_path):
    def burn(place):
        bake(place)
        raise MarketDataError("burnt")

    with pytest.raises(MarketDataError, match="burnt"):
        write_named_by_content(tmp_path, burn)
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_folder_are_all_but_its_manifest_or_those_named(loaf):
    (loaf.folder / "below").mkdir()
    assert files_of(loaf.folder) == loaf.files
    assert list(files_of(loaf.folder, "crust.bin")) == ["crust.bin"]
    with pytest.raises(FileNotFoundError):
        files_of(loaf.folder, "jam.bin")


def test_a_manifest_that_moves_with_its_folder_is_the_same(loaf, tmp_path):
    moved = tmp_path / "far" / "away"
    moved.parent.mkdir()
    loaf.folder.rename(moved)
    assert Bread.read(moved / FILE) == loaf
    assert Bread.read(moved / FILE).identity == loaf.identity


KINDS = [kind for kind in vars(manifests).values() if isinstance(kind, type) and issubclass(kind, Manifest)]


def test_every_kind_has_its_name_its_words_and_its_remedy():
    assert len(KINDS) >= 13
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert re.fullmatch(r"[a-z_]+", kind.kind)
        assert kind.words
        assert kind.remedy.endswith(".")
        assert issubclass(kind.error, ArtifactError)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_refuses_every_other(kind, tmp_path):
    bread = Bread(flour="rye").write(tmp_path / FILE)
    with pytest.raises(kind.error, match=rf"holds bread, version 3: expected {kind.kind}, version {kind.version}"):
        kind.read(bread.place)


def test_a_whole_folder_with_a_manifest_reads_at_its_new_place(tmp_path):
    with whole_folder(tmp_path / "loaf") as place:
        inside = bake(place)
    found = Bread.read(tmp_path / "loaf" / FILE)
    assert found.identity == inside.identity
    assert not inside.place.exists()
