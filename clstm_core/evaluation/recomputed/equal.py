"""When two numbers are the same, and what the parts of the recomputation share."""

import polars as pl

STEP = ["episode", "step"]
YEAR_NS = 365 * 86_400 * 10**9
EXACT = 1e-9
"""What prices per share, quantities and growth factors may differ by, relative to themselves where beyond 1."""


def unequal(frame: pl.DataFrame, left: str, right: str) -> int:
    """Rows whose two numbers are not the same but for rounding, or of which one is missing."""
    return either(frame, (left, right))


def either(frame: pl.DataFrame, *pairs: tuple[str, str]) -> int:
    """Rows in which some pair of numbers is not the same."""
    same = [
        (pl.col(left) - pl.col(right)).abs() <= EXACT * pl.max_horizontal(pl.col(left).abs(), 1.0)
        for left, right in pairs
    ]
    return frame.filter(~pl.all_horizontal(same).fill_null(value=False)).height
