"""Which way imports point, and what a bare GPU box or the code server never has to load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"dagster", "polars", "duckdb", "plotly", "pandas", "arch", "scipy"}
BARE = ("env", "model", "ppo", "options")
BARE_FILES = (
    "train",
    "artifacts",
    "checkpoint.py",
    "config.py",
    "errors.py",
    "specs.py",
    "market/clock.py",
    "market/instrument.py",
    "market/tensors.py",
    "market/build",
    "market/worlds",
)


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Modules that a file imports, anywhere or (top_level) when it is loaded; those for type checkers are left out."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if top_level and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                found.add(child.module)
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            walk(child)

    walk(ast.parse(path.read_text()))
    return found


def files(room: str) -> list[Path]:
    path = ROOT / room
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def offenders(rooms, banned, *, top_level=False):
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for room in rooms
        for path in files(room)
        for name in sorted(imports(path, top_level=top_level))
        if any(name == ban or name.startswith(f"{ban}.") for ban in banned)
    ]


def test_a_planted_import_is_found(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    import polars.selectors\n\nfrom clstm_core import train\n")
    assert {"polars.selectors", "clstm_core", "clstm_core.train"} <= imports(planted)
    assert "polars.selectors" not in imports(planted, top_level=True)


@pytest.mark.parametrize(
    ("rooms", "banned"),
    [
        (["clstm_core"], ["dagster", "assets", "orchestration", "reports"]),
        (["reports"], ["dagster", "assets", "orchestration", "torch"]),
        (["assets"], ["orchestration"]),
        (["clstm_core/options"], ["clstm_core.market", "clstm_core.env", "clstm_core.model", "clstm_core.ppo"]),
        (["clstm_core/market"], ["clstm_core.env", "clstm_core.model", "clstm_core.ppo", "clstm_core.evaluation"]),
        (["clstm_core/env"], ["clstm_core.model", "clstm_core.ppo", "clstm_core.evaluation", "clstm_core.audit"]),
        (["clstm_core/model"], ["clstm_core.env", "clstm_core.ppo", "clstm_core.market"]),
        (["clstm_core/ppo"], ["clstm_core.env.options_env", "clstm_core.market", "clstm_core.evaluation"]),
        (["clstm_core/audit", "clstm_core/evaluation", "clstm_core/deployment"], ["clstm_core.ppo"]),
    ],
)
def test_imports_point_one_way(rooms, banned):
    assert offenders(rooms, banned) == []


def test_what_runs_on_a_gpu_box_needs_torch_and_numpy_alone():
    rooms = [f"clstm_core/{name}" for name in (*BARE, *BARE_FILES)]
    assert offenders(rooms, HEAVY) == []


def test_duckdb_has_one_door():
    doors = {path.relative_to(ROOT).as_posix() for room in ("clstm_core", "assets", "orchestration", "reports")
             for path in files(room) if "duckdb" in imports(path)}  # fmt: skip
    assert doors <= {"clstm_core/store/store.py"}


def test_assets_load_heavy_modules_only_in_their_bodies():
    assert offenders(["assets", "orchestration"], ["torch", "polars", "plotly", "duckdb"], top_level=True) == []


def loaded(statement: str, *flags: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return set(done.stdout.split())


def test_definitions_load_light_and_without_a_warning():
    modules = loaded("import orchestration.definitions as d; d.build_defs().resolve_all_job_defs()", "-W", "error")
    assert not modules & {"torch", "polars", "plotly", "duckdb", "pandas", "onnx", "scipy"}
    assert "dagster" in modules


def test_the_trainer_loads_without_the_rest():
    modules = loaded("import clstm_core.train.loop")
    assert not modules & {"dagster", "polars", "duckdb", "plotly", "pandas"}
    assert "torch" in modules
