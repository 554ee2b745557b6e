"""Checkpoints that are whole or absent, and that say what they are: safetensors for tensors, JSON for the rest.

A checkpoint is a folder: `model.safetensors`, `state.safetensors` (optimizers, env, recurrent state, randomness),
`meta.json`, and a manifest with the sha256 of the others. The folder is prepared beside its place, flushed to disk and
renamed, so that a killed run leaves the previous checkpoint as it was.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clstm_core.artifacts.folder import lock, read_json, sweep, whole_folder, write_json
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import CheckpointManifest
from clstm_core.artifacts.places import LOCK
from clstm_core.config import RunConfig
from clstm_core.errors import ArtifactError, CheckpointError, ConfigError
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION

MODEL, STATE, META = "model.safetensors", "state.safetensors", "meta.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A verified checkpoint, loaded."""

    folder: Path
    model: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    meta: dict[str, Any]
    manifest: CheckpointManifest


def save_checkpoint(
    folder: Path,
    *,
    model: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    meta: Mapping[str, Any],
    parents: Mapping[str, str | None] | None = None,
) -> Path:
    """Write a checkpoint folder atomically, replacing one of the same name only when the new one is complete.

    Args:
        parents: what this was made from, by name: sha256
    """
    with whole_folder(folder) as place:
        for name, tensors in ((MODEL, model), (STATE, state)):
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, place / name)
        write_json(place / META, meta)
        CheckpointManifest(
            run=folder.parent.parent.name,
            milestone=str(meta.get("milestone", folder.name)),
            env_steps=int(meta.get("env_steps", 0)),
            iteration=int(meta.get("iteration", 0)),
            git_commit=str(meta.get("git_commit", "unknown")),
            memory_sessions=_memory_sessions(meta),
            files=files_of(place, MODEL, STATE, META),
            parents={role: identity for role, identity in (parents or {}).items() if identity},
        ).write(place / FILE)
    return folder


def verify_checkpoint(folder: Path) -> CheckpointManifest:
    """The manifest of a checkpoint whose every file has the hash it names; CheckpointError otherwise."""
    manifest = CheckpointManifest.read(folder / FILE)
    if missing := {MODEL, STATE, META} - set(manifest.files):
        raise CheckpointError(
            f"checkpoint {folder} names no {', '.join(sorted(missing))}: expected {MODEL}, {STATE} and {META}. "
            f"{manifest.remedy}"
        )
    meta = read_json(folder / META) or {}
    for name in ("env_steps", "iteration"):
        if (found := getattr(manifest, name)) != (expected := int(meta.get(name, 0))):
            raise CheckpointError(
                f"altered manifest {manifest.place}: {name} {found}, expected {expected} as {META} says. "
                f"{manifest.remedy}"
            )
    memory = _memory_sessions(meta)
    if manifest.memory_sessions not in (None, memory):
        raise CheckpointError(
            f"altered manifest {manifest.place}: memory_sessions {manifest.memory_sessions}, expected {memory}, the "
            f"horizon in {META}. {manifest.remedy}"
        )
    return manifest


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint is there and unaltered."""
    try:
        verify_checkpoint(folder)
    except CheckpointError:
        return False
    return True


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint, verified.

    Raises: CheckpointError for a checkpoint that is not whole, or that observes or does other things than this release
    """
    manifest = verify_checkpoint(folder)
    return Checkpoint(
        folder=folder,
        model=_tensors(folder / MODEL),
        state=_tensors(folder / STATE),
        meta=_meta(folder),
        manifest=manifest,
    )


def load_policy(folder: Path, device: torch.device | str = "cpu") -> tuple[CLSTM, dict[str, Any]]:
    """The policy of a checkpoint, verified, in evaluation mode, and its meta data with `memory_sessions` among them.

    Raises: CheckpointError for a checkpoint that is not whole, or that observes or does other things than this release
    """
    verify_checkpoint(folder)
    meta = _meta(folder)
    try:
        config = RunConfig.from_dict(meta["config"])
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {folder} has a configuration this release cannot read: {error}") from error
    model = CLSTM(meta["observation_size"], meta["n_actions"], config.model)
    model.load_state_dict(_tensors(folder / MODEL))
    return model.to(device).eval(), meta | {"memory_sessions": config.memory_sessions}


