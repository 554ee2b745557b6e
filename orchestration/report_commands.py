"""`clstm runs|report|compare`: the runs there are, their reports, and two of them side by side."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.home import project_home
from orchestration.launch import USER_ERROR, fail

if TYPE_CHECKING:
    from clstm_core.artifacts.places import Places


WIDEST = 64  # characters of a cell in the terminal


@contextmanager
def one_sentence() -> Iterator[None]:
    """What these commands are asked wrongly ends in the error's sentence and exit code 2."""
    from clstm_core.errors import ClstmError

    try:
        yield
    except ClstmError as error:
        fail(str(error), USER_ERROR)


def shown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (headings, *rows)]  # fmt: skip


def runs() -> None:
    """List the training runs there are, the newest first, and what came of each."""
    import dataclasses

    from clstm_core.artifacts.places import Places
    from clstm_core.evaluation.run_list import HEADINGS, list_runs

    with one_sentence():
        found = list_runs(Places(project_home() / "data"))
    if not found:
        typer.echo(f"No run in {project_home() / 'data' / 'runs'}. `clstm demo` or `clstm train` begins one.")
        return
    for line in shown(HEADINGS, [dataclasses.astuple(run) for run in found]):
        typer.echo(line)


def report(
    run: Annotated[str, typer.Argument(help="name of the training run")],
    single_file: Annotated[Path | None, typer.Option(help="write the page as one HTML file too, to mail")] = None,
) -> None:
    """Write the report of a run again, from the files that it left, and say where it is."""
    from clstm_core.artifacts.places import Places
    from clstm_core.evaluation.run_list import require_run

    with one_sentence():
        home = project_home()
        places = Places(home / "data")
        folder = require_run(places, run)
        _require_idle(places, run)
        from assets.reports import write_report
        from assets.resources import ReportServer
        from clstm_core.artifacts.manifests import ReportManifest
        from clstm_core.store.store import MetricsStore

        earlier = ReportManifest.kept(folder.report, files=False)
        url = earlier.url if earlier else ReportServer(home=str(home)).page(run)
        written, page = write_report(folder, places, home / "reports" / "generated", url)
        MetricsStore(places.root / "metrics.duckdb").record(written)
        if single_file is not None:
            _write_single(folder.evidence, single_file)
    typer.echo(f"Verdict: {written.verdict}\nReport:  {page}")
    if single_file is not None:
        typer.echo(f"One file: {single_file.resolve()}")


def _write_single(evidence: Path, place: Path) -> None:
    """The page with all that it needs inside."""
    from clstm_core.artifacts.folder import write_text
    from clstm_core.errors import ConfigError
    from clstm_core.evaluation.evidence import load_evidence
    from reports.render import render_single_file

    if place.is_dir() or not place.parent.is_dir():
        raise ConfigError(
            f"cannot write a page to {place}: expected a file in a folder that is there. Pass another --single-file."
        )
    write_text(place, render_single_file(load_evidence(evidence)))


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="name of a run")],
    b: Annotated[str, typer.Argument(metavar="B", help="name of another")],
) -> None:
    """Lay two runs side by side: settings, data, outcome, and whether they can be told apart; here and as a page."""
    from clstm_core.artifacts.places import Places

    with one_sentence():
        from clstm_core.evaluation.side_by_side import side_by_side
        from reports.side_by_side import render_pair

        home = project_home()
        pair = side_by_side(Places(home / "data"), a, b)
        page = render_pair(pair, home / "reports" / "generated")
    typer.echo(pair.answer)
    for warning in pair.warnings:
        typer.echo(f"Warning: {warning}")
    for section in pair.sections:
        typer.echo(f"\n{section.title}")
        rows = [tuple(_short(cell) for cell in row) for row in section.rows] or [("none", "", "")]
        for line in shown(("", a, b), rows):
            typer.echo(f"  {line}")
    typer.echo(f"\nPage: {page}")


def _short(text: str) -> str:
    """A cell that leaves room for its neighbour; the page has the whole text."""
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3].rstrip()}..."


def _require_idle(places: "Places", run: str) -> None:
    """Refuse a run that a launch is working on: it writes the same files."""
    from clstm_core.artifacts.retention import launches_at_work
    from clstm_core.errors import ConfigError

    if run in launches_at_work(places):
        raise ConfigError(
            f"run {run} is being worked on by a launch: expected one writer of its files. Wait for it; it writes the "
            "report itself."
        )
