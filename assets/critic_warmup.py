"""A run begins here: its configuration and its data are fixed, the recurrence is proven, the critic is warmed up."""

import datetime
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from assets.environment_audit import environment_audit
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths
from assets.support import check, latest_metadata, numbers, read_kept, record_gates, record_run, stage, write_json

if TYPE_CHECKING:
    from clstm_core.config import RunConfig
    from clstm_core.env.options_env import OptionsEnv

INPUTS = "inputs.json"
"""What a run was made from, in its folder: tensors to train and to evaluate on, their hashes and labels."""


class TrainingConfig(dg.Config):
    """What to train; the run keeps it, and later assets read it from there."""

    recipe: str = Field("default_cpu", description="seed_100m (the published configuration), default_cpu or smoke")
    timesteps: int | None = Field(None, description="env steps, in place of the recipe's")
    seed: int = Field(0, description="of weights, envs and every draw")
    device: str = Field("auto", description="auto, cpu or cuda")


@dg.asset(
    group_name="training",
    deps=[environment_audit],
    partitions_def=training_run,
    kinds={"torch"},
    owners=["team:research"],
    pool="gpu",
    check_specs=[
        dg.AssetCheckSpec("finite", asset="warm_critic", blocking=True, description="no weight is NaN or infinite"),
        dg.AssetCheckSpec("actor_untouched", asset="warm_critic", blocking=True, description="bit-identical actor"),
        dg.AssetCheckSpec("explained_variance_rose", asset="warm_critic"),
    ],
)
def warm_critic(
    context: dg.AssetExecutionContext, config: TrainingConfig, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """The critic, fitted to Monte Carlo returns of the untrained policy before PPO begins."""
    run = context.partition_key
    with stage(context, "warmup") as progress:
        from clstm_core.checkpoint import is_whole, load_checkpoint, newest_checkpoint
        from clstm_core.errors import NonFiniteError, SelfTestError
        from clstm_core.train.loop import warm_start

        parent = latest_metadata(context, "market_tensors")
        run_dir = paths.run(run)
        run_config = run_configuration(config, parent)
        inputs = {
            "folder": parent["folder"],
            "training_folder": parent["training_folder"],
            "quotes_folder": parent["quotes_folder"],
            "source": parent["source"],
            "label": parent["label"],
            "spread": parent["spread"],
            "trained_on": parent["trained_on"],
            "trained_label": parent["trained_label"],
            "quotes_sha256": parent["quotes_sha256"],
            "data_sha256": parent["data_sha256"],
            "training_data_sha256": parent["training_data_sha256"],
        }
        warm = run_dir / "checkpoints" / "000"
        if (set_aside := _set_aside(run_dir, run_config, inputs)) is not None:
            context.log.warning(f"{run} was made from other data or settings; it was kept as {set_aside.name}.")
        newest = newest_checkpoint(run_dir)
        if newest is not None:
            # 000 where it is whole; else another one tells of the same warmup, and nothing later reads 000
            warm = warm if is_whole(warm) else newest
            meta = load_checkpoint(warm).meta
            warmup, self_test = meta["warmup"], meta["self_test"]
            progress.reused("this run's critic is warm already")
        else:
            run_dir.mkdir(parents=True, exist_ok=True)
            write_json(run_dir / INPUTS, inputs)
            env, _ = environments(run_config, inputs)
            try:
                result = warm_start(run_config, env, run_dir=run_dir)
            except (SelfTestError, NonFiniteError) as error:
                raise dg.Failure(description=str(error), allow_retries=False) from error
            warmup, self_test = result.warmup or {}, result.self_test
        weights = load_checkpoint(warm).model
        finite = all(bool(tensor.isfinite().all()) for tensor in weights.values() if tensor.is_floating_point())
        before, after = warmup["explained_variance_before"], warmup["explained_variance_after"]
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
                f"Explained variance of Monte Carlo returns: {before:.3f} before, {after:.3f} after.",
            ),
        ]
        store = metrics.store()
        record_gates(store, run_dir, inputs["data_sha256"], "warm_critic", results)
        record_run(store, run_dir, **_facts(run_config, inputs, parent))
        progress(1, 1)
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(warm)),
            "self_test": dg.MetadataValue.json(self_test),
            **numbers(warmup),
        },
        check_results=results,
    )


def run_configuration(config: TrainingConfig, parent: Any) -> "RunConfig":
    """The recipe with this run's steps, seed, device and the tenors of the market."""
    import dataclasses

    from clstm_core.config import RECIPES
    from clstm_core.errors import ConfigError

    if config.recipe not in RECIPES:
        raise ConfigError(f"unknown recipe {config.recipe!r}: expected one of {', '.join(RECIPES)}. Pass one.")
    recipe = RECIPES[config.recipe]()
    if parent["embargo"] < (needed := recipe.env.horizon + recipe.market.feature_lookback):
        raise ConfigError(
            f"the market tensors have an embargo of {parent['embargo']} snapshots between windows: recipe "
            f"{config.recipe} needs {needed} (horizon + lookback). Materialize market_tensors with that recipe."
        )
    market = dataclasses.replace(
        recipe.market, source=parent["source"], near_days=parent["near_days"], far_days=parent["far_days"]
    )
    timesteps = config.timesteps or recipe.timesteps
    return dataclasses.replace(recipe, timesteps=timesteps, seed=config.seed, device=config.device, market=market)


def environments(config: "RunConfig", inputs: dict[str, Any]) -> "tuple[OptionsEnv, OptionsEnv | None]":
    """Training envs and held-out ones, on the market that the run is trained on."""
    from clstm_core.train.command import make_envs

    return make_envs(config, Path(inputs["training_folder"]))  # type: ignore[return-value]


def _set_aside(run_dir: Path, config: "RunConfig", inputs: dict[str, Any]) -> Path | None:
    """Move a run of the same name that was made from something else out of the way; nothing is lost."""
    if not (run_dir / "checkpoints").is_dir():
        return None
    hashes = ("data_sha256", "training_data_sha256")
    kept, settings = read_kept(run_dir / INPUTS) or {}, read_kept(run_dir / "config.json")
    if [kept.get(name) for name in hashes] == [inputs[name] for name in hashes] and settings == config.to_dict():
        return None
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
    target = run_dir.with_name(f"{run_dir.name}.{stamp}")
    os.replace(run_dir, target)
    return target


def _facts(config: "RunConfig", inputs: dict[str, Any], parent: Any) -> dict[str, Any]:
    """What the store says of a run before it is trained."""
    from clstm_core.checkpoint import git_commit

    text = json.dumps(config.to_dict(), sort_keys=True)
    names = ("source", "label", "spread", "trained_on", "trained_label", "data_sha256", "training_data_sha256")
    train, test = parent["training_splits"]["train"], parent["splits"].get("test", [0, 0])
    return {
        "recipe": config.recipe,
        "seed": config.seed,
        "device": config.device,
        "timesteps": config.timesteps,
        **{name: inputs[name] for name in (*names, "quotes_sha256")},
        "training_snapshots": train[1] - train[0],
        "heldout_snapshots": test[1] - test[0],
        "quotes_dir": inputs["quotes_folder"],
        "config": text,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "git_commit": git_commit(),
    }
