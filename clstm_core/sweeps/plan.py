"""What one sweep is to do, chosen once."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clstm_core.artifacts.places import run_name
from clstm_core.config import RunConfig
from clstm_core.errors import ConfigError
from clstm_core.recipe import Recipe
from clstm_core.sweeps.space import USUAL, Dimension, dimensions, settings_of, with_settings

MOST_NAME = 60
"""Letters of a sweep's name: those of its runs come after it."""
CONFIRMS_FROM = 1_000
"""First seed of the trainings that confirm: none of those that chose."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """One sweep: trials of a recipe with other settings, each trained for `steps` env steps with each of the seeds.

    Trial 0 is the recipe as it is. At the end the best trial and the recipe are trained again with `confirm` seeds that
    chose nothing: the best of many looks better than it is.

    Args:
        space: what is searched, as `space.dimension` reads it
        sampler_seed: of Optuna's proposals

    Raises: ConfigError for what cannot work, before anything is done
    """

    name: str
    recipe: str = "default_cpu"
    source: str = "sp500_modelled"
    data_dir: str | None = None
    n_snapshots: int | None = None
    trials: int = 20
    steps: int = 500_000
    seeds: tuple[int, ...] = (0,)
    confirm: int = 2
    space: tuple[str, ...] = USUAL
    sampler_seed: int = 0
    device: str = "auto"
    audit: str = "quick"

    def __post_init__(self) -> None:
        if len(run_name(self.name)) > MOST_NAME:
            raise ConfigError(f"name {self.name!r}: expected at most {MOST_NAME} letters. Pass another --name.")
        if (
            not self.seeds
            or len(set(self.seeds)) < len(self.seeds)
            or not all(0 <= seed < CONFIRMS_FROM for seed in self.seeds)
        ):
            raise ConfigError(
                f"seeds {list(self.seeds)}: expected one or more, each once, below {CONFIRMS_FROM:,}. Pass other "
                "--seeds."
            )
        for what, least in (("trials", 1), ("steps", 1), ("confirm", 0)):
            if getattr(self, what) < least:
                raise ConfigError(f"{what}={getattr(self, what)}: expected at least {least}. Pass another --{what}.")
        self.config(self.usual_settings, self.seeds[0])  # a space that cannot be is said here

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What is searched."""
        return dimensions(self.space)

    @cached_property
    def core(self) -> Recipe:
        """The recipe, as a launch takes it."""
        return Recipe(
            name=self.recipe,
            source=self.source,
            data_dir=self.data_dir,
            n_snapshots=self.n_snapshots,
            timesteps=self.steps,
            device=self.device,
            audit=self.audit,
        )

    @cached_property
    def usual(self) -> RunConfig:
        """The recipe's own configuration: that of trial 0."""
        return self.core.run_config()

    @property
    def usual_settings(self) -> dict[str, Any]:
        """Trial 0's."""
        return settings_of(self.usual, self.dimensions)

    def config(self, settings: Mapping[str, Any], seed: int) -> RunConfig:
        """The whole configuration of one training; ConfigError where the settings do not go together."""
        return dataclasses.replace(with_settings(self.usual, settings), seed=seed)

    def run_of(self, trial: int, seed: int) -> str:
        """The name of one training's run."""
        return run_name(f"{self.name}.t{trial:03d}.s{seed}")

    @property
    def confirming(self) -> tuple[int, ...]:
        """Seeds of the trainings that confirm."""
        return tuple(range(CONFIRMS_FROM, CONFIRMS_FROM + self.confirm))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SweepPlan":
        """Rebuild from `to_dict`; ConfigError for what is none of this release."""
        try:
            settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
            return cls(**settings)
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"no plan of a sweep: {error}. Expected the settings of one.") from error

    def different(self, begun: "SweepPlan") -> list[str]:
        """Names of the settings that make another sweep than the one begun; more trials and confirmations do not."""
        mine, theirs = self.to_dict(), begun.to_dict()
        free = [name for name in ("trials", "confirm") if mine[name] >= theirs[name]]
        return [name for name in mine if name not in ("data_dir", "device", *free) and mine[name] != theirs[name]]
