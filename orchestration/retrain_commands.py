"""`clstm retrain`: a challenger from the champion, from scratch, or both side by side. It decides on nobody."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestration.launch import execute


class Start(StrEnum):
    """What training begins with."""

    auto = "auto"
    champion = "champion"
    scratch = "scratch"
    both = "both"


def retrain(
    start: Annotated[
        Start,
        typer.Option(help="the champion's weights, none, or both: two looks; auto: the champion's if any"),
    ] = Start.auto,
    as_of: Annotated[str, typer.Option(help="last session that is known, YYYY-MM-DD; the newest when left out")] = "",
    why: Annotated[str, typer.Option(help="the reason, kept with what comes of it")] = "a person asked for it",
    steps: Annotated[int, typer.Option(help="env steps of each start")] = 200_000,
    name: Annotated[str, typer.Option(help="of the challenger's run; the same name goes on where it stopped")] = "",
    gate: Annotated[int, typer.Option(help="sessions on which the critic's gain is measured")] = 252,
    judged: Annotated[int, typer.Option(help="sessions on which both are laid side by side")] = 252,
    training: Annotated[int | None, typer.Option(help="newest sessions that are trained on; all when left out")] = None,
    worlds: Annotated[int, typer.Option(help="fair worlds that luck is told by")] = 200,
    data: Annotated[Path | None, typer.Option(help="folder of the vendor's files, where the source needs one")] = None,
    source: Annotated[
        str, typer.Option(help="where quotes come from, for a first challenger; else the champion's")
    ] = "sp500_modelled",
    recipe: Annotated[
        str, typer.Option(help="named settings, for a first challenger; else the champion's")
    ] = "default_cpu",
    snapshots: Annotated[int | None, typer.Option(help="length of the simulated source")] = None,
    seed: Annotated[int, typer.Option(help="of envs and every draw")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    propose: Annotated[
        bool, typer.Option("--propose/--no-propose", help="let it stand as challenger in the registry")
    ] = True,
) -> None:
    """Train a challenger, gate it, and lay it beside the champion on days that neither was trained on.

    Nothing is promoted by this: `clstm champion` decides, by rules or by a person.
    """
    from clstm_core.artifacts.places import Places
    from clstm_core.feedback.standing import look_words, plan_for, recipe_of
    from clstm_core.market.sources import open_source
    from clstm_core.recipe import Recipe
    from orchestration.home import project_home

    places = Places(project_home() / "data")
    folder = str(data.resolve()) if data else None
    usual = Recipe(name=recipe, source=source, data_dir=folder, n_snapshots=snapshots, seed=seed, device=device)
    chosen = recipe_of(places, usual)
    name = name or f"challenger-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    settings = {"steps": steps, "gate": gate, "judged": judged, "training": training, "worlds": worlds}
    plan = plan_for(places, chosen, name=name, why=why, start=start.value, as_of=as_of or None, seed=seed, **settings)
    plan.cut(plan.known(open_source(plan.market).list_snapshots()))  # a history that is too short is said at once
    chosen.require_hardware()
    typer.echo(look_words(places, plan))
    asked = {"start": start.value, "why": why, "as_of": as_of, "propose": propose, **settings}
    facts = execute("fine_tune_challenger", name, chosen, ops={"challenger_policy": {"config": asked}})
    typer.echo("")
    typer.echo(f"Answer:   {facts.get('challenger_policy.answer')}")
    typer.echo(f"Registry: {facts.get('challenger_policy.proposed')}")
    typer.echo(f"Page:     {facts.get('challenger_policy.page_path')}")
