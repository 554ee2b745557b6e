"""Where option quotes come from: one file a source, opened by name."""

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from clstm_core.config import MarketConfig
from clstm_core.errors import ConfigError

if TYPE_CHECKING:
    from clstm_core.market.source import Source

REGISTRY: dict[str, tuple[str, str]] = {
    "sp500_modelled": ("clstm_core.market.sources.sp500_modelled", "SP500Modelled"),
    "simulated": ("clstm_core.market.sources.simulated", "Simulated"),
    "spx_barchart": ("clstm_core.market.sources.spx_barchart", "SPXBarchart"),
    "spx_cboe": ("clstm_core.market.sources.spx_cboe", "SPXCboe"),
    "table": ("clstm_core.market.sources.table", "Table"),
}
FILE_SOURCES = ("spx_barchart", "spx_cboe", "table")
TENORS: dict[str, tuple[float, float]] = {"spx_barchart": (5.0, 9.0)}
"""Near and far targets in days where a set does not reach the default 30 and 60."""


def open_source(config: MarketConfig) -> "Source":
    """The source that `config.source` names.

    Raises: ConfigError for a name that is not registered or a set whose folder is not given; MarketDataError when the
            folder or its files are missing.
    """
    if config.source not in REGISTRY:
        raise ConfigError(
            f"unknown market source {config.source!r}: expected one of {', '.join(REGISTRY)}. Pass one as SOURCE."
        )
    if config.source in FILE_SOURCES and not config.data_dir:
        raise ConfigError(
            f"no data folder for {config.source}: expected the folder that holds its files. Pass it as DATA=..."
        )
    module, name = REGISTRY[config.source]
    return getattr(importlib.import_module(module), name)(config)


def default_config(source: str, **overrides: Any) -> MarketConfig:
    """The configuration of `source` with the tenor targets that its chains can fill; `overrides` win.

    Units:  near_days and far_days in calendar days
    Raises: ConfigError for an unknown source or setting
    """
    known = {field.name for field in dataclasses.fields(MarketConfig)}
    if unknown := sorted(set(overrides) - known):
        raise ConfigError(f"unknown market setting {', '.join(unknown)}: expected only {', '.join(sorted(known))}.")
    values: dict[str, Any] = {"source": source}
    if source in TENORS:
        values["near_days"], values["far_days"] = TENORS[source]
    if source == "table" and overrides.get("data_dir") and not {"near_days", "far_days"} <= set(overrides):
        # A table's tenors are those that its own expiries fill.
        table = importlib.import_module(REGISTRY[source][0])
        if targets := table.tenor_targets(overrides["data_dir"]):
            values["near_days"], values["far_days"] = targets
    return MarketConfig(**(values | overrides))
