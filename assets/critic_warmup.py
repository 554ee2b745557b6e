"""A run begins here: its configuration and its market are fixed, the recurrence is proven, the critic is warmed up."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import TRAIN, code_version
from assets.environment_audit import environment_audit
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, Recipe
from assets.support import check, numbers, record_gates, run_stage, tag_by_inputs, tag_run
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.train.inputs import config_of, inputs_for

if TYPE_CHECKING:
    from clstm_core.artifacts.manifests import RunInputs


@dg.asset(
    group_name="training",
    deps=[environment_audit],
    partitions_def=training_run,
    kinds={"torch"},
    code_version=code_version(__file__, rooms=(*TRAIN, "audit")),
    owners=["team:research"],
    pool="gpu",
    check_specs=check_specs(
        "warm_critic",
        blocking={
            "finite": "No weight is NaN or infinite.",
            "actor_untouched": "The warmup left the actor as it was, bit for bit.",
        },
        warning={"explained_variance_rose": "The critic explains more of the returns after its warmup than before."},
    ),
)
def warm_critic(
    context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """The critic, fitted to Monte Carlo returns of the untrained policy before PPO; never in an unproven market."""
    with run_stage(context, "warmup", paths) as (progress, run):
        from clstm_core.checkpoint import is_whole, load_checkpoint, newest_checkpoint
        from clstm_core.train.adopt import adopt_checkpoints, adopted_inputs
        from clstm_core.train.envs import envs_of
        from clstm_core.train.loop import warm_start

        inputs, store = inputs_for(run.name, recipe.core(), paths.places), metrics.store()
        old = paths.places.run(recipe.policy_of) if recipe.policy_of else None
        if old is not None:
            inputs = adopted_inputs(inputs, old, paths.places)
        if (set_aside := _set_aside(run, inputs, paths.places)) is not None:
            store.forget(run.name)
            context.log.warning(f"{run.name} was made from other data or settings; it was kept as {set_aside.name}.")
        newest = newest_checkpoint(run.path)
        recipe.core().require_hardware()
        tag_by_inputs(context, inputs)
        tag_run(context, hardware=hardware(recipe.device))
        if old is not None:
            if newest is None:
                inputs.write(run.inputs)
            adopt_checkpoints(run, old)
            newest = newest_checkpoint(run.path)
        if newest is None:
            inputs = inputs.write(run.inputs)
            env, _ = envs_of(inputs, paths.places)
            result = warm_start(config_of(inputs), env, run_dir=run.path)
            warm, warmup, self_test = run.checkpoint("000"), result.warmup or {}, result.self_test
        else:
            inputs = type(inputs).read(run.inputs)
            # 000 where it is whole; else another one tells of the same warmup, and nothing later reads 000
            warm = run.checkpoint("000") if is_whole(run.checkpoint("000")) else newest
            meta = load_checkpoint(warm).meta
            warmup, self_test = meta["warmup"], meta["self_test"]
            progress.reused(f"the policy of {old.name} is judged again" if old else "this run's critic is warm already")
        weights = load_checkpoint(warm).model
        finite = all(bool(tensor.isfinite().all()) for tensor in weights.values() if tensor.is_floating_point())
        before, after = (warmup[f"bootstrapped_explained_variance_{when}"] for when in ("before", "after"))
        results = [
            check("finite", finite, "Every weight is finite." if finite else "A weight is not finite.", blocking=True),
            check(
                "actor_untouched",
                warmup["actor_untouched"],
                "Actor trunk and policy head, compared bit by bit with before the warmup.",
                blocking=True,
            ),
            check(
                "explained_variance_rose",
                after > before,
                f"Bootstrapped explained variance of Monte Carlo returns: {before:.3f} before, {after:.3f} after.",
            ),
        ]
        store.record(inputs)
        record_gates(metrics, run, inputs.data_sha256, "warm_critic", results)
        progress(1, 1)
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(warm)),
            "inputs": dg.MetadataValue.path(str(run.inputs)),
            "recipe": recipe.name,
            "market": inputs.facts["label"],
            "self_test": dg.MetadataValue.json(self_test),
            **numbers(warmup),
        },
        data_version=dg.DataVersion(
            json_sha256([inputs.config_sha256, inputs.data_sha256, inputs.training_data_sha256])[:16]
        ),
        check_results=results,
    )


def hardware(device: str) -> str:
    """What trains: the GPU's name, or how many CPU cores there are."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return f"cpu, {os.cpu_count()} cores"


def _set_aside(run: RunFolder, wanted: "RunInputs", places: Places) -> Path | None:
    """Move a run of the same name that was made from something else out of the way; nothing is lost.

    Raises: CheckpointError where a trainer is still at work in it: one whose launch was killed ends its iteration first
    """
    from clstm_core.checkpoint import lock_run

    if not (run.path / "checkpoints").is_dir():
        return None
    if (kept := type(wanted).kept(run.inputs)) is not None and _same(kept, wanted) and _is_parent(kept, run):
        return None
    target = places.set_aside / f"{run.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with lock_run(run.path):
        os.replace(run.path, target)
    return target


def _same(kept: "RunInputs", wanted: "RunInputs") -> bool:
    """Whether two runs are made from the same markets and settings; another verdict or commit makes no other run."""
    markets = [(found.data_sha256, found.training_data_sha256) for found in (kept, wanted)]
    return markets[0] == markets[1] and config_of(kept) == config_of(wanted)


def _is_parent(inputs: "RunInputs", run: RunFolder) -> bool:
    """Whether the run's newest checkpoint, where there is one, names these inputs as what it was made from."""
    from clstm_core.checkpoint import newest_checkpoint, verify_checkpoint

    newest = newest_checkpoint(run.path)
    return newest is None or verify_checkpoint(newest).parents.get("inputs") == inputs.identity
