"""The independent program: right on a case worked out by hand, never taken in, and able to move with its data."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from clstm_core.evaluation import recompute
from clstm_core.evaluation.recomputed.market import read_market

TOOL = Path(__file__).resolve().parents[2] / "tools" / "recompute_equity.py"


def changed(column: str, row: int, by: float):
    """A change of one number of one row."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        here = pl.int_range(pl.len()) == row
        return table.with_columns(pl.when(here).then(pl.col(column) + by).otherwise(pl.col(column)).alias(column))

    return change


def test_a_case_by_hand_agrees(hand_made, capsys) -> None:
    assert recompute.main([str(hand_made.folder)]) == 0
    said = capsys.readouterr().out
    assert "stale marks taken as given: 0" in said
    assert "to the cent" in said


def test_differences_are_what_was_planted(hand_made) -> None:
    fills, positions = hand_made.tables["fills"], hand_made.tables["positions"]
    market = read_market(hand_made.quotes.parent, fills, positions)
    facts = json.loads((hand_made.folder / "manifest.json").read_text())
    tables = hand_made.tables | {"fills": changed("quantity", 0, 1.0)(fills)}
    differences, counts = recompute.recompute(tables, market, facts)
    # one put less was sold at 2.00 for 0.65
    assert differences["cash"] == pytest.approx(100 * 2.0 - 0.65, rel=1e-3)
    assert differences["fees"] == pytest.approx(0.65)
    assert counts["positions that differ from fills"] == 4
    differences, counts = recompute.recompute(hand_made.tables, market, facts)
    assert max(differences.values()) < 1e-6
    assert recompute.faults(differences, counts) == {}


@pytest.mark.parametrize(
    ("table", "column", "row", "by", "says"),
    [
        ("fills", "price", 0, 0.01, "fills at another price than their rule's: 1"),
        ("fills", "price", 1, 0.01, "shares at another price than the spot's: 1"),
        ("fills", "price", 4, -1.0, "expiries at another value than the settlement: 1"),
        ("fills", "fee_usd", 2, -0.05, "fees other than the configuration's: 1"),
        ("fills", "fee_usd", 4, 0.65, "fees other than the configuration's: 1"),
        ("fills", "quantity", 2, 1.0, "positions that differ from fills: 2"),
        ("fills", "quantity", 4, -1.0, "contracts held past their expiration: 1"),
        ("fills", "multiplier", 4, -90.0, "fills with another multiplier than the contract's: 1"),
        ("fills", "step", 2, -1, "fills at another snapshot than their lag's: 1"),
        ("fills", "step", 3, 9, "fills of no known kind or step: 1"),
        ("fills", "bid", 0, 0.01, "fills whose bid or ask is not the quotes': 1"),
        ("positions", "quantity", 0, -1.0, "positions that differ from fills: 1"),
        ("positions", "multiplier", 2, -90.0, "positions with another multiplier than the contract's: 1"),
        ("equity", "spot", 2, 0.01, "spots that are not the underlying's: 1"),
        ("equity", "step", 4, 1, "steps that are missing or double: 1"),
        ("equity", "cash_return", 2, 1e-6, "cash returns that are not the rates': 1"),
        ("equity", "cash_usd", 0, 100.0, "largest difference in cash: 100.0"),
        ("equity", "cash_usd", 2, 0.02, "largest difference in cash: 0.02"),
        ("equity", "interest_usd", 1, 0.02, "largest difference in interest: 0.02"),
        ("equity", "dividends_usd", 4, 0.02, "largest difference in dividends: 0.02"),
        ("equity", "borrow_usd", 4, -1.53, "largest difference in borrow: 1.53"),
        ("equity", "shares", 3, 1.0, "largest difference in shares: 1.0"),
        ("equity", "options_mark_usd", 1, 10.0, "largest difference in options: 10.0"),
        ("equity", "equity_usd", 3, -0.02, "largest difference in equity: 0.02"),
        ("equity", "fees_usd", 1, -2.0, "largest difference in fees: 2.0"),
        ("equity", "slippage_usd", 1, -35.0, "largest difference in spread paid: 35.0"),
        ("equity", "settlement_usd", 4, 7.0, "largest difference in settlement: 7.0"),
        ("equity", "net_exposure", 1, 1e-4, "risk budgets that are not the positions': 1"),
        ("equity", "gross_exposure", 2, -1e-4, "risk budgets that are not the positions': 1"),
        ("equity", "crash_loss", 3, -1e-4, "risk budgets that are not the positions': 1"),
        ("equity", "vega_per_point", 1, 1e-4, "risk budgets that are not the positions': 1"),
        ("equity", "book_vega_usd", 1, 1.0, "risk budgets that are not the positions': 1"),
        ("equity", "premium_sold", 4, -1e-4, "risk budgets that are not the positions': 1"),
        ("equity", "share_mark_change_usd", 4, 7.0, "largest difference in share marks: 7.0"),
        ("equity", "option_mark_change_usd", 3, 7.0, "largest difference in option marks: 7.0"),
        ("equity", "residual_usd", 1, -7.0, "largest difference in attribution: 7.0"),
        ("positions", "mark", 1, 0.01, "stale marks that are not their last volatility's: 1"),
    ],
)
def test_tampering_is_found(hand_made, edit, capsys, table, column, row, by, says) -> None:
    edit(hand_made.folder, table, changed(column, row, by))
    assert recompute.main([str(hand_made.folder)]) == 1
    assert says in capsys.readouterr().out


