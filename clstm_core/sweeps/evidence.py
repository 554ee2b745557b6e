"""What the page of a sweep shows: its record in the form that is drawn, every word of it written here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clstm_core.artifacts.manifests import SweepManifest
from clstm_core.sweeps.plan import SweepPlan
from clstm_core.sweeps.words import UNIT, confirmation, plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """One setting that was searched: its name, whether over its logarithm, and whether among choices."""

    name: str
    log: bool
    choices: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepEvidence:
    """One sweep as its page shows it.

    trials: one row per trial, settings as values; shown: the same with settings as text; confirmed: one row per seed
    that chose nothing, with the difference; unit: of a score
    """

    run: str
    data_label: str
    recipe: str
    trials: Sequence[Mapping[str, Any]]
    shown: Sequence[Mapping[str, Any]]
    searched: Sequence[Searched]
    best: int | None
    confirmed: Sequence[Mapping[str, Any]]
    confirmation: str
    importances: Sequence[Mapping[str, Any]]
    answer: str
    steps: int
    seeds: int
    provenance: Sequence[tuple[str, str]]
    generated_at: str
    unit: str = UNIT


def evidence_of(made: SweepManifest) -> SweepEvidence:
    """The evidence of a record."""
    plan = SweepPlan.from_dict(made.plan)
    names = [each.name for each in plan.dimensions]
    shares = sorted(made.importances.items(), key=lambda item: -item[1])
    return SweepEvidence(
        run=made.name,
        data_label=made.label,
        recipe=plan.recipe,
        trials=made.trials,
        shown=[{**row, **{name: plain(row[name]) for name in names}} for row in made.trials],
        searched=[Searched(name=each.name, log=each.log, choices=bool(each.choices)) for each in plan.dimensions],
        best=made.best,
        confirmed=[{**row, "difference": row["best"] - row["recipe"]} for row in made.confirmed],
        confirmation=confirmation(plan, made.best, made.confirmed),
        importances=[{"setting": name, "share": share} for name, share in shares],
        answer=made.answer,
        steps=plan.steps,
        seeds=len(plan.seeds),
        provenance=[
            ("recipe", plan.recipe),
            ("source", plan.source),
            ("trained on", made.trained_on),
            ("seed of the proposals", str(plan.sampler_seed)),
            ("ended", made.created),
        ],
        generated_at=made.created,
    )
