"""Each fold's chosen rungs walked through fair worlds of its own test window, once; sums are kept.

cache/fair/<key>/    sums.safetensors: of returns in excess of cash [1, W], and a manifest
"""

from dataclasses import asdict

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import file_sha256, json_sha256, sweep, whole_folder
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import FairWalkManifest, TensorsManifest
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.config import RunConfig, non_defaults
from clstm_core.errors import ArtifactError, EvaluationError
from clstm_core.evaluation.fair_proof import TOLERANCE, prove_fair
from clstm_core.evaluation.fair_worlds import surface_for, walk_both, why_not
from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.market.tensors import load_market
from clstm_core.market.worlds.fair import fair_world
from clstm_core.walk_forward.luck import Sums, sums_of
from clstm_core.walk_forward.trained import Cell, Hooks

WORLDS = 500
"""Fair worlds that each chosen rung walks: a p-value of 2.5% is known to 0.7 points."""

CODE = ("clstm_core.walk_forward.fair", "clstm_core.evaluation.policies")
SUMS = "sums.safetensors"


def ensure_fair(
    cell: Cell, rung: str, tensors: TensorsManifest, config: RunConfig, places: Places, hooks: Hooks
) -> Sums | None:
    """What a cell's chosen rung made in fair worlds of the fold's test; None where that window cannot be judged.

    All seeds of a fold meet the same worlds; those of another fold are others. Read where the same rung met them
    before.

    Raises: EvaluationError where something is to be expected of an action in these worlds
    """
    market = load_market(places.tensors(tensors.identity), identity=tensors.identity)
    window, checkpoint = market.split("test"), places.run(cell.run).checkpoint(rung)
    if reason := why_not(market, window):
        hooks.say(f"{cell.words}: no fair worlds are walked. {reason}")
        return None
    # the first seed's and the fold's number: no two folds share a shock
    seed = 1_000 * cell.plan.seeds[0] + cell.fold.number
    facts = [asdict(config.env), non_defaults(config.market), seed, WORLDS, code_sha256(*CODE)]
    made_from = json_sha256([tensors.identity, file_sha256(checkpoint / FILE), *facts])
    folder = places.cache / "fair" / made_from[:DIGITS]
    if (kept := _kept(folder, made_from)) is not None:
        return kept
    world = fair_world(market, window, surface=surface_for(config.market), seed=seed)
    if (worst := prove_fair(world, config.env).worst) > TOLERANCE:
        raise EvaluationError(
            f"{cell.words}: {worst:.1e} of capital is expected of an action in its fair worlds, at most "
            f"{TOLERANCE:.0e} may be. Say so where this project is kept: the record cannot be placed among luck."
        )
    policy = load_checkpoint(checkpoint, modes=("argmax",), seed=cell.seed)[0]
    excess, _ = walk_both(policy, [], world, config.env, (WORLDS, 0), None)
    found = sums_of([excess])
    sweep(folder.parent)
    with whole_folder(folder) as place:
        tensors_kept = {"n": torch.tensor(found.n), "total": torch.from_numpy(found.total)}
        save_file(tensors_kept | {"squares": torch.from_numpy(found.squares)}, place / SUMS)
        FairWalkManifest(
            made_from=made_from, worlds=WORLDS, parents={"tensors": tensors.identity}, files=files_of(place)
        ).write(place / FILE)
    return found


def together(seeds: list[Sums | None]) -> Sums | None:
    """The seeds of one fold as one; None where one of them walked no fair worlds."""
    known = [each for each in seeds if each is not None]
    if not known or len(known) < len(seeds):
        return None
    total, squares = (np.concatenate([getattr(each, name) for each in known]) for name in ("total", "squares"))
    return Sums(n=known[0].n, total=total, squares=squares)


def _kept(folder, made_from: str) -> Sums | None:
    """What was walked before, verified; None where it was not, or is damaged."""
    if not (folder / FILE).is_file():
        return None
    try:
        found = FairWalkManifest.read(folder / FILE)
    except ArtifactError:
        return None
    if found.made_from != made_from:
        return None
    kept = load_file(folder / SUMS)
    return Sums(n=int(kept["n"]), total=kept["total"].numpy(), squares=kept["squares"].numpy())
