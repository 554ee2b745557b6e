"""A whole sweep: trial after trial, then the trainings that confirm; killed anywhere, the same call goes on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import lock, read_json, write_json
from clstm_core.artifacts.manifests import RunInputs, SweepManifest, TrialManifest
from clstm_core.artifacts.places import Places
from clstm_core.errors import ArtifactError, AuditError, ConfigError, NonFiniteError, TrainingError
from clstm_core.gate import Size, ensure_verdict
from clstm_core.market.cache import training_tensors
from clstm_core.sweeps.plan import SweepPlan
from clstm_core.sweeps.propose import Told, importances, propose
from clstm_core.sweeps.scored import ensure_scored
from clstm_core.sweeps.words import answer
from clstm_core.train.inputs import config_of, inputs_for
from clstm_core.walk_forward.trained import Hooks

PLAN, RECORD, LOCK = "plan.json", "sweep.json", ".lock"
CRASH = "non_finite_*.safetensors"
BEGUN, DONE, FAILED = "begun", "done", "failed"


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What whoever runs a sweep is told besides `Hooks`.

    progress: env steps done of those that this call has to do, and what is being done; trial: one that ended
    """

    hooks: Hooks = field(default_factory=Hooks)
    progress: Callable[[int, int, str], None] = lambda done, total, note: None
    trial: Callable[[TrialManifest], None] = lambda trial: None


def sweep(plan: SweepPlan, places: Places, telling: Telling | None = None) -> SweepManifest:
    """Train and score every trial of a plan, or what is left of that; then confirm the best, and keep the record.

    Raises: ConfigError where the name belongs to another plan; ArtifactError where another process works on it; what
            the market, the audit and training raise. Settings with which training breaks down fail their trial alone
    """
    told, folder = telling or Telling(), places.sweep(plan.name)
    with lock(folder / LOCK, f"sweep {plan.name}"):
        _begin(plan, folder)
        count = _Count(told, plan, folder)
        count.say("its market")
        _prove(plan, places)
        trials: list[TrialManifest] = []
        for number in range(plan.trials):
            trials.append(_trial(plan, number, trials, places, told, count))
        best = best_of(trials)
        confirmed = _confirmed(plan, best, trials, places, told, count)
        usual = inputs_for(plan.run_of(0, plan.seeds[0]), plan.core, places)
        told_all = _told(trials)
        made = SweepManifest(
            name=plan.name,
            plan=plan.to_dict(),
            label=str(usual.facts["label"]),
            trained_on=str(usual.facts["trained_on"]),
            trials=[_row(trial) for trial in trials],
            best=None if best is None else best.trial,
            confirmed=confirmed,
            importances=importances(plan.dimensions, told_all),
            answer=answer(plan, trials, best, confirmed),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            parents={f"t{trial.trial:03d}": trial.identity for trial in trials},
        )
        kept = SweepManifest.kept(folder / RECORD)
        if kept is None or replace(kept, created="") != replace(made, created=""):
            kept = made.write(folder / RECORD)
        told.hooks.record(kept)
        return kept


def read_sweep(places: Places, name: str) -> SweepManifest:
    """A sweep that came to its end, verified; EvaluationError that says what to do where there is none."""
    return SweepManifest.read(places.sweep(name) / RECORD)


def best_of(trials: Sequence[TrialManifest]) -> TrialManifest | None:
    """The trial with the highest score; of two that are equal, the earlier. None where all failed."""
    done = [trial for trial in trials if trial.score is not None]
    return max(done, key=lambda trial: trial.score or 0.0) if done else None


def _begin(plan: SweepPlan, folder: Path) -> None:
    """Keep the plan, or refuse one that does other things than what the folder was begun with."""
    kept = read_json(folder / PLAN)
    if kept is None and ((folder / PLAN).exists() or _place(folder, 0).exists()):
        raise ConfigError(
            f"no readable {folder / PLAN}: expected what sweep {plan.name} was begun with, whose trials stand. Pass "
            "another --name."
        )
    try:
        different = plan.different(SweepPlan.from_dict(kept)) if kept is not None else []
    except ConfigError as error:
        raise ConfigError(
            f"{folder / PLAN} cannot be gone on with by this release: {error} Pass another --name, or go on by the "
            f"release that sweep {plan.name} was begun with."
        ) from error
    if different:
        raise ConfigError(
            f"sweep {plan.name} was begun with another plan: {', '.join(different)} differ. Pass another --name, or "
            f"the settings in {folder / PLAN}."
        )
    write_json(folder / PLAN, plan.to_dict())


def _prove(plan: SweepPlan, places: Places) -> None:
    """The recipe's market and the verdict without which nothing is trained in it.

    Raises: AuditError where a proof failed
    """
    found = training_tensors(plan.core.market(), places.cache, plan.core.embargo)
    size: Size = "full" if plan.audit == "full" else "quick"
    for folder in dict.fromkeys((found.evaluation, found.training)):
        verdict, _ = ensure_verdict(folder, plan.usual.env, size, places.cache)
        if not verdict.passed:
            raise AuditError(
                f"the audit of {plan.source} failed: {verdict.verdict} Nothing is trained in it. {verdict.place} says "
                "more."
            )


