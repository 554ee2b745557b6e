"""One training of a sweep and its score: growth per unit of risk where the policy was not trained.

    score = mean of per_risk over fresh worlds and validation dates     (`evaluation.qualification` ranks by it too)

Nothing is walked through the test window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import CheckpointManifest, RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.errors import ConfigError
from clstm_core.evaluation.generalisation import ARGMAX, FRESH_WORLDS, VALIDATION_DATES, Row
from clstm_core.generalisation.ensure import episodes_of
from clstm_core.generalisation.kinds import kinds_of
from clstm_core.generalisation.measure import opened, walk_kind
from clstm_core.market.tensors import load_market
from clstm_core.specs import RUNGS
from clstm_core.train.inputs import config_of
from clstm_core.walk_forward.trained import Hooks, ensure_trained

COUNTED = (FRESH_WORLDS, VALIDATION_DATES)


def score_of(figures: Sequence[Row]) -> tuple[float, dict[str, float]]:
    """The score, and what it is the mean of, by kind.

    Raises: ConfigError where the market is too short for either kind
    """
    found = {row["kind"]: float(row["per_risk"]) for row in figures if row["mode"] == ARGMAX and row["kind"] in COUNTED}
    if not found:
        raise ConfigError(
            "the market is too short for fresh worlds and for validation dates: expected one of them, since a sweep "
            "chooses nowhere else. Pass a longer --source."
        )
    return sum(found.values()) / len(found), found


def ensure_scored(wanted: RunInputs, places: Places, hooks: Hooks) -> Mapping[str, Any]:
    """A training and its score, as a row; what stands is not made again.

    The look at validation dates is in the trial registry before the row is there.

    Raises: as `walk_forward.trained.ensure_trained`; ConfigError as `score_of`
    """
    last = ensure_trained(wanted, places, hooks)[-1]
    run = places.run(wanted.run)
    inputs = RunInputs.read(run.inputs)
    _enter(inputs, places, hooks)
    figures = figures_of(run.checkpoint(last.milestone), inputs, places)
    score, kinds = score_of(figures)
    return {
        "run": wanted.run,
        "seed": config_of(inputs).seed,
        "milestone": last.milestone,
        "score": score,
        **{f"per_risk_{name}": kinds.get(name) for name in COUNTED},
        **_of(figures),
        "seconds": _seconds(last, hooks),
    }


def figures_of(checkpoint: Path, inputs: RunInputs, places: Places) -> list[Row]:
    """What a checkpoint earns in each kind of market that counts, in as many episodes as a run of the chain walks."""
    identity, config = str(inputs.training_data_sha256), config_of(inputs)
    market = load_market(places.tensors(identity), identity=identity)
    rung = {CheckpointManifest.read(checkpoint / FILE, files=False).milestone: opened(checkpoint)}
    kinds = [
        replace(kind, modes=(ARGMAX,))
        for kind in kinds_of(market, config, **episodes_of(config))
        if kind.name in COUNTED
    ]
    return [row for kind in kinds for row in walk_kind(rung, kind, config)[0]]


def _of(figures: Sequence[Row]) -> dict[str, float | None]:
    """Growth beyond cash in each kind that counts, basis points per session, with its standard error."""
    mine = {row["kind"]: row for row in figures if row["mode"] == ARGMAX}
    return {f"{what}_{name}": mine.get(name, {}).get(what) for name in COUNTED for what in ("growth_bps", "error_bps")}


def _enter(inputs: RunInputs, places: Places, hooks: Hooks) -> None:
    """Trade validation once, as a ledger, and enter the look at these dates in the trial registry."""
    from clstm_core.evaluation.ladder import backtest_ladder
    from clstm_core.evaluation.trial_ledger import enter

    identity = str(inputs.data_sha256)
    market = load_market(places.tensors(identity), identity=identity)
    if "validation" not in market.info["splits"]:
        return
    config = config_of(inputs)
    results = backtest_ladder(
        [places.run(inputs.run).checkpoint(RUNGS[-1])],
        market,
        config.env,
        None,
        places.backtests,
        windows=("validation",),
        seed=config.seed,
        meta={"run": inputs.run, "config_sha256": inputs.config_sha256, "git_commit": git_commit()},
    )
    enter(places, results, datetime.now(UTC).isoformat(timespec="seconds"))
    hooks.record(*(result.artifact for result in results))


def _seconds(last: CheckpointManifest, hooks: Hooks) -> float | None:
    from clstm_core.artifacts.folder import read_jsonl

    rows = read_jsonl(last.folder.parents[1] / "metrics.jsonl")
    return float(rows[-1]["seconds"]) if rows and rows[-1].get("seconds") is not None else None
