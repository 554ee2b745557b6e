"""Files as tables of text: what is unambiguous is read, whatever it is packed or encoded in; else a sentence says why.

Read: plain, gzip and zip with one member (by content, not by name); UTF-8, UTF-16, UTF-32 and Latin-1; `,` `;` tab and
`|`; any line break, also none at the end; titles above the header, comments and footers, which are no rows. Every
other line is a row of the table, and a line that is none comes with the reason.
"""

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.source import require_columns
from clstm_core.plural import counted

LIMIT_BYTES = 256 * 2**20
"""Most bytes that one file of text may unpack to: a session's chain has some megabytes."""

HEADER_WITHIN = 20  # lines above which a header is looked for
DELIMITERS = (",", ";", "\t", "|")
CHUNK_ROWS = 100_000
COLUMNS_NAMED = 8  # of those wanted, that a sentence about a file without any of them names
TAIL_ROWS = 50  # lines at the end among which footers are looked for
SHOWN = 60  # characters of a cell or line that a sentence shows
PACKINGS = 2  # a file packed in a packed file is unpacked so many times

_BREAK = re.compile(r"\r\n|\n|\r")
_COMMENT = re.compile(r"^\s*(#|//)")
_FOOTER = re.compile(
    r"^\W*(end|eof|total|sum|count|rows?|records?|source|notes?|copyright|generated|disclaimer|downloaded)\b", re.I
)
_BOMS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTable:
    """A file's rows as text.

    header: the names of all columns that the file has, normalised.
    frame: one text column per header name (normalised: `Last Trade Price` is `last_trade_price`), cells stripped and
    null where empty; `row` (line of the file, from 1); `reason` and `cell`, null but for lines that are no whole row.
    note: what is no row, or was read in an unusual way, in a sentence; empty without any.
    decimal_comma: whether the numbers are written like 96,50.
    """

    name: str
    header: list[str]
    frame: pl.DataFrame
    note: str
    decimal_comma: bool


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked; MarketDataError for one that is damaged, or unpacks to more than LIMIT_BYTES."""
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise _too_large(path.name)
        raw = path.read_bytes()
    except OSError as error:
        raise MarketDataError(
            f"unreadable file {path.name}: {error.strerror or error}. Expected a file that can be read; mend its "
            "permissions or download it again."
        ) from error
    for _ in range(PACKINGS):
        raw = _unpacked(raw, path.name)
    return raw


def _unpacked(raw: bytes, name: str) -> bytes:
    try:
        if raw[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
                out = stream.read(LIMIT_BYTES + 1)
        elif raw[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX")]
                if len(members) != 1:
                    raise MarketDataError(
                        f"{len(members)} files packed in {name}: found {', '.join(m.filename for m in members[:5])}, "
                        "expected one. Unpack it into the folder."
                    )
                with archive.open(members[0]) as stream:
                    out = stream.read(LIMIT_BYTES + 1)
        else:
            return raw
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, MarketDataError):
            raise
        raise MarketDataError(
            f"unreadable file {name}: found {len(raw):,} bytes that do not unpack ({error}), expected a whole file. "
            "Download it again; the session is left out until then."
        ) from error
    if len(out) > LIMIT_BYTES:
        raise _too_large(name)
    return out


def _too_large(name: str) -> MarketDataError:
    return MarketDataError(
        f"too large a file {name}: found more than {LIMIT_BYTES // 2**20} MB of text once unpacked, expected less. "
        "Split it by session, or store it as Parquet and read it with SOURCE=table."
    )


def decode(raw: bytes, name: str) -> tuple[str, str]:
    """A file's text and how it was encoded; MarketDataError where it is no text."""
    encoding = next((kind for bom, kind in _BOMS.items() if raw.startswith(bom)), None) or _zeros(raw)
    try:
        if encoding:
            return raw.decode(encoding), encoding.removesuffix("-sig")
        if b"\x00" in raw[:4096]:
            raise UnicodeDecodeError("utf-8", raw, 0, 1, "zero bytes")
        try:
            return raw.decode(), "utf-8"
        except UnicodeDecodeError:
            return raw.decode("latin-1"), "Latin-1"
    except UnicodeDecodeError as error:
        raise MarketDataError(
            f"no text in {name}: found {len(raw):,} bytes beginning {raw[:8].hex(' ')} ({error.reason}), expected a "
            "table in UTF-8, UTF-16 or Latin-1. Download it again."
        ) from error


