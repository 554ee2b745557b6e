"""The hash of a piece of code: a module and all of the project's modules that it imports, no more and no less.

A result kept under such a hash is never found again by other code, and survives changes that it does not depend on.
"""

import ast
import hashlib
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import clstm_core

PACKAGE = Path(clstm_core.__file__).parent
TREE = PACKAGE.parent
ROOTS = (PACKAGE.name, "clstm_policy")
"""Packages whose code counts: the core, and the runtime that it is exported for."""


def code_sha256(*modules: str) -> str:
    """Hash of the modules' files and of those that they import, directly or not, inside the core and its runtime.

    Imports inside functions count; those under `if TYPE_CHECKING` do not.

    Raises: ModuleNotFoundError for a module that has no file: a renamed one never drops out in silence
    """
    digest = hashlib.sha256()
    for name in sorted(closure(*modules)):
        path = _file(name)
        assert path is not None
        digest.update(path.relative_to(TREE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def closure(*modules: str) -> set[str]:
    """Names of the modules and of all that they import inside `ROOTS`, their packages included."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = _file(name)
        if path is None:
            raise ModuleNotFoundError(f"no module {name}: expected a file of it below {TREE}.")
        found.add(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        waiting += _imports(path, path.stat().st_mtime_ns)
    return found


@cache
def _imports(path: Path, _changed: int) -> tuple[str, ...]:
    package = path.relative_to(TREE).parent.parts
    return tuple(sorted(set(_walk(ast.parse(path.read_text()), package))))


def _walk(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _walk(ast.Module(child.orelse, []), package)
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.split(".")[0] in ROOTS)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) + 1 - child.level] if child.level else ()
            module = ".".join((*above, *(child.module or "").split("."))).rstrip(".")
            if module.split(".")[0] in ROOTS:
                yield module
                yield from (name for alias in child.names if _file(name := f"{module}.{alias.name}") is not None)
        yield from _walk(child, package)


def _file(module: str) -> Path | None:
    """The module's file, or its package's; None where there is neither."""
    base = TREE.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def git_commit() -> str:
    """The commit of this source tree, `-dirty` when it has changes, or `unknown` outside a repository."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip() or "unknown"
