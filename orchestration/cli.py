"""`clstm`: the chain from a terminal."""

import os
import re
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clstm_core.plural import counted
from orchestration.champion_commands import champion_app
from orchestration.data_commands import data_app
from orchestration.home import project_home
from orchestration.launch import FAILED, INTERRUPTED, USER_ERROR, execute
from orchestration.policy_commands import bundle_app, decide, evaluate
from orchestration.report_commands import compare, report, runs
from orchestration.retrain_commands import retrain
from orchestration.schedule_commands import schedule_app
from orchestration.serve import LAST_PORT, LOCAL, REPORT_PORT, UI_PORT, serve
from orchestration.shadow_commands import shadow_app
from orchestration.sweep_commands import sweep
from orchestration.walk_commands import walk_forward

if TYPE_CHECKING:
    from clstm_core.recipe import Recipe

app = typer.Typer(
    add_completion=False,
    help="Option-market data to a deployed trading policy.",
    pretty_exceptions_enable=False,
)

app.add_typer(data_app, name="data")
app.add_typer(schedule_app, name="schedule")
app.add_typer(bundle_app, name="bundle")
app.add_typer(shadow_app, name="shadow")
app.add_typer(champion_app, name="champion")

UsageError: Any = typer.BadParameter.__base__  # typer names no public one


def _version(asked: bool) -> None:
    """Say which release this is, and end."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"clstm-options {version('clstm-options')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="say which release this is, and end")
    ] = False,
) -> None:
    """Option-market data to a deployed trading policy."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


Source = Annotated[str, typer.Option(help="where quotes come from; `clstm sources` lists the names")]
Data = Annotated[Path | None, typer.Option(help="folder of the vendor's files, where the source needs one")]
Name = Annotated[str, typer.Option("--recipe", help="named settings: default_cpu, smoke, seed_100m or steady_100m")]
Snapshots = Annotated[int | None, typer.Option(help="length of the simulated source")]


@app.command()
def demo(
    source: Source = "sp500_modelled",
    data: Data = None,
    run: Annotated[str, typer.Option(help="name of the training run; demo-SOURCE when left out")] = "",
    recipe: Name = "default_cpu",
    snapshots: Snapshots = None,
) -> None:
    """Run the whole chain: market data, audit, training, backtests, bundle, report."""
    _require_name(run)
    chosen = _recipe(source, data, recipe, snapshots)
    chosen.require_hardware()
    _tell(execute("train_and_evaluate", run or f"demo-{source}", chosen))


def _tell(facts: dict[str, Any]) -> None:
    """What came of a chain."""
    from clstm_core.artifacts.manifests.deployment import UNQUALIFIED
    from reports.gallery import in_short

    page = facts.get("backtest_report.report_path")
    faults = re.sub(r" \([^()]*\)", "", str(facts.get("market_quotes.faults")))  # the report has their dates
    typer.echo("")
    for line in in_short(Path(page)) if page else ():
        typer.echo(line)
    typer.echo(f"Faults found in the quotes and handled: {faults}")
    typer.echo(f"Verdict: {facts.get('checkpoint_comparison.verdict')}")
    typer.echo(f"Controls: {facts.get('backtest_report.controls')}")
    typer.echo(f"Report:  {page}")
    typer.echo(f"Bundle:  {facts.get('policy_bundle.folder')}")
    if (standing := str(facts.get("policy_bundle.standing"))).startswith(UNQUALIFIED):
        typer.echo(f"Standing: {standing}")


