"""Evidence is kept beside the run, and refused when it is not what was kept."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.evidence import EVIDENCE_VERSION, Curve, Evidence, load_evidence, save_evidence


def test_what_was_saved_is_loaded(evidence, tmp_path):
    written = save_evidence(evidence, tmp_path / "evidence")
    assert written.keys() == {path.name for path in (tmp_path / "evidence").iterdir()}
    assert load_evidence(tmp_path / "evidence") == evidence
    assert "NaN" not in (tmp_path / "evidence" / "evidence.json").read_text()
    assert save_evidence(evidence, tmp_path / "again") == written


def test_saving_again_replaces_the_whole(evidence, tmp_path):
    save_evidence(evidence, tmp_path / "evidence")
    save_evidence(Evidence(run="later"), tmp_path / "evidence")
    assert load_evidence(tmp_path / "evidence") == Evidence(run="later")
    assert [path.name for path in tmp_path.iterdir()] == ["evidence"]


def altered(change: Callable[[dict], Any]):
    """Rewrite evidence.json by `change`, which returns its new content or changes it in place."""

    def alter(folder: Path) -> None:
        path = folder / "evidence.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))

    return alter


def without(name: str):
    return altered(lambda content: content.pop(name) and None)


def with_value(name: str, value: Any):
    return altered(lambda content: content.update({name: value}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "evidence.json").unlink(), "evidence.json"),
        (lambda folder: (folder / "evidence.json").write_text("{"), "JSONDecodeError"),
        (lambda folder: (folder / "evidence.json").write_bytes(b"\xff\xfe"), "UnicodeDecodeError"),
        (lambda folder: (folder / "evidence.json").write_text("[" * 100_000), "RecursionError"),
        (lambda folder: (folder / "evidence.json").write_text("[]"), f"not of version {EVIDENCE_VERSION}"),
        (lambda folder: (folder / "curves.parquet").unlink(), "curves.parquet"),
        (lambda folder: (folder / "training.parquet").write_bytes(b"PAR1"), "training.parquet differ"),
        (with_value("version", EVIDENCE_VERSION - 1), f"not of version {EVIDENCE_VERSION}"),
        (with_value("files", {"evidence.json": "0"}), "does not name its tables"),
        (with_value("files", None), "does not name its tables"),
        (without("verdict"), "verdict missing or unknown"),
        (with_value("colour", "red"), "colour missing or unknown"),
        (with_value("run", None), "run in evidence.json"),
        (with_value("n_sessions", "many"), "n_sessions in"),
        (with_value("n_sessions", True), "n_sessions in"),
        (with_value("residual_share", "large"), "residual_share in"),
        (with_value("gates", {}), "gates in"),
        (with_value("gates", ["fees"]), "gates in"),
        (with_value("provenance", [["a", "b", "c"]]), "provenance in"),
        (with_value("provenance", 7), "provenance in"),
        (with_value("verdict_points", [1]), "verdict_points in"),
        (with_value("caps", {"net_exposure": "much"}), "caps in"),
    ],
)
def test_what_is_not_what_was_saved_is_one_sentence(evidence, tmp_path, damage, says):
    folder = tmp_path / "evidence"
    save_evidence(evidence, folder)
    damage(folder)
    with pytest.raises(EvaluationError, match=says) as found:
        load_evidence(folder)
    assert str(found.value).startswith(f"unusable evidence {folder}: ")
    assert str(found.value).endswith("Make it again from the run's backtests.")


def test_a_table_of_another_shape_is_refused_though_its_hash_is_right(evidence, tmp_path):
    from clstm_core.artifacts.folder import file_sha256

    folder = tmp_path / "evidence"
    save_evidence(evidence, folder)
    curves = folder / "curves.parquet"
    pl.read_parquet(curves).drop("equity_usd").write_parquet(curves)
    altered(lambda content: content["files"].update({"curves.parquet": file_sha256(curves)}))(folder)
    with pytest.raises(EvaluationError, match="KeyError: 'equity_usd'"):
        load_evidence(folder)


@pytest.mark.parametrize("values", [(0.1, "high"), (True, "yes"), (0.1, math.nan), (0.1, [1]), ({}, 1)])
def test_a_column_that_could_not_be_read_as_it_was_is_not_written(tmp_path, values):
    mixed = Evidence(run="r", training=[{"approx_kl": value} for value in values])
    with pytest.raises(EvaluationError, match="cannot write training of the evidence for r"):
        save_evidence(mixed, tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize(("dates", "equity"), [([], []), (["2024-01-02"], []), (["2024-01-02"], [1.0, 2.0])])
def test_a_curve_has_one_equity_per_date(dates, equity):
    with pytest.raises(EvaluationError, match="one equity per date"):
        Curve(name="c", dates=dates, equity=equity)
