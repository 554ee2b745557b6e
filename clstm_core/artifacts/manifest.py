"""A manifest: what an artifact is, which files it has and which artifacts it was made from, sealed against alteration.

    identity = sha256 of the manifest's file; parents = {role: identity}; files = {name: sha256}

So a chain of hashes runs from a report to the quotes: a manifest names the files beside it and the manifests of its
parents. The seal (a hash of the content, kept inside) tells of an accident in the manifest itself; a deliberate
alteration changes the identity, which every child still names as it was.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from clstm_core.artifacts.folder import canonical_json, file_sha256, scratch, settle, write_text
from clstm_core.artifacts.places import DIGITS
from clstm_core.errors import ArtifactError

FILE = "manifest.json"
SEAL, KIND, VERSION = "seal", "kind", "version"
JsonObject = Mapping[str, Any]
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What every manifest says; a subclass adds its facts as fields.

    files:   sha256 of each file, by its path relative to the manifest's folder
    parents: identity of each artifact that this one was made from, by role
    place:   the manifest's file; identity: its sha256. Both are known once it was written or read.
    """

    kind: ClassVar[str]
    words: ClassVar[str]  # how a person calls it, e.g. "canonical quotes"
    remedy: ClassVar[str]  # what to do where it is missing or damaged
    error: ClassVar[type[ArtifactError]] = ArtifactError
    version: ClassVar[int] = 1

    files: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    place: Path = field(default=Path(), compare=False, repr=False, metadata={"own": True})
    identity: str = field(default="", compare=False, metadata={"own": True})

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.place.parent

    def content(self) -> dict[str, Any]:
        """The facts as plain JSON types, without the seal."""
        facts = {
            item.name: getattr(self, item.name) for item in dataclasses.fields(self) if not item.metadata.get("own")
        }
        return json.loads(canonical_json({KIND: self.kind, VERSION: self.version, **facts}))

    def text(self) -> str:
        """The file's text: canonical JSON with the seal."""
        content = self.content()
        return canonical_json(content | {SEAL: _seal(content)})

    def write(self, place: Path) -> Self:
        """Write it whole or not at all; the same manifest with its place and identity."""
        text = self.text()
        write_text(place, text)
        return dataclasses.replace(self, place=place, identity=hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def read(cls, place: Path, *, files: bool = True, identity: str | None = None) -> Self:
        """Read and verify a manifest, and with `files` the hash of every file that it names.

        Args:
            identity: what a child says it is, where one says so

        Raises: the kind's error, naming the file that is missing, unreadable, altered or of another kind or version
        """
        if not place.is_file():
            raise cls.error(f"no {cls.words} at {place}: expected the manifest of an earlier stage. {cls.remedy}")
        try:
            raw = place.read_bytes()
            content = json.loads(raw)
            if not isinstance(content, dict):
                raise TypeError(f"a {type(content).__name__} instead of an object")
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise cls.error(f"unreadable manifest {place}: {error}. {cls.remedy}") from error
        found = {key: value for key, value in content.items() if key != SEAL}
        if (kind := found.get(KIND), found.get(VERSION)) != (cls.kind, cls.version):
            raise cls.error(
                f"{place} holds {kind or 'something else'}, version {found.get(VERSION)}: expected {cls.kind}, version "
                f"{cls.version}. {cls.remedy}"
            )
        if content.get(SEAL) != _seal(found) or canonical_json(content).encode() != raw:
            raise cls.error(f"altered manifest {place}: its seal does not fit its content. {cls.remedy}")
        own = hashlib.sha256(raw).hexdigest()
        if identity is not None and own != identity:
            raise cls.error(
                f"altered manifest {place}: sha256 {own[:12]}, expected {identity[:12]} as what was made from it says. "
                f"{cls.remedy}"
            )
        del found[KIND], found[VERSION]
        known = {item.name for item in dataclasses.fields(cls) if not item.metadata.get("own")}
        if strange := sorted(set(found) - known):
            raise cls.error(f"{place} has unknown facts {', '.join(strange)}: expected a {cls.kind}. {cls.remedy}")
        try:
            manifest = cls(**found, place=place, identity=own)
        except TypeError as error:
            raise cls.error(f"{place} lacks facts: {error}. {cls.remedy}") from error
        if files:
            manifest.verify_files()
        return manifest

    @classmethod
    def kept(cls, place: Path, *, files: bool = True) -> Self | None:
        """What `read` gives; None where it raises, and the work is done again."""
        try:
            return cls.read(place, files=files)
        except ArtifactError:
            return None

    def verify_files(self) -> None:
        """Raise the kind's error naming the first file that is missing or has another hash than the manifest says."""
        for name, expected in self.files.items():
            path = self.folder / name
            if not path.is_file():
                raise self.error(f"missing file {path}: expected it beside {self.place.name}. {self.remedy}")
            if (found := file_sha256(path)) != expected:
                raise self.error(
                    f"altered file {path}: sha256 {found[:12]}, expected {expected[:12]} as {self.place.name} says. "
                    f"{self.remedy}"
                )

    def require_parent(self, role: str, parent: "Manifest") -> None:
        """Raise the kind's error when `parent` is not what this was made from in that role."""
        if (expected := self.parents.get(role)) != parent.identity:
            raise self.error(
                f"{self.place} was made from another {role}: found {parent.place} with sha256 {parent.identity[:12]}, "
                f"expected {str(expected)[:12]}. {self.remedy}"
            )

    def rows(self) -> Rows:
        """What it says in the metrics store: rows by table. Writing them and rebuilding the store is the same call."""
        return {}


AnyManifest = TypeVar("AnyManifest", bound=Manifest)


def write_named_by_content(parent: Path, write: Callable[[Path], AnyManifest]) -> AnyManifest:
    """Let `write` fill a folder below `parent`, its manifest last, and name the folder by the manifest's identity.

    An altered manifest then no longer fits the name of its folder. A folder of the same content is left as it is.
    """
    with scratch(parent, "new") as place:
        manifest = write(place)
        target = parent / manifest.identity[:DIGITS]
        if type(manifest).kept(target / FILE) is None:
            settle(place, target)
    return dataclasses.replace(manifest, place=target / FILE)


def files_of(folder: Path, *names: str) -> dict[str, str]:
    """Hashes of files in a folder: those named, or all but the manifest."""
    found = names or [path.name for path in sorted(folder.iterdir()) if path.is_file() and path.name != FILE]
    return {name: file_sha256(folder / name) for name in found}


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()
