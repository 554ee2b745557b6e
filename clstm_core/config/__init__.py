"""Every knob, once: frozen dataclasses validated at construction, one per room, and the named recipes.

Units stand in the names or behind the fields. Bad values raise `ConfigError` with a sentence that names the remedy.
"""

from clstm_core.config.env import CAPS, FILL_RULES, NO_CAP, REWARDS, WITHOUT_BUDGET, EnvConfig
from clstm_core.config.fine_tune import FineTuneConfig
from clstm_core.config.market import FEWEST_SESSIONS, MAX_SNAPSHOTS, MarketConfig
from clstm_core.config.model import MOST_BIAS, ModelConfig
from clstm_core.config.ppo import MAX_SAMPLES, PPOConfig
from clstm_core.config.recipes import CAUTIOUS, RECIPES, WORLDS, default_cpu, seed_100m, smoke, steady_100m
from clstm_core.config.run import COMPILE_FROM_STEPS, RunConfig, non_defaults
from clstm_core.config.worlds import MOST_SEED, WorldsConfig

__all__ = [
    "CAPS",
    "CAUTIOUS",
    "COMPILE_FROM_STEPS",
    "FEWEST_SESSIONS",
    "FILL_RULES",
    "MAX_SAMPLES",
    "MAX_SNAPSHOTS",
    "MOST_BIAS",
    "MOST_SEED",
    "NO_CAP",
    "RECIPES",
    "REWARDS",
    "WITHOUT_BUDGET",
    "WORLDS",
    "EnvConfig",
    "FineTuneConfig",
    "MarketConfig",
    "ModelConfig",
    "PPOConfig",
    "RunConfig",
    "WorldsConfig",
    "default_cpu",
    "non_defaults",
    "seed_100m",
    "smoke",
    "steady_100m",
]
