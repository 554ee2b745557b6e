"""The record of a walk-forward: joined accounts as Parquet, figures, and what its page shows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.folder import whole_folder
from clstm_core.artifacts.manifest import files_of
from clstm_core.artifacts.manifests import ControlsManifest, WalkForwardManifest
from clstm_core.artifacts.places import Places
from clstm_core.controls.kept import controls_said, kept_controls
from clstm_core.evaluation import words as said
from clstm_core.evaluation.regimes import implied_by_date
from clstm_core.evaluation.trial_ledger import known, market_of
from clstm_core.walk_forward.evidence import WalkEvidence
from clstm_core.walk_forward.figures import figures_of
from clstm_core.walk_forward.plan import WalkPlan
from clstm_core.walk_forward.stitch import joined
from clstm_core.walk_forward.words import iqm_words, verdict

if TYPE_CHECKING:
    from clstm_core.walk_forward.run import Walked

RECORDS = "record"
SETTLED_ON = "sp500_modelled"
"""The source on whose history the recipes' settings were chosen."""
HINDSIGHT = (
    "The recipe's own settings were settled on this history, its training dates until 2012 and its validation until "
    "2016: earlier folds know that much in hindsight."
)
SHAPE = (
    "The modelled quotes take one shape of the smile and of spreads for all years, an assumption; what is fitted of "
    "them is fitted to each fold's training dates."
)


def record_of(plan: WalkPlan, places: Places, walked: Mapping[str, Sequence["Walked"]]) -> WalkForwardManifest:
    """Join each recipe's folds, work out what may be said, and keep the record; the manifest, not written yet."""
    found = [fold for folds in walked.values() for fold in folds]
    info = found[-1].tensors.info
    simulated = "simulated" in info["label"]
    figures = []
    with whole_folder(places.walk(plan.name) / RECORDS) as place:
        for recipe, folds in walked.items():
            implied: dict[str, float] = {}
            for fold in folds:
                implied |= _within(implied_by_date(places.tensors(fold.tensors.identity)), fold.piece.dates)
            pieces = [fold.piece for fold in folds]
            joined(pieces).table().write_parquet(place / f"{recipe}.parquet", compression="zstd")
            fair, modelled = [fold.fair for fold in folds], "modelled" in info["label"]
            figures.append(figures_of(recipe, pieces, implied, simulated=simulated, modelled=modelled, fair=fair))
    judged = found[0].judged
    trials = known(
        places,
        first_date=figures[0]["first_date"],
        last_date=figures[0]["last_date"],
        market=market_of(judged),
    ).total
    label = said.data_label(judged)
    controls = {recipe: kept_controls(plan.recipe(recipe).run_config(), places) for recipe in walked}
    data = WalkEvidence(
        run=plan.name,
        label=info["label"],
        data_label=label,
        verdict=verdict(
            figures,
            folds=plan.folds,
            seeds=len(plan.seeds),
            steps=plan.steps,
            trials=trials,
            label=label,
            notes=HINDSIGHT if info["source"] == SETTLED_ON else "",
        ),
        verdict_points=_points(plan, figures, modelled="modelled" in info["label"]),
        folds=[row for fold in found for row in fold.rows],
        figures=figures,
        controls=[row for kept in controls.values() if kept for row in kept.rows()["controls"]],
        controls_words=_controls_words(controls),
        embargo=plan.embargo,
        trials=trials,
        provenance=_provenance(plan, found),
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    folder = places.walk(plan.name)
    files = {f"{RECORDS}/{name}": sha256 for name, sha256 in files_of(folder / RECORDS).items()}
    return WalkForwardManifest(
        name=plan.name,
        plan=plan.to_dict(),
        plan_sha256=plan.sha256,
        git_commit=git_commit(),
        evidence=data.to_dict(),
        files=files,
        parents={role: identity for fold in found for role, identity in fold.parents.items()}
        | {f"controls.{recipe}": kept.identity for recipe, kept in controls.items() if kept},
    )


def _controls_words(controls: Mapping[str, ControlsManifest | None]) -> str:
    """What each recipe finds where the edge is known; a recipe's name comes first where there are several."""
    named = len(controls) > 1
    return " ".join(
        f"{recipe}: {controls_said(kept, recipe)}" if named else controls_said(kept, recipe)
        for recipe, kept in controls.items()
    )


def _within(implied: Mapping[str, float], dates: Sequence[str]) -> dict[str, float]:
    """Implied volatility of a fold's own test dates."""
    return {day: implied[day] for day in dates if day in implied}


def _begins(plan: WalkPlan) -> str:
    return "with the weights that the fold before ended with" if plan.warm else "from scratch"


def _points(plan: WalkPlan, figures: Sequence[Mapping[str, Any]], *, modelled: bool) -> list[str]:
    """What a reader must know of the figures, one sentence each."""
    return [
        f"Each fold begins {_begins(plan)}; its rung is chosen on its validation dates alone, and is the last one "
        "where they tell nothing.",
        f"{plan.embargo} sessions lie unused before each validation and each test: more than an episode lasts or an "
        "option lives that could be held, plus what a feature looks back.",
        "An account begins anew in each fold with the same capital: returns are joined, and drawdowns are of the "
        "joined curve. The move between two folds is in no account.",
        "Intervals draw dates anew in blocks, pair what is compared by date, and see only losses that happened.",
        *_luck_points(figures),
        *(f"{found['recipe']}: {iqm_words(found)}." for found in figures),
        *([SHAPE] if modelled else []),
    ]


def _luck_points(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """How luck was asked, and what that leaves open."""
    if any(found["luck"] is None for found in figures):
        return ["What luck would have shown is not known: no lead is called more than a lead."]
    return [
        "Each fold's rungs were walked through fair worlds of its own test, in which nothing can be earned before "
        "costs, and the record was joined in every world as it is here: p is the share of worlds whose record looks at "
        "least as good against cash. Policies are taken as they are: that later folds trained on what earlier ones "
        "traded is not played through anew. Against the other baselines luck was not asked."
    ]


def _provenance(plan: WalkPlan, found: Sequence["Walked"]) -> list[tuple[str, str]]:
    said = [
        ("source", plan.source),
        ("recipes", ", ".join(plan.recipes)),
        ("folds", str(plan.folds)),
        ("training window", plan.window),
        ("first fold trains on", f"{plan.training:,} sessions"),
        ("a rung is chosen on", f"{plan.validation:,} sessions"),
        ("env steps per fold and seed", f"{plan.steps:,}"),
        ("seeds", ", ".join(map(str, plan.seeds))),
        ("each fold begins", _begins(plan)),
        ("audit of each market", plan.audit),
    ]
    tensors = [(f"market of fold {fold.piece.fold}", fold.tensors.identity) for fold in found]
    return [*said, ("plan", plan.sha256), ("git commit", git_commit()), *tensors]