def test_a_step_left_out_is_found(hand_made, edit, capsys) -> None:
    """Without the worst day the curve is finer, and every row that is left is right."""

    def without(table: pl.DataFrame) -> pl.DataFrame:
        left = table.filter(pl.col("step") != 2)
        return left.with_columns(pl.when(pl.col("step") > 2).then(pl.col("step") - 1).otherwise("step").alias("step"))

    for name in recompute.LEDGERS:
        edit(hand_made.folder, name, without)
    assert recompute.main([str(hand_made.folder)]) == 1
    assert "sessions left out or added: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "column", "row", "by"),
    [("underlyings", "close", 4, 1.0), ("underlyings", "close", 1, 0.5), ("rates", "rate", 1, 0.01)],
)
def test_other_underlyings_or_rates_make_other_books(hand_made, table, column, row, by) -> None:
    place = hand_made.quotes.with_stem(table)
    changed(column, row, by)(pl.read_parquet(place)).write_parquet(place)
    assert recompute.main([str(hand_made.folder)]) == 1


def test_canonical_tables_are_verified_by_the_manifest_that_names_their_folder(hand_made, tmp_path, capsys) -> None:
    tables = {name: hand_made.quotes.with_stem(name) for name in ("quotes", "underlyings", "rates")}
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tables.values()}
    text = json.dumps({"files": files})
    folder = tmp_path / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir()
    (folder / "manifest.json").write_text(text)
    for path in tables.values():
        shutil.copy(path, folder / path.name)
    asked = [str(hand_made.folder), "--quotes", str(folder / "quotes.parquet")]
    assert recompute.main(asked) == 0
    changed("close", 0, 1.0)(pl.read_parquet(folder / "underlyings.parquet")).write_parquet(
        folder / "underlyings.parquet"
    )
    assert recompute.main(asked) == 1
    assert "altered since it was written" in capsys.readouterr().out
    (folder / "manifest.json").unlink()
    assert recompute.main(asked) == 1
    assert "manifest.json" in capsys.readouterr().out


def test_a_quoted_mark_is_the_quotes_and_not_the_ledgers(hand_made, edit, capsys) -> None:
    edit(hand_made.folder, "positions", changed("mark", 0, 5.0))
    assert recompute.main([str(hand_made.folder)]) == 1
    said = capsys.readouterr().out
    assert "marks that are not the quotes' mid: 1" in said
    assert "largest difference in options: 0.0000" in said


def test_calling_a_quoted_position_stale_is_found(hand_made, edit, capsys) -> None:
    edit(hand_made.folder, "positions", lambda table: table.with_columns(stale=pl.lit(True)))
    assert recompute.main([str(hand_made.folder)]) == 1
    assert "stale positions that are quoted: 2" in capsys.readouterr().out


def test_calling_a_position_fresh_that_has_no_quote_is_found(hand_made, edit, capsys) -> None:
    edit(hand_made.folder, "positions", lambda table: table.with_columns(stale=pl.lit(False)))
    assert recompute.main([str(hand_made.folder)]) == 1
    assert "quoted positions without a quote: 1" in capsys.readouterr().out


def test_a_missing_position_or_fill_is_found(hand_made, edit) -> None:
    edit(hand_made.folder, "positions", lambda table: table.head(2))
    assert recompute.main([str(hand_made.folder)]) == 1


