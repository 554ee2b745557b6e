"""Which way imports point, and what a bare GPU box or the code server never has to load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"dagster", "polars", "duckdb", "plotly", "pandas", "arch", "scipy"}
BARE = ("env", "model", "ppo", "options")
ROOMS = ("market", "env", "model", "ppo", "options", "audit", "evaluation", "deployment", "store", "train", "config")
BARE_FILES = (
    "train",
    "artifacts",
    "checkpoint.py",
    "config",
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


def test_the_reference_ledger_shares_no_code_with_what_it_judges():
    """The market, the configuration and the specs are all that it and the env have in common."""
    allowed = ("market.tensors", "config", "specs", "audit.reference")
    for path in files("clstm_core/audit/reference"):
        ours = {name.removeprefix("clstm_core.") for name in imports(path) if name.startswith("clstm_core.")}
        assert not {name for name in ours if not name.startswith(allowed)}, path.name


def test_the_audit_knows_the_env_by_its_records_and_its_interface_alone():
    allowed = ("clstm_core.env.state", "clstm_core.env.protocol", "clstm_core.env.options_env")
    known = {name for path in files("clstm_core/audit") for name in imports(path) if name.startswith("clstm_core.env.")}
    assert known
    assert not {name for name in known if not name.startswith(allowed)}


@pytest.mark.parametrize(
    ("rooms", "banned"),
    [
        (["clstm_core"], ["dagster", "assets", "orchestration", "reports"]),
        (
            ["clstm_policy"],
            ["clstm_core", "torch", "onnx", "polars", "duckdb", "dagster", "assets", "orchestration", "reports"],
        ),
        (["reports"], ["dagster", "assets", "orchestration", "torch"]),
        (["assets"], ["orchestration"]),
        (["clstm_core/options"], ["clstm_core.market", "clstm_core.env", "clstm_core.model", "clstm_core.ppo"]),
        (["clstm_core/market"], ["clstm_core.env", "clstm_core.model", "clstm_core.ppo", "clstm_core.evaluation"]),
        (["clstm_core/env"], ["clstm_core.model", "clstm_core.ppo", "clstm_core.evaluation", "clstm_core.audit"]),
        (["clstm_core/checkpoint.py"], ["clstm_core.market", "clstm_core.env", "clstm_core.ppo"]),
        (["clstm_core/artifacts"], [f"clstm_core.{room}" for room in ROOMS]),
        (["clstm_core/model"], ["clstm_core.env", "clstm_core.ppo", "clstm_core.market"]),
        (["clstm_core/ppo"], ["clstm_core.env.options_env", "clstm_core.market", "clstm_core.evaluation"]),
        (["clstm_core/audit", "clstm_core/evaluation", "clstm_core/deployment"], ["clstm_core.ppo"]),
        (["clstm_core/shadow"], ["clstm_core.ppo"]),
        (["clstm_core/env", "clstm_core/market", "clstm_core/evaluation"], ["clstm_core.shadow"]),
    ],
)
def test_imports_point_one_way(rooms, banned):
    assert offenders(rooms, banned) == []


def test_conventions_are_reached_by_their_asset_alone():
    """What leaks lies where training, the evaluation and what is deployed cannot import it."""
    room, asset = "clstm_core.evaluation.conventions", ROOT / "assets/convention_sweeps.py"
    found = [
        path
        for part in ("clstm_core", "assets", "orchestration", "reports", "tools")
        for path in files(part)
        if any(name == room or name.startswith(f"{room}.") for name in imports(path))
    ]
    assert asset in found
    others = [path for path in found if path != asset]
    assert others
    assert all(path.parent == ROOT / "clstm_core/evaluation/conventions" for path in others)


def test_a_report_draws_the_evidence_and_reads_nothing_else():
    known = (
        "clstm_core.artifacts.folder",
        "clstm_core.errors",
        "clstm_core.plural",  # how a count is said
        "clstm_core.evaluation.evidence",
        "clstm_core.evaluation.figures",
        "clstm_core.walk_forward.evidence",
        "clstm_core.sweeps.evidence",
        "clstm_core.evaluation.words",  # what may be said of a pair, and what a policy is called
    )
    found = {name for path in files("reports") for name in imports(path) if name.startswith("clstm_core")}
    assert {name for name in found if not any(name == one or name.startswith(f"{one}.") for one in known)} == set()


def test_what_runs_on_a_gpu_box_needs_torch_and_numpy_alone():
    rooms = [f"clstm_core/{name}" for name in (*BARE, *BARE_FILES)]
    assert offenders(rooms, HEAVY) == []


def test_duckdb_has_one_door():
    doors = {path.relative_to(ROOT).as_posix() for room in ("clstm_core", "assets", "orchestration", "reports")
             for path in files(room) if "duckdb" in imports(path)}  # fmt: skip
    assert doors <= {"clstm_core/store/store.py"}


def test_the_recomputation_of_the_books_shares_nothing_with_what_wrote_them():
    parts = [module(path) for path in files("clstm_core/evaluation/recomputed")]
    own = {"clstm_core.evaluation.recompute", *parts}
    for name in own:
        path = ROOT.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        outside = {found for found in imports(path) if not found.startswith(tuple(own))}
        assert {found.split(".")[0] for found in outside} - sys.stdlib_module_names <= {"polars"}
    modules = loaded("import clstm_core.evaluation.recompute", whole=True)
    ours = {name for name in modules if name.split(".")[0] == "clstm_core"}
    assert ours == {"clstm_core", "clstm_core.evaluation"} | own
    assert not modules & {"torch", "numpy", "duckdb"}


def test_assets_load_heavy_modules_only_in_their_bodies():
    assert offenders(["assets", "orchestration"], ["torch", "polars", "plotly", "duckdb"], top_level=True) == []


def loaded(statement: str, *flags: str, whole: bool = False) -> set[str]:
    """Modules that a statement loads in a fresh process: their rooms, or (whole) their full names."""
    code = (
        f"import sys\n{statement}\nprint(*sorted({{name if {whole} else name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return {name if whole else name.split(".")[0] for name in done.stdout.split()}


def test_definitions_load_light_and_without_a_warning():
    modules = loaded("import orchestration.definitions as d; d.build_defs().resolve_all_job_defs()", "-W", "error")
    assert not modules & {"torch", "polars", "plotly", "duckdb", "pandas", "onnx", "scipy"}
    assert "dagster" in modules


@pytest.mark.parametrize(
    "module", ["clstm_core.evaluation.evidence", "clstm_core.evaluation.figures", "clstm_core.evaluation.trials"]
)
def test_what_a_page_or_a_store_imports_of_the_evaluation_is_plain_python(module):
    assert not loaded(f"import {module}") & {"torch", "numpy", *HEAVY}


def test_evidence_is_built_and_drawn_without_torch_or_duckdb():
    modules = loaded("import clstm_core.evaluation.build_evidence, reports.render")
    assert not modules & {"torch", "duckdb", "dagster"}


def test_the_trainer_loads_without_the_rest():
    modules = loaded("import clstm_core.train.loop")
    assert not modules & {"dagster", "polars", "duckdb", "plotly", "pandas"}
    assert "torch" in modules


@pytest.mark.parametrize("module", ["names", "reference.ledger", "reference.limits"])
def test_names_of_proofs_and_the_reference_ledger_load_no_torch(module):
    modules = loaded(f"import clstm_core.audit.{module}")
    assert not modules & {"torch", "numpy", "polars"}
    assert "clstm_core" in modules


def test_no_import_goes_in_a_circle():
    graph = {module(path): reached(path) for path in files("clstm_core")}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                walk(other, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def module(path: Path) -> str:
    """Dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def reached(path: Path) -> set[str]:
    """Modules of the core that a file imports when it is loaded, by the file that has the name."""
    found = set()
    for name in imports(path, top_level=True):
        base = ROOT.joinpath(*name.split("."))
        if base.with_suffix(".py").is_file() and name.startswith("clstm_core."):
            found.add(name)
    return found - {module(path)}
