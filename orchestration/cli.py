"""`clstm`: the chain from a terminal."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestration.data_commands import data_app
from orchestration.progress import Follower

if TYPE_CHECKING:
    from clstm_core.recipe import Recipe

app = typer.Typer(
    add_completion=False,
    help="Option-market data to a deployed trading policy.",
    pretty_exceptions_enable=False,
)

app.add_typer(data_app, name="data")

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
UsageError: Any = typer.BadParameter.__base__  # typer names no public one
UI_PORT, REPORT_PORT = 3000, 3001
STOP_S, WAITING_S = 20.0, 10.0


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    """Option-market data to a deployed trading policy."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


Source = Annotated[str, typer.Option(help="where quotes come from; `clstm sources` lists the names")]
Data = Annotated[Path | None, typer.Option(help="folder of the vendor's files, where the source needs one")]
Name = Annotated[str, typer.Option("--recipe", help="named settings: default_cpu, smoke or seed_100m")]
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
    facts = _execute("demo", run or f"demo-{source}", _recipe(source, data, recipe, snapshots))
    typer.echo("")
    typer.echo(f"Faults found in the quotes and handled: {facts.get('market_quotes.faults')}")
    typer.echo(f"Verdict: {facts.get('checkpoint_comparison.verdict')}")
    typer.echo(f"Report:  {facts.get('backtest_report.report_path')}")
    typer.echo(f"Bundle:  {facts.get('policy_bundle.folder')}")


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
        typer.echo(_execute("audit_market", None, chosen).get("environment_audit.verdict"))
        return
    facts = _execute("judge_market", None, chosen)
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
def sources() -> None:
    """List where quotes can come from."""
    from clstm_core.market.sources import source_names, spec

    for name in source_names():
        typer.echo(f"{name:<16} {spec(name).description} ({spec(name).label})")