def _zeros(raw: bytes) -> str | None:
    """UTF-16 without its mark, by where the zeros of its ASCII letters lie."""
    even, odd = raw[0:4096:2], raw[1:4096:2]
    if not odd:
        return None
    low, high = even.count(0) / len(even), odd.count(0) / len(odd)
    return "utf-16-le" if high > 0.8 and low < 0.2 else "utf-16-be" if low > 0.8 and high < 0.2 else None


def normalised(name: str) -> str:
    """A header's name as the sources ask for it: lower case, no quotes or brackets, `_` between words."""
    return re.sub(r"[\s\-./]+", "_", name.strip().strip("\"'[]").strip().lower()).strip("_")


def read_table(path: Path, columns: Sequence[str], *, keep_torn: bool = False) -> TextTable:
    """A file of delimited text; its header is the line that holds most of `columns`.

    Raises:  MarketDataError for a file that is empty, no text, without rows, whose header names a column twice, or
             whose last row is torn (with `keep_torn` that row comes back with its reason)
    Assumes: a quoted cell holds no line break
    """
    text, encoding = decode(read_bytes(path), path.name)
    whole = text.endswith(("\n", "\r"))
    lines = _BREAK.split(text.removesuffix("\x1a"))
    at, delimiter = _header(lines, columns, path.name)
    names = _names(lines[at], delimiter, path.name)
    if not set(names) & set(columns):
        require_columns(names, list(columns)[:COLUMNS_NAMED], path.name)
    notes = [] if encoding == "utf-8" else [f"read as {encoding}"]
    notes += [] if delimiter == "," else [f"cells are parted by {delimiter!r}"]
    skipped = [(n, line) for n, line in enumerate(lines[:at], start=1) if line.strip()]

    body = [(n, line) for n, line in enumerate(lines[at + 1 :], start=at + 2) if line.strip()]
    skipped += [(n, line) for n, line in body if _COMMENT.match(line)]
    rows = [(n, line) for n, line in body if not _COMMENT.match(line)]
    footers, torn = _tail(rows, delimiter, len(names), whole)
    skipped += rows[len(rows) - footers :]
    rows = rows[: len(rows) - footers]
    if torn and not keep_torn:
        n, line = rows[-1]
        cells = _split(line, delimiter, len(names))
        raise MarketDataError(
            f"truncated file {path.name}: found {len(cells or ())} of {len(names)} cells in its last row (row {n}: "
            f"{line[:SHOWN]!r}), expected whole rows. Download it again."
        )
    if not rows:
        raise MarketDataError(f"no rows in {path.name}: found a header alone, expected rows below. Download it again.")
    if skipped:
        n, line = skipped[0]
        notes.append(
            f"{counted(len(skipped), 'line is no row', 'lines are no rows')}, first row {n}: {line.strip()[:SHOWN]!r}"
        )
    frame = _frame(rows, delimiter, names, torn)
    note = f"{path.name}: {'; '.join(notes)}." if notes else ""
    decimal_comma = _decimal_comma(frame, delimiter)
    return TextTable(name=path.name, header=names, frame=frame, note=note, decimal_comma=decimal_comma)


def _header(lines: Sequence[str], columns: Collection[str], name: str) -> tuple[int, str]:
    """Line and delimiter of the header: most of the wanted columns, else most cells; the first line of a tie."""
    best, found = (-1, -1), None
    for at, line in enumerate(lines[:HEADER_WITHIN]):
        if not line.strip() or _COMMENT.match(line):
            continue
        for delimiter in DELIMITERS:
            cells = [normalised(cell) for cell in line.split(delimiter)]
            wanted = len(set(cells) & set(columns))
            score = (wanted, len(cells) if found is None or found[0] == at else -1)
            if score > best:
                best, found = score, (at, delimiter)
    if found is None:
        raise MarketDataError(f"empty file {name}: found no text, expected a header and rows. Download it again.")
    return found


