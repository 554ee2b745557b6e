"""The key of a result's code: it changes with what is imported, and with nothing else."""

import shutil
from pathlib import Path

import pytest

import clstm_core
from clstm_core.artifacts import code
from clstm_core.artifacts.code import closure, code_sha256, git_commit

MAIN = "clstm_core.main"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Writes modules of a small package that stands in for ours: {dotted name below it: source}."""
    package = tmp_path / "clstm_core"
    monkeypatch.setattr(code, "TREE", tmp_path)

    def write(**modules: str) -> Path:
        for name, source in {"__init__": "", **modules}.items():
            path = package.joinpath(*name.split("__dot__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
            for folder in path.relative_to(package).parents:
                (package / folder / "__init__.py").touch()
        return package

    return write


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The real package, to be edited."""
    for name in code.ROOTS:
        original = Path(clstm_core.__file__).parents[1] / name
        shutil.copytree(original, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "TREE", tmp_path)
    return tmp_path / "clstm_core"


@pytest.mark.parametrize(
    "source",
    [
        "import clstm_core.used",
        "import os, clstm_core.used as x",
        "from clstm_core import used",
        "from clstm_core import used as x",
        "from clstm_core.used import anything",
        "from . import used",
        "from .used import anything",
        "def later():\n    from clstm_core.used import anything",
        "class Later:\n    def one(self):\n        import clstm_core.used",
        "try:\n    import clstm_core.used\nexcept ImportError:\n    pass",
        "if True:\n    import clstm_core.used",
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import clstm_core.used",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\nelse:\n    import clstm_core.used",
        "from clstm_core.between import x",
        "import clstm_core.room.deep.one",
    ],
    ids=lambda source: source.replace("\n", " "),
)
def test_what_is_imported_counts(tree, source):
    rest = {
        "between": "def f():\n    from clstm_core.used import y",
        "room__dot__deep__dot__one": "from ...used import y",
        "other": "",
    }
    tree(main=source, used="x = 1", **rest)
    assert "clstm_core.used" in closure(MAIN)
    before = code_sha256(MAIN)
    tree(other="changed = 1")
    assert code_sha256(MAIN) == before
    tree(used="x = 2")
    assert code_sha256(MAIN) != before
    tree(used="x = 1")
    assert code_sha256(MAIN) == before


@pytest.mark.parametrize(
    "source",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from clstm_core.used import anything",
        "import typing\nif typing.TYPE_CHECKING:\n    import clstm_core.used",
        "import clstm_core_extras.used",
        "import used",
        "text = 'import clstm_core.used'",
        "# import clstm_core.used",
    ],
    ids=lambda source: source.replace("\n", " "),
)
def test_what_is_not_imported_does_not_count(tree, source):
    tree(main=source, used="x = 1")
    assert closure(MAIN) == {"clstm_core", MAIN}
    before = code_sha256(MAIN)
    tree(used="x = 2")
    assert code_sha256(MAIN) == before


def test_the_packages_that_a_module_lies_in_count(tree):
    package = tree(main="import clstm_core.room.deep.one", room__dot__deep__dot__one="")
    assert closure(MAIN) >= {"clstm_core", "clstm_core.room", "clstm_core.room.deep", "clstm_core.room.deep.one"}
    before = code_sha256(MAIN)
    (package / "room" / "__init__.py").write_text("x = 1")
    assert code_sha256(MAIN) != before


def test_a_circle_ends(tree):
    tree(main="import clstm_core.one", one="import clstm_core.two", two="import clstm_core.one")
    assert closure(MAIN) == {"clstm_core", MAIN, "clstm_core.one", "clstm_core.two"}


def test_several_modules_are_one_key_whatever_their_order(tree):
    tree(main="", one="", two="x = 1")
    assert code_sha256("clstm_core.one", "clstm_core.two") == code_sha256("clstm_core.two", "clstm_core.one")
    assert code_sha256("clstm_core.one") != code_sha256("clstm_core.two")


