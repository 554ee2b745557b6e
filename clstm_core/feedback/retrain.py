"""A retraining from beginning to end: a market with its newest days held out, challengers, and what each showed.

Every step is kept where a run of the chain keeps its own and is found again: a call that was killed anywhere is called
once more with the same plan and goes on. What comes of it is a challenger at most; who becomes champion, rules decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clstm_core.artifacts.folder import lock, whole_folder
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import AuditVerdict, BundleManifest, ChallengerManifest, RunInputs, TensorsManifest
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig
from clstm_core.errors import ArtifactError, ConfigError
from clstm_core.feedback.begun import begin
from clstm_core.feedback.fine_tune import LAST, Trained, ensure_from_champion, ensure_from_scratch
from clstm_core.feedback.plan import CHAMPION, SCRATCH, RetrainPlan
from clstm_core.feedback.registry_state import PAIRS
from clstm_core.market.sources import open_source
from clstm_core.walk_forward.folds import Fold
from clstm_core.walk_forward.markets import fold_tensors, proven_for
from clstm_core.walk_forward.trained import Hooks, run_inputs

if TYPE_CHECKING:
    from clstm_core.feedback.judged import Judged
    from clstm_core.train.champion import Champion

WORTHY, REGRESSION = "challenger", "regression"
"""Outcomes: it may be proposed; it has unlearned something. The others are the trainer's (`train.fine_tune`)."""

ENDED = {
    "critic": "The critic foresees no more than the champion's on held-out dates, so the actor stayed as it was",
    "kl": "It moved too far from the champion and was taken back",
    REGRESSION: "It has unlearned something that the champion knows",
}