def _trial(
    plan: SweepPlan, number: int, before: Sequence[TrialManifest], places: Places, told: Telling, count: "_Count"
) -> TrialManifest:
    """One trial: the one that ended, or the one that was begun or is proposed now, trained and scored."""
    place = _place(places.sweep(plan.name), number)
    trial = _kept(place, told)
    if trial is None:
        settings = (
            plan.usual_settings if number == 0 else propose(plan.dimensions, _told(before), seed=plan.sampler_seed)
        )
        trial = TrialManifest(sweep=plan.name, trial=number, settings=settings, state=BEGUN).write(place)
    if trial.state == BEGUN:
        told.hooks.record(trial)
        try:
            for seed in plan.seeds:
                plan.config(trial.settings, seed)  # what does not go together fails before anything is trained
        except ConfigError as error:
            trial = replace(trial, state=FAILED, reason=str(error)).write(place)
    if trial.state == BEGUN:
        try:
            cells = [_cell(plan, number, trial.settings, seed, places, told, count) for seed in plan.seeds]
        except (NonFiniteError, TrainingError) as error:
            if number == 0 or not _broke_down(error, [plan.run_of(number, seed) for seed in plan.seeds], places):
                raise  # a trainer that was stopped or killed: the same call goes on with it
            trial = replace(trial, state=FAILED, reason=str(error)).write(place)
        else:
            score = sum(cell["score"] for cell in cells) / len(cells)
            trial = replace(trial, state=DONE, score=score, cells=cells).write(place)
    told.hooks.record(trial)
    told.trial(trial)
    return trial


class _NoScoreError(NonFiniteError):
    """A training came to its end, and what it is scored by is no number."""


def _broke_down(error: Exception, runs: Sequence[str], places: Places) -> bool:
    """Whether a training broke down by its settings: its score is none, or the trainer left the minibatch it broke
    down on."""
    return isinstance(error, _NoScoreError) or any(any(places.run(run).path.glob(CRASH)) for run in runs)


def _kept(place: Path, told: Telling) -> TrialManifest | None:
    if not place.is_file():
        return None
    try:
        return TrialManifest.read(place)
    except ArtifactError as error:
        told.hooks.say(f"{error} It is proposed again now.")
        return None


def _cell(
    plan: SweepPlan,
    number: int,
    settings: Mapping[str, Any],
    seed: int,
    places: Places,
    told: Telling,
    count: "_Count",
) -> Mapping[str, Any]:
    """One training of a trial and its score."""
    words = f"trial {number} of {plan.trials - 1}, seed {seed}"
    count.say(words)
    run = plan.run_of(number, seed)
    wanted = _inputs(plan, run, settings, seed, places)

    def tell(row: dict[str, Any]) -> None:
        count.say(f"{words}: {row['progress']:.0%} trained, {row['steps_per_second']:,.0f} env steps/s",
                  int(row["env_steps"]))  # fmt: skip
        told.hooks.iteration(row)

    row = ensure_scored(wanted, places, replace(told.hooks, iteration=tell))
    count.done()
    if not math.isfinite(row["score"]):
        raise _NoScoreError(f"{run} scored {row['score']}: expected a number. Nothing is chosen by it.")
    return row


def _inputs(plan: SweepPlan, run: str, settings: Mapping[str, Any], seed: int, places: Places) -> RunInputs:
    """What one training is made from: the recipe's inputs, with the trial's settings."""
    usual = inputs_for(run, plan.core, places)
    config = plan.config(settings, seed)
    wanted = replace(
        usual,
        config=config.to_dict(),
        config_sha256=config.sha256,
        facts={**usual.facts, "sweep": plan.name},
    )
    assert config_of(wanted) == config
    return wanted


def _confirmed(
    plan: SweepPlan,
    best: TrialManifest | None,
    trials: Sequence[TrialManifest],
    places: Places,
    told: Telling,
    count: "_Count",
) -> list[Mapping[str, Any]]:
    """The best trial and the recipe with seeds that chose nothing, by seed; none where the recipe is best.

    A seed with which a training of either breaks down has no row.
    """
    if best is None or best.trial == 0:
        return []
    rows: list[Mapping[str, Any]] = []
    for seed in plan.confirming:
        try:
            mine, usual = (
                _cell(plan, trial.trial, trial.settings, seed, places, told, count) for trial in (best, trials[0])
            )
        except (NonFiniteError, TrainingError) as error:
            if not _broke_down(error, [plan.run_of(trial.trial, seed) for trial in (best, trials[0])], places):
                raise
            told.hooks.say(f"Seed {seed} confirms nothing: {error}")
            continue
        rows.append({"seed": seed, "best": mine["score"], "recipe": usual["score"], "run": mine["run"],
                     "recipe_run": usual["run"]})  # fmt: skip
    return rows


def _told(trials: Sequence[TrialManifest]) -> list[Told]:
    return [Told(trial.settings, trial.score) for trial in trials]


def _row(trial: TrialManifest) -> dict[str, Any]:
    return {
        "trial": trial.trial,
        "state": trial.state,
        "score": trial.score,
        **dict(trial.settings),
        **{name: _mean([cell.get(name) for cell in trial.cells]) for name in
           ("growth_bps_fresh_worlds", "growth_bps_validation_dates", "seconds")},
        "reason": trial.reason,
    }  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _place(folder: Path, number: int) -> Path:
    return folder / "trials" / f"{number:04d}.json"


class _Count:
    """Env steps done of those that this call has to do: what stands counts as nothing, so that rates are true."""

    def __init__(self, told: Telling, plan: SweepPlan, folder: Path):
        self._told, self._steps, self._done = told, plan.steps, 0
        left = 0
        for number in range(plan.trials):
            kept = TrialManifest.kept(_place(folder, number))
            left += 0 if kept is not None and kept.state != BEGUN else len(plan.seeds)
        self._total = max(1, (left + 2 * plan.confirm) * plan.steps)

    def say(self, note: str, within: int = 0) -> None:
        """Tell what is being done; `within`: env steps of the training that is at work."""
        self._told.progress(min(self._done + min(within, self._steps), self._total), self._total, note)

    def done(self) -> None:
        """A training is scored."""
        self._done = min(self._done + self._steps, self._total)
