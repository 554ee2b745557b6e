"""What is traded: each underlying's contract terms, declared once. A new underlying is one more `Instrument` here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clstm_core.errors import ConfigError

Settles = Literal["AM", "PM"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Instrument:
    """An underlying and the terms that its listed options share.

    Units: multiplier in shares (or index units) per contract; tick in currency per share
    """

    name: str
    roots: Mapping[str, Settles] = field(hash=False)  # of option symbols: settled at the open (AM) or the close (PM)
    multiplier: float = 100.0
    exercise: Literal["european", "american"] = "european"
    settlement: Literal["cash", "physical"] = "cash"
    currency: str = "USD"
    tick: float = 0.05
    calendar: str = "XNYS"  # ISO code of the exchange whose sessions and hours the underlying keeps
    index_symbol: str | None = None  # of its daily series, as Yahoo writes it; None where nobody quotes one
    margin: str = "broad_index"  # class of the price scan: a broad index moves -8% .. +6% in `EnvConfig`

    def __post_init__(self) -> None:
        checks = (
            (bool(self.name), "name", "a symbol, e.g. 'SPX'"),
            (bool(self.roots) and set(self.roots.values()) <= {"AM", "PM"}, "roots", "each root with 'AM' or 'PM'"),
            (self.multiplier > 0, "multiplier", "a positive number, e.g. 100"),
            (self.tick > 0, "tick", "a positive price step, e.g. 0.05"),
            (self.exercise in ("european", "american"), "exercise", "european or american"),
            (self.settlement in ("cash", "physical"), "settlement", "cash or physical"),
        )
        for good, name, expected in checks:
            if not good:
                found = getattr(self, name)
                raise ConfigError(f"{name}={found!r} of instrument {self.name!r}: expected {expected}. Correct it.")

    @property
    def terms(self) -> dict[str, str | float]:
        """The columns of `quotes` that are the same for all of its contracts."""
        return {
            "underlying": self.name,
            "multiplier": self.multiplier,
            "exercise": self.exercise,
            "settlement": self.settlement,
            "currency": self.currency,
        }

    @property
    def am_roots(self) -> list[str]:
        """Roots whose contracts settle at the open."""
        return [root for root, settles in self.roots.items() if settles == "AM"]


SPX = Instrument(name="SPX", roots={"SPX": "AM", "SPXW": "PM"}, index_symbol="^GSPC")
SPX_MODELLED = dataclasses.replace(SPX, roots={"SPXM": "PM"})
"""Contracts that only `sp500_modelled` lists; their root says so in every contract's name."""

SIMULATED = Instrument(name="SIM", roots={"SIM": "PM"})

INSTRUMENTS = {instrument.name: instrument for instrument in (SPX, SIMULATED)}


def instrument(name: str) -> Instrument:
    """The declared instrument of that name; raises ConfigError naming those there are."""
    if name not in INSTRUMENTS:
        raise ConfigError(
            f"unknown instrument {name!r}: expected one of {', '.join(INSTRUMENTS)}. Declare it in instrument.py."
        )
    return INSTRUMENTS[name]


def instrument_of(underlying: str) -> Instrument:
    """The declared instrument; for an underlying that nobody declared, SPX's terms with a PM root of its own name."""
    return INSTRUMENTS.get(underlying) or dataclasses.replace(
        SPX, name=underlying, roots={underlying: "PM"}, index_symbol=None
    )
