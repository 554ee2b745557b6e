"""What one walk-forward is to do, chosen once: a source, how its history is cut, and what is trained in each fold."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.places import run_name
from clstm_core.config import MarketConfig, RunConfig
from clstm_core.errors import ConfigError
from clstm_core.recipe import AUDITS, Recipe
from clstm_core.walk_forward.folds import EXPANDING, Fold, Sizes, embargo_of, make_folds, market_of

MOST_NAME = 60
"""Letters of a walk's name: those of its runs come after it."""


@dataclass(frozen=True, kw_only=True)
class WalkPlan:
    """One walk-forward: every fold, seed and recipe is trained with `steps` env steps and judged on the fold's test.

    Args:
        warm: fold 2 and later begin with the weights that the fold before ended with, not from scratch
        training, validation: sessions, as `folds.Sizes` says; window: expanding or rolling

    Raises: ConfigError for what cannot work, before anything is done
    """

    name: str
    source: str = "sp500_modelled"
    data_dir: str | None = None
    n_snapshots: int | None = None
    recipes: tuple[str, ...] = ("default_cpu",)
    folds: int = 8
    training: int = 1260
    validation: int = 504
    window: str = EXPANDING
    steps: int = 200_000
    seeds: tuple[int, ...] = (0, 1)
    warm: bool = False
    device: str = "auto"
    audit: str = "quick"

    def __post_init__(self) -> None:
        if len(run_name(self.name)) > MOST_NAME:
            raise ConfigError(f"name {self.name!r}: expected at most {MOST_NAME} letters. Pass another --name.")
        for what, given in (("recipe", self.recipes), ("seed", self.seeds)):
            if not given or len(set(given)) < len(given):
                raise ConfigError(f"{what}s {list(given)}: expected one or more, each once. Pass other --{what}s.")
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: expected at least 1 env step per fold. Pass another --steps.")
        if self.audit not in AUDITS:
            raise ConfigError(f"unknown audit {self.audit!r}: expected one of {', '.join(AUDITS)}.")
        least = max(recipe.market().min_training_snapshots for recipe in self._recipes.values())
        if self.training < least:
            raise ConfigError(
                f"training={self.training}: expected at least {least} sessions, which these recipes need. Raise "
                "--training."
            )
        for recipe in self._recipes.values():
            recipe.run_config()
        horizon = max(recipe.env.horizon for recipe in self._recipes.values())
        if self.validation <= horizon:
            raise ConfigError(
                f"validation={self.validation}: expected more than the {horizon} sessions of an episode. Raise "
                "--validation."
            )

    @cached_property
    def _recipes(self) -> dict[str, Recipe]:
        return {
            name: Recipe(
                name=name,
                source=self.source,
                data_dir=self.data_dir,
                n_snapshots=self.n_snapshots,
                timesteps=self.steps,
                device=self.device,
                audit=self.audit,
            )
            for name in self.recipes
        }

    def recipe(self, name: str) -> Recipe:
        """One of its recipes, as a launch takes it."""
        return self._recipes[name]

    @property
    def market(self) -> MarketConfig:
        """The market's settings, its windows aside."""
        return self._recipes[self.recipes[0]].market()

    @property
    def embargo(self) -> int:
        """Sessions between windows: the longest that any of the recipes asks for, so that folds are the same to all."""
        return max(embargo_of(recipe.env, recipe.market()) for recipe in self._recipes.values())

    @property
    def sizes(self) -> Sizes:
        """How the history is cut."""
        return Sizes(
            folds=self.folds,
            training=self.training,
            validation=self.validation,
            embargo=self.embargo,
            window=self.window,
        )

    def cut(self, sessions: Sequence[date]) -> list[Fold]:
        """The folds of these sessions; ConfigError where they are too few."""
        return make_folds(len(sessions), self.sizes)

    def run_config(self, recipe: str, fold: Fold, sessions: Sequence[date], seed: int) -> RunConfig:
        """The whole configuration of one training; where the market's files lie is no part of it."""
        usual = self._recipes[recipe].run_config()
        return dataclasses.replace(
            usual, seed=seed, market=dataclasses.replace(usual.market, **market_of(fold, sessions))
        )

    def fold_market(self, recipe: str, fold: Fold, sessions: Sequence[date]) -> MarketConfig:
        """The settings of one fold's market, with the place of its files."""
        return dataclasses.replace(self._recipes[recipe].market(), **market_of(fold, sessions))

    def run_of(self, recipe: str, fold: Fold, seed: int) -> str:
        """The name of one training's run."""
        return run_name(f"{self.name}.{recipe}.f{fold.number:02d}.s{seed}")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "WalkPlan":
        """Rebuild from `to_dict`."""
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**settings)

    @property
    def sha256(self) -> str:
        """Hash of all but where files lie and where it computes."""
        return json_sha256({k: v for k, v in self.to_dict().items() if k not in ("data_dir", "device")})

    def different(self, begun: "WalkPlan") -> list[str]:
        """Names of the settings that make another walk than the one begun: seeds and recipes may only be added."""
        mine, theirs = self.to_dict(), begun.to_dict()
        added = [name for name in ("recipes", "seeds") if mine[name][: len(theirs[name])] == theirs[name]]
        return [name for name in mine if name not in ("data_dir", "device", *added) and mine[name] != theirs[name]]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
