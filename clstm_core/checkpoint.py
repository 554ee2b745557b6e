"""Checkpoints that are whole or absent, and that say what they are: safetensors for tensors, JSON for the rest.

A checkpoint is a folder: `model.safetensors`, `state.safetensors` (optimizers, env, recurrent state, randomness),
`meta.json`, and `manifest.json` with the sha256 of the others, written last. The folder is prepared beside its place,
flushed to disk and renamed, so that a killed run leaves the previous checkpoint as it was.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clstm_core.config import RunConfig
from clstm_core.errors import CheckpointError, ConfigError
from clstm_core.market.tensors import file_sha256
from clstm_core.model.clstm import CLSTM

CHECKPOINT_VERSION = 1
MODEL, STATE, META, MANIFEST = "model.safetensors", "state.safetensors", "meta.json", "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A verified checkpoint, loaded."""

    folder: Path
    model: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    meta: dict[str, Any]
    sha256: str  # of the manifest: names the checkpoint in what is made from it


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        for name, tensors in ((MODEL, model), (STATE, state)):
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary / name)
        (temporary / META).write_text(json.dumps(meta, indent=1, sort_keys=True))
        files = {name: file_sha256(temporary / name) for name in (MODEL, STATE, META)}
        manifest = {"version": CHECKPOINT_VERSION, "files": files, "parents": dict(parents or {})}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        for name in (*files, MANIFEST):
            _flush(temporary / name)
        _flush(temporary)
        # a folder cannot be renamed onto another: the old one steps aside, and resuming looks at it too
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        if folder.exists():
            os.replace(folder, previous)
        os.replace(temporary, folder)
        _flush(folder.parent)
        shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def verify_checkpoint(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose every file has the hash it names; CheckpointError otherwise."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {folder}: expected {MODEL}, {STATE}, {META} and {MANIFEST}. "
            "Name a folder under checkpoints/ of a run, e.g. checkpoints/100."
        )
    try:
        manifest = json.loads(path.read_text())
        version, files = manifest["version"], dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"unreadable manifest {path}: {error}. Delete {folder} and resume the run from another checkpoint."
        ) from error
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"checkpoint {folder} has version {version}: expected {CHECKPOINT_VERSION}. Train again, or load it with "
            "the release that wrote it."
        )
    for name in sorted({MODEL, STATE, META} | set(files)):
        file = folder / name
        found = file_sha256(file) if file.is_file() else "no such file"
        if found != files.get(name):
            expected = str(files.get(name))[:12]
            raise CheckpointError(
                f"altered checkpoint file {file}: sha256 {found[:12]}, expected {expected}. Delete {folder} and resume "
                "the run from another checkpoint."
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
    """Load a checkpoint, verified."""
    verify_checkpoint(folder)
    return Checkpoint(
        folder=folder,
        model=_tensors(folder / MODEL),
        state=_tensors(folder / STATE),
        meta=json.loads((folder / META).read_text()),
        sha256=file_sha256(folder / MANIFEST),
    )


def load_policy(folder: Path, device: torch.device | str = "cpu") -> tuple[CLSTM, dict[str, Any]]:
    """The policy of a checkpoint, verified, in evaluation mode, and its meta data."""
    verify_checkpoint(folder)
    meta = json.loads((folder / META).read_text())
    try:
        config = RunConfig.from_dict(meta["config"])
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {folder} has a configuration this release cannot read: {error}") from error
    model = CLSTM(meta["observation_size"], meta["n_actions"], config.model)
    model.load_state_dict(_tensors(folder / MODEL))
    return model.to(device).eval(), meta


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The verified checkpoint of a run that is furthest along, or None; broken ones are passed over."""
    best: tuple[int, float] = (-1, 0.0)
    newest = None
    for folder in sorted((run_dir / "checkpoints").glob("[!.]*")):
        with contextlib.suppress(CheckpointError):
            verify_checkpoint(folder)
            iteration = int(json.loads((folder / META).read_text())["iteration"])
            rank = (iteration, (folder / MANIFEST).stat().st_mtime)
            if rank > best:
                best, newest = rank, folder
    return newest


@contextlib.contextmanager
def lock_run(run_dir: Path) -> Iterator[None]:
    """Hold a run's folder for one writer; CheckpointError when another process has it. Clears what a kill left over."""
    if not run_dir.is_dir() and run_dir.exists():
        raise CheckpointError(f"run folder {run_dir} is a file: expected a folder or nothing. Pass another run folder.")
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(
                f"run folder {run_dir} is in use by another process: expected one trainer a run. "
                "Wait for it, stop it, or pass another run folder."
            ) from error
        for leftover in (run_dir / "checkpoints").glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def git_commit() -> str:
    """The commit of this source tree, `-dirty` when it has changes, or `unknown` outside a repository."""
    where = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=where,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip() or "unknown"


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(data, indent=1, sort_keys=True))
    _flush(temporary)
    os.replace(temporary, path)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"unreadable tensors {path}: {error}. Delete {path.parent} and resume from another checkpoint."
        ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
