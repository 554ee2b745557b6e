"""`clstm walk-forward`: folds of a history, trained and judged one after the other, and the record of all of them."""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.launch import execute


def walk_forward(
    name: Annotated[str, typer.Option(help="of the walk; the source's name when left out")] = "",
    source: Annotated[
        str, typer.Option(help="where quotes come from; `clstm sources` lists the names")
    ] = "sp500_modelled",
    data: Annotated[Path | None, typer.Option(help="folder of the vendor's files, where the source needs one")] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="named settings; repeat it to walk several")] = None,
    snapshots: Annotated[int | None, typer.Option(help="length of the simulated source")] = None,
    folds: Annotated[int, typer.Option(help="tests that tile the history after the first training span")] = 8,
    steps: Annotated[int, typer.Option(help="env steps per fold and seed")] = 200_000,
    seeds: Annotated[str, typer.Option(help="numbers, e.g. 0,1,2: one training per fold and seed")] = "0,1",
    warm: Annotated[bool, typer.Option("--warm", help="begin each fold with the weights of the one before")] = False,
    window: Annotated[str, typer.Option(help="expanding or rolling: what a later fold trains on")] = "expanding",
    training: Annotated[int, typer.Option(help="sessions that the first fold trains on")] = 1260,
    validation: Annotated[int, typer.Option(help="sessions that a fold's rung is chosen on")] = 504,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train on what was known, trade what came next, move on. The same name goes on where it was stopped.

    Each fold's look at its test window is entered in the trial registry.
    """
    from clstm_core.market.sources import open_source
    from clstm_core.walk_forward.plan import WalkPlan

    plan = WalkPlan(
        name=name or source,
        source=source,
        data_dir=str(data.resolve()) if data else None,
        n_snapshots=snapshots,
        recipes=tuple(recipe or ["default_cpu"]),
        folds=folds,
        training=training,
        validation=validation,
        window=window,
        steps=steps,
        seeds=numbers_of(seeds),
        warm=warm,
        device=device,
    )
    plan.cut(open_source(plan.market).list_snapshots())  # a history that is too short is said before anything starts
    chosen = plan.recipe(plan.recipes[0])
    chosen.require_hardware()
    asked = {
        "walk": plan.name,
        "folds": plan.folds,
        "steps": plan.steps,
        "seeds": list(plan.seeds),
        "warm": plan.warm,
        "window": plan.window,
        "training": plan.training,
        "validation": plan.validation,
        "more_recipes": list(plan.recipes[1:]),
    }
    facts = execute(
        "walk_forward",
        None,
        chosen,
        ops={"walk_forward_record": {"config": asked}},
        name=f"walk_forward.{plan.name}",
    )
    typer.echo("")
    typer.echo(f"Verdict: {facts.get('walk_forward_record.verdict')}")
    typer.echo(f"Controls: {facts.get('walk_forward_record.controls')}")
    typer.echo(f"Report:  {facts.get('walk_forward_record.report_path')}")


def numbers_of(seeds: str) -> tuple[int, ...]:
    """Seeds as a person writes them; ConfigError for anything else."""
    from clstm_core.errors import ConfigError

    parts = [part.strip() for part in seeds.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(
            f"seeds {seeds!r}: expected whole numbers with commas between, e.g. 0,1,2. Pass other --seeds."
        )
    return tuple(map(int, parts))
