"""A small bundle that trades on nearly every session, the frozen market, and shadow accounts of it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import torch

from clstm_core.config import EnvConfig, MarketConfig, ModelConfig, RunConfig
from clstm_core.deployment.bundle import build_bundle
from clstm_core.env.protocol import EnvStep
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.cache import to_columns
from clstm_core.model.clstm import CLSTM
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.runner import Opening, ShadowRunner
from clstm_core.shadow.sources.replay import Replay
from clstm_core.specs import ACTIONS, OBSERVATION
from tests.saved import save_policy

MEMORY = 21
TABLES = Path(__file__).resolve().parents[1] / "golden" / "market"
CONFIG = MarketConfig(
    source="simulated", train_fraction=0.6, validation_fraction=0.2, min_training_snapshots=20, n_snapshots=75
)


class NoiseEnv:
    """Random observations, every action legal."""

    def __init__(self, n_envs: int):
        self.n_envs, self.observation_size, self.n_actions = n_envs, len(OBSERVATION), len(ACTIONS)
        self.device, self.generator = torch.device("cpu"), torch.Generator().manual_seed(0)

    def _look(self):
        seen = torch.randn(self.n_envs, self.observation_size, generator=self.generator)
        return seen, torch.ones(self.n_envs, self.n_actions, dtype=torch.bool)

    reset = _look

    def step(self, action):
        seen, mask = self._look()
        never = torch.zeros(self.n_envs, dtype=torch.bool)
        return EnvStep(seen, torch.zeros(self.n_envs), never, never, seen, mask)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def small_bundle(root: Path) -> Path:
    """A bundle whose decisions depend visibly on what it sees; nothing says that it is a champion."""
    torch.manual_seed(3)
    model = ModelConfig(hidden_dim=16, attention_window=4)
    policy = CLSTM(len(OBSERVATION), len(ACTIONS), model).eval()
    with torch.no_grad():
        policy.policy_head.weight.mul_(100)
        policy.policy_head.bias[0] -= 2.0
    config = RunConfig(market=CONFIG, env=EnvConfig(horizon=MEMORY, capital_usd=1_000_000.0), model=model)
    checkpoint = save_policy(root / "runs" / "small" / "checkpoints" / "100", policy, config)
    build_bundle(
        checkpoint,
        root / "bundles" / "small",
        make_env=NoiseEnv,
        provenance={"run": "small"},
        parity_steps=30,
    )
    return root / "bundles" / "small"


def frozen_market(tables=None, config=CONFIG):
    """The committed tables (or altered ones) as tensors."""
    tables = tables or {
        name: pl.read_parquet(TABLES / f"{name}.parquet") for name in ("quotes", "underlyings", "rates")
    }
    facts = {"source": "golden", "label": "simulated quotes", "premium": True, "currency": "USD", "spread": "modelled"}
    return build_market_tensors(*(to_columns(table) for table in tables.values()), config, embargo=0, info=facts)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """Folder of the small bundle; its checkpoint lies beside it in `runs/small/checkpoints/100`."""

    return small_bundle(tmp_path_factory.mktemp("shadow"))


@pytest.fixture(scope="session")
def market():
    """The frozen market as tensors."""
    return frozen_market()


@pytest.fixture(scope="session")
def tables():
    """The frozen market's canonical tables."""
    return {name: pl.read_parquet(TABLES / f"{name}.parquet") for name in ("quotes", "underlyings", "rates")}


@pytest.fixture
def shadow(bundle, market, tmp_path):
    """Runs a shadow account by name: `shadow(name, source=..., limits=..., most=...)` gives its log, read again."""

    def run(name="account", *, source=None, limits=None, most=None):
        folder = tmp_path / name
        opening = Opening(bundle=bundle, limits=limits or Limits.none(), unqualified=True)
        with ShadowLog.writing(folder) as log:
            ShadowRunner(log, opening, source or Replay(market)).run(most=most)
        return ShadowLog(folder)

    return run


@pytest.fixture(scope="session")
def build():
    """`frozen_market`."""
    return SimpleNamespace(market=frozen_market, config=CONFIG)


if __name__ == "__main__":
    print(small_bundle(Path(sys.argv[1])))
