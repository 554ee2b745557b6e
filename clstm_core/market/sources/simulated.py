"""The simulated Black-Scholes world as a source of canonical tables."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from clstm_core.config import MarketConfig
from clstm_core.market.instrument import SIMULATED
from clstm_core.market.source import Declared, SourceSpec, SourceTables, empty_quarantine, finding
from clstm_core.market.tables.schema import QUOTES, RATES, UNDERLYINGS
from clstm_core.market.worlds.black_scholes import LABEL, SOURCE, SPREAD, simulated_columns, simulated_notes

SPEC = SourceSpec(
    name=SOURCE,
    description="Black-Scholes chains on a seeded path; needs no data",
    label=LABEL,
    spread=SPREAD,
    has_length=True,
    instrument=SIMULATED.name,
)


class Simulated(Declared):
    """Seeded Black-Scholes chains; see `worlds.black_scholes.simulated_columns`."""

    spec = SPEC

    def __init__(self, config: MarketConfig) -> None:
        self.config = config
        quotes, underlyings, rates = simulated_columns(config)
        self._quotes = _frame(quotes, QUOTES)
        self._underlyings = _frame(underlyings, UNDERLYINGS)
        self._rates = _frame(rates, RATES)

    @property
    def notes(self) -> list[str]:
        """What a reader must know about these quotes, in sentences."""
        return simulated_notes(self.config)

    def list_snapshots(self) -> list[date]:
        """Weekdays with quotes, ascending."""
        return self._quotes["snapshot"].unique().sort().dt.date().to_list()

    def read(self, snapshots: Sequence[date]) -> SourceTables:
        """Quotes of those sessions; the path and the rates up to the last of them."""
        last = max(snapshots)
        quotes = self._quotes.filter(pl.col("snapshot").dt.date().is_in(list(snapshots)))
        return SourceTables(
            quotes=quotes,
            underlyings=self._underlyings.filter(pl.col("snapshot").dt.date() <= last),
            rates=self._rates.filter(pl.col("date") <= last),
            quarantine=empty_quarantine(),
            findings=finding("simulated_quotes", "info", quotes.height, quotes.height, (), " ".join(self.notes)),
        )


def _frame(columns: Mapping[str, np.ndarray], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Columns as a frame of the canonical types; a constant column costs one value."""
    height = len(next(iter(columns.values())))
    series = []
    for name, kind in schema.items():
        values = columns[name]
        if values.strides == (0,):
            series.append(pl.Series(name, [values[0]]).new_from_index(0, height).cast(kind))
        elif values.dtype == object:
            series.append(pl.Series(name, values.tolist(), dtype=kind))
        else:
            series.append(pl.Series(name, values).cast(kind))
    return pl.DataFrame([s.alias(name) for s, name in zip(series, schema, strict=True)])
