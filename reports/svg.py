"""Small line charts as SVG text, for places that show pictures but run no script (metadata as Markdown images)."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, Template

from reports.palette import OKABE_ITO

DASHES = ("", "6 3", "2 3", "8 3 2 3", "10 4", "4 2 1 2")
MAX_POINTS = 400
MAX_SERIES = 12
_LEFT, _RIGHT, _TOP, _KEY_ROW = 72, 14, 48, 18
_KEY_COLUMNS, _KEY_WIDTH = 3, 150  # at most so many names beside each other, each with so many pixels at least
_LABEL_EVERY, _BETWEEN, _EDGE = 100, 34, 24

Point = tuple[Any, float | None]
Number = tuple[float, float | None]
Lines = Mapping[str, Sequence[Point]]


def line_chart(series: Lines, title: str, *, subtitle: str = "", width: int = 720, height: int = 320) -> str:
    """An SVG of named lines; x is a number, a date or a datetime (one kind per chart), y a number.

    Points whose y is None, NaN or infinite are gaps. Lines are thinned to MAX_POINTS, so a chart of a dozen stays far
    below 200 KB; series beyond MAX_SERIES are left out. `subtitle` is the place for the data's label.
    """
    return stacked_chart({"": series}, title, subtitle=subtitle, width=width, height=height)


def stacked_chart(
    panels: Mapping[str, Lines],
    title: str,
    *,
    subtitle: str = "",
    x_label: str = "",
    width: int = 720,
    height: int = 320,
) -> str:
    """As `line_chart`, with panels below each other over one x axis: what differs in unit has a y axis of its own.

    Args:
        panels: named lines by what their y axis shows; a panel without a point is left out
    """
    drawn = {label: found for label, lines in panels.items() if (found := _shown(lines))}
    names = [name for lines in drawn.values() for name in lines]
    every_x = [x for label, lines in drawn.items() for name in lines for x, _ in panels[label][name]]
    x_low, x_high = _span([_as_number(x) for x in every_x])
    columns = max(1, min(_KEY_COLUMNS, (width - 24) // _KEY_WIDTH))
    key_rows = math.ceil(len(names) / columns)
    right, bottom = width - _RIGHT, height - 28 - _KEY_ROW * (key_rows + bool(x_label))
    first_top = _TOP + (_KEY_ROW if subtitle and any(drawn) else 0)
    room = (bottom - first_top - _BETWEEN * (len(drawn) - 1)) / max(1, len(drawn))

    def at_x(x: float) -> float:
        return round(_LEFT + (right - _LEFT) * (x - x_low) / (x_high - x_low), 1)

    def looks(name: str) -> dict[str, Any]:
        index, column = names.index(name), (width - 24) / columns
        return {
            "colour": OKABE_ITO[index % len(OKABE_ITO)],
            "dash": DASHES[index % len(DASHES)],
            "width": 2.4 if index == 0 else 1.5,
            "key_x": round(12 + column * (index % columns), 1),
            "key_y": height - 6 - _KEY_ROW * (key_rows - 1 - index // columns),
        }

    shown = [
        _panel(label, lines, at_x, top=first_top + number * (room + _BETWEEN), room=room)
        for number, (label, lines) in enumerate(drawn.items())
    ]
    for line in (line for panel in shown for line in panel["lines"]):
        line |= looks(line["name"])
    return _template().render(
        title=title,
        subtitle=subtitle,
        x_label=x_label,
        width=width,
        height=height,
        left=_LEFT,
        right=right,
        top=_TOP,
        bottom=bottom,
        panels=shown,
        x_ticks=[
            {"at": at, "anchor": "start" if at <= _LEFT else "end" if at > right - _EDGE else "middle", "label": label}
            for x, label in _x_ticks(every_x, max(2, (right - _LEFT) // _LABEL_EVERY))
            if _LEFT <= (at := at_x(x)) <= right
        ],
    )


def _panel(
    label: str, lines: Mapping[str, list[Number]], at_x: Callable[[float], float], *, top: float, room: float
) -> dict[str, Any]:
    """One panel's lines and y axis, which begin at `top` and are `room` high."""
    low, high = _span([y for values in lines.values() for _, y in values if y is not None])

    def at_y(y: float) -> float:
        return round(top + room - room * (y - low) / (high - low), 1)

    return {
        "label": label,
        "label_y": round(top - 8, 1),
        "ticks": [{"at": at_y(y), "label": _y_label(y)} for y in _ticks(low, high)],
        "lines": [
            {"name": name, "parts": [" ".join(f"{at_x(x)},{at_y(y)}" for x, y in part) for part in _parts(values)]}
            for name, values in lines.items()
        ],
    }


def _shown(series: Lines) -> dict[str, list[Number]]:
    """The lines that have a point, as numbers."""
    found = {name: _points(values) for name, values in list(series.items())[:MAX_SERIES]}
    return {name: values for name, values in found.items() if any(y is not None for _, y in values)}


def _points(values: Sequence[Point]) -> list[Number]:
    """Points as numbers, thinned evenly with both ends kept."""
    count = len(values)
    if count > MAX_POINTS:
        values = [values[round(i * (count - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
    return [(_as_number(x), None if y is None or not math.isfinite(y) else float(y)) for x, y in values]


def _as_number(x: Any) -> float:
    if isinstance(x, date):
        return x.toordinal() + (getattr(x, "hour", 0) * 60 + getattr(x, "minute", 0)) / 1440
    return float(x)


def _parts(values: list[Number]) -> list[list[tuple[float, float]]]:
    """Stretches between gaps; a lone point becomes a short dash that can be seen."""
    parts: list[list[tuple[float, float]]] = [[]]
    for x, y in values:
        if y is None:
            parts.append([])
        else:
            parts[-1].append((x, y))
    return [part if len(part) > 1 else part * 2 for part in parts if part]


def _span(values: list[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        pad = abs(low) * 0.05 or 0.5
        return low - pad, high + pad
    return low, high


def _ticks(low: float, high: float, parts: int = 4) -> list[float]:
    """Round numbers inside the span, at most one more than `parts`."""
    raw = (high - low) / parts
    step = 10 ** math.floor(math.log10(raw))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if factor * step >= raw)
    hair = 1e-9  # an end that is round itself is labelled, whatever its last bits
    return [index * step for index in range(math.ceil(low / step - hair), math.floor(high / step + hair) + 1)]


def _y_label(y: float) -> str:
    return f"{y:,.0f}" if 1e4 <= abs(y) < 1e7 else f"{y:.4g}"


def _x_ticks(xs: Sequence[Any], count: int) -> list[tuple[float, str]]:
    """Where the x axis is labelled, and how: `count` dates, both ends among them, or about as many round numbers."""
    if not xs:
        return []
    first, last = min(xs), max(xs)
    low, high = _as_number(first), _as_number(last)
    if not isinstance(first, date):
        return [(x, f"{x:,.6g}") for x in _ticks(*_span([low, high]), count)]
    if low == high:
        return [(low, first.isoformat()[:10])]
    steps = [low + (high - low) * index / (count - 1) for index in range(count)]
    return [(x, date.fromordinal(int(x + 1e-6)).isoformat()) for x in steps]


@cache
def _template() -> Template:
    return Environment(loader=PackageLoader("reports"), autoescape=True).get_template("line_chart.svg")