def _names(line: str, delimiter: str, name: str) -> list[str]:
    try:
        cells = next(csv.reader([line.lstrip("\ufeff")], delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        cells = line.split(delimiter)
    names = [normalised(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    twice = sorted({column for column in names if column and names.count(column) > 1})
    if twice:
        raise MarketDataError(
            f"column {', '.join(twice)} stands twice in the header of {name}: expected every name once. Rename or "
            "remove one of them."
        )
    names = [column or f"column_{n}" for n, column in enumerate(names, start=1)]
    own = {"row": "row_", "reason": "reason_", "cell": "cell_"}  # ours, see TextTable
    return [own.get(column, column) for column in names]


def _split(line: str, delimiter: str, width: int) -> list[str] | None:
    """Cells of a line, None where its quotes do not close; empty cells beyond the header's are dropped."""
    if '"' in line:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
        except csv.Error:
            return None
    else:
        cells = line.split(delimiter)
    while len(cells) > width and not cells[-1].strip():
        cells.pop()
    return cells


def _tail(rows: Sequence[tuple[int, str]], delimiter: str, width: int, whole: bool) -> tuple[int, bool]:
    """How many lines at the end are no rows, and whether the one above them is torn."""
    last = [(line, _split(line, delimiter, width)) for _, line in rows[-TAIL_ROWS:]]
    model = next((cells for _, cells in reversed(last) if cells and len(cells) == width and not _total(cells)), None)
    footers = 0
    for line, cells in reversed(last):
        short = cells is None or len(cells) < width or _total(cells)
        alike = cells is not None and model is not None and _shape(model[0]).startswith(_shape(cells[0]))
        if not short or ((alike or model is None) and not _FOOTER.match(line)):
            break
        footers += 1
    if footers or whole or not last:
        return footers, False
    cells = last[-1][1]
    return 0, cells is None or len(cells) < width


def _total(cells: Sequence[str]) -> bool:
    """Whether a line as wide as the header is a footer: its first cell says so and most others are empty."""
    return bool(_FOOTER.match(cells[0])) and sum(not cell.strip() for cell in cells) * 2 >= len(cells) - 1


def _shape(cell: str) -> str:
    return re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", cell.strip()))


def _frame(rows: Sequence[tuple[int, str]], delimiter: str, names: Sequence[str], torn: bool) -> pl.DataFrame:
    """Text columns, `row`, `reason` and `cell` of the lines, in their order."""
    lines = pl.DataFrame({"row": [n for n, _ in rows], "line": [line for _, line in rows]})
    line = pl.col("line")
    plain = ~line.str.contains('"', literal=True) & (line.str.count_matches(delimiter, literal=True) == len(names) - 1)
    easy, other = lines.filter(plain), lines.filter(~plain)
    cells = easy["line"].str.split_exact(delimiter, len(names) - 1).struct.rename_fields(list(names)).struct.unnest()
    none = pl.Series([None] * easy.height, dtype=pl.String)
    parts = [
        cells.with_columns(easy["row"], none.alias("reason"), none.alias("cell")),
        *_unusual(other, delimiter, names),
    ]
    frame = pl.concat(parts).sort("row")
    if torn:
        last = pl.int_range(pl.len()) == pl.len() - 1
        frame = frame.with_columns(reason=pl.when(last).then(pl.lit("torn_row")).otherwise("reason"))
    return stripped(frame, names)


def _unusual(lines: pl.DataFrame, delimiter: str, names: Sequence[str]) -> list[pl.DataFrame]:
    """The same of lines with quotes or another number of cells, one by one; a few at a time, as text takes memory."""
    empty: list[str | None] = [None] * len(names)
    parts = []
    for chunk in lines.iter_slices(CHUNK_ROWS):
        split = [_split(line, delimiter, len(names)) for line in chunk["line"]]
        good = [cells is not None and len(cells) == len(names) for cells in split]
        columns = zip(*(cells if ok and cells else empty for cells, ok in zip(split, good, strict=True)), strict=True)
        texts = [pl.Series(name, column, dtype=pl.String) for name, column in zip(names, columns, strict=True)]
        fits = pl.Series(good, dtype=pl.Boolean)
        own = chunk.select(
            "row",
            reason=pl.when(~fits).then(pl.lit("unreadable_row")),
            cell=pl.when(~fits).then(pl.col("line").str.slice(0, SHOWN)),
        )
        parts.append(pl.DataFrame([*texts, *own.get_columns()]))
    return parts


def stripped(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """The text columns without the space around their cells; null where nothing is left."""
    text = {name: pl.col(name).str.strip_chars() for name in names}
    return frame.with_columns(**{name: pl.when(cell != "").then(cell) for name, cell in text.items()})


def _decimal_comma(frame: pl.DataFrame, delimiter: str) -> bool:
    """Whether numbers are written 96,50: some can be nothing else, and none has a point for its decimals."""
    if delimiter == ",":
        return False
    texts = [frame[name].drop_nulls() for name, kind in frame.schema.items() if kind == pl.String]
    comma = any(text.str.contains(r"^[-+]?\d+,(\d{1,2}|\d{4,})$|^[-+]?\d{4,},\d+$").any() for text in texts)
    return comma and not any(text.str.contains(r"^[-+]?\d+\.\d+$").any() for text in texts)
