"""What every source of option quotes promises, and the frames it hands over."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar, Protocol

import polars as pl

from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.instrument import Instrument, instrument
from clstm_core.market.tables.schema import QUOTES, QUOTES_OPTIONAL, RATES, UNDERLYINGS

FINDINGS: dict[str, pl.DataType] = {
    "check": pl.String(),  # the rule's name
    "severity": pl.String(),  # info, warning or error
    "count": pl.Int64(),  # rows (or sessions, or files) it applies to
    "share": pl.Float64(),  # of the rows (sessions, files) looked at
    "snapshots": pl.String(),  # the sessions concerned, comma-separated ISO dates, the first few
    "detail": pl.String(),  # what was found and what was done, in a sentence
}
SEVERITIES = ("info", "warning", "error")
LABELS = ("real quotes", "modelled quotes", "simulated quotes")
SPREADS = ("quoted", "modelled")
SNAPSHOTS_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTables:
    """The canonical frames of one source.

    quotes: columns `schema.QUOTES` (+ any of QUOTES_OPTIONAL); underlyings: `schema.UNDERLYINGS` (+ `parity_spot`);
    rates: `schema.RATES`; quarantine: the columns of quotes + `reason`; findings: `FINDINGS`.
    """

    quotes: pl.DataFrame
    underlyings: pl.DataFrame
    rates: pl.DataFrame
    quarantine: pl.DataFrame
    findings: pl.DataFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSpec:
    """What a source says about itself before it is opened; `SPEC` of its file in `market/sources/`.

    Units: near_days and far_days in calendar days to expiry
    """

    name: str  # of the file, without .py
    description: str  # one line, for a list of sources
    label: str  # begins with "real quotes", "modelled quotes" or "simulated quotes"
    spread: str  # "quoted" or "modelled"
    needs_folder: bool = False  # whether DATA=... must name the folder or file that it reads
    has_length: bool = False  # whether a person chooses how many snapshots it has
    near_days: float | None = None  # tenor targets that its chains can fill; None: those of MarketConfig
    far_days: float | None = None
    train_until: str | None = None  # last dates of training and of validation; None: by the fractions of MarketConfig
    validation_until: str | None = None
    instrument: str = "SPX"  # its underlying, declared in market/instrument.py
    has_companions: bool = False  # whether a model prices it, so that the same path can be priced by other assumptions

    def __post_init__(self) -> None:
        for field, allowed in (("label", LABELS), ("spread", SPREADS)):
            if not (found := getattr(self, field)).startswith(allowed):
                raise ConfigError(
                    f"{field}={found!r} of source {self.name!r}: expected {' or '.join(allowed)}. Correct its SPEC."
                )


class Declared:
    """A source whose name, label and spread are those of its `spec`."""

    spec: ClassVar[SourceSpec]

    @property
    def name(self) -> str:
        """Of the source, as SOURCE=... takes it."""
        return self.spec.name

    @property
    def instrument(self) -> Instrument:
        """Its underlying; raises ConfigError where nobody declared it."""
        return instrument(self.spec.instrument)

    @property
    def label(self) -> str:
        """What its quotes are, wherever a person can see them."""
        return self.spec.label

    @property
    def spread(self) -> str:
        """Whether bid and ask were quoted or are a stated model's."""
        return self.spec.spread

    def series(self) -> dict[str, Path]:
        """Files of a modelled source, by name: an altered one makes another market."""
        return {}


class Source(Protocol):
    """One vendor, set or model of option quotes."""

    spec: ClassVar[SourceSpec]

    @property
    def name(self) -> str:
        """Of the source, as SOURCE=... takes it."""
        ...

    @property
    def label(self) -> str:
        """What its quotes are."""
        ...

    @property
    def spread(self) -> str:
        """Whether bid and ask were quoted or are a stated model's."""
        ...

    def series(self) -> dict[str, Path]:
        """Files that a modelled source is made from, by name; empty for others."""
        ...

    def list_snapshots(self) -> list[date]:
        """Sessions there are files (or model days) for, ascending."""
        ...

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """The canonical tables of those sessions; raises MarketDataError when they cannot be had."""
        ...


def sessions_text(sessions: Iterable[date]) -> str:
    """ISO dates, sorted and unique, the first few, then how many more."""
    names = [day.isoformat() for day in sorted(set(sessions))]
    rest = len(names) - SNAPSHOTS_SHOWN
    return ", ".join(names[:SNAPSHOTS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def limits(values: pl.Series) -> tuple[float, float]:
    """Smallest and largest of a numeric column, nulls ignored; (0, 0) when there is none."""
    known = values.drop_nulls().to_list()
    return (float(min(known)), float(max(known))) if known else (0.0, 0.0)


def finding(
    check: str, severity: str, count: int, total: int, sessions: Iterable[date] = (), detail: str = ""
) -> pl.DataFrame:
    """One row of the findings table; `total` is what `count` is a share of."""
    if severity not in SEVERITIES:
        raise MarketDataError(f"severity {severity!r} of {check}: expected one of {', '.join(SEVERITIES)}.")
    row = (check, severity, int(count), count / total if total else 0.0, sessions_text(sessions), detail)
    return pl.DataFrame([row], schema=FINDINGS, orient="row")


def empty_findings() -> pl.DataFrame:
    """A findings table without rows."""
    return pl.DataFrame(schema=FINDINGS)


def empty_quarantine() -> pl.DataFrame:
    """A quarantine table without rows."""
    return pl.DataFrame(schema={**QUOTES, **QUOTES_OPTIONAL, "reason": pl.String()})


def require_columns(found: Iterable[str], expected: Iterable[str], file: Path | str) -> None:
    """Raise MarketDataError naming the columns that `file` lacks."""
    found = list(found)
    missing = [name for name in expected if name not in found]
    if missing:
        raise MarketDataError(
            f"missing column {', '.join(missing)} in {file}: found {', '.join(found) or 'none'}. "
            "Download the file again or remove it from the data folder."
        )


def require_folder(folder: Path, what: str) -> Path:
    """`folder`, or a MarketDataError that says where `what` was looked for."""
    if not folder.is_dir():
        raise MarketDataError(
            f"no folder {folder}: expected {what}. Pass the folder that holds {folder.name}/ as DATA=..."
        )
    return folder


def check_tables(tables: SourceTables) -> SourceTables:
    """The tables unchanged; raises MarketDataError when a canonical column is missing or of the wrong type."""
    for name, schema in (("quotes", QUOTES), ("underlyings", UNDERLYINGS), ("rates", RATES)):
        frame: pl.DataFrame = getattr(tables, name)
        require_columns(frame.columns, schema, f"the {name} table")
        wrong = [f"{c} is {frame.schema[c]}, expected {t}" for c, t in schema.items() if frame.schema[c] != t]
        if wrong:
            raise MarketDataError(f"wrong type in the {name} table: {'; '.join(wrong)}. Cast it in the source.")
    return tables
