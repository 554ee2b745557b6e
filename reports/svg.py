"""Small line charts as SVG text, for places that show pictures but run no script (metadata as Markdown images)."""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, Template

from reports.palette import OKABE_ITO

DASHES = ("", "6 3", "2 3", "8 3 2 3", "10 4", "4 2 1 2")
MAX_POINTS = 400
MAX_SERIES = 12
_LEFT, _RIGHT, _TOP, _KEY_ROW, _KEY_COLUMNS = 66, 14, 48, 18, 3

Point = tuple[Any, float | None]


def line_chart(
    series: Mapping[str, Sequence[Point]],
    title: str,
    *,
    subtitle: str = "",
    width: int = 720,
    height: int = 320,
) -> str:
    """An SVG of named lines; x is a number, a date or a datetime (one kind per chart), y a number.

    Points whose y is None, NaN or infinite are gaps. Lines are thinned to MAX_POINTS, so a chart of a dozen stays far
    below 200 KB; series beyond MAX_SERIES are left out. `subtitle` is the place for the data's label.
    """
    shown = {name: _points(values) for name, values in list(series.items())[:MAX_SERIES]}
    shown = {name: values for name, values in shown.items() if any(y is not None for _, y in values)}
    xs = [x for values in shown.values() for x, _ in values]
    ys = [y for values in shown.values() for _, y in values if y is not None]
    key_rows = math.ceil(len(shown) / _KEY_COLUMNS)
    right, bottom = width - _RIGHT, height - 28 - _KEY_ROW * key_rows
    x_low, x_high = _span(xs)
    y_low, y_high = _span(ys)

    def at_x(x: float) -> float:
        return round(_LEFT + (right - _LEFT) * (x - x_low) / (x_high - x_low), 1)

    def at_y(y: float) -> float:
        return round(bottom - (bottom - _TOP) * (y - y_low) / (y_high - y_low), 1)

    column = (width - 24) / _KEY_COLUMNS
    lines = [
        {
            "name": name,
            "colour": OKABE_ITO[index % len(OKABE_ITO)],
            "dash": DASHES[index % len(DASHES)],
            "width": 2.4 if index == 0 else 1.5,
            "parts": [" ".join(f"{at_x(x)},{at_y(y)}" for x, y in part) for part in _parts(values)],
            "key_x": round(12 + column * (index % _KEY_COLUMNS), 1),
            "key_y": height - 6 - _KEY_ROW * (key_rows - 1 - index // _KEY_COLUMNS),
        }
        for index, (name, values) in enumerate(shown.items())
    ]
    ends = _x_labels(series)
    x_ticks = [
        {"at": at, "anchor": anchor, "label": label}
        for at, anchor, label in ((_LEFT, "start", ends[0]), (right, "end", ends[1]))
        if shown
    ]
    y_ticks = [{"at": at_y(y), "label": f"{y:.4g}"} for y in _ticks(y_low, y_high)] if shown else []
    return _template().render(
        title=title,
        subtitle=subtitle,
        width=width,
        height=height,
        left=_LEFT,
        right=right,
        top=_TOP,
        bottom=bottom,
        lines=lines,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
    )


def _points(values: Sequence[Point]) -> list[tuple[float, float | None]]:
    """Points as numbers, thinned evenly with both ends kept."""
    count = len(values)
    if count > MAX_POINTS:
        values = [values[round(i * (count - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
    return [(_as_number(x), None if y is None or not math.isfinite(y) else float(y)) for x, y in values]


def _as_number(x: Any) -> float:
    if isinstance(x, date):
        return x.toordinal() + (getattr(x, "hour", 0) * 60 + getattr(x, "minute", 0)) / 1440
    return float(x)


def _parts(values: list[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
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


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers inside the span."""
    raw = (high - low) / 4
    step = 10 ** math.floor(math.log10(raw))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if factor * step >= raw)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]


def _x_labels(series: Mapping[str, Sequence[Point]]) -> tuple[str, str]:
    """The first and last x as text."""
    xs = [x for values in series.values() for x, _ in values]
    if not xs:
        return "", ""
    return _label(min(xs)), _label(max(xs))


def _label(x: Any) -> str:
    if isinstance(x, date):
        return x.isoformat()[:10]
    return f"{x:,.0f}" if abs(x) >= 1 else f"{x:.3g}"


@cache
def _template() -> Template:
    return Environment(loader=PackageLoader("reports"), autoescape=True).get_template("line_chart.svg")
