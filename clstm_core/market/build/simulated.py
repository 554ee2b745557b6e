"""The simulated world as tensors, without files or tables between."""

from clstm_core.config import MarketConfig
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.black_scholes import simulated_columns, simulated_info


def simulated_market(config: MarketConfig, *, embargo: int) -> MarketTensors:
    """Chains of `simulated_columns`, built.

    Units: embargo in snapshots (episode horizon + feature lookback)
    """
    return build_market_tensors(*simulated_columns(config), config, embargo=embargo, info=simulated_info(config))
