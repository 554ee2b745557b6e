"""A bundle's files: its manifest, the hashes that it names, and the golden vectors."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clstm_policy.guard import PolicyError

MANIFEST, GRAPH, GOLDEN = "manifest.json", "policy.onnx", "golden.safetensors"
KIND, VERSION = "bundle", 4
_AGAIN = "Copy the bundle again, or export it again."
_DTYPES = {"F32": np.float32, "U8": np.uint8}


def verified_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of a bundle, after every file that it names was found as it says.

    Raises: PolicyError that names the file
    """
    place = folder / MANIFEST
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyError(f"no readable bundle in {folder}: {error}. Expected a folder with {MANIFEST}.") from None
    found = (manifest.get("kind"), manifest.get("version")) if isinstance(manifest, dict) else None
    if found != (KIND, VERSION):
        raise PolicyError(f"{place} is of kind and version {found}: expected {(KIND, VERSION)}. Export it again.")
    files = manifest.get("files")
    if missing := [name for name in (GRAPH, GOLDEN) if not isinstance(files, dict) or name not in files]:
        raise PolicyError(
            f"{place} names no hash of {', '.join(missing)}: expected one, it is not opened unseen. {_AGAIN}"
        )
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise PolicyError(f"missing file {file}: expected every file that {MANIFEST} names. {_AGAIN}")
        if (digest := hashlib.sha256(file.read_bytes()).hexdigest()) != expected:
            raise PolicyError(f"altered file {file}: found sha256 {digest[:12]}, expected {expected[:12]}. {_AGAIN}")
    return manifest


def golden_of(folder: Path) -> dict[str, np.ndarray]:
    """Observations, masks and logits of one walk, as they were when the bundle was made.

    Source: the safetensors format, https://huggingface.co/docs/safetensors
    Raises: PolicyError for a file that is not of it
    """
    content = (folder / GOLDEN).read_bytes()
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        body = memoryview(content)[8 + length :]
        return {
            name: np.frombuffer(body[slice(*item["data_offsets"])], dtype=_DTYPES[item["dtype"]]).reshape(item["shape"])
            for name, item in header.items()
        }
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise PolicyError(f"unreadable golden vectors in {folder}: {error}. {_AGAIN}") from None
