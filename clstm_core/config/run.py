"""One training run, complete, and the hash that names its settings."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from clstm_core.config.env import EnvConfig
from clstm_core.config.fine_tune import FineTuneConfig
from clstm_core.config.market import MarketConfig
from clstm_core.config.model import ModelConfig
from clstm_core.config.ppo import PPOConfig
from clstm_core.config.require import require, require_numbers
from clstm_core.config.worlds import MOST_SEED, WorldsConfig

COMPILE_FROM_STEPS = 20_000
"""Steps of the env from which compiling it pays: it takes 20 s or so, and saves 1.4 ms of each step and more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run, complete: its hash names the run's configuration in every manifest."""

    recipe: str = "seed_100m"
    timesteps: int = 100_000_000
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda
    precision: str = "float32"  # of the LSTM's products: float32, bfloat16, auto (the faster, measured at the start)
    compile_env: str = "auto"  # the env's step as one compiled function: on, off, auto (where the run is long enough)
    market: MarketConfig = field(default_factory=MarketConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    worlds: WorldsConfig = field(default_factory=WorldsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)

    def __post_init__(self) -> None:
        require_numbers(self)
        require(
            self.timesteps >= 1,
            f"timesteps={self.timesteps}: expected at least one rollout of {self.ppo.samples_per_iteration} steps.",
        )
        require(0 <= self.seed < MOST_SEED, f"seed={self.seed}: expected a whole number from 0 to 2^62 - 1.")
        require(
            self.device in ("auto", "cpu", "cuda"),
            f"unknown device {self.device!r}: expected auto, cpu or cuda.",
        )
        require(
            self.precision in ("auto", "float32", "bfloat16"),
            f"unknown precision {self.precision!r}: expected auto, float32 or bfloat16.",
        )
        require(
            self.compile_env in ("auto", "on", "off"),
            f"unknown compile_env {self.compile_env!r}: expected auto, on or off.",
        )

    @property
    def memory_sessions(self) -> int:
        """Decisions after which the policy forgets, in training and wherever it is used: an episode's horizon."""
        return self.env.horizon

    @property
    def n_iterations(self) -> int:
        """Rollouts needed to reach `timesteps`, the last one whole."""
        return -(-self.timesteps // self.ppo.samples_per_iteration)

    @property
    def compiles_env(self) -> bool:
        """Whether the env's step is to be compiled: where that takes less time than it saves."""
        walked = self.n_iterations * self.ppo.n_steps
        return self.compile_env == "on" or (self.compile_env == "auto" and walked >= COMPILE_FROM_STEPS)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    @property
    def sha256(self) -> str:
        """Hash of the settings that are not the defaults: a new setting with a default leaves every run's hash alone.

        Where the market's files lie is left out: it names no setting of the run.
        """
        return hashlib.sha256(json.dumps(non_defaults(self), sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RunConfig":
        """Rebuild from `to_dict`; unknown keys raise ConfigError naming them."""
        rooms = {
            "market": MarketConfig,
            "env": EnvConfig,
            "worlds": WorldsConfig,
            "model": ModelConfig,
            "ppo": PPOConfig,
            "fine_tune": FineTuneConfig,
        }
        values = dict(data)
        for name, room in rooms.items():
            if name in values:
                values[name] = _from_dict(room, values[name], name)
        return _from_dict(cls, values, "run")


def non_defaults(config: Any) -> dict[str, Any]:
    """Settings of a configuration that differ from its class's defaults, as plain JSON types, rooms within."""
    usual, found = type(config)(), {}
    for item in dataclasses.fields(config):
        mine, theirs = getattr(config, item.name), getattr(usual, item.name)
        if mine == theirs or item.name == "data_dir":
            continue
        found[item.name] = non_defaults(mine) if dataclasses.is_dataclass(mine) else mine
    return found


def _from_dict(kind: type, data: dict[str, Any], name: str) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(data) - known)
    require(not unknown, f"unknown {name} setting {', '.join(unknown)}: expected only {', '.join(sorted(known))}.")
    return kind(**data)
