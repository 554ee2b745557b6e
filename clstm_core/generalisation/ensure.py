"""A run's figures of where its policy earns: those that it has, or measured now."""

from collections.abc import Callable

from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifests import CheckpointManifest, GeneralisationManifest, RunInputs
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.config import RunConfig
from clstm_core.generalisation.kinds import COMPARED, EPISODES
from clstm_core.generalisation.measure import measure
from clstm_core.market.tensors import load_market
from clstm_core.train.inputs import config_of

CODE = "clstm_core.generalisation.measure"
TENSORS = "training_tensors"
PER_ENV = 4
"""Episodes per env of training, up to the usual number: a run of seconds is not walked for longer than it trained."""


def ensure_generalisation(
    run: RunFolder,
    inputs: RunInputs,
    ladder: list[CheckpointManifest],
    places: Places,
    progress: Callable[[int, int], None] | None = None,
) -> GeneralisationManifest:
    """What the ladder earns in each kind of market; kept beside the run for exactly these rungs and this code.

    Raises: MarketDataError where the training market is gone or altered, CheckpointError for an altered rung
    """
    identity = str(inputs.training_data_sha256)
    rungs = {manifest.milestone: manifest.identity for manifest in ladder}
    config = config_of(inputs)
    counts = episodes_of(config)
    made_from = json_sha256([inputs.config_sha256, identity, rungs, counts, code_sha256(CODE)])
    kept = GeneralisationManifest.kept(run.generalisation)
    if kept is not None and kept.made_from == made_from:
        return kept
    market = load_market(places.tensors(identity), identity=identity)
    found = measure(
        {name: run.checkpoint(name) for name in rungs},
        market,
        config,
        market_folder=places.tensors(identity),
        progress=progress,
        **counts,
    )
    return GeneralisationManifest(
        run=run.name,
        made_from=made_from,
        figures=found.rows,
        habits=found.habits,
        rules=found.rules,
        parents={**rungs, TENSORS: identity},
    ).write(run.generalisation)


def episodes_of(config: RunConfig) -> dict[str, int]:
    """How many episodes of each kind of market a run's policy is walked through, as `measure` takes it."""
    few = PER_ENV * config.ppo.n_envs
    return {"episodes": min(EPISODES, few), "compared": min(COMPARED, 2 * few)}
