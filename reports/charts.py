"""What every figure shares: the palette, the frame, and the table that stands behind it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from reports.palette import OKABE_ITO

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
REFERENCE = "#8C8C8C"
MAX_POINTS, MAX_TABLE_ROWS, LONG_CELL = 1_500, 250, 30
NOTHING = "–"
MIXED = 1e5
"""Numbers of one column that lie further apart than this are of several units."""

FLAT = 10
"""Up to so many categories have names that lie flat under the axis."""

FEW_ROWS = 4
"""So few rows keep every column."""

ANSWERS = ("passed", "holds", "blocks")
"""Columns that are worth reading where they say the same in every row."""

LABELS = ("year", "seed")
"""Columns whose whole numbers are names, not counts: written without commas."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Text cells under their headings; `note` says what was left out."""

    columns: list[str]
    rows: list[list[str]]
    kinds: list[str]  # per column: number, long or nothing
    failed: list[bool]  # per row: whether it says that something did not hold
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A figure as Plotly's JSON, what to read in it, and its numbers."""

    id: str
    title: str
    figure: dict[str, Any]
    caption: str
    table: Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One section of a report; `message`, a line per paragraph, is what it says before charts and tables or instead."""

    id: str
    title: str
    message: str = ""
    charts: list[Chart] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)


def number(value: Any) -> float | None:
    """A finite float, or None: JSON and axes take no NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def text(value: Any, kind: str = "", decimals: int | None = None) -> str:
    """One cell: kind `percent`, `usd`, `count`, `bps` or plain; a dash for what is missing.

    Args:
        decimals: of a plain number; four significant digits when left out
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return str(value)
    if kind == "percent":
        return f"{_unsigned_zero(100 * value, 2):.2f}%"
    if kind in ("usd", "count"):
        return f"{_unsigned_zero(value, 0):,.0f}"
    if decimals is not None:
        return f"{_unsigned_zero(value, decimals):,.{decimals}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.4g}"


def decimals_of(values: Iterable[Any]) -> int | None:
    """Decimals that a column of plain numbers has in common: two, or three digits of the largest where that is small.

    None for whole numbers, for millionths, and where units are mixed: thousands and thousandths have no decimals in
    common.
    """
    known = [value for value in values if number(value) is not None]
    sizes = [abs(float(value)) for value in known if value]
    if not sizes or all(isinstance(value, int) for value in known) or max(sizes) > MIXED * min(sizes):
        return None
    magnitude = math.floor(math.log10(max(sizes)))
    if magnitude < -1:
        return 2 - magnitude if magnitude > -6 else None
    return max(0, min(2, 3 - magnitude))


def _unsigned_zero(value: float, decimals: int) -> float:
    """The rounded value; what rounds to zero has no sign."""
    return round(value, decimals) + 0.0


def table(rows: Sequence[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> Table:
    """Rows as text: `columns` maps a key to its heading and its kind (see `text`).

    A column's numbers have their decimals in common; rows that say that something did not hold come first; long tables
    are thinned evenly.
    """
    shown = thin(rows, MAX_TABLE_ROWS)
    note = "" if len(shown) == len(rows) else f"{len(shown)} of {len(rows)} rows, evenly spaced, the last included."
    shown.sort(key=lambda row: not _failed(row))
    decimals = {key: decimals_of(row.get(key) for row in shown) for key in columns}
    cells = [
        [
            str(row[key]) if key in LABELS and row.get(key) is not None else text(row.get(key), kind, decimals[key])
            for key, (_, kind) in columns.items()
        ]
        for row in shown
    ]
    return Table(
        columns=[heading for heading, _ in columns.values()],
        rows=cells,
        kinds=[_kind(shown, key, [row[index] for row in cells]) for index, key in enumerate(columns)],
        failed=[_failed(row) for row in shown],
        note=note,
    )


def without_constants(found: Table) -> Table:
    """The table without columns of words that say the same in every row; the note says it once.

    The first column stays, and so does whether something held.
    """
    if len(found.rows) < FEW_ROWS:
        return found
    said = {
        index: found.rows[0][index]
        for index, heading in enumerate(found.columns)
        if index
        and heading not in ANSWERS
        and found.kinds[index] != "number"
        and len({row[index] for row in found.rows}) == 1
    }
    kept = [index for index in range(len(found.columns)) if index not in said]
    words = [f"{found.columns[index]}: {text}" for index, text in said.items() if text not in ("", NOTHING)]
    notes = [found.note, f"In every row: {'; '.join(words)}." if words else ""]
    return Table(
        columns=[found.columns[index] for index in kept],
        rows=[[row[index] for index in kept] for row in found.rows],
        kinds=[found.kinds[index] for index in kept],
        failed=found.failed,
        note=" ".join(filter(None, notes)),
    )


def _failed(row: dict[str, Any]) -> bool:
    return row.get("passed") is False or row.get("severity") == "error"


def _kind(rows: Sequence[dict[str, Any]], key: str, cells: list[str]) -> str:
    if any(number(row.get(key)) is not None for row in rows):
        return "number"
    return "long" if max(map(len, cells), default=0) > LONG_CELL else ""


def thin(values: Sequence[Any], limit: int) -> list[Any]:
    """At most `limit` of the values, evenly spaced, first and last included."""
    if len(values) <= limit:
        return list(values)
    return [values[round(index * (len(values) - 1) / (limit - 1))] for index in range(limit)]


def line(x: Iterable[Any], y: Iterable[Any], name: str, style: int = 0, **changes: Any) -> go.Scatter:
    """A line in the palette's colour number `style`; a few points are marked as well."""
    points = thin([(at, number(value)) for at, value in zip(x, y, strict=True)], MAX_POINTS)
    settings = {
        "x": [at for at, _ in points],
        "y": [value for _, value in points],
        "name": name,
        "mode": "lines+markers" if sum(value is not None for _, value in points) <= 40 else "lines",
        "marker": {"size": 5},
        "line": {
            "color": OKABE_ITO[style % len(OKABE_ITO)],
            "dash": DASHES[style % len(DASHES)],
            "width": 2.6 if style == 0 else 1.6,
        },
    }
    return go.Scatter(**{**settings, **changes})


def has_values(rows: Sequence[dict[str, Any]], *keys: str) -> bool:
    """Whether any row has a finite number under any of the keys."""
    return any(number(row.get(key)) is not None for row in rows for key in keys)


def framed(traces: list[Any], title: str, subtitle: str, y_title: str, *, height: int = 360, **layout: Any) -> dict:
    """Traces in the house frame: title, the data's label as subtitle, legend below."""
    figure = go.Figure(
        data=traces,
        layout={
            "template": "none",
            "title": {
                "text": title,
                "subtitle": {"text": subtitle, "font": {"size": 12}},
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "font": {"size": 16},
            },
            "height": height,
            "margin": {"l": 62, "r": 14, "t": 66, "b": 44},
            "legend": {"orientation": "h", "x": 0, "yanchor": "top", "font": {"size": 12}},
            "yaxis": {"title": {"text": y_title, "standoff": 8}, "automargin": True, "zeroline": True},
            "xaxis": {"automargin": True},
            "hovermode": "x unified",
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
        },
    )
    figure.update_layout(**layout)
    below = 70 if figure.layout.xaxis.title.text else 36  # pixels that the axis and its title need above the legend
    if figure.layout.xaxis.type == "category" and max((len(trace.x or ()) for trace in figure.data), default=0) > FLAT:
        below += 44  # so many names are written upright
    figure.update_layout(legend_y=-below / (height - 110))
    return figure.to_plotly_json()
