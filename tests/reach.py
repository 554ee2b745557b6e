"""What a function reaches: names that it uses, what these are made of, and so on, over all files of the project.

Finer than `clstm_core.artifacts.code.closure`, which follows whole modules: `from gate import read_tensors` reaches
what that function uses, and not what stands beside it in its file. A class counts whole. Annotations, decorators
(an asset's name what must be made before it) and imports for type checkers do not count; a string that names a module
(whose code is asked for a hash) stands for the whole of it.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("clstm_core", "assets")
NOT_CODE = ("annotation", "returns", "decorator_list")

Found = tuple[str, str]
"""A module's dotted name, and a name in it; without one the whole module."""


def reached(module: str, name: str, *, beside: tuple[str, ...] = ()) -> set[str]:
    """Modules in which something lies that the function (or class, or constant) `name` of `module` uses, its own too.

    Args:
        beside: packages that are not followed: what they use is not reached by way of them
    """
    seen: set[Found] = set()
    waiting = [(module, name)]
    while waiting:
        found = waiting.pop()
        if found not in seen:
            seen.add(found)
            waiting += () if found[0].startswith(beside) else used(*found)
    return {module for module, _ in seen}


@cache
def used(module: str, name: str) -> tuple[Found, ...]:
    """What a name of a module uses, one step far."""
    here, imported = defined(module), imports(module)
    if not name:
        return tuple((module, other) for other in (*here, *imported))
    if name in imported:
        return (imported[name],)
    found: set[Found] = set()
    for node in here.get(name, ()):
        inside = dict(_imports(node, module))
        found |= {(said, "") for said in _said(node)}
        whole = {**imported, **inside}
        for other, attribute in _names(node):
            kind = whole.get(other)
            if kind and not kind[1] and attribute:  # a module, and a name in it
                found.add((kind[0], attribute))
            elif other in here and other != name and other not in inside:
                found.add((module, other))
            elif kind:
                found.add(kind)
    return tuple(sorted(found))


@cache
def defined(module: str) -> dict[str, list[ast.AST]]:
    """What stands at the top of a module, by each name that it gives."""
    found: dict[str, list[ast.AST]] = {}
    for node in _tree(module).body:
        for name in _given(node):
            found.setdefault(name, []).append(node)
    return found


@cache
def imports(module: str) -> dict[str, Found]:
    """Names of ours that a module imports when it is loaded."""
    tops = (node for node in _tree(module).body if isinstance(node, (ast.Import, ast.ImportFrom, ast.Try, ast.If)))
    return {name: found for node in tops for name, found in _imports(node, module)}


def _given(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def _imports(node: ast.AST, module: str) -> Iterator[tuple[str, Found]]:
    """Each name that is imported inside a node, and what it is."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from ((alias.asname or alias.name, (alias.name, "")) for alias in node.names if _ours(alias.name))
    elif isinstance(node, ast.ImportFrom):
        source = node.module or ""
        if node.level:
            package = module.split(".") if path_of(module).name == "__init__.py" else module.split(".")[:-1]
            source = ".".join([*package[: len(package) + 1 - node.level], *filter(None, [source])])
        for alias in node.names:
            if _ours(source):
                whole = f"{source}.{alias.name}"
                yield alias.asname or alias.name, (whole, "") if _is_module(whole) else (source, alias.name)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, module)


def _names(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that are used inside a node, each with the attribute of it that is; empty where it is used itself."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield node.value.id, node.attr
        return
    if isinstance(node, ast.Name):
        yield node.id, ""
    for child in _children(node):
        yield from _names(child)


def _said(node: ast.AST) -> Iterator[str]:
    """Modules that strings inside a node name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _ours(node.value):
        yield node.value
    for child in _children(node):
        yield from _said(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for field, value in ast.iter_fields(node):
        if field not in NOT_CODE:
            found: Iterable[object] = value if isinstance(value, list) else [value]
            yield from (child for child in found if isinstance(child, ast.AST))


def _ours(module: str) -> bool:
    """Whether it is a module of the project; its bare name alone is none."""
    first, _, rest = module.partition(".")
    return first in OURS and rest.replace(".", "").isidentifier() and _is_module(module)


def _is_module(module: str) -> bool:
    base = ROOT.joinpath(*module.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file() or base.is_dir()


def path_of(module: str) -> Path:
    """The module's file, or its package's."""
    base = ROOT.joinpath(*module.split("."))
    return base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"


@cache
def _tree(module: str) -> ast.Module:
    path = path_of(module)
    return ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
