"""What each fold's ladder and baselines did on its test window; every look at it is entered in the trial registry."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from clstm_core.artifacts.code import code_sha256, git_commit
from clstm_core.artifacts.folder import file_sha256, json_sha256, sweep
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BacktestSet, RunInputs, TensorsManifest
from clstm_core.artifacts.places import Places
from clstm_core.config import RunConfig
from clstm_core.errors import ArtifactError
from clstm_core.evaluation.backtest import BacktestResult, load_backtest
from clstm_core.evaluation.headline import champion_of, headline_of
from clstm_core.evaluation.ladder import backtest_baselines, backtest_ladder
from clstm_core.evaluation.pairing import group
from clstm_core.evaluation.trial_ledger import enter
from clstm_core.market.tensors import load_market
from clstm_core.specs import RUNGS
from clstm_core.train.inputs import config_of
from clstm_core.walk_forward.trained import Cell, Hooks

CODE = "clstm_core.evaluation.ladder"
LADDER_WINDOWS, BASELINE_WINDOWS = ("test", "validation"), ("test",)
ASSET = "policy_backtests"
"""Name of a run's set of backtests, as the chain calls it."""


class Kept(NamedTuple):
    """Backtests, and the set that names them."""

    set: BacktestSet
    results: list[BacktestResult]


def ladder_place(cell: Cell, places: Places) -> Path:
    """Where a cell's set of backtests is kept: a cell that has one is walked."""
    return places.run(cell.run).backtests(ASSET)


def ensure_ladder(cell: Cell, inputs: RunInputs, places: Places, hooks: Hooks) -> Kept:
    """Backtests of a cell's five rungs in both modes; those that the same rungs left, or made now.

    Every look at the test window is in the registry before the set is written: a call that was killed between enters
    nothing twice, since a trial is known by its weights and its dates.
    """
    run, config = places.run(cell.run), config_of(inputs)
    identity = str(inputs.data_sha256)
    rungs = [file_sha256(run.checkpoint(name) / FILE) for name in RUNGS]

    def walk() -> list[BacktestResult]:
        return backtest_ladder(
            [run.checkpoint(name) for name in RUNGS],
            load_market(places.tensors(identity), identity=identity),
            config.env,
            None,
            places.backtests,
            windows=LADDER_WINDOWS,
            seed=config.seed,
            meta={"run": run.name, "config_sha256": inputs.config_sha256, "git_commit": git_commit()},
            market_folder=places.tensors(identity),
        )

    return kept_or_made(ladder_place(cell, places), run.name, [identity, *rungs], walk, places, hooks)


def ensure_baselines(cell: Cell, tensors: TensorsManifest, config: RunConfig, places: Places, hooks: Hooks) -> Kept:
    """Backtests of all baselines on a fold's test window: the same for every seed."""
    identity, name = tensors.identity, f"{cell.plan.name}.{cell.recipe}.f{cell.fold.number:02d}"

    def walk() -> list[BacktestResult]:
        return backtest_baselines(
            load_market(places.tensors(identity), identity=identity),
            config.env,
            None,
            places.backtests,
            windows=BASELINE_WINDOWS,
            meta={"git_commit": git_commit()},
        )

    place = places.walk(cell.plan.name) / f"{cell.recipe}.f{cell.fold.number:02d}.baselines.json"
    return kept_or_made(place, name, [identity, config.env], walk, places, hooks)


def kept_or_made(
    place: Path,
    name: str,
    parents: Sequence[object],
    walk: Callable[[], list[BacktestResult]],
    places: Places,
    hooks: Hooks,
) -> Kept:
    """The backtests of a set that stands, each verified; else those that `walk` makes, entered, then kept as a set."""
    made_from = json_sha256([*map(str, parents), code_sha256(CODE)])
    kept = _standing(place, made_from, places, hooks)
    if kept is None:
        sweep(places.backtests)
        results = walk()
        enter(places, results, datetime.now(UTC).isoformat(timespec="seconds"))
        made = BacktestSet(
            run=name,
            made_from=made_from,
            ids=[result.id for result in results],
            parents={result.id: result.artifact.identity for result in results},
        )
        kept = Kept(made.write(place), results)
    hooks.record(*(result.artifact for result in kept.results))
    return kept


def _standing(place: Path, made_from: str, places: Places, hooks: Hooks) -> Kept | None:
    if not place.is_file():
        return None
    try:
        kept = BacktestSet.read(place)
        if kept.made_from != made_from:
            return None
        found = [load_backtest(places.backtests / name, identity=kept.parents.get(name, "")) for name in kept.ids]
        return Kept(kept, found)
    except ArtifactError as error:
        hooks.say(f"{error} It is walked again now.")
        return None


def chosen_rung(ladder: Sequence[BacktestResult]) -> tuple[BacktestResult, str]:
    """The rung that a fold plays, by its validation dates alone, and why: the test takes no part (`champion_of`)."""
    groups = group(ladder)
    choice = champion_of(groups, headline_of(groups))
    assert isinstance(choice.judged, BacktestResult)
    return choice.judged, choice.reason
