"""`clstm champion ...`: who is champion, what was decided, and the decisions that a person takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.home import project_home
from orchestration.report_commands import one_sentence, shown

if TYPE_CHECKING:
    from clstm_core.feedback.registry import Registry

champion_app = typer.Typer(
    help="The policy that is deployed: rules put another in its place, one command restores the one before.",
    no_args_is_help=True,
)

Reason = Annotated[str, typer.Option(help="why; it stays in the registry")]
HEADINGS = ("number", "day", "decision", "run", "champion then", "by", "rules that refused", "why")


@champion_app.command("show")
def show() -> None:
    """Say who is champion and who would be, verify their files, and make the page again; exit 1 for a damaged copy."""
    with one_sentence():
        registry = _registry()
        told = _tell(registry, registry.complete())
    if told["unwritten"] or not all(held is None or held["whole"] for held in told["roles"].values()):
        raise typer.Exit(1)


@champion_app.command("history")
def history() -> None:
    """Every decision, the newest first, and the rules that refused."""
    with one_sentence():
        found = _registry().history()
    if not found:
        typer.echo("Nothing was decided yet: there is no champion. `clstm champion propose` or `appoint` brings one.")
        return
    rows = [
        (
            str(past.number),
            past.created[:10],
            past.decision,
            str(past.subject.get("run") or "-"),
            str(past.champion.get("run") or "cash"),
            "person, by force" if past.forced else past.by,
            ", ".join(str(ruling["name"]) for ruling in past.failed) or "-",
            " ".join(past.reason.split()),
        )
        for past in found
    ]
    for line in shown(HEADINGS, rows):
        typer.echo(line)


@champion_app.command("propose")
def propose(
    run: Annotated[str, typer.Option(help="run of the challenger, as `clstm retrain` named it")],
    reason: Reason = "a person proposed it",
) -> None:
    """Let a challenger stand; nothing is decided by this."""
    with one_sentence():
        from clstm_core.artifacts.manifest import FILE
        from clstm_core.artifacts.manifests import ChallengerManifest
        from clstm_core.artifacts.places import Places

        places, registry = Places(project_home() / "data"), _registry()
        manifest = ChallengerManifest.read(places.challenger(run) / FILE)
        _tell(registry, registry.propose(manifest, places.bundle(run), reason).unwritten)


@champion_app.command("promote")
def promote(
    reason: Annotated[str, typer.Option(help="why; --force needs one")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="promote against the rules: written as such everywhere")
    ] = False,
) -> None:
    """Let the rules decide on the challenger: exit 1 where they refuse it."""
    with one_sentence():
        from clstm_core.artifacts.places import Places
        from clstm_core.feedback.promote import decide

        state = decide(Places(project_home() / "data"), reason, force=force)
        rulings = state.decision.rulings
        rows = [(r["name"], "passed" if r["passed"] else "refused", r["words"]) for r in rulings]
        for line in shown(("rule", "outcome", "in words"), rows):
            typer.echo(line)
        typer.echo("")
        _tell(_registry(), state.unwritten)
    if state.decision.decision == "refuse":
        raise typer.Exit(1)


@champion_app.command("roll-back")
def roll_back(reason: Reason) -> None:
    """Restore the champion before, to the byte."""
    with one_sentence():
        registry = _registry()
        _tell(registry, registry.roll_back(reason).unwritten)


@champion_app.command("withdraw")
def withdraw(reason: Reason) -> None:
    """Let the challenger stand no more, undecided."""
    with one_sentence():
        registry = _registry()
        _tell(registry, registry.withdraw(reason).unwritten)


@champion_app.command("appoint")
def appoint(
    bundle: Annotated[Path, typer.Option(help="folder of a bundle, e.g. data/bundles/RUN")],
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="no rule is asked: say that you mean it")] = False,
) -> None:
    """Make a bundle the first champion without any rule; where one stands others are proposed."""
    with one_sentence():
        from clstm_core.errors import RegistryError

        if not force:
            raise RegistryError(
                "no rule is asked of a champion that is appointed: expected --force. Or let `clstm retrain` make a "
                "first challenger, which the rules hold against cash."
            )
        registry = _registry()
        _tell(registry, registry.appoint(bundle, reason).unwritten)


@champion_app.command("plan")
def plan(
    file: Annotated[
        Path | None, typer.Option(help="JSON of the limits that change; says the plan when left out")
    ] = None,
    reason: Annotated[str, typer.Option(help="why; it stays in the registry")] = "",
) -> None:
    """Say the limits of the rules, or register others for challengers that are made from now on."""
    import dataclasses

    with one_sentence():
        from clstm_core.feedback.promotion_plan import PromotionPlan
        from clstm_core.feedback.rules_evidence import plan_in

        registry = _registry()
        state = registry.current()
        stands = state.plan if state else PromotionPlan()
        if file is not None:
            state = registry.register(PromotionPlan.from_dict(stands.to_dict() | plan_in(file)), reason)
            stands = state.plan
            _tell(registry, state.unwritten)
        for name, value in dataclasses.asdict(stands).items():
            typer.echo(f"{name:<20} {value}")


def _registry() -> "Registry":
    from clstm_core.artifacts.places import Places
    from clstm_core.feedback.registry import Registry

    return Registry(Places(project_home() / "data"))


def _tell(registry: "Registry", unwritten: str) -> dict[str, Any]:
    """Keep every decision in the store, make the page again, say how it stands, and hand that over.

    Args:
        unwritten: what the registry could not write of its newest decision
    """
    from assets.feedback_pages import keep_decisions
    from clstm_core.artifacts.places import Places
    from clstm_core.feedback.decision_story import story
    from clstm_core.store.store import MetricsStore

    told = story(registry)
    store = MetricsStore(registry.root.parent / "metrics.duckdb")
    reports = project_home() / "reports" / "generated"
    missing = keep_decisions(Places(project_home() / "data"), store, reports, unwritten)
    typer.echo(told["answer"])
    for role, held in told["roles"].items():
        if held is not None:
            whole = "every file as it was" if held["whole"] else "DAMAGED"
            typer.echo(f"{role + ':':<12} {held['run']} ({held['identity'][:12]}), {whole}; {held['standing']}")
    typer.echo(f"Figures are of simulated fills on {told['label']}.")
    typer.echo(f"Load:        Policy.load({str(registry.root / 'current' / 'champion')!r})")
    typer.echo(f"Page:        {reports / 'champion' / 'index.html'}")
    if missing:
        typer.echo(missing, err=True)
    return {**told, "unwritten": missing}
