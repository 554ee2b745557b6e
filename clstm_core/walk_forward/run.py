"""A whole walk-forward: each fold's market, its baselines, its trainings and their ladders, then the record of all.

Every step is kept where a run of the chain keeps its own, and is found again: a call that was killed anywhere is called
once more with the same plan and goes on. Nothing that was measured is measured twice, and no look is counted twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import lock, read_json, write_json
from clstm_core.artifacts.manifests import RunInputs, TensorsManifest, WalkForwardManifest
from clstm_core.artifacts.places import Places
from clstm_core.errors import ConfigError
from clstm_core.evaluation.backtest import BacktestResult
from clstm_core.evaluation.words import percent_of_run
from clstm_core.walk_forward.fair import ensure_fair, together
from clstm_core.walk_forward.figures import cells_of
from clstm_core.walk_forward.luck import Sums
from clstm_core.walk_forward.markets import fold_tensors, proven, sessions_of
from clstm_core.walk_forward.measured import chosen_rung, ensure_baselines, ensure_ladder, ladder_place
from clstm_core.walk_forward.plan import WalkPlan
from clstm_core.walk_forward.stitch import Piece, piece_of
from clstm_core.walk_forward.trained import Cell, Hooks, ensure_trained, inputs_of

PLAN, RECORD, LOCK = "plan.json", "walk_forward.json", ".lock"


@dataclass(frozen=True, kw_only=True)
class Walked:
    """One fold of one recipe, walked: its piece of the record, a row per seed, and what it was made from.

    judged: what the last seed's chosen rung was backtested on; fair: what the chosen rungs made in fair worlds of the
    fold's test, None where these were not walked; parents: identities of the sets of backtests, by run and
    by fold
    """

    piece: Piece
    rows: list[dict[str, Any]]
    tensors: TensorsManifest
    judged: Mapping[str, Any]
    fair: Sums | None
    parents: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What whoever runs a walk-forward is told besides `Hooks`.

    progress: env steps done of those that this call has to do, and what is being done; fold: figures of a walked one
    """

    hooks: Hooks = field(default_factory=Hooks)
    progress: Callable[[int, int, str], None] = lambda done, total, note: None
    fold: Callable[[dict[str, Any]], None] = lambda facts: None


def walk_forward(plan: WalkPlan, places: Places, telling: Telling | None = None) -> WalkForwardManifest:
    """Train, walk and judge every fold, seed and recipe of a plan, or what is left of that; its record.

    Raises: ConfigError where the name belongs to another plan or the history is too short; ArtifactError where another
            process works on it; what training, the audit and the backtests raise
    """
    from clstm_core.walk_forward.record import record_of

    told, folder = telling or Telling(), places.walk(plan.name)
    sessions = sessions_of(plan)
    folds = plan.cut(sessions)
    with lock(folder / LOCK, f"walk-forward {plan.name}"):
        _begin(plan, folder)
        cells = [
            Cell(plan=plan, sessions=sessions, fold=fold, recipe=recipe, seed=seed)
            for recipe, fold, seed in product(plan.recipes, folds, plan.seeds)
        ]
        count = _Count(told, cells, places)
        walked: dict[str, list[Walked]] = {recipe: [] for recipe in plan.recipes}
        before: dict[tuple[str, int], Cell] = {}
        for recipe, fold in product(plan.recipes, folds):
            mine = [cell for cell in cells if cell.recipe == recipe and cell.fold == fold]
            found = _fold(mine, before, places, told, count)
            walked[recipe].append(found)
            before |= {(recipe, cell.seed): cell for cell in mine}
            told.fold(_facts(found))
        count.say("the record")
        return record_of(plan, places, walked).write(folder / RECORD)


def read_walk(places: Places, name: str) -> WalkForwardManifest:
    """A walk-forward that came to its end, verified; EvaluationError that says what to do where there is none."""
    return WalkForwardManifest.read(places.walk(name) / RECORD)


def _begin(plan: WalkPlan, folder: Path) -> None:
    """Keep the plan, or refuse one that does other things than what the folder was begun with."""
    kept = read_json(folder / PLAN)
    if kept is not None and (different := plan.different(WalkPlan.from_dict(kept))):
        raise ConfigError(
            f"walk-forward {plan.name} was begun with another plan: {', '.join(different)} differ. Pass another "
            f"--name, or the settings in {folder / PLAN}."
        )
    write_json(folder / PLAN, plan.to_dict())


