"""A champion as its bundle holds it: every weight, critic included, and the recipe that trained it. Torch alone."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BundleManifest, RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import RunConfig
from clstm_core.errors import BundleError, ConfigError
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION

WEIGHTS, CONFIG = "policy.safetensors", "config.json"

BUNDLE, ROLE = "champion_bundle", "champion"
"""Of a run that begins with a champion: the fact that says where its bundle lies, and its role among the parents."""


class Champion(NamedTuple):
    """A policy as it is deployed, what it was trained with, and the bundle's manifest."""

    model: CLSTM
    config: RunConfig
    bundle: BundleManifest


def read_champion(folder: Path, *, identity: str | None = None) -> tuple[RunConfig, BundleManifest]:
    """The recipe and the manifest of a bundle, verified; what `load_champion` loads.

    Raises: BundleError for a bundle that is not whole, is another, or was made by another release
    """
    manifest = BundleManifest.read(folder / FILE, identity=identity)
    if missing := {WEIGHTS, CONFIG} - set(manifest.files):
        raise BundleError(f"bundle {folder} names no {', '.join(sorted(missing))}: expected them. {manifest.remedy}")
    try:
        config = RunConfig.from_dict(json.loads((folder / CONFIG).read_text()))
    except ConfigError as error:
        raise BundleError(f"bundle {folder} has a recipe that this release cannot read: {error}") from error
    return config, manifest


def load_champion(folder: Path, *, identity: str | None = None) -> Champion:
    """The policy of a bundle with all its weights.

    Raises: as `read_champion`, and BundleError for weights of another shape
    """
    config, manifest = read_champion(folder, identity=identity)
    model = CLSTM(len(OBSERVATION), len(ACTIONS), config.model)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"bundle {folder} has weights of another shape than its recipe: {str(error).splitlines()[0]} "
            f"{manifest.remedy}"
        ) from error
    return Champion(model.eval(), config, manifest)


def champion_of(inputs: RunInputs, places: Places, device: torch.device | str = "cpu") -> Champion:
    """The champion that a run begins with, as its inputs name it.

    Raises: ConfigError where they name none; as `load_champion`
    """
    if BUNDLE not in inputs.facts or ROLE not in inputs.parents:
        raise ConfigError(f"run {inputs.run} names no champion to begin with. Call `clstm retrain` again.")
    found = load_champion(places.root / inputs.facts[BUNDLE], identity=inputs.parents[ROLE])
    return found._replace(model=found.model.to(device))
