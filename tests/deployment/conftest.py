import pytest
import torch

from clstm_core.config import MarketConfig, ModelConfig
from clstm_core.env.protocol import EnvStep
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.worlds.black_scholes import simulated_columns, simulated_info
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION
from tests.graphs import graphs  # noqa: F401


class NoiseEnv:
    """Random observations and masks; episodes end at random; the action shifts the next observation."""

    def __init__(self, n_envs: int, seed: int = 0):
        self.n_envs, self.observation_size, self.n_actions = n_envs, len(OBSERVATION), len(ACTIONS)
        self.device = torch.device("cpu")
        self.generator = torch.Generator().manual_seed(seed)

    def _look(self) -> tuple[torch.Tensor, torch.Tensor]:
        observation = torch.randn(self.n_envs, self.observation_size, generator=self.generator)
        mask = torch.rand(self.n_envs, self.n_actions, generator=self.generator) < 0.6
        mask[:, 0] = True
        return observation, mask

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._look()

    def step(self, action: torch.Tensor) -> EnvStep:
        observation, mask = self._look()
        observation = observation + action.unsqueeze(1) / self.n_actions
        ended = torch.rand(self.n_envs, generator=self.generator) < 0.02
        never = torch.zeros_like(ended)
        return EnvStep(observation, torch.zeros(self.n_envs), ended, never, observation, mask)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        pass


@pytest.fixture(scope="module")
def make_env():
    """Environments of a given batch size, the same every time."""
    return NoiseEnv


@pytest.fixture(scope="module")
def policy() -> CLSTM:
    """A small policy whose decisions depend visibly on its observations."""
    torch.manual_seed(0)
    policy = CLSTM(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=16, attention_window=4)).eval()
    with torch.no_grad():
        policy.policy_head.weight.mul_(100)
    return policy


@pytest.fixture(scope="session")
def market():
    """A simulated world of 260 sessions: three windows, the training one shorter than a parity walk."""
    config = MarketConfig(
        source="simulated", n_snapshots=260, train_fraction=0.6, validation_fraction=0.2, seed=7, feature_lookback=21
    )
    columns = simulated_columns(config)
    return build_market_tensors(*columns, config, embargo=21, info=simulated_info(config))
