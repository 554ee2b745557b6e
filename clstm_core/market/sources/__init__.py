"""Where option quotes come from: one file per source, found by walking this folder and opened by name.

A source's file holds `SPEC` (a `SourceSpec` named after the file) and one class with `spec = SPEC`, which is made
from a `MarketConfig`. Nothing else lists it. Where the data themselves say which tenors they can fill, the file also
has `tenor_targets(data_dir) -> (near, far) | None`.
"""

import dataclasses
import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any

from clstm_core.config import MarketConfig
from clstm_core.errors import ConfigError

if TYPE_CHECKING:
    from clstm_core.market.source import Source, SourceSpec


def source_names() -> tuple[str, ...]:
    """Every source's name, sorted: the files of this folder, none of which is imported."""
    return tuple(sorted(file.name for file in pkgutil.iter_modules(__path__) if not file.name.startswith("_")))


def spec(name: str) -> "SourceSpec":
    """What the source says about itself; raises ConfigError for an unknown one."""
    return _module(name).SPEC


def open_source(config: MarketConfig) -> "Source":
    """The source that `config.source` names.

    Raises: ConfigError for an unknown one, or one whose folder is not given; MarketDataError when the folder or its
            files are missing
    """
    module = _module(config.source)
    if module.SPEC.needs_folder and not config.data_dir:
        raise ConfigError(
            f"no data folder for {config.source}: expected the folder that holds its files. Pass it as DATA=..."
        )
    return _kinds(module)[0](config)


def default_config(source: str, **overrides: Any) -> MarketConfig:
    """The configuration of `source` with its windows and the tenor targets that its chains can fill; `overrides` win.

    Units:  near_days and far_days in calendar days
    Raises: ConfigError for an unknown source or setting
    """
    known = {field.name for field in dataclasses.fields(MarketConfig)}
    if unknown := sorted(set(overrides) - known):
        raise ConfigError(f"unknown market setting {', '.join(unknown)}: expected only {', '.join(sorted(known))}.")
    module = _module(source)
    near_far = (module.SPEC.near_days, module.SPEC.far_days)
    if overrides.get("data_dir") and not {"near_days", "far_days"} <= set(overrides):
        read = getattr(module, "tenor_targets", lambda data_dir: None)
        near_far = read(overrides["data_dir"]) or near_far
    values: dict[str, Any] = dict(zip(("near_days", "far_days"), near_far, strict=True))
    values |= {name: getattr(module.SPEC, name) for name in ("train_until", "validation_until")}
    values = {name: value for name, value in values.items() if value is not None}
    return MarketConfig(**({"source": source} | values | overrides))


def _module(name: str) -> ModuleType:
    if name not in source_names():
        raise ConfigError(
            f"unknown market source {name!r}: expected one of {', '.join(source_names())}. Pass one as SOURCE."
        )
    module = importlib.import_module(f"{__name__}.{name}")
    declared = getattr(getattr(module, "SPEC", None), "name", None)
    if declared != name or len(_kinds(module)) != 1:
        raise ConfigError(
            f"incomplete market source {name!r}: found a SPEC named {declared!r} and {len(_kinds(module))} classes of "
            f"it, expected SPEC = SourceSpec(name={name!r}, ...) and one class with spec = SPEC. Add them to {name}.py."
        )
    return module


def _kinds(module: ModuleType) -> list[type]:
    """The classes whose own `spec` is the module's SPEC."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return [kind for kind in classes if "spec" in vars(kind) and vars(kind)["spec"] is getattr(module, "SPEC", None)]
