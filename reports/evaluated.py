"""Pictures of one checkpoint's accounts: profit by date, and how the sessions' returns are distributed."""

from collections.abc import Mapping, Sequence
from typing import Any

from reports.svg import MAX_SERIES, line_chart


def profit_picture(curves: Mapping[int, Sequence[tuple[Any, float]]], label: str) -> str:
    """Profit of each account by date as an SVG; of the first dozen where there are more."""
    more = f", the first {MAX_SERIES} of {len(curves)} accounts" if len(curves) > MAX_SERIES else ""
    lines = {f"account {number}": points for number, points in curves.items()}
    return line_chart(lines, f"Profit in USD{more}", subtitle=label)


def distribution_picture(bins: Sequence[tuple[float, float, int]], label: str) -> str:
    """Sessions by their return as an SVG: a step per bin (low, high, count).

    Units: low and high as fractions; shown in percent
    """
    steps = [(100.0 * edge, float(count)) for low, high, count in bins for edge in (low, high)]
    return line_chart({"sessions by return, %": steps}, "How the sessions' returns are distributed", subtitle=label)
