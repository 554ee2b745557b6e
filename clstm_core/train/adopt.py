"""An old run's policy judged on data of today: a new run that takes over its ladder, and trains nothing.

The new run keeps its own name, evaluation market and verdict; configuration and training market are the old run's.
Checkpoints are copied, and each names the one that it is a copy of.
"""

import dataclasses
import shutil
from typing import Any

import numpy as np

from clstm_core.artifacts.folder import whole_folder
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import CheckpointManifest, RunInputs
from clstm_core.artifacts.places import DIGITS, Places, RunFolder
from clstm_core.checkpoint import META, MODEL, STATE, is_whole, verify_checkpoint
from clstm_core.config import RunConfig
from clstm_core.errors import CheckpointError, ConfigError
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.specs import RUNGS
from clstm_core.train.inputs import config_of, trained_on
from clstm_core.train.run import WARM

VERDICT = "training_verdict"
"""Role of the audit's verdict on the market that a run trains on; the bare trainer asks for none."""

POLICY = "policy"
"""Role of the manifest that a copied checkpoint, or its run's inputs, was taken from."""


def require_policy(wanted: RunConfig, old: RunFolder, run: str) -> RunInputs:
    """What the policy of `old` was made from, which the run of that name is to judge on a market of `wanted`.

    A run of the bare trainer names its market by its tensors alone: `adopted_inputs` asks for the very same.

    Raises: ConfigError where the two do not belong together, CheckpointError where the old run is not trained
    """
    if old.name == run:
        raise ConfigError(f"run {old.name} is to be judged again under its own name. Pass another RUN for it.")
    if not old.inputs.is_file():
        raise ConfigError(f"no run {old.name} to take a policy from: expected {old.inputs}. Correct policy_of.")
    kept = RunInputs.read(old.inputs)
    theirs = config_of(kept)
    market = dataclasses.replace(wanted.market, n_snapshots=theirs.market.n_snapshots)  # how long it is may be new
    same_market = market == theirs.market or not of_the_chain(kept)
    for what, same in (("market", same_market), ("account", wanted.env == theirs.env)):
        if not same:
            raise ConfigError(
                f"run {old.name} was trained with other settings of the {what} than this recipe's: expected the same. "
                f"Launch with its recipe, {theirs.recipe}, and its source, {theirs.market.source}."
            )
    if theirs.fine_tune.champion and theirs.worlds.generated:
        raise ConfigError(
            f"run {old.name} was fine-tuned in worlds of its newest sessions and of older ones; what it earns there "
            "is measured by `clstm retrain` alone: expected a run that was trained from scratch. Pass that of its "
            "champion, or look at the page of its retraining."
        )
    for rung in RUNGS:
        _verified(old, rung)
    return kept


def adopted_inputs(wanted: RunInputs, old: RunFolder, places: Places) -> RunInputs:
    """What a run is made from that takes over another's policy.

    Args:
        wanted: what it would be made from if it were trained: of it, the evaluation market counts

    Raises: as `require_policy`, and ConfigError where the market is not younger than the policy; MarketDataError where
            its training market is gone
    """
    ours = config_of(wanted)
    kept = require_policy(ours, old, wanted.run)
    theirs = config_of(kept)
    identity = str(kept.training_data_sha256)
    if not of_the_chain(kept):
        _require_proven(kept, wanted)
    trained_in = load_market(places.tensors(identity), identity=identity)
    evaluated = str(wanted.data_sha256)
    _require_later(load_market(places.tensors(evaluated), identity=evaluated, verify=False), trained_in, old.name)
    config = dataclasses.replace(theirs, market=ours.market)
    return dataclasses.replace(
        wanted,
        config=config.to_dict(),
        config_sha256=config.sha256,
        facts={**wanted.facts, **_trained_on(kept, theirs, trained_in), "policy_of": old.name},
        parents={
            **wanted.parents,
            "training_tensors": identity,
            "training_verdict": kept.parents.get(VERDICT) or wanted.parents[VERDICT],
            POLICY: kept.identity,
        },
    )


def of_the_chain(inputs: RunInputs) -> bool:
    """Whether a run was begun by the chain, in a market that was proven first; else by the bare trainer."""
    return VERDICT in inputs.parents


def _require_proven(kept: RunInputs, wanted: RunInputs) -> None:
    """Refuse a market that no audit of this launch has proven: the bare trainer trains in any.

    Raises: ConfigError
    """
    found, expected = kept.training_data_sha256, str(wanted.training_data_sha256)
    if found != expected:
        market = f"market tensors {found[:DIGITS]}" if found else "a simulated world of its own"
        raise ConfigError(
            f"run {kept.run} was trained without Dagster on {market}: expected {expected[:DIGITS]}, the training "
            "market of this launch, which was audited. Launch with the source and recipe that made its market, or "
            f"train on data/cache/tensors/{expected[:DIGITS]} (--market) for one that can be judged."
        )


def _trained_on(kept: RunInputs, theirs: RunConfig, trained_in: MarketTensors) -> dict[str, Any]:
    """What the policy was trained on, as the old run says it; of a bare trainer's run, as its market does."""
    names = ("trained_on", "trained_label", "training_snapshots")
    if of_the_chain(kept):
        return {name: kept.facts[name] for name in names if name in kept.facts}
    info = trained_in.info
    start, stop = info["splits"]["train"]
    said = trained_on(
        theirs.worlds, source=info["source"], label=info["label"], sessions=stop - start, reason="its training window"
    )
    return {**said, "training_snapshots": stop - start}


def adopt_checkpoints(run: RunFolder, old: RunFolder) -> None:
    """Copy the ladder and the curves of `old` into a run whose inputs are written; one that was cut off goes on.

    Raises: CheckpointError for a checkpoint that is not whole
    """
    inputs = RunInputs.read(run.inputs).identity
    for name in (WARM, *RUNGS):
        if name == WARM and not old.checkpoint(WARM).is_dir():
            continue
        found = _verified(old, name)
        parents = {**found.parents, "inputs": inputs, POLICY: found.identity}
        if is_whole(run.checkpoint(name)) and verify_checkpoint(run.checkpoint(name)).parents == parents:
            continue
        with whole_folder(run.checkpoint(name)) as place:
            for file in (MODEL, STATE, META):
                shutil.copy2(old.checkpoint(name) / file, place / file)
            dataclasses.replace(found, run=run.name, parents=parents).write(place / FILE)
        verify_checkpoint(run.checkpoint(name))
    metrics = old.path / "metrics.jsonl"
    if metrics.is_file():
        shutil.copy2(metrics, run.path / metrics.name)


def _verified(old: RunFolder, name: str) -> CheckpointManifest:
    try:
        return verify_checkpoint(old.checkpoint(name))
    except CheckpointError as error:
        raise CheckpointError(f"run {old.name} is not trained to its end: {error}") from error


def _require_later(evaluated: MarketTensors, trained_in: MarketTensors, old: str) -> None:
    """Refuse a window of judgement that begins before the policy's training ended."""
    _, stop = trained_in.info["splits"]["train"]
    splits = evaluated.info["splits"]
    first = min((splits[name][0] for name in ("validation", "test") if name in splits), default=0)
    trained, judged = (_date(market, at) for market, at in ((trained_in, stop - 1), (evaluated, first)))
    if judged <= trained:
        raise ConfigError(
            f"run {old} was trained until {trained}, and would be judged from {judged} on: its result would be known "
            "beforehand. Expected data that are younger than the policy."
        )


def _date(market: MarketTensors, at: int) -> np.datetime64:
    return np.datetime64(int(market.snapshot_T[at]), "ns").astype("datetime64[D]")
