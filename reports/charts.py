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
    """One numbered section of a report; `message` is what it says instead of, or before, charts and tables."""

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


def text(value: Any, kind: str = "") -> str:
    """One cell: kind `percent`, `usd`, `count`, `bps` or plain; a dash for what is missing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return str(value)
    if kind == "percent":
        return f"{100 * value:.2f}%"
    if kind in ("usd", "count"):
        return f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.4g}"


def table(rows: Sequence[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> Table:
    """Rows as text: `columns` maps a key to its heading and its kind (see `text`). Long tables are thinned evenly."""
    shown = thin(rows, MAX_TABLE_ROWS)
    note = "" if len(shown) == len(rows) else f"{len(shown)} of {len(rows)} rows, evenly spaced, the last included."
    cells = [[text(row.get(key), kind) for key, (_, kind) in columns.items()] for row in shown]
    return Table(
        columns=[heading for heading, _ in columns.values()],
        rows=cells,
        kinds=[_kind(shown, key, [row[index] for row in cells]) for index, key in enumerate(columns)],
        failed=[row.get("passed") is False or row.get("severity") == "error" for row in shown],
        note=note,
    )


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
    figure.update_layout(legend_y=-below / (height - 110))
    return figure.to_plotly_json()
