"""The page of a sweep: `<out_dir>/sweeps/<name>/index.html`, in the report's form and with its files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import plotly.graph_objects as go

from clstm_core.artifacts.folder import write_text
from clstm_core.plural import counted
from clstm_core.sweeps.evidence import Searched, SweepEvidence
from reports import tiles
from reports.charts import REFERENCE, Chart, Panel, Table, framed, number, table
from reports.gallery import SWEEPS, write_gallery
from reports.pages import CSP, template
from reports.palette import OKABE_ITO
from reports.render import MEANINGS, label_kind, write_shared

DIGITS = 4


def render_sweep(made: SweepEvidence, out_dir: Path) -> Path:
    """Write the page, its summary, the shared files and the gallery, which links it; the page's path.

    Assumes: its name can be a folder's: a plan refuses another (`artifacts.places.run_name`)
    """
    folder = out_dir / SWEEPS / made.run
    folder.mkdir(parents=True, exist_ok=True)
    write_shared(out_dir)
    panels = sweep_panels(made)
    index = folder / "index.html"
    write_text(index, _page(made, panels))
    write_text(folder / "summary.json", json.dumps(_summary(made, panels), indent=1))
    write_gallery(out_dir)
    return index


def sweep_panels(made: SweepEvidence) -> list[Panel]:
    """Every panel: what the trials scored, each setting by itself, what confirms, and every trial."""
    rows = [dict(row) for row in made.trials]
    scored = [row for row in rows if row["score"] is not None]
    panels = [
        Panel(
            id="scores",
            title="What the trials scored",
            charts=[history_chart(made, scored)] if scored else [],
            message=f"Score: {made.unit}, the mean of fresh worlds and validation dates. No test date was walked. "
            "Trial 0 is the recipe as it is; a score of one seed has that seed's luck in it.",
        ),
        Panel(
            id="settings",
            title="Setting by setting",
            charts=[setting_chart(made, scored, searched, at) for at, searched in enumerate(made.searched)]
            if scored
            else [],
            tables=[("Share of each setting in what moves the score", _importances(made))] if made.importances else [],
            message="" if made.importances else "Too few trials to say which setting matters.",
        ),
        Panel(
            id="confirmed",
            title="What confirms it",
            tables=[("Seeds that chose nothing", _confirmed(made.confirmed))] if made.confirmed else [],
            message=made.confirmation,
        ),
        Panel(id="trials", title="Every trial", tables=[("Settings and score", _trials(made))]),
    ]
    return panels


def history_chart(made: SweepEvidence, scored: Sequence[Mapping[str, Any]]) -> Chart:
    """Score by trial, the best so far, and the recipe's."""
    best, so_far = -float("inf"), []
    for row in scored:
        best = max(best, row["score"])
        so_far.append(best)
    numbers = [row["trial"] for row in scored]
    traces: list[Any] = [
        go.Scatter(
            x=numbers,
            y=[row["score"] for row in scored],
            mode="markers",
            name="trial",
            marker={"size": 9, "color": OKABE_ITO[0]},
        ),
        go.Scatter(x=numbers, y=so_far, mode="lines", name="best so far", line={"color": OKABE_ITO[1], "shape": "hv"}),
    ]
    usual = next((row["score"] for row in scored if row["trial"] == 0), None)
    if usual is not None:
        ends = [numbers[0], numbers[-1]]
        grey = {"color": REFERENCE, "dash": "dash"}
        traces.append(go.Scatter(x=ends, y=[usual, usual], mode="lines", name="the recipe as it is", line=grey))
    return Chart(
        id="history",
        title="Score, trial by trial",
        figure=framed(traces, "Score, trial by trial", made.data_label, made.unit, xaxis={"title": {"text": "trial"}}),
        caption="Later trials are proposed from the scores of those before. The best of many is chosen for its score, "
        "so part of its lead is luck.",
        table=table(list(map(dict, scored)), {"trial": ("trial", "count"), "score": ("score", "")}),
    )


