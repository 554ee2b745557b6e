"""`clstm sweep`: settings that a policy learns with, searched by Optuna, and the best one confirmed."""

from pathlib import Path
from typing import Annotated

import typer

from clstm_core.sweeps.space import USUAL
from orchestration.launch import execute
from orchestration.walk_commands import numbers_of


def sweep(
    name: Annotated[str, typer.Option(help="of the sweep; RECIPE.SOURCE when left out")] = "",
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="a setting: ppo.critic_lr=1e-4:1e-2:log, ppo.policy_epochs=1:4, model.attention_window=8,16; repeat it"
        ),
    ] = None,
    source: Annotated[
        str, typer.Option(help="where quotes come from; `clstm sources` lists the names")
    ] = "sp500_modelled",
    data: Annotated[Path | None, typer.Option(help="folder of the vendor's files, where the source needs one")] = None,
    recipe: Annotated[str, typer.Option(help="named settings that are trial 0")] = "default_cpu",
    snapshots: Annotated[int | None, typer.Option(help="length of the simulated source")] = None,
    trials: Annotated[int, typer.Option(help="settings that are tried, the recipe's own first")] = 20,
    steps: Annotated[int, typer.Option(help="env steps per training")] = 500_000,
    seeds: Annotated[str, typer.Option(help="numbers, e.g. 0,1: each trial is trained once with each")] = "0",
    confirm: Annotated[int, typer.Option(help="other seeds that the best and the recipe are trained with again")] = 2,
    sampler_seed: Annotated[int, typer.Option(help="of the proposals")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Try settings, learn from what they scored, try better ones. The same name goes on where it was stopped.

    A score is growth per unit of risk on fresh worlds and validation dates: the test window is never walked.
    """
    from clstm_core.sweeps.plan import SweepPlan

    plan = SweepPlan(
        name=name or f"{recipe}.{source}",
        recipe=recipe,
        source=source,
        data_dir=str(data.resolve()) if data else None,
        n_snapshots=snapshots,
        trials=trials,
        steps=steps,
        seeds=numbers_of(seeds),
        confirm=confirm,
        space=tuple(search or USUAL),
        sampler_seed=sampler_seed,
        device=device,
    )
    plan.core.require_hardware()
    asked = {
        "sweep": plan.name,
        "trials": plan.trials,
        "steps": plan.steps,
        "seeds": list(plan.seeds),
        "confirm": plan.confirm,
        "space": list(plan.space),
        "sampler_seed": plan.sampler_seed,
    }
    facts = execute("sweep", None, plan.core, ops={"sweep_record": {"config": asked}}, name=f"sweep.{plan.name}")
    typer.echo("")
    typer.echo(f"{facts.get('sweep_record.answer')}")
    typer.echo(f"Page: {facts.get('sweep_record.report_path')}")
