"""Writes of a checkpoint taken apart into their steps: each is told before it happens, and may be slowed or fail there.

A step is a half-written tensor file, a half-written text, a flush to disk, a rename, or the removal of a folder.
"""

import io
import os
import shutil
from collections.abc import Callable

import safetensors.torch

from clstm_core import checkpoint

STEPS = ("tensors", "text", "flush", "rename", "remove")


class _Halves(io.TextIOWrapper):
    """A text file that tells when half of what it was given lies on the disk."""

    def __init__(self, handle: int, tell: Callable[[str], None]):
        super().__init__(os.fdopen(handle, "wb"), encoding="utf-8")
        self._tell = tell

    def write(self, text: str) -> int:
        super().write(text[: len(text) // 2])
        self.flush()
        self._tell("text")
        return super().write(text[len(text) // 2 :])


def take_apart(tell: Callable[[str], None], patch: Callable[[object, str, object], None] = setattr) -> None:
    """Have `tell` called in the middle of each step of what this process writes from now on, with the step's name."""

    def before(step: str, real: Callable) -> Callable:
        def told(*args, **options):
            tell(step)
            return real(*args, **options)

        return told

    def save_file(tensors, place):
        content = safetensors.torch.save(tensors)
        with open(place, "wb") as out:
            out.write(content[: len(content) // 2])
            out.flush()
            tell("tensors")
            out.write(content[len(content) // 2 :])

    fdopen = os.fdopen
    patch(checkpoint, "save_file", save_file)
    patch(os, "fdopen", lambda handle, mode="r", **more: _Halves(handle, tell) if mode == "w" else fdopen(handle, mode))
    patch(os, "fsync", before("flush", os.fsync))
    patch(os, "replace", before("rename", os.replace))
    patch(shutil, "rmtree", before("remove", shutil.rmtree))
