"""Files of the registry: bundles by content, states that never change, and the one link that says which state holds.

bundles/<identity>/                  a bundle, copied and verified byte by byte
states/000008/decision.json          a DecisionManifest; champion, previous, challenger -> ../../bundles/<identity>
current -> states/000008             swapped by one rename: before it the state took no effect, after it it holds
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import SUFFIX, flush, read_json, scratch, settle, sweep, write_json
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BundleManifest, DecisionManifest
from clstm_core.artifacts.manifests.decision import ROLES
from clstm_core.artifacts.places import DIGITS
from clstm_core.errors import BundleError, RegistryError

CURRENT, STATES, BUNDLES, DECISION, HEAD = "current", "states", "bundles", "decision.json", "head.json"
_NEXT = ".current.next"


def state_name(number: int) -> str:
    """Folder of a state."""
    return f"{number:06d}"


def pointed_at(root: Path) -> int:
    """Number of the state that holds; 0 where none ever did.

    Raises: RegistryError where states stand and nothing says which holds, or the link leads elsewhere
    """
    link = root / CURRENT
    numbers = _numbers(root)
    if not link.is_symlink():
        if link.is_dir():
            raise RegistryError(
                f"{link} is a folder: expected a link to the state that holds. It was copied without its links; copy "
                f"the whole of {root} again with them, e.g. by `cp -a` or `rsync -a`."
            )
        if link.exists() or any(number > 1 for number in numbers):
            raise RegistryError(
                f"no link {link}: found states up to {max(numbers, default=0)}, expected a link to the one that holds. "
                f"Restore it: `ln -sfn {STATES}/NUMBER {link}`."
            )
        return 0
    target = Path(os.readlink(link))
    number = int(target.name) if target.name.isdecimal() else 0
    if target != Path(STATES) / state_name(number) or number not in numbers:
        raise RegistryError(
            f"{link} leads to {target}: expected a state below {STATES}/. Restore it: `ln -sfn {STATES}/NUMBER {link}`."
        )
    return number


def newest(root: Path) -> DecisionManifest | None:
    """The decision that holds, verified; None where none ever did.

    Raises: RegistryError for a state that is missing or altered, and where another decision took effect last than the
            one that `current` leads to
    """
    head = _head(root)
    while True:
        number = pointed_at(root)
        decision = read_state(root, number) if number else None
        # a writer that was killed between the rename and the head leaves one that is a decision behind
        if head is None or (decision and head["sha256"] in (decision.identity, decision.parents.get("before"))):
            return decision
        if head == (head := _head(root)):
            break  # else somebody decided in the meantime
    found = f"state {number}, decision {decision.identity[:12]}" if decision else "no state"
    expected = f"state {head['number']}, decision {str(head['sha256'])[:12]}"
    raise RegistryError(
        f"{root / CURRENT} leads to {found}: expected {expected}, which took effect last as {root / HEAD} says: the "
        "link was moved, or that state altered, by hand. Restore the registry from a copy, or the link where that "
        f"state is whole: `ln -sfn {STATES}/{state_name(head['number'])} {root / CURRENT}`."
    )


def keep_head(root: Path, decision: DecisionManifest) -> None:
    """Say that a decision took effect."""
    if not is_head(root, decision):
        write_json(root / HEAD, {"number": decision.number, "sha256": decision.identity})


def is_head(root: Path, decision: DecisionManifest) -> bool:
    """Whether it is said already that a decision took effect."""
    return (_head(root) or {}).get("sha256") == decision.identity


def _head(root: Path) -> dict[str, Any] | None:
    """What took effect last; None where nothing did, or only a first decision whose writer was killed."""
    head = read_json(root / HEAD)
    if head is None and not (root / HEAD).exists() and not any(number > 1 for number in _numbers(root)):
        return None
    if not isinstance(head, dict) or not isinstance(head.get("number"), int) or "sha256" not in head:
        raise RegistryError(
            f"no readable {root / HEAD}: found states up to {max(_numbers(root), default=0)}, expected the number and "
            "the sha256 of the newest decision. Restore the registry from a copy."
        )
    return head


def clear(root: Path, number: int) -> None:
    """Remove what writers that were killed left: unfinished folders, a state that never held, bundles of no state.

    Raises: RegistryError where more than the next state stands beyond the one that holds: the link was moved by hand
    """
    beyond = [other for other in _numbers(root) if other > number]
    if beyond and max(beyond) > number + 1:
        raise RegistryError(
            f"{root / CURRENT} leads to state {number} and state {max(beyond)} stands: expected the newest, or the one "
            f"before. Restore the link: `ln -sfn {STATES}/{state_name(max(beyond))} {root / CURRENT}`."
        )
    for folder in (root / STATES, root / BUNDLES):
        sweep(folder)
    for left in root.glob(f".{HEAD}.*{SUFFIX}"):  # a killed writer's: one process alone writes
        left.unlink()
    for other in beyond:
        shutil.rmtree(root / STATES / state_name(other))
    (root / _NEXT).unlink(missing_ok=True)
    held = {
        Path(os.readlink(link)).name
        for link in root.glob(f"{STATES}/[0-9]*/*")
        if link.is_symlink() and link.name in ROLES
    }
    for copy in (root / BUNDLES).glob("[!.]*"):
        if copy.name not in held:
            shutil.rmtree(copy)


def keep_bundle(root: Path, folder: Path, identity: str) -> BundleManifest:
    """The registry's own copy of a bundle, every byte as its manifest says; one that stands is verified.

    Raises: BundleError that names the file which is missing or altered, in the bundle or in the copy
    """
    target = root / BUNDLES / identity[:DIGITS]
    if (target / FILE).exists():
        return kept_bundle(root, identity)
    manifest = BundleManifest.read(folder / FILE, files=False, identity=identity)
    with scratch(root / BUNDLES, target.name) as place:
        for name in (FILE, *manifest.files):
            if Path(name).name != name:  # a bundle of a stranger could write anywhere
                raise BundleError(f"{folder / FILE} names a file {name!r}: expected names without folders.")
            if not (folder / name).is_file():
                raise BundleError(f"missing file {folder / name}: expected every file that {FILE} names.")
            shutil.copyfile(folder / name, place / name)
            (place / name).chmod(0o444)
        BundleManifest.read(place / FILE, identity=identity)
        settle(place, target)
    return kept_bundle(root, identity)


def kept_bundle(root: Path, identity: str) -> BundleManifest:
    """A copy that the registry holds, verified byte by byte.

    Raises: RegistryError that names the copy and the file
    """
    place = root / BUNDLES / identity[:DIGITS] / FILE
    try:
        return BundleManifest.read(place, identity=identity)
    except BundleError as error:
        raise RegistryError(
            f"the registry's copy of a bundle is damaged: {error} Or put a whole copy of that bundle in the place of "
            f"{place.parent}."
        ) from error


def write_state(root: Path, decision: DecisionManifest, files: Mapping[str, Path]) -> None:
    """Write a state whole, with links to the bundles of its roles, and files that it was decided on."""
    target = root / STATES / state_name(decision.number)
    with scratch(root / STATES, target.name) as place:
        for name, source in files.items():
            shutil.copyfile(source, place / name)
        for role, link in links_of(decision).items():
            os.symlink(link, place / role)
        decision.write(place / DECISION)
        settle(place, target)


def point(root: Path, number: int) -> None:
    """Let a state hold from now on: one rename."""
    (root / _NEXT).unlink(missing_ok=True)
    os.symlink(Path(STATES) / state_name(number), root / _NEXT)
    os.replace(root / _NEXT, root / CURRENT)


def follow_up(root: Path, decision: DecisionManifest) -> str:
    """Force the rename to disk and say that the decision took effect; what could not be written, "" where all was.

    The decision holds already: a disk that is full undoes nothing any more.
    """
    failed = []
    for place, write in ((root / CURRENT, lambda: flush(root)), (root / HEAD, lambda: keep_head(root, decision))):
        try:
            write()
        except OSError as error:
            failed.append(f"{place} ({error.strerror or error})")
    return ", ".join(failed)


def links_of(decision: DecisionManifest) -> dict[str, str]:
    """Where the links of a state lead, by role."""
    held = {role: getattr(decision, role).get("identity") for role in ROLES}
    return {role: f"../../{BUNDLES}/{identity[:DIGITS]}" for role, identity in held.items() if identity}


def read_state(root: Path, number: int, identity: str | None = None) -> DecisionManifest:
    """A state's decision, with its files and links verified.

    Raises: RegistryError that names what is missing or altered
    """
    folder = root / STATES / state_name(number)
    decision = DecisionManifest.read(folder / DECISION, identity=identity)
    expected = links_of(decision)
    found = {role: os.readlink(folder / role) for role in ROLES if (folder / role).is_symlink()}
    if decision.number != number or found != expected:
        raise RegistryError(
            f"altered state {folder}: decision {decision.number} with links {found}, expected {number} with "
            f"{expected}. {decision.remedy} A copy keeps its links by `cp -a` or `rsync -a`."
        )
    return decision


def _numbers(root: Path) -> list[int]:
    return [int(folder.name) for folder in (root / STATES).glob("[0-9]*") if folder.name.isdecimal()]
