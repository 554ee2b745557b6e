"""`clstm data ...`: what a data folder or table holds, before anything is trained on it."""

from pathlib import Path
from typing import Annotated

import typer

NOT_USABLE = 1

data_app = typer.Typer(help="Look at market data.", no_args_is_help=True)


@data_app.callback()
def _data() -> None:
    """Look at market data."""


@data_app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="table of quotes, or folder of the source's files")],
    source: Annotated[str, typer.Option(help="table, spx_barchart or spx_cboe")] = "table",
) -> None:
    """Say whether a market can be made of PATH, what was understood, and what is wrong by file, row and cell.

    Exits with 0 where it can be used and with 1 where it cannot.
    """
    from clstm_core.market.inspection import inspect_data

    report = inspect_data(path, source)
    for line in report.lines():
        typer.echo(line)
    if not report.usable:
        raise typer.Exit(NOT_USABLE)