class _Count:
    """Env steps done of those that this call has to do: what stands counts as nothing, so that rates are true."""

    def __init__(self, told: Telling, cells: Sequence[Cell], places: Places):
        self._told, self._steps = told, cells[0].plan.steps
        self._left = {cell.run for cell in cells if not ladder_place(cell, places).is_file()}
        self._total, self._done = max(1, len(self._left) * self._steps), 0

    def say(self, note: str, within: int = 0) -> None:
        """Tell what is being done; `within`: env steps of the training that is at work."""
        self._told.progress(min(self._done + within, self._total), self._total, note)

    def iteration(self, cell: Cell, row: dict[str, Any]) -> None:
        """One iteration of a training."""
        note = f"{cell.words}: {row['progress']:.0%} trained, {row['steps_per_second']:,.0f} env steps/s"
        self.say(note, min(int(row["env_steps"]), self._steps) if cell.run in self._left else 0)

    def walking(self, cell: Cell) -> None:
        """A cell is trained; its rungs are walked over the test."""
        self.say(f"{cell.words}: trained; its ladder is walked", self._steps if cell.run in self._left else 0)

    def luck(self, cell: Cell) -> None:
        """A cell's ladder is walked; its chosen rung goes through fair worlds."""
        self.say(f"{cell.words}: its rung walks fair worlds", self._steps if cell.run in self._left else 0)

    def done(self, cell: Cell) -> None:
        """A cell is trained and walked."""
        self._done += self._steps if cell.run in self._left else 0
        self.say(f"{cell.words}: walked")


def _fold(
    cells: Sequence[Cell], before: dict[tuple[str, int], Cell], places: Places, told: Telling, count: _Count
) -> Walked:
    """One fold of one recipe: its market and its baselines once, then each seed.

    Args:
        before: the cell of the fold before, by recipe and seed
    """
    first, hooks = cells[0], told.hooks
    plan, fold, recipe, sessions = first.plan, first.fold, first.recipe, first.sessions
    where = f"fold {fold.number} of {plan.folds}, {recipe}"
    count.say(f"{where}: its market")
    folder = fold_tensors(plan.fold_market(recipe, fold, sessions), places, plan.embargo)
    tensors, audited = proven(folder, plan, recipe, fold, sessions, places)
    hooks.record(audited)
    count.say(f"{where}: its baselines")
    config = plan.run_config(recipe, fold, sessions, plan.seeds[0])
    baselines = ensure_baselines(first, tensors, config, places, hooks)
    chosen: dict[int, BacktestResult] = {}
    rows = []
    fair: list[Sums | None] = []
    parents = {f"baselines.{recipe}.f{fold.number:02d}": baselines.set.identity}
    for cell in cells:
        parent = before.get((recipe, cell.seed)) if plan.warm else None
        ensure_trained(
            inputs_of(cell, tensors, audited),
            places,
            replace(hooks, iteration=partial(_both, partial(count.iteration, cell), hooks.iteration)),
            before=None if parent is None else places.run(parent.run),
        )
        count.walking(cell)
        kept = ensure_ladder(cell, RunInputs.read(places.run(cell.run).inputs), places, hooks)
        chosen[cell.seed], why = chosen_rung(kept.results)
        rows.append(_row(cell, chosen[cell.seed], why))
        parents[cell.run] = kept.set.identity
        count.luck(cell)
        fair.append(ensure_fair(cell, chosen[cell.seed].manifest["milestone"], tensors, config, places, hooks))
        count.done(cell)
    beside = [result for result in baselines.results if result.manifest["fill_lag"] == config.env.fill_lag]
    piece = piece_of(fold.number, chosen, beside)
    earned = {cell["seed"]: cell["excess_bps"] for cell in cells_of([piece])}
    rows = [{**row, "excess_bps": earned[row["seed"]]} for row in rows]
    judged = chosen[plan.seeds[-1]].manifest
    return Walked(piece=piece, rows=rows, tensors=tensors, judged=judged, fair=together(fair), parents=parents)


def _both(first: Callable[[Any], None], second: Callable[[Any], None], row: dict[str, Any]) -> None:
    first(row)
    second(row)


def _row(cell: Cell, rung: BacktestResult, why: str) -> dict[str, Any]:
    """One cell as the table of folds shows it: its spans, and the rung that its validation chose."""
    fold, day = cell.fold, cell.sessions

    def ends(name: str) -> dict[str, str]:
        span = getattr(fold, name)
        return {f"{name}_from": str(day[span.start]), f"{name}_to": str(day[span.stop - 1])}

    return {
        "fold": fold.number,
        "recipe": cell.recipe,
        "seed": cell.seed,
        "run": cell.run,
        **ends("train"),
        **ends("validation"),
        **ends("test"),
        "training_sessions": len(fold.train),
        "embargo": min(fold.validation.start - fold.train.stop, fold.test.start - fold.validation.stop),
        "rung": rung.manifest["milestone"],
        "why": why,
        "backtest_id": rung.id,
        "fills": rung.manifest["summary"]["n_fills"],
    }


def _facts(found: Walked) -> dict[str, Any]:
    """What is told of a fold as soon as it is walked."""
    rows, piece = found.rows, found.piece
    return {
        "fold": piece.fold,
        "recipe": rows[0]["recipe"],
        "test": f"{piece.dates[0]} to {piece.dates[-1]}",
        "rungs": ", ".join(f"seed {row['seed']}: {percent_of_run(row['rung'])}" for row in rows),
        "excess_bps": sum(row["excess_bps"] for row in rows) / len(rows),
        "sessions": piece.sessions,
    }
