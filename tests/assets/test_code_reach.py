"""An asset's code version counts all files of the core by which its function makes its result."""

import ast

import pytest

from assets import code_versions
from tests.reach import ROOT, path_of, reached

ASSETS, CORE = ROOT / "assets", ROOT / "clstm_core"

BESIDE = ("clstm_core.store", "clstm_core.artifacts")
"""They keep, find and tell what was made, and make none of it."""

ALWAYS = {*CORE.glob("*.py"), *CORE.glob("config/*.py")}
"""Files that every version counts."""


def rooms() -> dict[tuple[str, str], tuple[str, ...]]:
    """The rooms whose code each asset counts, by the module of the asset and its name."""
    found = {}
    for path in sorted(ASSETS.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            called = [call for call in getattr(node, "decorator_list", []) if isinstance(call, ast.Call)]
            for keyword in (keyword for call in called for keyword in call.keywords if keyword.arg == "code_version"):
                (given,) = (ast.unparse(one.value) for one in keyword.value.keywords if one.arg == "rooms")
                known = {**vars(code_versions), "ROOMS": code_versions.CONTROLS}
                found[f"assets.{path.stem}", node.name] = eval(given, known)
    return found


def missed(module: str, asset: str, counts: tuple[str, ...]) -> list[str]:
    """Modules of the core that an asset reaches and that those rooms leave out."""
    files = ALWAYS.union(*(CORE.glob(room if "." in room else f"{room}/**/*.py") for room in counts))
    ours = {name for name in reached(module, asset, beside=BESIDE) if name.startswith("clstm_core.")}
    return sorted(
        name
        for name in ours
        if not name.startswith(BESIDE) and path_of(name).name != "__init__.py" and path_of(name) not in files
    )


def test_every_asset_is_looked_at():
    said = [path.stem for path in sorted(ASSETS.glob("*.py")) if "code_version=" in path.read_text()]
    assert sorted({module.removeprefix("assets.") for module, _ in rooms()}) == said
    assert len(rooms()) > len(said) > 15


@pytest.mark.parametrize(("module", "asset"), rooms(), ids=lambda name: name.removeprefix("assets."))
def test_all_code_that_makes_a_result_counts(module, asset):
    assert missed(module, asset, rooms()[module, asset]) == []


@pytest.mark.parametrize(
    ("module", "asset", "part"),
    [
        ("walk_forward", "walk_forward_record", "audit.run"),
        ("challenger", "challenger_policy", "audit.run"),
        ("challenger", "challenger_policy", "generalisation.walk"),
        ("critic_warmup", "warm_critic", "audit.run"),
        ("critic_foresight", "critic_foresight", "evaluation.headline"),
        ("backtests", "baseline_backtests", "native.build"),
        ("sweeps", "sweep_record", "evaluation.ladder"),
    ],
)
def test_what_decides_a_result_is_reached(module, asset, part):
    """Else the test above would look at nothing: without its room each of these is missed."""
    without = [room for room in rooms()[f"assets.{module}", asset] if room.split("/")[0] != part.split(".")[0]]
    assert f"clstm_core.{part}" in missed(f"assets.{module}", asset, tuple(without))


def test_a_function_reaches_what_it_uses_and_not_what_stands_beside_it():
    read, proven = (reached("clstm_core.gate", name) for name in ("read_tensors", "ensure_verdict"))
    assert "clstm_core.artifacts.manifests" in read
    assert "clstm_core.audit.run" in proven - read


def test_a_string_that_names_a_module_reaches_all_of_it():
    assert "clstm_core.audit.proofs.conservation" in reached("clstm_core.gate", "_code")


def test_what_is_made_before_an_asset_is_no_code_of_it():
    assert "assets.market_data" not in reached("assets.environment_audit", "environment_audit", beside=BESIDE)
