"""Compile a kernel for this very processor and keep it in the user's cache; None where there is no compiler."""

import atexit
import contextlib
import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
COMPILERS = ("c++", "g++", "clang++")
OFF = "CLSTM_NO_KERNELS"
"""Environment variable: anything but the empty string leaves all work to torch operations."""
LONGEST_S = 120.0
MAKING = "making-"
EXPORTED = re.compile(r"^(?:int|void) (\w+)\(", re.MULTILINE)


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
        told = next((line for line in said if "error" in line), said[0] if said else "it said nothing")
        return f"{compiler()} failed on {name}.cpp: {told}"
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
    """The compiled library, made where it is not there whole; whoever makes it beside us makes the same.

    Its name ends with a digest of what it holds: a library cut short by a full disk or a lost machine would end the
    process that loads it, every time.
    """
    source, headers = SOURCES / f"{name}.cpp", sorted(SOURCES.glob("*.h"))
    command = [str(compiler()), *FLAGS]
    version = _run([command[0], "--version"], check=False).stdout
    made_of = "\0".join([*(part.read_text() for part in (source, *headers)), *command, version, _processor()])
    folder, stem = cache_folder(), f"{name}-{_digest(made_of.encode())}"
    for kept in sorted(folder.glob(f"{stem}-*.so")):
        if kept.name == f"{stem}-{_digest(kept.read_bytes())}.so":
            return kept
    _sweep(folder)
    with tempfile.TemporaryDirectory(prefix=MAKING, dir=folder) as scratch:
        made = Path(scratch) / f"{name}.so"
        _run([*command, "-o", str(made), str(source)], check=True)
        _prove(made, source)
        return made.replace(folder / f"{stem}-{_digest(made.read_bytes())}.so")


def _run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
    """A compiler's run; it speaks whatever its user's language is written in."""
    return subprocess.run(
        command, check=check, capture_output=True, encoding="utf-8", errors="replace", timeout=LONGEST_S
    )


def _prove(made: Path, source: Path) -> None:
    """Raises: OSError where a compiler left no library, or one without the functions that its source exports"""
    library = ctypes.CDLL(str(made))
    _, _, exported = source.read_text().partition('extern "C" {')
    if missing := [name for name in EXPORTED.findall(exported) if not hasattr(library, name)]:
        raise OSError(f"what {compiler()} made has no {', '.join(missing)}")


def _sweep(folder: Path) -> None:
    """Remove what compilers left whose process was killed."""
    for left in folder.glob(f"{MAKING}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 2 * LONGEST_S:
                shutil.rmtree(left)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def cache_folder() -> Path:
    """A folder that nobody but this user can write to; where there is none to be kept, one for this process's life."""
    kept = _users_folder()
    try:
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = kept.stat()
            if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(kept, os.W_OK):
                return kept
    except OSError:
        pass
    passing = Path(tempfile.mkdtemp(prefix="clstm-options-"))
    atexit.register(shutil.rmtree, passing, ignore_errors=True)
    return passing


def _users_folder() -> Path | None:
    """Where the user's caches are to lie; None for a user without a home. A relative $XDG_CACHE_HOME says nothing."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".cache") / "clstm-options"
    except RuntimeError:
        return None


def _processor() -> str:
    """What tells one processor's instructions from another's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
