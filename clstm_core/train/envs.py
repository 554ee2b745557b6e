"""The envs that a run trains in, and those that it is held out on: the same rules whoever starts the trainer."""

from pathlib import Path

import torch

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import RunConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import ConfigError
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.ppo.ranks import ALONE, Ranks
from clstm_core.train.inputs import config_of

Envs = tuple[BatchedEnv, BatchedEnv | None]
"""Training envs, and held-out envs where there are any."""


def envs_of(inputs: RunInputs, places: Places, ranks: Ranks = ALONE) -> Envs:
    """Envs on exactly the market that a run names.

    Raises: ConfigError where it names none, MarketDataError where that market is gone or altered
    """
    identity = inputs.training_data_sha256
    if identity is None:
        raise ConfigError(
            f"run {inputs.run} names no market tensors: expected a run that the chain began. Call the command that "
            "began it again."
        )
    return envs_on(config_of(inputs), load_market(places.tensors(identity), identity=identity), ranks)


def make_envs(config: RunConfig, market_folder: Path | None, ranks: Ranks = ALONE) -> Envs:
    """Envs on the market of a folder, or in a simulated world."""
    if market_folder is None:
        from clstm_core.market.build.simulated import simulated_market

        market = simulated_market(config.market, embargo=config.env.horizon + config.market.feature_lookback)
    else:
        market = load_market(market_folder)
    return envs_on(config, market, ranks)


def envs_on(config: RunConfig, market: MarketTensors, ranks: Ranks = ALONE) -> Envs:
    """Training envs, and held-out envs on the validation window where the market has one.

    Several processes share the training envs that one would have; the first of them has the held-out ones.
    """
    mine = ranks.share(config.ppo)
    from clstm_core.env.options_env import OptionsEnv
    from clstm_core.market.worlds.training import world_of

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device='cuda' but no GPU is usable here. Use --device cpu or --device auto.")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    if device == "cuda" and ranks.here > (gpus := torch.cuda.device_count()):
        raise ConfigError(
            f"{ranks.here} processes and {gpus} GPUs here: expected one for each. Use --nproc-per-node {gpus}, or "
            "--device cpu."
        )
    market = market.to(device)
    first = ranks.rank * mine.n_envs
    trained_in: MarketTensors | GeneratedWorld = market
    if config.worlds.generated:
        trained_in = world_of(market, config.worlds, config.env.horizon)
    env = OptionsEnv(trained_in, config.env, n_envs=mine.n_envs, first_env=first, seed=config.seed, device=device)
    if config.compiles_env:
        env.compile()
    if "validation" not in market.info.get("splits", {}) or not ranks.writes:
        return env, None
    window = market.split("validation")
    heldout = OptionsEnv(
        market, config.env, n_envs=min(64, config.ppo.n_envs), seed=config.seed + 1, device=device, window=window
    )
    return env, heldout
