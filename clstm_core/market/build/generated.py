"""One path of a generated world as tensors, without files or tables between."""

from clstm_core.config import MarketConfig
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import GeneratedWorld, generated_columns


def generated_market(world: GeneratedWorld, path: int = 0) -> MarketTensors:
    """Chains of `generated_columns`, built; every snapshot is in the train window's market as the world lists it."""
    listing = world.paths.listing
    config = MarketConfig(source="simulated", near_days=listing.near_days, far_days=listing.far_days)
    return build_market_tensors(*generated_columns(world, path), config, embargo=0, info=world.info)