def setting_chart(made: SweepEvidence, scored: Sequence[Mapping[str, Any]], searched: Searched, at: int) -> Chart:
    """Score against one setting, all others as they came."""
    name = searched.name
    values = [row[name] if not searched.choices else str(row[name]) for row in scored]
    usual = [row["trial"] == 0 for row in scored]
    marks = go.Scatter(
        x=values,
        y=[row["score"] for row in scored],
        mode="markers",
        showlegend=False,
        marker={
            "size": 9,
            "color": [OKABE_ITO[1] if mine else OKABE_ITO[0] for mine in usual],
            "symbol": ["diamond" if mine else "circle" for mine in usual],
        },
    )
    axis: dict[str, Any] = {"title": {"text": name}, "type": "log" if searched.log else "linear"}
    if searched.choices:
        axis["type"] = "category"
    return Chart(
        id=f"setting-{at}",
        title=f"Score against {name}",
        figure=framed(
            [marks], f"Score against {name}", made.data_label, made.unit, height=300, xaxis=axis, hovermode="closest"
        ),
        caption="The diamond is the recipe as it is.",
        table=table(
            [dict(row) for row in scored], {"trial": ("trial", "count"), name: (name, ""), "score": ("score", "")}
        ),
    )


def _importances(made: SweepEvidence) -> Table:
    return table(list(map(dict, made.importances)), {"setting": ("setting", ""), "share": ("share", "percent")})


def _confirmed(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = {"seed": ("seed", ""), "best": ("the best trial's settings", ""), "recipe": ("the recipe", ""),
               "difference": ("difference", "")}  # fmt: skip
    return table(list(map(dict, rows)), columns)


def _trials(made: SweepEvidence) -> Table:
    columns = {
        "trial": ("trial", "count"),
        "state": ("state", ""),
        "score": ("score", ""),
        "growth_bps_fresh_worlds": ("fresh worlds, bps per session", ""),
        "growth_bps_validation_dates": ("validation dates, bps per session", ""),
        **{each.name: (each.name, "") for each in made.searched},
        "seconds": ("seconds of training", "count"),
        "reason": ("why it failed", ""),
    }
    return table(list(map(dict, made.shown)), columns)


def _outcome(made: SweepEvidence) -> tiles.Outcome:
    """Which trial is the best, without a colour: nothing here was judged."""
    if made.best is None:
        return tiles.Outcome("none", "Nothing is chosen", ": no trial came to its end")
    if made.best == 0:
        return tiles.Outcome("none", "The recipe as it is", f" is the best of {counted(len(made.trials), 'trial')}")
    return tiles.Outcome("none", f"Trial {made.best}", f" of {len(made.trials)} scored best: a choice, not a verdict")


def _tiles(made: SweepEvidence) -> list[tiles.Tile]:
    scores = {row["trial"]: row["score"] for row in made.trials}
    failed = sum(row["state"] == "failed" for row in made.trials)

    def told(value: Any) -> str:
        found = number(value)
        return "–" if found is None else f"{found:+.{DIGITS}f}"

    found = [row["difference"] for row in made.confirmed]
    return [
        tiles.Tile("best score", told(None if made.best is None else scores[made.best]), made.unit, "scores"),
        tiles.Tile("the recipe's", told(scores.get(0)), made.unit, "scores"),
        tiles.Tile(
            "confirmed difference",
            told(sum(found) / len(found)) if found else "–",
            f"{counted(len(found), 'seed')} that chose nothing" if found else "not trained again",
            "confirmed",
        ),
        tiles.Tile("trials", f"{len(made.trials)}", f"{failed} failed", "trials", bad=bool(failed)),
        tiles.Tile(
            "env steps each",
            f"{made.steps:,}",
            f"{made.seeds} seed{'' if made.seeds == 1 else 's'} per trial",
            "trials",
        ),
    ]


def _page(made: SweepEvidence, panels: list[Panel]) -> str:
    kind = label_kind(made.data_label)
    return template("report.html").render(
        heading=f"Sweep {made.run}",
        data=SimpleNamespace(
            run=made.run,
            data_label=made.data_label,
            generated_at=made.generated_at,
            verdict=made.answer,
            controls_words="",
        ),
        root="../../",
        panels=panels,
        folded=(),
        kind=kind,
        meaning=MEANINGS[kind],
        outcome=_outcome(made),
        others="",
        tiles=_tiles(made),
        failures=[],
        points=[],
        shortness="",
        provenance=tiles.facts(list(made.provenance)),
        csp=CSP,
        inline=None,
    )


def _summary(made: SweepEvidence, panels: list[Panel]) -> dict[str, Any]:
    said = _outcome(made)
    return {
        "run": made.run,
        "data_label": made.data_label,
        "kind": label_kind(made.data_label),
        "generated_at": made.generated_at,
        "recipe": made.recipe,
        "trials": len(made.trials),
        "answer": made.answer,
        "outcome": {"kind": said.kind, "word": said.word, "rest": said.rest},
        "figures": sum(len(panel.charts) for panel in panels),
    }
