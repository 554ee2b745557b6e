"""`clstm`: the chain from a terminal."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from orchestration.progress import Follower

app = typer.Typer(
    add_completion=False,
    help="Option-market data to a deployed trading policy.",
    pretty_exceptions_enable=False,
)

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
UsageError: Any = typer.BadParameter.__base__  # typer names no public one
UI_PORT, REPORT_PORT = 3000, 3001
STOP_S = 20.0
NAME_LENGTH = 100


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    """Option-market data to a deployed trading policy."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def demo(
    source: Annotated[str, typer.Option(help="sp500_modelled, simulated, spx_barchart or spx_cboe")] = "sp500_modelled",
    data: Annotated[Path | None, typer.Option(help="folder of the vendor's files, where the source needs one")] = None,
    run: Annotated[str, typer.Option(help="name of the training run; demo-SOURCE when left out")] = "",
    recipe: Annotated[str, typer.Option(help="default_cpu, smoke or seed_100m")] = "default_cpu",
    snapshots: Annotated[int | None, typer.Option(help="length of the simulated source")] = None,
) -> None:
    """Run the whole chain: market data, audit, training, backtests, bundle, report."""
    from clstm_core.config import RECIPES
    from clstm_core.errors import ConfigError, MarketDataError
    from clstm_core.market.sources import default_config, open_source

    try:
        if recipe not in RECIPES:
            raise ConfigError(f"unknown recipe {recipe!r}: expected one of {', '.join(RECIPES)}. Pass one as --recipe.")
        given = {"data_dir": str(data.resolve()) if data else None, "n_snapshots": snapshots}
        open_source(default_config(source, **{key: value for key, value in given.items() if value is not None}))
        name = _run_name(run or f"demo-{source}")
    except (ConfigError, MarketDataError) as error:
        _fail(str(error), USER_ERROR)
    quotes = {"source": source, **{key: value for key, value in given.items() if value is not None}}
    run_config = {
        "ops": {
            "market_quotes": {"config": quotes},
            "market_tensors": {"config": {"recipe": recipe}},
            "environment_audit": {"config": {"recipe": recipe}},
            "warm_critic": {"config": {"recipe": recipe}},
        }
    }
    facts = _execute("demo", name, run_config)
    typer.echo("")
    typer.echo(f"Faults found in the quotes and handled: {facts.get('market_quotes.faults')}")
    typer.echo(f"Verdict: {facts.get('checkpoint_comparison.verdict')}")
    typer.echo(f"Report:  {facts.get('backtest_report.report_path')}")
    typer.echo(f"Bundle:  {facts.get('policy_bundle.folder')}")


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
    """Write the DuckDB store anew from the run folders, backtests and bundles."""
    from clstm_core.errors import MetricsError
    from clstm_core.store.store import MetricsStore
    from orchestration.definitions import project_home

    data = project_home() / "data"
    try:
        for table, count in MetricsStore(data / "metrics.duckdb").rebuild(data).items():
            typer.echo(f"{table}: {count} rows")
    except MetricsError as error:
        _fail(str(error), FAILED)


@app.command(name="publish-metrics")
def publish_metrics(target: Annotated[Path, typer.Argument(help="file to write")]) -> None:
    """Write a read-only snapshot of the store for reviewers."""
    from clstm_core.errors import MetricsError
    from clstm_core.store.store import MetricsStore
    from orchestration.definitions import project_home

    try:
        typer.echo(MetricsStore(project_home() / "data" / "metrics.duckdb").publish(target))
    except MetricsError as error:
        _fail(str(error), FAILED)


def _run_name(name: str) -> str:
    from clstm_core.errors import ConfigError

    fits = all(letter.isalnum() or letter in "-_." for letter in name) and len(name) <= NAME_LENGTH
    if not name or not fits or name.startswith("."):
        raise ConfigError(
            f"run name {name!r}: expected letters, digits, '-', '_' and '.', not a dot first, at most "
            f"{NAME_LENGTH}. Pass another RUN."
        )
    return name


def _execute(job: str, run: str, run_config: dict[str, Any]) -> dict[str, Any]:
    """Register the run's key, execute the job in a child process, and draw its progress; its facts."""
    import dagster as dg

    from assets.partitions import training_run
    from orchestration.definitions import project_home
    from orchestration.home import dagster_home

    home = dagster_home()
    try:
        with dg.DagsterInstance.get() as instance:
            instance.add_dynamic_partitions(str(training_run.name), [run])
    except OSError:
        raise
    except Exception as error:  # whatever the instance's storage and its configuration's reader raise
        found = " ".join(str(error).split())
        _fail(f"cannot open the Dagster instance {home}: {found}. Move that folder away: a new one is made.", FAILED)
    folder = project_home() / "data" / "launches" / run
    folder.mkdir(parents=True, exist_ok=True)
    request, progress, outcome, log, lock = (
        folder / name for name in ("request.json", "progress.jsonl", "outcome.json", "log", "lock")
    )
    held = lock.open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _fail(f"run {run} is in use by another process. Wait for it, or pass another RUN.", FAILED)
    outcome.unlink(missing_ok=True)
    progress.write_text("")
    settings = {"job": job, "run": run, "run_config": run_config, "progress": str(progress), "outcome": str(outcome)}
    request.write_text(json.dumps(settings, indent=1))
    typer.echo(f"Run {run}; log: {log}")
    root = Path(__file__).resolve().parent.parent
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, _interrupt)
    with log.open("w") as handle:
        child = subprocess.Popen(
            [sys.executable, "-m", "orchestration.chain", str(request)],
            stdout=handle,
            stderr=subprocess.STDOUT,
            cwd=root,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        with Follower(progress, project_home() / "data" / "runs" / run / "metrics.jsonl") as follower:
            try:
                while child.poll() is None:
                    follower.update()
                    time.sleep(0.3)
                follower.update()
            except KeyboardInterrupt:
                _stop(child)
                _fail(f"interrupted. The same command resumes run {run} from its newest checkpoint.", INTERRUPTED)
    if not outcome.is_file():
        _fail(
            f"the chain ended without an outcome (exit {child.returncode}): expected one in {outcome}. Run the same "
            f"command again, it resumes run {run}; the end of {log} may say why.",
            FAILED,
        )
    result = json.loads(outcome.read_text())
    if not result["success"]:
        _fail("; ".join(result["errors"]) + f"\nlog: {log}", FAILED)
    for line in result["warnings"]:
        typer.echo(f"note: {line}")
    return result["facts"]


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
    try:
        raise SystemExit(app(standalone_mode=False))
    except UsageError as error:
        sentence = " ".join(error.format_message().split()).rstrip(".")
        print(f"error: {sentence}. Run `clstm --help` for the commands and flags.", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    except OSError as error:
        from clstm_core.errors import file_system_sentence

        print(f"error: {file_system_sentence(error)}", file=sys.stderr)
        raise SystemExit(FAILED) from None


if __name__ == "__main__":
    main()