@pytest.mark.parametrize("source", ["from clstm_core.gone import x", "import clstm_core.gone", "from .gone import x"])
def test_a_renamed_module_never_drops_out_in_silence(tree, source):
    package = tree(main=source, gone="x = 1")
    closure(MAIN)
    (package / "gone.py").rename(package / "renamed.py")
    with pytest.raises(ModuleNotFoundError, match=r"no module clstm_core\.gone: expected a file of it below"):
        code_sha256(MAIN)
    with pytest.raises(ModuleNotFoundError, match=r"no module clstm_core\.gone"):
        code_sha256("clstm_core.gone")


def test_a_file_that_moves_changes_the_key_although_its_text_does_not(tree):
    package = tree(main="from clstm_core import one", one="x = 1")
    before = code_sha256(MAIN)
    (package / "one").mkdir()
    (package / "one.py").rename(package / "one" / "__init__.py")
    assert code_sha256(MAIN) != before


KEYS = {
    "quotes of a vendor": ("clstm_core.market.sources.spx_cboe", "clstm_core.market.tables.quality"),
    "quotes of another": ("clstm_core.market.sources.spx_barchart", "clstm_core.market.tables.quality"),
    "modelled quotes": ("clstm_core.market.sources.sp500_modelled", "clstm_core.market.tables.quality"),
    "tensors": ("clstm_core.market.build.assemble",),
    "audit": ("clstm_core.audit.run",),
}
"""Modules whose code stands in the keys of what is kept."""


def keys() -> dict[str, str]:
    return {name: code_sha256(*modules) for name, modules in KEYS.items()}


def changed(before: dict[str, str]) -> set[str]:
    return {name for name, key in keys().items() if key != before[name]}


def test_the_keys_are_those_that_the_cache_and_the_gate_use(monkeypatch):
    from clstm_core import gate
    from clstm_core.market import cache

    assert KEYS["tensors"] == (cache.BUILDER,)
    assert all(KEYS[name][1] == cache.QUALITY for name in KEYS if "quotes" in name)
    asked = []
    monkeypatch.setattr(gate, "code_sha256", lambda *modules: asked.append(modules))
    gate._code()
    assert asked == [KEYS["audit"]]


def test_a_new_vendors_file_makes_nothing_else_anew(copy):
    before = keys()
    sources = copy / "market" / "sources"
    shutil.copyfile(sources / "spx_cboe.py", sources / "spx_newcomer.py")
    assert changed(before) == set()


def test_editing_one_vendor_makes_its_quotes_anew_and_no_others(copy):
    before = keys()
    vendor = copy / "market" / "sources" / "spx_cboe.py"
    vendor.write_text(vendor.read_text() + "\nMORE = 1\n")
    assert changed(before) == {"quotes of a vendor"}


def test_editing_a_helper_makes_anew_what_imports_it(copy):
    before = keys()
    quality = copy / "market" / "tables" / "quality.py"
    quality.write_text(quality.read_text() + "\nMORE = 1\n")
    assert changed(before) >= {"quotes of a vendor", "quotes of another", "modelled quotes"}
    before = keys()
    env = copy / "env" / "options_env.py"
    env.write_text(env.read_text() + "\nMORE = 1\n")
    assert changed(before) == {"audit"}
    before = keys()
    specs = copy / "specs.py"
    specs.write_text(specs.read_text() + "\nMORE = 1\n")
    assert {"tensors", "audit"} <= changed(before)


@pytest.mark.parametrize("room", ["reports", "store", "evaluation", "deployment", "train", "ppo"])
def test_rooms_above_the_market_make_no_market_anew_and_no_audit(copy, room):
    before = keys()
    for path in (copy / room).rglob("*.py"):
        path.write_text(path.read_text() + "\nMORE = 1\n")
    assert changed(before) == set()


def test_the_commit_is_one_or_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert git_commit() == "unknown"