Prove = Callable[[Path, EnvConfig, str, Fold, Sequence[date], Places], tuple[TensorsManifest, AuditVerdict]]
"""As `walk_forward.markets.proven_for`."""


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What whoever retrains is told: `Hooks`, and env steps done of those that this call has to do."""

    hooks: Hooks = field(default_factory=Hooks)
    progress: Callable[[int, int, str], None] = lambda done, total, note: None


class _Market(NamedTuple):
    """The market of a retraining, proven."""

    sessions: list[date]
    fold: Fold
    tensors: TensorsManifest
    verdict: AuditVerdict


def retrain(
    plan: RetrainPlan, places: Places, telling: Telling | None = None, *, prove: Prove = proven_for
) -> list[ChallengerManifest]:
    """Train, gate and judge every start of a plan, or what is left of that; what each showed, in the plan's order.

    Args:
        prove: gives a market's verdict, without which nothing is trained in it (a study of many may share one)

    Raises: ConfigError where the name belongs to another plan, the history is too short, or a held-out day is one that
            the champion was trained on; ArtifactError where another process works on it; what training, the audit and
            the backtests raise
    """
    told = telling or Telling()
    folder = places.challenger(plan.name)
    with lock(folder.with_name(f".{plan.name}.lock"), f"retraining {plan.name}"):
        plan = begin(plan, places)
        champion = _champion(plan, places)
        market = _market(plan, champion, places, told, prove)
        return [_start(number, start, plan, champion, market, places, told) for number, start in enumerate(plan.starts)]


def read_challenger(places: Places, name: str) -> ChallengerManifest:
    """What a challenger showed, verified; EvaluationError that says what to do where there is none."""
    return ChallengerManifest.read(places.challenger(name) / FILE)


def _champion(plan: RetrainPlan, places: Places) -> "Champion | None":
    from clstm_core.train.champion import load_champion

    return load_champion(places.root / plan.champion_folder, identity=plan.champion) if plan.champion else None


def _market(plan: RetrainPlan, champion: "Champion | None", places: Places, told: Telling, prove: Prove) -> _Market:
    """The windows, the market that ends with them, and the verdict without which nothing is trained in it."""
    told.progress(0, 1, f"{plan.name}: its market")
    sessions = plan.known(open_source(plan.market).list_snapshots())
    fold = plan.cut(sessions)
    if champion is not None:
        _require_new(champion, fold, sessions, plan, places)
    config = plan.fold_market(fold, sessions)
    tensors = fold_tensors(config, places, plan.embargo)
    return _Market(sessions, fold, *prove(tensors, plan.base.env, plan.audit, fold, sessions, places))


def _require_new(champion: "Champion", fold: Fold, sessions: Sequence[date], plan: RetrainPlan, places: Places) -> None:
    """Refuse to gate or judge on days that the champion was trained on: it would know them by heart."""
    from clstm_core.feedback.judged import trained_until
    from clstm_core.feedback.rules_evidence import known_until

    trained = trained_until(champion.bundle, champion.config, places)
    for words, until, day in (
        ("was trained until", trained, sessions[fold.validation.start]),
        (
            "was trained or chosen on days until",
            known_until(places, champion.bundle) or trained,
            sessions[fold.test.start],
        ),
    ):
        if until >= day.isoformat():
            raise ConfigError(
                f"the champion {champion.bundle.run} {words} {until}, and days held out from it would begin at {day}: "
                "expected them after it. Pass a later --as-of, or hold out fewer sessions."
            )


def _start(
    number: int,
    start: str,
    plan: RetrainPlan,
    champion: "Champion | None",
    market: _Market,
    places: Places,
    told: Telling,
) -> ChallengerManifest:
    """One start: the challenger that stands, or made now."""
    from clstm_core.train.champion import BUNDLE, ROLE

    run = places.run(plan.run_of(start))
    config = plan.run_config(start, market.fold, market.sessions)
    warm = start == CHAMPION
    wanted = run_inputs(
        run.name,
        config,
        market.tensors,
        market.verdict,
        f"retraining {plan.name}",
        {"retraining": plan.name, "why": plan.why} | ({BUNDLE: plan.champion_folder} if warm else {}),
        {ROLE: plan.champion} if warm else None,
    )
    place = places.challenger(run.name) / FILE
    if (kept := _standing(place, wanted, plan)) is not None:
        told.hooks.record(kept)
        return kept
    total = len(plan.starts) * plan.steps

    def iteration(row: dict[str, Any]) -> None:
        note = f"{run.name}: {row['progress']:.0%} trained, {row['steps_per_second']:,.0f} env steps/s"
        told.progress(number * plan.steps + min(int(row["env_steps"]), plan.steps), total, note)
        told.hooks.iteration(row)

    ensure = ensure_from_champion if warm else ensure_from_scratch
    trained = ensure(wanted, places, replace(told.hooks, iteration=iteration))
    say = partial(told.progress, (number + 1) * plan.steps, total)
    if trained.ended:
        return _written(plan, start, trained, trained.ended, trained.stages, None, places, told)
    say(f"{run.name}: is held against the champion where that was trained")
    return _shown(plan, start, champion, trained, places, told, say)


def _shown(
    plan: RetrainPlan,
    start: str,
    champion: "Champion | None",
    trained: Trained,
    places: Places,
    told: Telling,
    say: Callable[[str], None],
) -> ChallengerManifest:
    """Regression, and where that is passed the judged days."""
    from clstm_core.feedback.judged import judge
    from clstm_core.feedback.minds import challenger_mind, champion_mind
    from clstm_core.feedback.regression import regression, summed_up
    from clstm_core.market.tensors import load_market
    from clstm_core.train.inputs import config_of

    inputs, stages = trained.inputs, list(trained.stages)
    config, identity = config_of(inputs), str(inputs.data_sha256)
    minds = [challenger_mind(places.run(inputs.run), LAST, places)]
    rows: list[dict[str, Any]] = []
    if champion is not None:
        minds.append(champion_mind(champion))
        market = load_market(places.tensors(identity), identity=identity)
        bundle = places.root / plan.champion_folder
        rows = regression(minds[1], minds[0], market, config, bundle, from_scratch=start == SCRATCH)
    stages += [*rows, summed := summed_up(rows)]
    if not summed["passed"]:
        return _written(plan, start, trained, REGRESSION, stages, None, places, told)
    say(f"{inputs.run}: is judged")
    judged = judge(minds, config, inputs, places, told.hooks, worlds=plan.worlds)
    return _written(plan, start, trained, WORTHY, stages, judged, places, told)


def _written(
    plan: RetrainPlan,
    start: str,
    trained: Trained,
    outcome: str,
    stages: list[dict[str, Any]],
    judged: "Judged | None",
    places: Places,
    told: Telling,
) -> ChallengerManifest:
    """The challenger as it is kept; with what was judged its bundle is built first."""
    from clstm_core.feedback.shown import SHOWN, figures_of, shown_sha256

    inputs = trained.inputs
    answer = answer_of(inputs.run, outcome, stages, judged)
    parents = {"inputs": inputs.identity, "tensors": str(inputs.data_sha256)}
    if plan.champion:
        parents["champion"] = plan.champion
    figures: dict[str, Any] = {}
    bundle = ""
    if judged is not None:
        shown = shown_sha256(judged.pairs, judged.figures, judged.facts, stages, plan.champion)
        made = _bundle(plan, judged, inputs, {"verdict": answer, SHOWN: shown}, places)
        told.hooks.record(made)
        figures = {**judged.figures, **figures_of(made)}
        bundle, parents = made.identity, {**parents, "bundle": made.identity, "backtests": judged.backtests.identity}
    target = places.challenger(inputs.run)
    with whole_folder(target) as place:
        if judged is not None:
            judged.pairs.write_parquet(place / PAIRS, compression="zstd")
        found = ChallengerManifest(
            run=inputs.run,
            start=start,
            why=plan.why,
            outcome=outcome,
            answer=answer,
            bundle=bundle,
            champion=plan.champion,
            stages=stages,
            judged=judged.facts if judged is not None else {},
            figures=figures,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files=files_of(place),
            parents=parents,
        ).write(place / FILE)
    found = replace(found, place=target / FILE)
    told.hooks.record(found)
    return found


def _bundle(
    plan: RetrainPlan, judged: "Judged", inputs: RunInputs, said: dict[str, str], places: Places
) -> BundleManifest:
    """The challenger's bundle."""
    from clstm_core.feedback.judged import ensure_bundle
    from clstm_core.feedback.minds import challenger_mind
    from clstm_core.train.inputs import config_of

    mind = challenger_mind(places.run(inputs.run), LAST, places)
    return ensure_bundle(mind, config_of(inputs), inputs, judged, said, places, plan.parity_steps)


