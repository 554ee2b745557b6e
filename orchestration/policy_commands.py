"""`clstm evaluate|decide|bundle verify`: a trained policy outside the chain, on any window, on quotes of today."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clstm_core.plural import counted
from orchestration.home import project_home
from orchestration.report_commands import one_sentence, shown

if TYPE_CHECKING:
    from clstm_core.evaluation.one_checkpoint import Evaluated

MONEY = 1e3  # from here on a number is money: its cents are left out


class Mode(StrEnum):
    """How a policy plays."""

    deterministic = "deterministic"
    stochastic = "stochastic"


class Window(StrEnum):
    """Dates of a market."""

    train = "train"
    validation = "validation"
    test = "test"


def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="folder of a checkpoint, e.g. data/runs/RUN/checkpoints/100")],
    mode: Annotated[Mode, typer.Option(help="the likeliest action, or actions drawn")] = Mode.deterministic,
    source: Annotated[str | None, typer.Option(help="another market than the run's own; `clstm sources`")] = None,
    data: Annotated[Path | None, typer.Option(help="folder or table of that source, where it needs one")] = None,
    window: Annotated[Window, typer.Option(help="which dates of the market")] = Window.test,
    episodes: Annotated[int | None, typer.Option(help="accounts with draws of their own; 4 when left out")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for tables and pictures; below data/evaluations")] = None,
) -> None:
    """Trade a window with a checkpoint: figures by episode, return distribution and profit curves.

    Every look at dates of the market is entered in the trial registry.
    """
    from clstm_core.artifacts.places import Places
    from clstm_core.errors import ConfigError

    places = Places(project_home() / "data")
    with one_sentence():
        name = f"{checkpoint.resolve().parent.parent.name}-{checkpoint.name}-{source or 'own'}-{window}-{mode}"
        folder = (out or places.root / "evaluations" / name).resolve()
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file: expected a folder, or nothing. Pass another --out.")
        from clstm_core.evaluation.one_checkpoint import evaluate_checkpoint

        found = evaluate_checkpoint(
            checkpoint,
            places,
            folder / "backtest",
            mode=mode,
            window=window,
            episodes=episodes,
            source=source,
            data=data,
            progress=_percent,
        )
        _show(found, folder)


def decide(
    bundle: Annotated[Path, typer.Option(help="folder of a bundle, e.g. data/bundles/RUN")],
    quotes: Annotated[Path, typer.Option(help="table of quotes (docs/data.md) with past sessions; the last is now")],
    account: Annotated[Path | None, typer.Option(help="JSON: cash, shares, legs; cash alone when left out")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, for a program")] = False,
) -> None:
    """Say what a bundle's policy would do today, what stands after it, and what it may not do and why."""
    import json

    with one_sentence():
        _require_bundle(bundle)
        from clstm_core.deployment.bundle import load_bundle
        from clstm_core.deployment.decide import decide_now
        from clstm_core.deployment.decided_words import lines_of

        found = decide_now(load_bundle(bundle), quotes, account)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
        return
    for line in lines_of(found):
        typer.echo(line)


bundle_app = typer.Typer(help="Look at what is deployed.", no_args_is_help=True)


@bundle_app.callback()
def _bundle() -> None:
    """Look at what is deployed."""


@bundle_app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="folder of a bundle, e.g. data/bundles/RUN")],
) -> None:
    """Hash every file of a bundle, replay its golden vectors in every graph, and say what it is.

    Exits with 0 where all holds, with 2 and one sentence where something does not.
    """
    with one_sentence():
        _require_bundle(path)
        from clstm_core.deployment.bundle import load_bundle

        manifest = load_bundle(path).manifest
    said = manifest.provenance
    facts = [
        ("run", manifest.run),
        ("standing", manifest.standing),
        ("data", str(said.get("data_label", "of unknown origin"))),
        ("trained", f"{manifest.policy.get('env_steps', 0):,} env steps, commit {manifest.policy.get('git_commit')}"),
        ("forgets", f"every {manifest.memory_sessions} decisions"),
        ("exported", f"{manifest.created}, opset {manifest.opset}"),
        ("verdict", str(said.get("verdict", "none"))),
    ]
    typer.echo(f"Whole: {len(manifest.files)} files as the manifest says, golden vectors reproduced in every graph.")
    for line in shown(("fact", "what it says"), facts):
        typer.echo(line)
    rows = [
        (str(row["runtime"]), str(row["batch"]), f"{row['steps']:,}", str(row["actions_differing"]),
         f"{row['max_logit_difference']:.1e}")
        for row in manifest.parity
    ]  # fmt: skip
    for line in shown(("parity with the network", "accounts", "decisions", "differ", "largest logit difference"), rows):
        typer.echo(line)


def _require_bundle(folder: Path) -> None:
    """Refuse what is no bundle's folder before anything is loaded."""
    from clstm_core.artifacts.manifest import FILE
    from clstm_core.errors import ConfigError

    if not (folder / FILE).is_file():
        raise ConfigError(
            f"no bundle at {folder}: expected a folder with {FILE}, e.g. data/bundles/RUN. Pass the folder of one."
        )


def _percent(done: int, total: int) -> None:
    """Draw each tenth on a terminal: the answer alone goes to stdout."""
    if sys.stderr.isatty() and (done == total or done % max(1, total // 10) == 0):
        typer.echo(f"\r{done:,} of {counted(total, 'session')}", err=True, nl=done == total)


def _show(found: "Evaluated", folder: Path) -> None:
    """Write the tables and pictures, and say what came out."""
    from clstm_core.artifacts.folder import write_text
    from clstm_core.evaluation import words
    from clstm_core.evaluation.episodes import distribution_of, write_tables
    from reports.evaluated import distribution_picture, profit_picture

    m, label = found.facts, words.data_label(found.facts)
    distribution = distribution_of(found.curves)
    files = write_tables(folder, found.episodes, found.curves, distribution)
    curves = {
        number[0]: part.select("date", "pnl_usd").rows()
        for number, part in found.curves.group_by("episode", maintain_order=True)
    }
    bins = distribution.bins.rows()
    for name, svg in (("pnl", profit_picture(curves, label)), ("returns", distribution_picture(bins, label))):
        write_text(folder / f"{name}.svg", svg)
        files.append(folder / f"{name}.svg")
    window = m["window"]["name"]
    typer.echo(f"{m['trader']['label']}, on the {window} window: {m['first_date']} to {m['last_date']}")
    typer.echo(f"Data: {label}")
    rows = [[_cell(value) for value in row] for row in found.episodes.rows()]
    for line in shown([name.replace("_", " ") for name in found.episodes.columns], rows):
        typer.echo(f"  {line}")
    said = ", ".join(f"{name.replace('_', ' ')} {value:+.4f}" for name, value in distribution.facts.items())
    typer.echo(f"Returns of a session: {said}")
    registered = "entered now" if found.entered else "these weights had looked at these dates before"
    typer.echo(f"Trial registry: {registered}")
    typer.echo(f"Written to {folder}: {', '.join(file.name for file in files)}; ledgers in {found.result.folder}")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < MONEY else f"{value:,.0f}"
    return "unknown" if value is None else str(value)
