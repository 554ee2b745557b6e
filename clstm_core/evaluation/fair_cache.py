"""The baselines in fair worlds, walked once per market and account: they depend on no training run, and wait for none.

cache/fair/<key>/    excess.safetensors: returns in excess of cash [T, W] by baseline, and a manifest
"""

from collections.abc import Callable
from dataclasses import asdict

import torch
from safetensors.torch import load_file, save_file

from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import json_sha256, sweep, whole_folder
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import FairWalkManifest
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.config import RunConfig, non_defaults
from clstm_core.errors import ArtifactError
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.fair_walk import walk_fair_worlds
from clstm_core.evaluation.fair_worlds import CASH, WORLDS_FILE, surface_for, why_not
from clstm_core.evaluation.statistics import Floats
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.fair import fair_world

Progress = Callable[[int, int], None]
CODE = ("clstm_core.evaluation.fair_walk", "clstm_core.evaluation.baselines.catalogue", "clstm_core.market.worlds.fair")


def baseline_walks(
    market: MarketTensors, config: RunConfig, places: Places, *, worlds: int, progress: Progress | None = None
) -> dict[str, Floats]:
    """Returns in excess of cash [T, W] of every baseline but cash itself, by name; none where no window can be judged.

    Read where the same market, account, seed and code gave them before, and walked otherwise.
    """
    window = market.split("test")
    if why_not(market, window):
        return {}
    made_from = json_sha256(
        [market.identity, asdict(config.env), non_defaults(config.market), config.seed, worlds, code_sha256(*CODE)]
    )
    folder = places.cache / "fair" / made_from[:DIGITS]
    if (kept := _kept(folder, made_from)) is not None:
        return kept
    policies = [policy for policy in baselines(market, seed=config.seed, random_episodes=1) if policy.name != CASH]
    world = fair_world(market, window, surface=surface_for(config.market), seed=config.seed)
    walked = walk_fair_worlds(policies, world, config.env, n_worlds=worlds, progress=progress)
    sweep(folder.parent)
    with whole_folder(folder) as place:
        save_file({name: torch.from_numpy(excess).float() for name, excess in walked.items()}, place / WORLDS_FILE)
        FairWalkManifest(
            made_from=made_from, worlds=worlds, parents={"tensors": market.identity}, files=files_of(place)
        ).write(place / FILE)
    return walked


def _kept(folder, made_from: str) -> dict[str, Floats] | None:
    """What was walked before, verified; None where it was not, or is damaged."""
    if not (folder / FILE).is_file():
        return None
    try:
        found = FairWalkManifest.read(folder / FILE)
    except ArtifactError:
        return None
    if found.made_from != made_from:
        return None
    return {name: excess.double().numpy() for name, excess in load_file(folder / WORLDS_FILE).items()}