def _memory_sessions(meta: Mapping[str, Any]) -> int | None:
    """Decisions after which the policy forgets, as its configuration says; None where the meta data hold none."""
    horizon = meta.get("config", {}).get("env", {}).get("horizon")
    return None if horizon is None else int(horizon)


def _meta(folder: Path) -> dict[str, Any]:
    """Meta data of a verified checkpoint; CheckpointError where it observes or does other things than this release."""
    meta = json.loads((folder / META).read_text())
    for what, ours in (("observation", OBSERVATION), ("actions", ACTIONS)):
        if (theirs := meta.get(what)) is not None and tuple(theirs) != ours:
            raise CheckpointError(f"checkpoint {folder} was trained with other {what}: {_differences(theirs, ours)}.")
    return meta


def _differences(theirs: list[str], ours: tuple[str, ...]) -> str:
    """What differs between two lists of names, in words."""
    remedy = "Load it with the release that trained it, or train again"
    unknown = ", ".join(name for name in theirs if name not in ours)
    missing = ", ".join(name for name in ours if name not in theirs)
    if not unknown and not missing:
        return f"the same names in another order or number. {remedy}"
    return f"found {unknown or 'nothing'} that this release lacks, expected {missing or 'nothing'} besides. {remedy}"


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The verified checkpoint of a run that is furthest along, or None; broken ones are passed over."""
    best: tuple[int, float] = (-1, 0.0)
    newest = None
    for folder in sorted((run_dir / "checkpoints").glob("[!.]*")):
        with contextlib.suppress(CheckpointError):
            rank = (verify_checkpoint(folder).iteration, (folder / FILE).stat().st_mtime)
            if rank > best:
                best, newest = rank, folder
    return newest


def set_aside_damaged(run_dir: Path) -> Path | None:
    """Move the checkpoints of a run out of the way where none of them is whole; where they lie now, if there were any.

    A run that begins anew in their place would write over what a person may still mend, or another release read.
    """
    place = run_dir / "checkpoints"
    if newest_checkpoint(run_dir) is not None or not any(place.glob("[!.]*")):
        return None
    target = aside(place)
    place.rename(target)
    return target


def aside(place: Path) -> Path:
    """Where something of this name goes that gives way to another: beside it, with the time."""
    return place.with_name(f"{place.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}")


@contextlib.contextmanager
def lock_run(run_dir: Path) -> Iterator[Callable[[], None]]:
    """Hold a run's folder for one writer; CheckpointError when another process has it. Clears what a kill left over.

    Gives a question that its writer asks before it writes: it raises CheckpointError where the folder is no longer the
    one that was locked. Another run may have its place by then.
    """
    if not run_dir.is_dir() and run_dir.exists():
        raise CheckpointError(f"run folder {run_dir} is a file: expected a folder or nothing. Pass another run folder.")
    run_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            is_there = stack.enter_context(lock(run_dir / LOCK, f"run folder {run_dir}"))
        except ArtifactError as error:
            raise CheckpointError(str(error)) from error
        for folder in (run_dir, run_dir / "checkpoints"):
            sweep(folder)

        def require() -> None:
            if not is_there():
                raise CheckpointError(
                    f"run folder {run_dir} was moved or replaced while it was trained in: found another {LOCK} there "
                    "or none, expected the one that this process holds. Nothing was written there since. Run the same "
                    "command again, for the place where the folder lies now: it resumes from the newest checkpoint."
                )

        yield require


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"unreadable tensors {path}: {error}. Delete {path.parent} and resume from another checkpoint."
        ) from error
