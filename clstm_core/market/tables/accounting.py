"""Rows in = rows kept + rows in quarantine: the reasons of files' rows, in words, and the check that none vanished."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.source import SourceTables, empty_findings, finding
from clstm_core.plural import counted

ROW_FACTS = ("file", "row", "reason", "cell", "odd", "note")
"""Beside `session`, what a parsed row knows of itself: its file and row there, why it cannot be used (null: it can),
the cell that says so, its odd cells (see `cells.numbers`), and on a file's first row what was unusual of the file."""

SESSIONS_SHOWN = 5
CELLS_SHOWN = 12  # columns that the sentence about odd cells names

REASONS: dict[str, tuple[str, str]] = {
    # reason: (severity, what is said of the rows)
    "unreadable_row": ("warning", "lines whose cells do not match the header's"),
    "torn_row": ("warning", "a last row that is cut short: the file is truncated, download it again"),
    "no_session": ("warning", "rows without a date that can be read"),
    "wrong_session": ("warning", "rows without the session that their file is of"),
    "unknown_symbol": ("warning", "rows whose option symbol cannot be read"),
    "unknown_root": ("warning", "rows of roots that this source does not know"),
    "unknown_right": ("warning", "rows that are neither call nor put"),
    "no_expiry": ("warning", "rows without an expiry that can be read"),
    "symbol_mismatch": ("warning", "rows whose symbol disagrees with their expiry, right or strike"),
    "missing_price": ("warning", "rows without bid, ask or strike"),
    "american_exercise": ("warning", "rows of American contracts, which this release does not trade"),
    "physical_settlement": ("warning", "rows of contracts settled in shares, which this release does not trade"),
    "unknown_terms": ("warning", "rows whose multiplier, exercise, settlement or settling price cannot be read"),
    "ambiguous_contract_id": ("warning", "rows of a contract_id that names several contracts"),
    "no_index_price": ("warning", "rows of sessions on which the underlying has no price"),
    "no_settlement_price": ("warning", "rows of contracts that expire where no price to settle on is known"),
}


def first_reason(rules: Mapping[str, pl.Expr]) -> pl.Expr:
    """The name of the first rule that holds of a row, null where none does."""
    return pl.coalesce(pl.when(rule).then(pl.lit(name)) for name, rule in rules.items())


def row_facts(path: Path, note: str, reason: pl.Expr, cell: pl.Expr) -> list[pl.Expr]:
    """Expressions of ROW_FACTS: `reason` and `cell` where the line itself has none; `note` on the first row."""
    first = pl.int_range(pl.len()) == 0
    return [
        pl.lit(path.name).alias("file"),
        pl.col("row"),
        pl.coalesce("reason", reason).alias("reason"),
        pl.coalesce("cell", cell).alias("cell"),
        pl.col("odd"),
        pl.when(first & pl.lit(bool(note))).then(pl.lit(note)).alias("note"),
    ]


def check_rows(tables: SourceTables, rows_read: int) -> None:
    """Raise MarketDataError, a programmer's error, where `rows_read` are not all in quotes or in quarantine."""
    kept, left = tables.quotes.height, tables.quarantine.height
    if kept + left != rows_read:
        raise MarketDataError(
            f"rows vanished: {rows_read:,} read, but {kept:,} kept and {left:,} in quarantine make {kept + left:,}. "
            "This is a fault of the source's code; report it with the file."
        )


def count_finding(tables: SourceTables, rows_read: int, files: int) -> pl.DataFrame:
    """The finding `rows_read`, whose count a test may compare with the lines of the files."""
    detail = (
        f"{counted(rows_read, 'row')} in {counted(files, 'file')} that could be read: {tables.quotes.height:,} kept, "
        f"{tables.quarantine.height:,} in quarantine."
    )
    return finding("rows_read", "info", rows_read, rows_read, (), detail)


def reason_findings(rows: pl.DataFrame, total: int) -> list[pl.DataFrame]:
    """One finding per reason: how many rows of which session, and the first of them by file, row and cell.

    `rows` has session, file, row, reason (never null) and cell.
    """
    out = []
    for reason, (severity, text) in REASONS.items():
        mine = rows.filter(pl.col("reason") == reason)
        if mine.is_empty():
            continue
        extra = ""
        if reason in ("unknown_root", "unknown_right"):
            counts = mine.group_by(pl.col("cell").fill_null("")).len().sort("len", "cell", descending=[True, False])
            shown = [f"{cell or 'empty'}: {n:,}" for cell, n in counts.head(SESSIONS_SHOWN).iter_rows()]
            extra = f" ({_list(shown)})"
        detail = f"{text}{extra}: quarantined; {_by_session(mine)}; first {_first(mine)}."
        out.append(finding(reason, severity, mine.height, total, mine["session"].drop_nulls(), detail))
    return out


def _by_session(rows: pl.DataFrame) -> str:
    counts = rows.group_by("session").len().sort("session", nulls_last=True)
    shown = _list(f"{day or 'no session'} {n:,}" for day, n in counts.head(SESSIONS_SHOWN).iter_rows())
    return f"{shown}, ..." if counts.height > SESSIONS_SHOWN else shown


def _first(rows: pl.DataFrame) -> str:
    row = rows.row(0, named=True)
    cell = f": {row['cell']!r}" if row.get("cell") else ""
    return f"{row['file']} row {row['row']}{cell}"


def _list(items: Iterable[str]) -> str:
    return ", ".join(items)


def odd_cells_finding(rows: pl.DataFrame) -> pl.DataFrame:
    """The finding that counts cells which are no plain number, by column, with the first of each.

    `rows` has session, file, row and odd (see `cells.numbers`).
    """
    odd = rows.filter(pl.col("odd").is_not_null())
    if odd.is_empty():
        return empty_findings()
    cells = (
        odd.select("session", "file", "row", pl.col("odd").str.split("\n"))
        .explode("odd")
        .with_columns(pl.col("odd").str.splitn("=", 2).struct.rename_fields(["column", "text"]))
        .unnest("odd")
    )
    columns = cells.group_by("column", maintain_order=True).agg(pl.len(), pl.col("file", "row", "text").first())
    said = [
        f"{row['column']} {row['len']:,} (first {row['file']} row {row['row']}: {row['text']!r})"
        for row in columns.head(CELLS_SHOWN).to_dicts()
    ]
    more = f" and {columns.height - CELLS_SHOWN} more columns" if columns.height > CELLS_SHOWN else ""
    detail = f"cells that are no plain number, read where they can mean one only, else empty: {_list(said)}{more}."
    return finding("odd_cells", "warning", cells.height, rows.height, cells["session"].drop_nulls(), detail)


def notes_finding(rows: pl.DataFrame) -> pl.DataFrame:
    """The finding that repeats what was unusual about files; `rows` has session and note."""
    noted = rows.filter(pl.col("note").is_not_null())
    if noted.is_empty():
        return empty_findings()
    files = rows["file"].n_unique()
    return finding("file_notes", "warning", noted.height, files, noted["session"].drop_nulls(), " ".join(noted["note"]))
