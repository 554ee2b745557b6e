"""The summary of a backtest, every declared figure of its books, and the hash that names it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from clstm_core.evaluation.books import Books
from clstm_core.evaluation.figures import FIGURES

_MACHINE_FACTS = ("path", "folder", "quotes_path")


def summarise(tables: Mapping[str, pl.DataFrame], *, capital: float) -> dict[str, Any]:
    """What a reader asks of a backtest: every figure of `figures.FIGURES`, and the action mix."""
    books = Books(tables, capital)
    return {figure.name: figure.of(books) for figure in FIGURES} | {"action_mix": action_mix(books.decisions)}


def action_mix(decisions: pl.DataFrame) -> dict[str, float]:
    """Share of decisions that each action took, largest first; `rule` for orders written by a rule."""
    return {name: count / decisions.height for name, count in action_counts(decisions)}


def action_counts(decisions: pl.DataFrame) -> list[tuple[str, int]]:
    """Decisions that each action took, largest first."""
    counts = decisions.group_by("action_name").len().sort("len", "action_name", descending=[True, False])
    return counts.rows()


def content_hash(facts: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Sixteen hex digits of what was backtested and what came out; where files lie on this machine is left out."""

    def portable(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: portable(item) for key, item in value.items() if key not in _MACHINE_FACTS}
        return value

    text = json.dumps([portable(facts), dict(files)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
