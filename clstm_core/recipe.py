"""What one run is made from, chosen once: a market, named settings, and how hard to look at the market first."""

import dataclasses
import shlex
from dataclasses import dataclass
from typing import Any

from clstm_core.artifacts.places import run_name
from clstm_core.config import FEWEST_SESSIONS, RECIPES, EnvConfig, MarketConfig, RunConfig
from clstm_core.errors import ConfigError

AUDITS = ("quick", "full")

CPU_STEPS_PER_SECOND = {"seed_100m": 1_300, "steady_100m": 1_300, "default_cpu": 6_000, "smoke": 2_300}
"""Env steps per second of training on one CPU core, from docs/performance.md: an estimate, no promise."""

LONG_S = 6 * 3600.0
"""A training that takes longer on a CPU is asked for in so many words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One choice for every stage: each resolves its parents from this and from the files, never from what ran last.

    Units: n_snapshots of the simulated source; timesteps in env steps, in place of the named settings'
    """

    name: str = "default_cpu"
    source: str = "sp500_modelled"
    data_dir: str | None = None
    n_snapshots: int | None = None
    timesteps: int | None = None
    seed: int = 0
    device: str = "auto"
    audit: str = "quick"
    policy_of: str | None = None  # a run whose policy is judged anew in place of training one

    def __post_init__(self) -> None:
        if self.name not in RECIPES:
            raise ConfigError(
                f"unknown recipe {self.name!r}: expected one of {', '.join(RECIPES)}. Pass one as --recipe (RECIPE)."
            )
        if self.audit not in AUDITS:
            raise ConfigError(f"unknown audit {self.audit!r}: expected one of {', '.join(AUDITS)}.")
        if self.policy_of is not None:
            run_name(self.policy_of)

    @property
    def settings(self) -> RunConfig:
        """The named settings."""
        return RECIPES[self.name]()

    @property
    def env(self) -> EnvConfig:
        """The account that is audited, trained and judged."""
        return self.settings.env

    @property
    def embargo(self) -> int:
        """Snapshots between windows: the episode horizon and the feature lookback."""
        return self.env.horizon + self.market().feature_lookback

    def market(self) -> MarketConfig:
        """The market's settings with the tenors of its source.

        Raises: ConfigError for an unknown source or setting, and for one that the source does not read
        """
        from clstm_core.market.sources import default_config, spec

        given = {"data_dir": self.data_dir, "n_snapshots": self.n_snapshots}
        declared = spec(self.source)
        reads = {"data_dir": declared.needs_folder, "n_snapshots": declared.has_length}
        if unread := [f"{name}={value!r}" for name, value in given.items() if value is not None and not reads[name]]:
            raise ConfigError(
                f"{', '.join(unread)}: the source {self.source} has no such setting. Leave it out, or choose another "
                "source."
            )
        asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.settings.worlds.generated:  # worlds are made of more days than are needed to trade them
            asked["min_training_snapshots"] = FEWEST_SESSIONS
        return default_config(self.source, **asked)

    def run_config(self) -> RunConfig:
        """The whole configuration of a training run; where the market's files lie is no part of it."""
        usual = self.settings
        return dataclasses.replace(
            usual,
            timesteps=usual.timesteps if self.timesteps is None else self.timesteps,
            seed=self.seed,
            device=self.device,
            market=dataclasses.replace(self.market(), data_dir=None),
        )

    @property
    def cpu_seconds(self) -> float:
        """About how long training takes on a CPU."""
        return self.run_config().timesteps / CPU_STEPS_PER_SECOND[self.name]

    def require_hardware(self) -> None:
        """Refuse to begin hours of training on a CPU that nobody asked for.

        Raises: ConfigError where no GPU is there, `device` is auto, and training would take more than LONG_S
        """
        if self.policy_of or self.device != "auto" or self.cpu_seconds <= LONG_S:
            return
        import torch

        if not torch.cuda.is_available():
            raise ConfigError(
                f"{self.name} trains {self.run_config().timesteps:,} env steps: about {self.cpu_seconds / 3600:.0f} "
                "hours on this machine's CPU, and no GPU was found. Expected a GPU; else pass fewer timesteps, another "
                "recipe, or device=cpu to train here all the same."
            )

    def flags(self) -> str:
        """The recipe as flags of the `clstm` command, for a remedy that can be typed."""
        said = {"source": self.source, "data": self.data_dir, "recipe": self.name, "snapshots": self.n_snapshots}
        return " ".join(f"--{flag} {shlex.quote(str(value))}" for flag, value in said.items() if value is not None)
