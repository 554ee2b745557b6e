"""One start of a retraining, trained: a run like any other, resumed where a kill left it, and how its stages ended."""

from typing import Any, NamedTuple

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.errors import ConfigError
from clstm_core.specs import RUNGS
from clstm_core.walk_forward.trained import Hooks, begun, ensure_trained

LAST = RUNGS[-1]
"""The rung that is proposed: the last one, so that no held-out day takes part in a choice."""


class Trained(NamedTuple):
    """A start that was trained: the stage that ended it, or "", and a row for each stage."""

    inputs: RunInputs
    ended: str
    stages: list[dict[str, Any]]


def ensure_from_champion(wanted: RunInputs, places: Places, hooks: Hooks) -> Trained:
    """Fine-tuned from the champion that the inputs name, or what is left of that."""
    import torch

    from clstm_core.checkpoint import verify_checkpoint
    from clstm_core.store.rows import metrics_rows
    from clstm_core.train.apart import train_apart
    from clstm_core.train.fine_tune import read_outcome
    from clstm_core.train.status import finished, followed

    run = places.run(wanted.run)
    inputs = begun(run, wanted)
    hooks.record(inputs)
    found = read_outcome(run.path)
    if found is None:
        with followed(run, hooks.record):
            train_apart(run, threads=torch.get_num_threads(), report=hooks.iteration, warn=hooks.say)
        if (found := read_outcome(run.path)) is None:
            raise ConfigError(
                f"run {run.name} ended without saying how: expected its outcome. Move that run's folder away and run "
                "the same command again."
            )
    rows = metrics_rows(run.path)
    hooks.rows(rows)
    rungs = [] if found.outcome else [verify_checkpoint(run.checkpoint(LAST))]
    hooks.record(finished(run, rows), *rungs)
    return Trained(inputs, found.outcome, found.stages)


def ensure_from_scratch(wanted: RunInputs, places: Places, hooks: Hooks) -> Trained:
    """Trained from scratch, or what is left of that; no stage can end it."""
    ladder = ensure_trained(wanted, places, hooks)
    inputs = RunInputs.read(places.run(wanted.run).inputs)
    words = f"Trained from scratch for {ladder[-1].env_steps:,} env steps; its last rung is the challenger."
    return Trained(inputs, "", [{"name": "scratch", "passed": True, "words": words}])