@app.command()
def train(
    source: Source = "sp500_modelled",
    data: Data = None,
    run: Annotated[str, typer.Option(help="name of the training run; the recipe's and the time when left out")] = "",
    recipe: Name = "default_cpu",
    snapshots: Snapshots = None,
    timesteps: Annotated[int | None, typer.Option(help="env steps, in place of the recipe's")] = None,
    seed: Annotated[int, typer.Option(help="of weights, envs and every draw")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    audit: Annotated[str, typer.Option(help="quick or full")] = "quick",
    policy_of: Annotated[
        str | None, typer.Option(help="train nothing: judge this run's policy on data of today")
    ] = None,
) -> None:
    """Train and evaluate one run, with every setting of the launch form; the same name goes on where it stopped."""
    settings = {"timesteps": timesteps, "seed": seed, "device": device, "audit": audit, "policy_of": policy_of}
    _require_name(run)
    chosen = _recipe(source, data, recipe, snapshots, **settings)
    chosen.require_hardware()
    _tell(execute("train_and_evaluate", run or f"{recipe}-{datetime.now(UTC):%Y%m%d-%H%M%S}", chosen))


class Judge(StrEnum):
    """Who looks at a market."""

    environment = "environment"
    realism = "realism"


@app.command()
def audit(
    what: Annotated[
        Judge, typer.Argument(help="environment: the proofs before training; realism: published figures beside ours")
    ] = Judge.environment,
    source: Source = "sp500_modelled",
    data: Data = None,
    recipe: Name = "default_cpu",
    snapshots: Snapshots = None,
) -> None:
    """Prove a market for a recipe's account (nothing is trained without that), or judge its quotes from outside."""
    chosen = _recipe(source, data, recipe, snapshots)
    if what is Judge.environment:
        typer.echo(execute("audit_market", None, chosen).get("environment_audit.verdict"))
        return
    facts = execute("judge_market", None, chosen)
    if (place := facts.get("market_realism.path")) is None:  # the judge failed, and could not keep that it did
        typer.echo(facts.get("market_realism.verdict"))
        return
    _show_realism(Path(str(place)))


def _show_realism(place: Path) -> None:
    """The judge's table, the answer first."""
    from clstm_core.artifacts.manifests import RealismVerdict

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    found = RealismVerdict.read(place)
    typer.echo(f"{found.verdict}\nData: {found.label}\n")
    typer.echo(f"{'figure':<58} {'ours':>8} {'outside':>8} {'band':>6}")
    for band in found.bands:
        mark = "  LEFT" if band["holds"] is False else ""
        typer.echo(
            f"{band['name']:<58} {number(band['ours']):>8} {number(band['outside']):>8} {number(band['within']):>6}"
            f"  {band['unit']}{mark}"
        )
    typer.echo(f"\n{'year':<6} {'index':<14} {'ours':>8} {'published':>10}   %")
    for row in sorted(found.indices, key=lambda row: (row["year"], row["index"])):
        typer.echo(f"{row['year']:<6} {row['index']:<14} {number(row['ours']):>8} {number(row['published']):>10}")


@app.command()
def controls(
    recipe: Name = "default_cpu",
    timesteps: Annotated[int | None, typer.Option(help="env steps in each world, in place of the recipe's")] = None,
    seed: Annotated[int, typer.Option(help="of weights and worlds")] = 0,
) -> None:
    """Train a recipe where nothing can be earned and where something can; every report of the recipe prints it."""
    chosen = _recipe("sp500_modelled", None, recipe, None, timesteps=timesteps, seed=seed)
    chosen.require_hardware()
    facts = execute("make_controls", None, chosen)
    typer.echo(f"{facts.get('recipe_controls.controls')}\nKept in {facts.get('recipe_controls.path')}")


@app.command()
def sources() -> None:
    """List where quotes can come from."""
    from clstm_core.market.sources import source_names, spec

    for name in source_names():
        typer.echo(f"{name:<16} {spec(name).description} ({spec(name).label})")


@app.command()
def dev(
    port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="of the Dagster UI")] = UI_PORT,
    report_port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="of the reports")] = REPORT_PORT,
    host: Annotated[str, typer.Option(help="address to serve on; anything but loopback has no password")] = LOCAL,
) -> None:
    """Serve the Dagster UI and the reports until Ctrl-C."""
    raise typer.Exit(serve(host, port, report_port))


@app.command()
def doctor() -> None:
    """Look at what the project needs here: Python, torch, disk, ports, permissions, the store, the daemon."""
    from orchestration.doctor import examine, shown

    found = examine()
    typer.echo(shown(found))
    raise typer.Exit(FAILED if any(item.failed for item in found) else 0)


