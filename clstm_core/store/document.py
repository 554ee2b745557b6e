"""The reference part of `docs/metrics.md`, written from the schema: `python -m clstm_core.store.document FILE`."""

import sys
from pathlib import Path

from clstm_core.store.schema import TABLES, Table


def as_markdown(tables: dict[str, Table] = TABLES) -> str:
    """Every table, column, unit and key as the reference part of `docs/metrics.md`."""
    blocks = []
    for table in tables.values():
        rows = [
            _row(
                f"`{column.name}`",
                "key" if column.name in table.key else "",
                column.type,
                column.unit,
                f"{column.note}{f'; default `{column.default}`' if column.default else ''}",
            )
            for column in table.columns
        ]
        head = [f"### `{table.name}`", "", table.note, ""]
        titles = ["| column | key | type | unit | meaning |", "|---|---|---|---|---|"]
        blocks.append("\n".join(head + titles + rows))
    return "\n\n".join(blocks) + "\n"


def _row(*cells: str) -> str:
    """A line of a Markdown table; a bar within a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def update_document(text: str) -> str:
    """`text` with what stands between its reference marks replaced by `as_markdown`."""
    begin, end = "<!-- reference: begin -->\n", "<!-- reference: end -->"
    before, after = text.split(begin, 1)[0], text.split(end, 1)[1]
    return f"{before}{begin}\n{as_markdown()}\n{end}{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(update_document(document.read_text()))
