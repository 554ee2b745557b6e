"""`clstm shadow ...`: a bundle on sessions as they arrive, in simulated fills; nothing is ever sent anywhere."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.home import project_home
from orchestration.report_commands import one_sentence

shadow_app = typer.Typer(
    help="Let a bundle decide on sessions as they arrive: fills are simulated, no order is ever sent.",
    no_args_is_help=True,
)


CHANGES = 10
"""Newest changes of sessions that were decided on; the page has all."""


class Kind(StrEnum):
    """Where sessions come from."""

    replay = "replay"
    directory = "directory"
    alpaca = "alpaca"


Bundle = Annotated[Path, typer.Option(help="folder of a bundle, e.g. data/bundles/RUN")]
Name = Annotated[str, typer.Option(help="of the shadow account; the bundle's run when left out")]
Account = Annotated[str, typer.Option("--name", help="of the shadow account")]
Source = Annotated[Kind, typer.Option(help="a market at hand, a folder that files arrive in, or Alpaca's option chain")]
Market = Annotated[str, typer.Option(help="source of quotes, the bundle's own when left out; `clstm sources`")]
Data = Annotated[Path | None, typer.Option(help="folder or table of that source, where it needs one")]
Reason = Annotated[str, typer.Option(help="why; it stays in the log")]


@shadow_app.command("run")
def run(
    bundle: Bundle,
    name: Name = "",
    source: Source = Kind.replay,
    market: Market = "",
    data: Data = None,
    window: Annotated[str, typer.Option(help="of a replay: train, validation or test; all when left out")] = "",
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="first session of a folder")] = None,
    limits: Annotated[
        Path | None, typer.Option(help="JSON: what reduces or halts; the bundle's caps otherwise")
    ] = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="as a backtest: nothing reduces or halts")] = False,
    unqualified: Annotated[bool, typer.Option("--unqualified", help="watch a policy that is no champion")] = False,
    most: Annotated[int | None, typer.Option(min=1, help="sessions at most")] = None,
) -> None:
    """Take every session that arrived: carry out the decision before in the simulator, decide, log."""
    from clstm_core.artifacts.places import Places

    places = Places(project_home() / "data")
    with one_sentence():
        from clstm_core.shadow.accounts import Feed, run_account

        found = run_account(
            places,
            name or bundle.resolve().name,
            bundle,
            Feed(
                kind=source.value,
                market=market,
                data=str(data) if data else "",
                window=window,
                since=since.date() if since else None,
                keys=_keys(),
            ),
            limits=limits,
            no_limits=no_limits,
            unqualified=unqualified,
            most=most,
            tell=_say,
        )
        _record(places, found)
        _show(found)


@shadow_app.command("reconcile")
def reconcile(
    bundle: Bundle, name: Name = "", source: Source = Kind.replay, market: Market = "", data: Data = None
) -> None:
    """Compare an account with the backtest of its days and quotes: alike to the cent, else exit 1."""
    from clstm_core.artifacts.places import Places

    places = Places(project_home() / "data")
    with one_sentence():
        from clstm_core.shadow.accounts import Feed, reconcile_account

        feed = Feed(kind=source.value, market=market, data=str(data) if data else "")
        found = reconcile_account(places, name or bundle.resolve().name, bundle, feed)
        _record(places, found)
        _draw(found.folder)
        typer.echo(found.answer)
        for row in found.differing:
            typer.echo(f"  {row['snapshot'][:10]}  {row['explanation']}")
    if not (found.decisions_equal and found.to_the_cent):
        raise typer.Exit(1)


@shadow_app.command("show")
def show(name: Account) -> None:
    """Say how an account stands, and make its page again."""
    from clstm_core.artifacts.places import Places

    places = Places(project_home() / "data")
    with one_sentence():
        from clstm_core.shadow.accounts import judge_account

        found = judge_account(places, name)
        _record(places, found)
        _show(found)


@shadow_app.command("compare")
def compare(
    name: Account,
    reference: Annotated[str, typer.Option(help="the account that it is laid beside")],
    margin: Annotated[
        float, typer.Option(help="basis points per session that it may be worse, stated before looking")
    ] = 1.0,
) -> None:
    """Say whether one account does harm beside another on the same sessions; it may be asked every day."""
    from clstm_core.artifacts.places import Places

    places = Places(project_home() / "data")
    with one_sentence():
        from clstm_core.shadow.accounts import log_of
        from clstm_core.shadow.against import against

        found = against(log_of(places, name), log_of(places, reference), margin)
    typer.echo(found.words)


@shadow_app.command("halt")
def halt(name: Account, reason: Reason) -> None:
    """From now on hold alone is legal."""
    _switch(name, "HALTED", reason)


@shadow_app.command("reduce")
def reduce(name: Account, reason: Reason) -> None:
    """From now on hold, close and hedge alone are legal."""
    _switch(name, "REDUCING", reason)


@shadow_app.command("resume")
def resume(name: Account, reason: Reason) -> None:
    """Every action that the mask leaves is legal again; drawdowns are counted from here."""
    _switch(name, "ACTIVE", reason)


def _keys() -> tuple[str, str] | None:
    """Of Alpaca's market data, from the environment: never from a file or an argument."""
    import os

    found = os.environ.get("APCA_API_KEY_ID"), os.environ.get("APCA_API_SECRET_KEY")
    return (str(found[0]), str(found[1])) if all(found) else None


def _switch(name: str, state: str, reason: str) -> None:
    from clstm_core.artifacts.places import Places

    with one_sentence():
        from clstm_core.shadow.accounts import switch_account

        before = switch_account(Places(project_home() / "data"), name, state, reason)
    if before is None:
        typer.echo(f"Shadow account {name} is at work: {state} before its next session.")
    else:
        typer.echo(f"Shadow account {name}: {before} before, {state} now.")


def _say(entry: dict[str, Any]) -> None:
    """One line per session."""
    day = f"{entry['snapshot']:%Y-%m-%d}"
    if entry["kind"] != "decided":
        typer.echo(f"{day}  {entry['kind']}  {'; '.join(entry['reasons'])}")
        return
    why = f"  {entry['switch']}: {'; '.join(entry['reasons'])}" if entry["reasons"] else ""
    typer.echo(
        f"{day}  {entry['action_name']:<26} equity {entry['equity_usd']:>14,.0f}  "
        f"simulated fills {len(entry['fills'])}{why}"
    )


def _record(places: Any, *manifests: Any) -> None:
    from clstm_core.store.store import MetricsStore

    MetricsStore(places.root / "metrics.duckdb").record(*manifests)


def _draw(folder: Path) -> Path:
    from reports.shadow_page import draw_account

    return draw_account(folder, project_home() / "reports" / "generated")


def _show(found: Any) -> None:
    """The answer, and where to see more."""
    page = _draw(found.folder)
    if not found.facts["qualified"]:
        typer.echo(f"{found.facts['standing']}. This policy is no champion and is not to be traded.")
    typer.echo(f"{found.answer}\nFills are simulated on {found.facts['label']}; nothing was sent anywhere.")
    for row in found.changed[-CHANGES:]:
        typer.echo(f"{row['snapshot'][:10]}  {row['reasons']}")
    typer.echo(f"{found.drift_words}\n{found.harm['words']}\nPage: {page}")