@app.command(name="rebuild-metrics")
def rebuild_metrics() -> None:
    """Write the DuckDB store anew from the files of runs, backtests and bundles."""
    from clstm_core.store.store import MetricsStore

    data = project_home() / "data"
    for table, count in MetricsStore(data / "metrics.duckdb").rebuild(data).items():
        typer.echo(f"{table}: {counted(count, 'row')}")


@app.command(name="publish-metrics")
def publish_metrics(target: Annotated[Path, typer.Argument(help="file to write")]) -> None:
    """Write a read-only snapshot of the store for reviewers."""
    from clstm_core.errors import ConfigError
    from clstm_core.store.store import MetricsStore

    if not target.resolve().parent.is_dir():
        raise ConfigError(
            f"cannot write {target}: expected a file in a folder that is there. Make it, or pass another."
        )
    typer.echo(MetricsStore(project_home() / "data" / "metrics.duckdb").publish(target))


@app.command()
def prune(
    days: Annotated[float, typer.Option(min=0, help="how long what nothing refers to is kept")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
) -> None:
    """Make room: caches, launches, abandoned and replaced runs, old events. Nothing that a report refers to goes."""
    import dagster as dg

    from clstm_core.artifacts.places import Places
    from clstm_core.artifacts.retention import launches_at_work, living_runs, prune_all
    from orchestration.event_log import at_work, prune_events
    from orchestration.home import dagster_home

    def tell(size: int, what: str, name: str) -> None:
        typer.echo(f"{size / 1e6:>10,.1f} MB  {what:<20} {name}")

    places = Places(project_home() / "data")
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        working = launches_at_work(places, at_work(instance))
        if working:
            typer.echo(f"Caches stay, a launch waits or works: {', '.join(sorted(working))}")
        found = prune_all(places, days=days, dry_run=dry_run, at_work=working)
        for item in found:
            tell(item.bytes, item.what, places.relative(item.path))
        launches, keys = prune_events(instance, days=days, living=living_runs(places, found), dry_run=dry_run)
    for launch in launches:
        tell(launch.bytes, "events of a launch", f"{launch.run_id[:8]} of {launch.name}")
    for key in keys:
        tell(0, "key", key)
    size = sum(item.bytes for item in found) + sum(launch.bytes for launch in launches)
    typer.echo(f"{size / 1e6:,.1f} MB, {counted(len(launches), 'launch', 'launches')} of Dagster's event log among it")
    if dry_run:
        typer.echo("Nothing was removed: leave out --dry-run.")


for command in (runs, report, compare, evaluate, decide, walk_forward, sweep, retrain):
    app.command()(command)


def _require_name(run: str) -> None:
    """Refuse what cannot name a run before anything is loaded; left out, it is made."""
    from clstm_core.artifacts.places import run_name

    if run:
        run_name(run)


def _recipe(source: str, data: Path | None, name: str, snapshots: int | None, **others: Any) -> "Recipe":
    """The recipe, checked before anything starts: its names, that the source's files are there, that it can be run."""
    from clstm_core.market.sources import open_source
    from clstm_core.recipe import Recipe

    folder = str(data.resolve()) if data else None
    recipe = Recipe(name=name, source=source, data_dir=folder, n_snapshots=snapshots, **others)
    recipe.run_config()
    open_source(recipe.market())
    return recipe


def main() -> None:
    """Entry point of the `clstm` command."""
    # The nets are small: more threads only wait for each other. A number of your own in the environment stands.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from clstm_core.errors import ClstmError, ConfigError, MarketDataError, file_system_sentence

    try:
        raise SystemExit(app(standalone_mode=False))
    except UsageError as error:
        sentence = " ".join(error.format_message().split()).rstrip(".")
        print(f"error: {sentence}. Run `clstm --help` for the commands and flags.", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    except typer.Abort:  # Ctrl-C where nothing is waited for
        print("error: interrupted. Run the same command again.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except ClstmError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(USER_ERROR if isinstance(error, (ConfigError, MarketDataError)) else FAILED) from None
    except OSError as error:
        print(f"error: {file_system_sentence(error)}", file=sys.stderr)
        raise SystemExit(FAILED) from None


if __name__ == "__main__":
    main()
