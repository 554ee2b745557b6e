"""Rows as the store takes them: plain values of the columns' types, checked before anything is written or journaled."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from clstm_core.errors import MetricsError
from clstm_core.store.schema import TABLES, Column, Table


def table_named(name: str) -> Table:
    """The table called `name`; MetricsError naming those there are."""
    if name not in TABLES:
        raise MetricsError(f"unknown table {name!r}: expected one of {', '.join(TABLES)}.")
    return TABLES[name]


def clean_row(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """One row with every value as a plain Python value of its column's type.

    Key columns with a default are filled in; NaN and infinite numbers become None (SQL aggregates survive them not).

    Raises: MetricsError on an unknown column, a missing key or a value of another type.
    """
    unknown = [name for name in row if name not in table.column_names]
    if unknown:
        raise MetricsError(
            f"unknown column {', '.join(map(str, unknown))} in a row of {table.name}: expected only "
            f"{', '.join(table.column_names)}. Add the column to clstm_core/store/schema/ or leave it out."
        )
    clean = {name: _clean(table, table.column(name), value) for name, value in row.items()}
    for name in table.key:
        if clean.get(name) is None:
            default = table.column(name).default
            if default is None:
                raise MetricsError(
                    f"a row of {table.name} has no {name}: expected every key column ({', '.join(table.key)}). "
                    f"Pass {name}."
                )
            clean[name] = _clean(table, table.column(name), default)
    return clean


def known_columns(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `row` that the table has columns for."""
    return {name: value for name, value in row.items() if name in table.column_names}


def _clean(table: Table, column: Column, value: Any) -> Any:
    value = _plain(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    try:
        return _CONVERT[column.type](value)
    except (TypeError, ValueError) as error:
        raise MetricsError(
            f"{table.name}.{column.name}={value!r}: expected {_WORDS[column.type]}, found {type(value).__name__}. "
            "Convert it first."
        ) from error


def _plain(value: Any) -> Any:
    """Scalars of numpy and torch as Python scalars."""
    if not isinstance(value, (str, bytes, date, Path)) and callable(getattr(value, "item", None)):
        return value.item()
    return value


def _text(value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, sort_keys=True, default=str)
    if isinstance(value, (str, int, float, date, Path)):
        return str(value)
    raise TypeError(value)


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or number != float(value) or not -(2**63) <= number < 2**63:
        raise ValueError(value)
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _flag(value: Any) -> bool:
    if value in (True, False):
        return bool(value)
    raise TypeError(value)


def _time(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise TypeError(value)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


_CONVERT = {
    "VARCHAR": _text,
    "BIGINT": _whole,
    "DOUBLE": _number,
    "BOOLEAN": _flag,
    "TIMESTAMP": _time,
    "DATE": _day,
}
_WORDS = {
    "VARCHAR": "text",
    "BIGINT": "a whole number",
    "DOUBLE": "a number",
    "BOOLEAN": "True or False",
    "TIMESTAMP": "a time (datetime or ISO text)",
    "DATE": "a date (date or ISO text)",
}
