"""One training of a walk-forward: a run like any other, in the market of one fold, resumed where a kill left it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.manifest import Manifest
from clstm_core.artifacts.manifests import AuditVerdict, CheckpointManifest, RunInputs, TensorsManifest
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.config import RunConfig
from clstm_core.errors import ArtifactError, ConfigError
from clstm_core.specs import RUNGS
from clstm_core.train.inputs import config_of, trained_on
from clstm_core.walk_forward.folds import Fold
from clstm_core.walk_forward.plan import WalkPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One fold, seed and recipe of a plan, and the sessions that its folds are cut from."""

    plan: WalkPlan
    sessions: Sequence[date]
    fold: Fold
    recipe: str
    seed: int

    @property
    def run(self) -> str:
        """The name of its run."""
        return self.plan.run_of(self.recipe, self.fold, self.seed)

    @property
    def words(self) -> str:
        """What a person is told of it."""
        return f"fold {self.fold.number} of {self.plan.folds}, {self.recipe}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What whoever runs a walk-forward is told.

    record: manifests for the store; rows: training metrics for it; iteration: each iteration's metrics as they come;
    say: a sentence for the log
    """

    record: Callable[..., None] = lambda *manifests: None
    rows: Callable[[list[dict[str, Any]]], None] = lambda rows: None
    iteration: Callable[[dict[str, Any]], None] = lambda row: None
    say: Callable[[str], None] = lambda sentence: None


def inputs_of(cell: Cell, tensors: TensorsManifest, verdict: AuditVerdict) -> RunInputs:
    """What a cell's run is made from."""
    config = cell.plan.run_config(cell.recipe, cell.fold, cell.sessions, cell.seed)
    whose = f"fold {cell.fold.number} of walk-forward {cell.plan.name}"
    return run_inputs(cell.run, config, tensors, verdict, whose, {"walk_forward": cell.plan.name})


def run_inputs(
    run: str,
    config: RunConfig,
    tensors: TensorsManifest,
    verdict: AuditVerdict,
    whose: str,
    more: Mapping[str, Any],
    parents: Mapping[str, str] | None = None,
) -> RunInputs:
    """What a run is made from that trains and is judged in one market, whose last window is judged.

    Args:
        whose: market that is, in words; more: further facts; parents: identities of what else it is made from
    """
    info, splits = tensors.info, tensors.info["splits"]
    (start, stop), (first, last) = splits["train"], splits["test"]
    facts = {name: info[name] for name in ("source", "label", "spread", "quotes_sha256")}
    reason = f"{whose}: the first {stop - start} sessions of its market."
    return RunInputs(
        run=run,
        config=config.to_dict(),
        config_sha256=config.sha256,
        git_commit=git_commit(),
        facts={
            **facts,
            "quotes_dir": str(Path(info["quotes_path"]).parent),
            **trained_on(
                config.worlds, source=info["source"], label=info["label"], sessions=stop - start, reason=reason
            ),
            "training_snapshots": stop - start,
            "heldout_snapshots": last - first,
            **more,
        },
        parents={
            "quotes": tensors.parents["quotes"],
            "tensors": tensors.identity,
            "training_tensors": tensors.identity,
            "verdict": verdict.identity,
            "training_verdict": verdict.identity,
            **(parents or {}),
        },
    )


def ensure_trained(
    wanted: RunInputs, places: Places, hooks: Hooks, *, before: RunFolder | None = None
) -> list[CheckpointManifest]:
    """The ladder of a run: the one that is whole, or trained now from where an earlier call was stopped.

    Args:
        wanted: what the run is made from
        before: the run of the fold before, whose last rung this one begins with; from scratch where there is none

    Raises: ConfigError where the run's folder was made from something else; TrainingError and CheckpointError of the
            trainer
    """
    import torch

    from clstm_core.store.rows import metrics_rows
    from clstm_core.train.apart import train_apart
    from clstm_core.train.status import finished, followed

    run = places.run(wanted.run)
    inputs = begun(run, wanted)
    hooks.record(inputs)
    if (ladder := _ladder(run, inputs)) is None:
        if before is not None:
            _begin_warm(run, inputs, before, places)
        with followed(run, hooks.record):
            train_apart(run, threads=torch.get_num_threads(), report=hooks.iteration, warn=hooks.say)
        ladder = _ladder(run, inputs)
        if ladder is None:
            raise ConfigError(
                f"run {run.name} ended without the rungs {', '.join(RUNGS)}: expected each whole. Move that run's "
                "folder away and run the same command again."
            )
    rows = metrics_rows(run.path)
    hooks.rows(rows)
    hooks.record(finished(run, rows), *ladder)
    return ladder


def begun(run: RunFolder, wanted: RunInputs) -> RunInputs:
    """The inputs in a run's folder, written where nothing was trained yet.

    Raises: ConfigError where it was begun with other settings or in another market
    """
    from clstm_core.checkpoint import newest_checkpoint

    if newest_checkpoint(run.path) is None:
        kept = RunInputs.kept(run.inputs)
        same = kept is not None and replace(kept, git_commit="") == replace(wanted, git_commit="")
        return kept if kept is not None and same else wanted.write(run.inputs)
    kept = RunInputs.read(run.inputs)
    if (kept.data_sha256, config_of(kept)) != (wanted.data_sha256, config_of(wanted)):
        raise ConfigError(
            f"run {run.name} was begun with other settings or in another market than is asked for now: expected the "
            "same. Pass another --name, or move that run's folder away."
        )
    return kept


def _ladder(run: RunFolder, inputs: Manifest) -> list[CheckpointManifest] | None:
    """The verified rungs that were trained from these inputs; None where one is missing or not whole."""
    from clstm_core.checkpoint import verify_checkpoint

    found = []
    for name in RUNGS:
        try:
            manifest = verify_checkpoint(run.checkpoint(name))
        except ArtifactError:
            return None
        if manifest.parents.get("inputs") != inputs.identity:
            return None
        found.append(manifest)
    return found


def _begin_warm(run: RunFolder, inputs: RunInputs, before: RunFolder, places: Places) -> None:
    """Checkpoint "000" with the weights that the fold before ended with, where nothing was trained yet."""
    from clstm_core.checkpoint import newest_checkpoint
    from clstm_core.train.envs import envs_of
    from clstm_core.train.loop import warm_start

    if newest_checkpoint(run.path) is None:
        env, _ = envs_of(inputs, places)
        warm_start(config_of(inputs), env, run_dir=run.path, weights=before.checkpoint(RUNGS[-1]))