def _standing(place: Path, wanted: RunInputs, plan: RetrainPlan) -> ChallengerManifest | None:
    """The challenger that was made from the same, whole with its files; None where there is none."""
    if not place.is_file():
        return None
    try:
        kept = ChallengerManifest.read(place)
        inputs = RunInputs.read(place.parents[2] / "runs" / kept.run / "inputs.json")
    except ArtifactError:
        return None
    same = (kept.parents.get("inputs"), kept.champion) == (inputs.identity, plan.champion)
    return kept if same and (inputs.config, inputs.data_sha256) == (wanted.config, wanted.data_sha256) else None


def answer_of(run: str, outcome: str, stages: Sequence[dict[str, Any]], judged: "Judged | None") -> str:
    """The answer first, in plain words."""
    if judged is None:
        why = next((row["words"] for row in reversed(stages) if not row["passed"]), "")
        return f"{run} is no challenger. {ENDED[outcome]}: {why}"
    facts, pairs = judged.facts, judged.pairs
    ours, theirs = (float(pairs[name].sum()) for name in ("challenger", "champion"))
    against = "the champion" if judged.figures["champion_max_drawdown"] is not None else "cash"
    return (
        f"{run} may be proposed: on {facts['sessions']} sessions that neither was trained on ({facts['first']} to "
        f"{facts['last']}, {facts['label']}) its log growth was {ours:+.4f}, that of {against} {theirs:+.4f}. Whether "
        "that is more than chance, the rules of promotion say."
    )
