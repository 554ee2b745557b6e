"""What Dagster takes for stale: results say their version, and code that shapes a result counts, and no other."""

import ast
import json
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from assets import code_versions, convention_sweeps, fair_worlds
from assets.companions import stressed_tensors, twin_tensors
from assets.fair_worlds import _version
from assets.market_data import market_quotes
from assets.market_realism import market_realism
from assets.reports import backtest_report
from assets.vendor_sessions import vendor_sessions
from clstm_core import realism_verdict
from clstm_core.artifacts.code import closure

ASSETS = Path(code_versions.__file__).parent


def given(materialization):
    """The version that an asset gave its result; a version that Dagster made up is none."""
    tags = materialization.tags
    assert tags["dagster/data_version_is_user_provided"] == "true", materialization.asset_key
    return tags["dagster/data_version"]


def version(result):
    """The version of the one asset of a launch."""
    (event,) = result.get_asset_materialization_events()
    return given(event.materialization)


def test_a_relaunch_gives_every_stage_the_version_that_it_had(relaunched, finished):
    """But the report, which says when it was drawn, and after which nothing comes."""
    first = json.loads((finished.parent / "versions.json").read_text())
    assert {asset.key.path[-1] for asset in relaunched} == set(first)
    for asset, (said, _) in relaunched.items():
        assert asset is backtest_report or given(said) == first[asset.key.path[-1]], asset.key


def test_every_result_says_its_version():
    """Also those of a stage that had nothing to do, or failed at what only warns."""
    missing = []
    for path in sorted(ASSETS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            made = isinstance(node, ast.Call) and ast.unparse(node.func) == "dg.MaterializeResult"
            if made and "data_version" not in {keyword.arg for keyword in node.keywords}:
                missing.append(f"{path.name}:{node.lineno}")
    assert missing == []


def test_a_refreshed_market_without_companions_stales_none_of_theirs(chain):
    markets = [chain(n_snapshots=n_snapshots) for n_snapshots in (60, 61)]
    found = [version(market.stage(asset)) for market in markets for asset in (twin_tensors, stressed_tensors)]
    assert found == ["none"] * 4


def test_months_of_a_source_without_files_have_one_version(chain):
    assert version(chain("2026-03-01").stage(vendor_sessions)) == "none"


def test_a_judge_that_failed_says_the_same_each_time(chain, monkeypatch):
    def fails(*_args, **_options):
        raise ZeroDivisionError

    mine = chain(n_snapshots=60).does(market_quotes)
    monkeypatch.setattr(realism_verdict, "judge", fails)
    assert version(mine.stage(market_realism)) == "none"


def test_walks_have_the_version_of_what_is_kept_of_them():
    walked = {"hold": np.random.default_rng(0).normal(size=(5, 4))}
    kept = {name: excess.astype(np.float32).astype(np.float64) for name, excess in walked.items()}
    assert _version(walked) == _version(kept) != _version({"hold": walked["hold"] + 1.0})
    assert _version({}) == dg.DataVersion("none")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the code, and the version that an asset has by it now."""
    root, skip = ASSETS.parent, shutil.ignore_patterns("__pycache__")
    for name in ("clstm_core", "assets", "reports"):
        shutil.copytree(root / name, tmp_path / name, ignore=skip)
    monkeypatch.setattr(code_versions, "CORE", tmp_path / "clstm_core")
    monkeypatch.setattr(code_versions, "REPORTS", tmp_path / "reports")

    def now(module, rooms, **options):
        code_versions._hash.cache_clear()
        return code_versions.code_version(str(tmp_path / "assets" / module), rooms=rooms, **options)

    yield tmp_path, now
    code_versions._hash.cache_clear()


def edit(path):
    path.write_text(path.read_text() + "\n# edited\n")


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ("clstm_core/market/cache.py", True),
        ("clstm_core/options/black_scholes.py", True),
        ("clstm_core/evaluation/companions.py", True),
        ("clstm_core/gate.py", True),
        ("clstm_core/config/env.py", True),
        ("assets/companions.py", True),
        ("assets/exports.py", False),
        ("clstm_core/evaluation/luck.py", False),
        ("clstm_core/ppo/losses.py", False),
        ("reports/svg.py", False),
    ],
)
def test_code_that_makes_companion_tensors_counts_and_no_other(copied, place, counts):
    root, now = copied
    before = now("companions.py", code_versions.COMPANIONS)
    edit(root / place)
    assert (now("companions.py", code_versions.COMPANIONS) != before) is counts


@pytest.mark.parametrize("place", ["native/lstm.cpp", "native/vectors.h", "native/build.py"])
def test_the_kernels_of_training_are_code_that_counts(copied, place):
    root, now = copied
    before = now("training.py", code_versions.TRAIN)
    edit(root / "clstm_core" / place)
    assert now("training.py", code_versions.TRAIN) != before


def test_drawing_a_report_is_no_change_of_its_code(copied):
    root, now = copied
    before = now("reports.py", ("evaluation",), reports=True)
    (root / "reports" / "generated" / "one").mkdir(parents=True)
    (root / "reports" / "generated" / "one" / "index.html").write_text("<p>")
    assert now("reports.py", ("evaluation",), reports=True) == before
    edit(root / "reports" / "templates" / "report.css")
    assert now("reports.py", ("evaluation",), reports=True) != before


def test_a_room_that_is_not_there_is_named(copied):
    _, now = copied
    with pytest.raises(FileNotFoundError, match=r"no code at .*nowhere"):
        now("reports.py", ("nowhere",))


@pytest.mark.parametrize(
    ("asset", "makers"), [(convention_sweeps, ("_sweep", "_tilt")), (fair_worlds, ("_judge",))], ids=["sweeps", "fair"]
)
def test_what_is_kept_is_known_by_all_code_that_makes_it(asset, makers):
    """A rule that trades otherwise, books or a proof that are made otherwise, make another result."""
    tree = ast.parse(Path(asset.__file__).read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in makers]
    used = {node.module for maker in found for node in ast.walk(maker) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in used if name.startswith("clstm_core.")}
    assert "clstm_core.evaluation.ladder" in ours
    assert ours <= closure(*asset.CODE)


def test_all_code_that_makes_controls_counts():
    """Each module that training and judging the recipe imports lies in a room that the version is of."""
    rooms = {"config", *(room for room in code_versions.CONTROLS if "." not in room and "*" not in room)}
    parts = [name.split(".") for name in closure("clstm_core.controls.found", "clstm_core.controls.kept")]
    assert {"model", "generalisation", "evaluation"} <= {part[1] for part in parts if len(part) > 2}
    assert {part[1] for part in parts if len(part) > 2} - rooms == {"artifacts"}
