"""What a table and a column of the metrics store are, and columns of each type."""

from dataclasses import dataclass

TYPES = ("VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "DATE")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: DuckDB type, unit and meaning; a key column with a `default` may be left out of a row."""

    name: str
    type: str
    unit: str
    note: str
    default: str | None = None
    since: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """One table: columns in order and the natural key that makes writing twice the same as writing once."""

    name: str
    note: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    since: int = 1

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when there is none."""
        return {column.name: column for column in self.columns}[name]


def text(name: str, note: str, unit: str = "", default: str | None = None) -> Column:
    """A column of words, names or hashes."""
    return Column(name, "VARCHAR", unit, note, default)


def count(name: str, note: str, unit: str = "count") -> Column:
    """A column of whole numbers."""
    return Column(name, "BIGINT", unit, note)


def number(name: str, unit: str, note: str) -> Column:
    """A column of measured figures."""
    return Column(name, "DOUBLE", unit, note)


def flag(name: str, note: str) -> Column:
    """A column of yes or no."""
    return Column(name, "BOOLEAN", "", note)


def time(name: str, note: str) -> Column:
    """A column of moments."""
    return Column(name, "TIMESTAMP", "UTC", note)


def date(name: str, note: str) -> Column:
    """A column of days."""
    return Column(name, "DATE", "", note)


RUN = text("run", "name of the training run, the Dagster partition key")