@app.command()
def dev() -> None:
    """Serve the Dagster UI and the reports on the loopback address until Ctrl-C."""
    from orchestration.definitions import project_home
    from orchestration.home import dagster_home

    dagster_home()
    reports = project_home() / "reports" / "generated"
    reports.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parent.parent
    local = "127.0.0.1"
    commands = [
        [sys.executable, "-m", "http.server", str(REPORT_PORT), "--bind", local, "--directory", str(reports)],
        [
            str(Path(sys.executable).with_name("dg")),
            "dev",
            "-w",
            str(root / "workspace.yaml"),
            "--host",
            local,
            "--port",
            str(UI_PORT),
        ],
    ]
    typer.echo(f"Dagster UI: http://{local}:{UI_PORT}    Reports: http://{local}:{REPORT_PORT}    Ctrl-C stops both")
    # Sessions of their own: a Ctrl-C reaches them once, from here. Handlers of our own: a shell's `&` ignores SIGINT.
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, _interrupt)
    server = subprocess.Popen(commands[0], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    ui = subprocess.Popen(commands[1], cwd=root, start_new_session=True)
    try:
        code = ui.wait()
    except KeyboardInterrupt:
        _stop(ui)
        code = 0
    finally:
        server.terminate()
    raise typer.Exit(code)


@app.command(name="rebuild-metrics")
def rebuild_metrics() -> None:
    """Write the DuckDB store anew from the files of runs, backtests and bundles."""
    from clstm_core.store.store import MetricsStore
    from orchestration.definitions import project_home

    data = project_home() / "data"
    for table, count in MetricsStore(data / "metrics.duckdb").rebuild(data).items():
        typer.echo(f"{table}: {count} rows")


@app.command(name="publish-metrics")
def publish_metrics(target: Annotated[Path, typer.Argument(help="file to write")]) -> None:
    """Write a read-only snapshot of the store for reviewers."""
    from clstm_core.store.store import MetricsStore
    from orchestration.definitions import project_home

    typer.echo(MetricsStore(project_home() / "data" / "metrics.duckdb").publish(target))


@app.command()
def prune(
    days: Annotated[float, typer.Option(help="remove what nobody used for this long and no run was made from")] = 30.0,
) -> None:
    """Remove cached market data that nobody uses any more."""
    from clstm_core.artifacts.places import Places
    from clstm_core.artifacts.retention import prune as prune_cache
    from orchestration.definitions import project_home

    removed = prune_cache(Places(project_home() / "data"), days=days)
    typer.echo("\n".join(removed) or "nothing to remove")


def _recipe(source: str, data: Path | None, name: str, snapshots: int | None) -> "Recipe":
    """The recipe, checked before anything starts: its names, and that the source's files are there."""
    from clstm_core.market.sources import open_source
    from clstm_core.recipe import Recipe

    recipe = Recipe(name=name, source=source, data_dir=str(data.resolve()) if data else None, n_snapshots=snapshots)
    open_source(recipe.market())
    return recipe


def _execute(job: str, run: str | None, recipe: "Recipe") -> dict[str, Any]:
    """Register the run's key, execute the job in a child process, and draw its progress; its facts."""
    from clstm_core.artifacts.folder import write_json
    from clstm_core.artifacts.places import run_name
    from orchestration.definitions import project_home
    from orchestration.jobs import chosen

    name = run_name(run) if run else job
    _register(run)
    folder = project_home() / "data" / "launches" / name
    folder.mkdir(parents=True, exist_ok=True)
    request, progress, outcome, log, lock = (
        folder / file for file in ("request.json", "progress.jsonl", "outcome.json", "log", "lock")
    )
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _fail(f"run {name} is in use by another process. Wait for it, or pass another RUN.", FAILED)
        outcome.unlink(missing_ok=True)
        progress.write_text("")
        config = chosen(
            name=recipe.name, source=recipe.source, data_dir=recipe.data_dir, n_snapshots=recipe.n_snapshots
        )
        settings = {
            "job": job,
            "run": run,
            "run_config": config,
            "tags": {"recipe": recipe.name, "source": recipe.source},
            "progress": str(progress),
            "outcome": str(outcome),
            "lock": str(lock),
        }
        write_json(request, settings)
        typer.echo(f"Run {name}; log: {log}")
        for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(wanted, _interrupt)
        with log.open("w") as handle:
            child = subprocess.Popen(
                [sys.executable, "-m", "orchestration.chain", str(request)],
                stdout=handle,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).resolve().parent.parent,
                env={**os.environ, "CLSTM_HOME": str(project_home()), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                pass_fds=(held.fileno(),),
            )
    # From here on the lock is the child's: it is held for as long as the chain works, whatever becomes of this command.
    with Follower(progress) as follower:
        looked = time.monotonic()
        try:
            while child.poll() is None:
                follower.update()
                if min(follower.silent_s, time.monotonic() - looked) > WAITING_S:
                    looked = time.monotonic()
                    follower.say(_waiting_for())
                time.sleep(0.3)
            follower.update()
        except KeyboardInterrupt:
            _stop(child)
            _fail(f"interrupted. The same command resumes run {name} from its newest checkpoint.", INTERRUPTED)
    if not outcome.is_file():
        _fail(
            f"the chain ended without an outcome (exit {child.returncode}): expected one in {outcome}. Run the same "
            f"command again, it resumes run {name}; the end of {log} may say why.",
            FAILED,
        )
    result = json.loads(outcome.read_text())
    if not result["success"]:
        _fail("; ".join(result["errors"]) + f"\nlog: {log}", FAILED)
    for line in result["warnings"]:
        typer.echo(f"note: {line}")
    return result["facts"]


def _register(run: str | None) -> None:
    """Open the Dagster instance, and add the run's key to it."""
    import dagster as dg

    from assets.partitions import training_run
    from orchestration.home import dagster_home

    home = dagster_home()
    try:
        # in turn: two first launches would both make the same tables
        with (home / "instance.lock").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            instance = dg.DagsterInstance.get()
        with instance:
            if run:
                instance.add_dynamic_partitions(str(training_run.name), [run])
    except OSError:
        raise
    except Exception as error:  # whatever the instance's storage and its configuration's reader raise
        found = " ".join(str(error).split())
        _fail(f"cannot open the Dagster instance {home}: {found}. Move that folder away: a new one is made.", FAILED)


def _waiting_for() -> str:
    """Who holds the pool that a silent chain may be waiting for; empty where nobody does."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        waiting = []
        for pool in storage.get_concurrency_keys() if storage.supports_global_concurrency_limits else ():
            info = storage.get_concurrency_info(pool)
            if not info.pending_steps or not info.claimed_slots:
                continue
            holders = []
            for run_id in {slot.run_id for slot in info.claimed_slots}:
                holder = instance.get_run_by_id(run_id)
                holders.append(holder.tags.get("dagster/partition", run_id[:8]) if holder else run_id[:8])
            waiting.append(f"waiting for pool {pool}, held by run {', '.join(sorted(holders))}")
    return "; ".join(waiting)


def _interrupt(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _stop(child: subprocess.Popen) -> None:
    """End the chain's process group, by force when it does not listen."""
    os.killpg(child.pid, signal.SIGINT)
    try:
        child.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


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
    except ClstmError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(USER_ERROR if isinstance(error, (ConfigError, MarketDataError)) else FAILED) from None
    except OSError as error:
        print(f"error: {file_system_sentence(error)}", file=sys.stderr)
        raise SystemExit(FAILED) from None


if __name__ == "__main__":
    main()
