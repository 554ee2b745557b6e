"""Compile a kernel for this very processor and keep it in the user's cache; None where there is no compiler."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
COMPILERS = ("c++", "g++", "clang++")
OFF = "CLSTM_NO_KERNELS"
"""Environment variable: anything but the empty string leaves all work to torch operations."""
LONGEST_S = 120.0


@cache
def load(name: str) -> ctypes.CDLL | None:
    """The library of `name`.cpp; its functions run without Python's lock. `why_not` tells why there is none."""
    if why_not(name):
        return None
    return ctypes.CDLL(str(_compiled(name)))


@cache
def why_not(name: str) -> str:
    """Why a kernel is not to be had here, in a sentence; empty when it is."""
    if os.environ.get(OFF):
        return f"{OFF} is set."
    if compiler() is None:
        return f"There is no C++ compiler: none of {', '.join(COMPILERS)} is found. Install g++, or set CXX."
    try:
        ctypes.CDLL(str(_compiled(name)))
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()
        return f"{compiler()} failed on {name}.cpp: {said[0] if said else 'it said nothing'}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name}.cpp could not be compiled or loaded: {error}"
    return ""


@cache
def compiler() -> str | None:
    """The C++ compiler: $CXX, or the first of the usual names."""
    named = os.environ.get("CXX")
    return next((found for name in (named, *COMPILERS) if name and (found := shutil.which(name))), None)


@cache
def _compiled(name: str) -> Path:
    """The compiled library, made where it is not there yet; whoever makes it beside us makes the same."""
    source, header = SOURCES / f"{name}.cpp", SOURCES / "vectors.h"
    command = [str(compiler()), *FLAGS]
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, timeout=LONGEST_S).stdout
    made_of = "\0".join([source.read_text(), header.read_text(), *command, version, _processor()])
    target = cache_folder() / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.so"
    if not target.is_file():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            subprocess.run(
                [*command, "-o", str(made), str(source)], check=True, capture_output=True, text=True, timeout=LONGEST_S
            )
            made.replace(target)
    return target


@cache
def cache_folder() -> Path:
    """A folder that nobody but this user can write to."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clstm-options"
    try:
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = kept.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(kept, os.W_OK):
            return kept
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="clstm-options-"))


def _processor() -> str:
    """What tells one processor's instructions from another's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
