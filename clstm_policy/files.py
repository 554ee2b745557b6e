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
_FACTS = {"schema": dict, "schema_sha256": str, "memory_sessions": int, "provenance": dict}
_DTYPES = {"F32": np.float32, "U8": np.uint8}


def verified_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of a bundle, after every file that it names was found as it says.

    Raises: PolicyError that names the file
    """
    place = folder / MANIFEST
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PolicyError(f"no readable bundle in {folder}: {error}. Expected a folder with {MANIFEST}.") from None
    found = (manifest.get("kind"), manifest.get("version")) if isinstance(manifest, dict) else None
    if found != (KIND, VERSION):
        raise PolicyError(f"{place} is of kind and version {found}: expected {(KIND, VERSION)}. Export it again.")
    files = manifest.get("files")
    if missing := [name for name in (GRAPH, GOLDEN) if not isinstance(files, dict) or name not in files]:
        raise PolicyError(
            f"{place} names no hash of {', '.join(missing)}: expected one, it is not opened unseen. {_AGAIN}"
        )
    if wrong := [name for name, kind in _FACTS.items() if not isinstance(manifest.get(name), kind)]:
        raise PolicyError(f"{place} does not say {', '.join(wrong)} as a bundle does: expected all of them. {_AGAIN}")
    if wrong := [name for name in ("observation", "actions") if not isinstance(manifest["schema"].get(name), list)]:
        raise PolicyError(f"{place} lists no {', '.join(wrong)} in its schema: expected their names. {_AGAIN}")
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise PolicyError(f"missing file {file}: expected every file that {MANIFEST} names. {_AGAIN}")
        if (digest := hashlib.sha256(file.read_bytes()).hexdigest()) != expected:
            said = str(expected)[:12]
            raise PolicyError(f"altered file {file}: found sha256 {digest[:12]}, expected {said}. {_AGAIN}")
    return manifest


def require_sealed(manifest: Mapping[str, Any], folder: Path) -> None:
    """Raise PolicyError where a fact of the manifest was altered after it was written: its caps are to be kept."""
    content = {name: value for name, value in manifest.items() if name != "seal"}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if hashlib.sha256(text.encode()).hexdigest() != manifest.get("seal"):
        raise PolicyError(f"altered {folder / MANIFEST}: expected the content that its seal was made of. {_AGAIN}")


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