def test_an_altered_file_is_found_by_its_hash(hand_made, capsys) -> None:
    path = hand_made.folder / "equity.parquet"
    pl.read_parquet(path).with_columns(margin_usd=pl.lit(7.0)).write_parquet(path)
    assert recompute.main([str(hand_made.folder)]) == 1
    assert "altered since it was written" in capsys.readouterr().out
    assert recompute.main([str(hand_made.folder), "--skip-hashes"]) == 0


def test_altered_quotes_are_found(hand_made, capsys) -> None:
    pl.read_parquet(hand_made.quotes).with_columns(pl.col("ask") + 0.2).write_parquet(hand_made.quotes)
    assert recompute.main([str(hand_made.folder)]) == 1
    assert "quotes.parquet" in capsys.readouterr().out


def test_the_checkouts_program_runs_without_an_installation(hand_made) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(TOOL), str(hand_made.folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def relative(folder: Path, data: Path, quotes: Path) -> Path:
    """The backtest under a data root, its manifest naming the quotes relative to that."""
    place = data / "backtests" / "abc"
    shutil.copytree(folder, place)
    (data / "cache").mkdir()
    for name in ("quotes", "underlyings", "rates"):
        shutil.copy(quotes.with_stem(name), data / "cache" / f"{name}.parquet")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["quotes"]["path"] = "cache/quotes.parquet"
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


def test_quotes_are_found_below_the_data_root_wherever_that_was_moved(hand_made, tmp_path, monkeypatch, capsys):
    folder = relative(hand_made.folder, tmp_path / "data", hand_made.quotes)
    hand_made.quotes.unlink()
    assert recompute.main([str(folder)]) == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved" / "backtests")
    for name in ("abc", "../backtests/abc", "./abc/"):
        assert recompute.main([name]) == 0
    monkeypatch.chdir("abc")
    assert recompute.main(["."]) == 0
    assert "altered" not in capsys.readouterr().out


def test_a_manifest_that_keeps_its_facts_apart_is_read_alike(hand_made, capsys):
    path = hand_made.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    files = manifest.pop("files")
    path.write_text(json.dumps({"kind": "backtest", "facts": manifest, "files": files, "seal": "0" * 64}))
    assert recompute.main([str(hand_made.folder)]) == 0
    assert capsys.readouterr().out.startswith("by hand: 5 rows")
    hand_made.quotes.write_bytes(hand_made.quotes.read_bytes() + b"0")
    assert recompute.main([str(hand_made.folder)]) == 1


def test_quotes_that_are_gone_are_a_sentence_with_its_remedy(hand_made, tmp_path, capsys):
    elsewhere = hand_made.quotes.rename(tmp_path / "elsewhere.parquet")  # underlyings and rates beside it
    assert recompute.main([str(hand_made.folder)]) == 1
    said = capsys.readouterr().err
    assert "quotes.parquet" in said
    assert "pass --quotes" in said
    assert recompute.main([str(hand_made.folder), "--quotes", str(elsewhere)]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '{"facts": 7}',
        "7",
        "{}",
        "{",
        "\xff",
        '{"files": {}}',
        '{"quotes": {"path": 7}}',
        '{"quotes": "q", "files": []}',
    ],
)
def test_a_manifest_of_another_shape_is_one_sentence(hand_made, capsys, text):
    (hand_made.folder / "manifest.json").write_text(text, encoding="latin-1")
    assert recompute.main([str(hand_made.folder)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("cannot recompute")


@pytest.mark.parametrize("name", recompute.LEDGERS)
def test_a_ledger_without_a_hash_is_not_taken(hand_made, capsys, name):
    path = hand_made.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["files"][f"{name}.parquet"]
    path.write_text(json.dumps(manifest))
    assert recompute.main([str(hand_made.folder)]) == 1
    assert f"names no hash of {name}" in capsys.readouterr().err


def test_faults_are_what_is_over_a_cent_or_counted():
    given = {recompute.TAKEN_AS_GIVEN: 3}
    assert recompute.faults({"cash": 0.01}, {"positions": 0, **given}) == {}
    assert recompute.faults({"cash": 0.02, "equity": float("nan")}, {"positions": 2, **given}).keys() == {
        "cash",
        "equity",
        "positions",
    }


def test_a_folder_that_is_none_is_one_sentence(tmp_path, capsys) -> None:
    assert recompute.main([str(tmp_path / "nowhere")]) == 1
    assert "cannot recompute" in capsys.readouterr().err
