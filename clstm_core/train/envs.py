"""The envs that a run trains in, and those that it is held out on: the same rules whoever starts the trainer."""

import dataclasses
from pathlib import Path

import torch

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import FEWEST_SESSIONS, RunConfig
from clstm_core.env.joined import JoinedEnv
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

    def live(sessions: tuple[int, int], n_envs: int, first: int) -> BatchedEnv:
        splits = {**market.info["splits"], "train": sessions}
        within = dataclasses.replace(market, info={**market.info, "splits": splits})
        trained_in: MarketTensors | GeneratedWorld = within
        if config.worlds.generated:
            trained_in = world_of(within, config.worlds, config.env.horizon)
        env = OptionsEnv(trained_in, config.env, n_envs=n_envs, first_env=first, seed=config.seed, device=device)
        if config.compiles_env:
            env.compile()
        return env

    first = ranks.rank * mine.n_envs
    env: BatchedEnv
    if (parts := replayed(config, market.split("train"))) is None:
        env = live(market.split("train"), mine.n_envs, first)
    else:
        (recent, older), many = parts, recent_envs(config, mine.n_envs)
        env = JoinedEnv([live(recent, many, first), live(older, mine.n_envs - many, first + many)])
    if "validation" not in market.info.get("splits", {}) or not ranks.writes:
        return env, None
    window = market.split("validation")
    heldout = OptionsEnv(
        market, config.env, n_envs=min(64, config.ppo.n_envs), seed=config.seed + 1, device=device, window=window
    )
    return env, heldout


def replayed(config: RunConfig, train: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The recent and the older sessions [start, stop) that a fine-tuned policy lives in; None where it is one window.

    So it is where training begins from scratch, and where the older sessions are too few to live in by themselves.
    """
    start, stop = train
    least = max(config.env.horizon + 2, FEWEST_SESSIONS if config.worlds.generated else 0)
    seam = stop - max(config.fine_tune.recent_sessions, least)
    many = recent_envs(config, config.ppo.n_envs)
    if not config.fine_tune.champion or seam - start < least or many == config.ppo.n_envs:
        return None
    return (seam, stop), (start, seam)


def recent_envs(config: RunConfig, n_envs: int) -> int:
    """How many of the envs live in the recent sessions: at least one."""
    return max(1, round(config.fine_tune.recent_share * n_envs))
