import pytest

from clstm_core.audit.worlds.markets import whole
from clstm_core.config import MarketConfig
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.tensors import MarketTensors


def _simulated(*, premium: bool, n_snapshots: int = 130) -> MarketTensors:
    return simulated_market(MarketConfig(source="simulated", premium=premium, n_snapshots=n_snapshots), embargo=0)


@pytest.fixture(scope="session")
def fair_market() -> MarketTensors:
    """A Black-Scholes world in which P = Q."""
    return whole(_simulated(premium=False))


@pytest.fixture(scope="session")
def premium_market() -> MarketTensors:
    """A simulated world with a variance premium, rounded quotes and the split that training would use."""
    return _simulated(premium=True)
