"""Panels of a walk-forward's page: the joined record, its folds, its seeds, and what it earned in which markets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.words import percent_of, percent_of_run, relation_of
from clstm_core.walk_forward.evidence import WalkEvidence
from reports.account_figures import excess_chart
from reports.account_panels import present, regimes_panel
from reports.charts import NOTHING, Chart, Panel, Table, framed, number, table
from reports.luck_figures import CONTROLS_TITLE, controls_table
from reports.names import policy_name
from reports.palette import OKABE_ITO

CHOSEN = "the chosen rungs"
BESIDE = {"cash": 6, "buy_and_hold": 1, "put_write": 2}
"""Baselines that a fold's returns are drawn beside, and their colours."""

SPANS = {
    "train_from": ("trained from", ""),
    "train_to": ("to", ""),
    "validation_from": ("rung chosen from", ""),
    "validation_to": ("to", ""),
    "test_from": ("judged from", ""),
    "test_to": ("to", ""),
}
"""The spans of a fold, as columns."""
AXIS = {"type": "category", "title": {"text": "fold, and the years it was judged on"}}
LONGEST = 18
"""Letters of a cell that may stand in one line."""


def walk_panels(data: WalkEvidence) -> list[Panel]:
    """Every panel; those of a second recipe come after the first one's, under its name."""
    panels = []
    for place, found in enumerate(data.figures):
        suffix = "" if place == 0 else f"-{place + 1}"
        title = "" if len(data.figures) == 1 else f": {found['recipe']}"
        shown = _evidence(data, found)
        panels += [
            Panel(
                id=f"record{suffix}",
                title=f"The record against cash{title}",
                charts=_numbered(present(excess_chart(shown)), suffix),
                tables=[
                    ("Against each baseline, on the same sessions", pairs_table(found)),
                    *_luck(found),
                    *_controls(data, found),
                ],
                message="What was earned on sessions that no fold had trained on, in order of dates. An account begins "
                "anew in each fold with the same capital, so returns are joined and no money is carried over; the line "
                "is the seeds' mean.",
            ),
            Panel(
                id=f"folds{suffix}",
                title=f"Fold by fold{title}",
                charts=_numbered([folds_chart(data, found), returns_chart(data, found)], suffix),
                tables=[
                    ("What each fold knew, and what it was judged on", folds_table(data, found)),
                    ("Which rung each training played", rungs_table(data, found)),
                ],
                message=f"{data.embargo} sessions lie unused before each validation and again before each test.",
            ),
            Panel(
                id=f"seeds{suffix}",
                title=f"Seed by seed{title}",
                tables=[
                    ("Each seed over the whole record", seeds_table(found)),
                    ("In how many folds and seeds the mean was above a baseline's", shares_table(found)),
                ],
                message="A drawdown here is of the joined curve, across accounts that each began anew. Two seeds of "
                "the same dates share those dates: their spread tells of training's luck, not of the market's.",
            ),
            _renamed(regimes_panel(shown), suffix, title),
        ]
    return panels


def cash_pair(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The record's difference from cash; None where there is none."""
    return next((pair for pair in found["pairs"] if pair["against"] == "cash"), None)


def percent_per_year(bps: Any, percent: float) -> str:
    """Basis points per session in percent of what `words.percent_of` says."""
    found = number(bps)
    return NOTHING if found is None else f"{found * percent:+.1f}%"


def pairs_table(found: Mapping[str, Any]) -> Table:
    """The difference from every baseline with its interval and what may be said of it."""
    percent, span = percent_of(found["sessions"])
    rows = [
        {
            "against": policy_name(pair["against"]),
            "estimate": percent_per_year(pair["estimate"], percent),
            "span": _span(pair, percent),
            "said": f"{relation_of(pair)} {policy_name(pair['against'])}",
        }
        for pair in found["pairs"]
    ]
    columns = {
        "against": ("baseline", ""),
        "estimate": (f"difference {span}", ""),
        "span": ("95% interval", ""),
        "said": ("what may be said", ""),
    }
    return table(rows, columns)


def folds_chart(data: WalkEvidence, found: Mapping[str, Any]) -> Chart:
    """Mean excess over cash of each fold with its interval."""
    rows = found["by_fold"]
    title = "Excess over cash, fold by fold"
    reach = {
        side: [None if number(row[key]) is None else abs(row[key] - row["estimate"]) for row in rows]
        for side, key in (("array", "ci_high"), ("arrayminus", "ci_low"))
    }
    marks = go.Scatter(
        x=[_fold_name(row) for row in rows],
        y=[row["estimate"] for row in rows],
        error_y={"type": "data", "symmetric": False, **reach},
        mode="markers",
        marker={"size": 10, "color": OKABE_ITO[0]},
        name=CHOSEN,
        showlegend=False,
    )
    layout: dict[str, Any] = {"xaxis": AXIS, "hovermode": "closest"}
    columns = {
        "fold": ("fold", ""),
        "first_date": ("from", ""),
        "last_date": ("to", ""),
        "sessions": ("sessions", "count"),
        "estimate": ("excess, bps per session", ""),
        "ci_low": ("from", ""),
        "ci_high": ("to", ""),
        "return": ("return", "percent"),
        "max_drawdown": ("largest drawdown of a seed", "percent"),
    }
    return Chart(
        id="folds",
        title=title,
        figure=framed([marks], title, data.data_label, "bps per session", **layout),
        caption="The seeds' mean per fold with its 95% bootstrap interval of the fold's own sessions; where it crosses "
        "zero, policy and cash are not distinguishable in that fold. The intervals are not corrected for "
        "how many folds there are.",
        table=table(rows, columns),
    )


def returns_chart(data: WalkEvidence, found: Mapping[str, Any]) -> Chart:
    """What the chosen rungs returned in each fold, beside cash, the index and the put writer."""
    rows = found["by_fold"]
    title = "Return, fold by fold"
    names = [_fold_name(row) for row in rows]
    known = [name for name in BESIDE if all(name in row["returns"] for row in rows)]
    bars = [
        go.Bar(x=names, y=[100 * row["return"] for row in rows], name=CHOSEN, marker={"color": OKABE_ITO[0]}),
        *(
            go.Bar(
                x=names,
                y=[100 * row["returns"][name] for row in rows],
                name=policy_name(name),
                marker={"color": OKABE_ITO[BESIDE[name]]},
            )
            for name in known
        ),
    ]
    every = {name: policy_name(name) for row in rows for name in row["returns"]}
    layout: dict[str, Any] = {"xaxis": AXIS, "barmode": "group", "hovermode": "closest"}
    cells = [{"fold": row["fold"], "policy": row["return"], **row["returns"]} for row in rows]
    columns = {"fold": ("fold", ""), "policy": (CHOSEN, "percent")}
    return Chart(
        id="fold-returns",
        title=title,
        figure=framed(bars, title, data.data_label, "return over the fold, %", **layout),
        caption="Each account begins with the same capital on the fold's first session. Folds differ in length by a "
        "session at most; a return is over the whole fold and not per year.",
        table=table(cells, columns | {name: (said, "percent") for name, said in every.items()}),
    )


def folds_table(data: WalkEvidence, found: Mapping[str, Any]) -> Table:
    """One row per fold: its spans, the seeds' mean excess with its interval, and how many baselines it was above."""
    percent, span = percent_of(found["sessions"])
    spans = {row["fold"]: row for row in data.folds if row["recipe"] == found["recipe"]}
    rows = [
        {
            **{name: spans[row["fold"]][name] for name in SPANS},
            "fold": str(row["fold"]),
            "embargo": f"2 x {data.embargo}",
            "excess": percent_per_year(row["estimate"], percent),
            "span": _span(row, percent),
            "above": _above({name: row["return"] - other for name, other in row["returns"].items()}),
        }
        for row in found["by_fold"]
    ]
    columns = {
        "fold": ("fold", ""),
        **SPANS,
        "embargo": ("embargo, sessions", ""),
        "excess": (f"over cash {span}", ""),
        "span": ("95% interval", ""),
        "above": ("return above baselines", ""),
    }
    return _unbroken(table(rows, columns))


def rungs_table(data: WalkEvidence, found: Mapping[str, Any]) -> Table:
    """One row per fold and seed: the rung that validation chose, why, and what it did on the test."""
    percent, span = percent_of(found["sessions"])
    over = {(cell["fold"], cell["seed"]): cell["over"] for cell in found["cells"]}
    rows = [
        {
            "fold": str(row["fold"]),
            "seed": str(row["seed"]),
            "rung": percent_of_run(row["rung"]),
            "why": row["why"],
            "fills": row["fills"],
            "excess": percent_per_year(row["excess_bps"], percent),
            "above": _above(over[row["fold"], row["seed"]]),
        }
        for row in data.folds
        if row["recipe"] == found["recipe"]
    ]
    columns = {
        "fold": ("fold", ""),
        "seed": ("seed", ""),
        "rung": ("rung", ""),
        "why": ("chosen as", ""),
        "fills": ("fills", "count"),
        "excess": (f"over cash {span}", ""),
        "above": ("above baselines", ""),
    }
    return table(rows, columns)


def seeds_table(found: Mapping[str, Any]) -> Table:
    """Each seed's record: return, excess with its interval, ratio and drawdown."""
    percent, span = percent_of(found["sessions"])
    rows = [
        {
            **row,
            "excess": percent_per_year(row["estimate"], percent),
            "span": _span(row, percent),
        }
        for row in found["by_seed"]
    ]
    columns = {
        "seed": ("seed", ""),
        "total_return": ("return, joined", "percent"),
        "cash": ("cash", "percent"),
        "excess": (f"over cash {span}", ""),
        "span": ("95% interval", ""),
        "sharpe": ("Sharpe ratio", ""),
        "max_drawdown": ("largest drawdown, joined", "percent"),
    }
    return table(rows, columns)


def shares_table(found: Mapping[str, Any]) -> Table:
    """Of how many folds and seeds the mean was above each baseline's."""
    rows = [{**row, "against": policy_name(row["against"])} for row in found["shares"]]
    columns = {
        "against": ("baseline", ""),
        "above": ("above it", "count"),
        "of": ("of", "count"),
        "share": ("share", "percent"),
    }
    return table(rows, columns)


def luck_table(found: Mapping[str, Any]) -> Table:
    """The joined record among fair worlds, then each fold among its own."""
    luck = found["luck"]
    rows = [
        {"what": "the joined record", **luck},
        *(
            {"what": f"fold {fold['fold']}", **placed}
            for fold, placed in zip(found["by_fold"], luck["by_fold"], strict=True)
        ),
    ]
    columns = {
        "what": ("what is placed", ""),
        "observed": ("Sharpe ratio", ""),
        "luck_median": ("luck's median", ""),
        "luck_high": ("luck exceeds once in forty", ""),
        "worlds": ("fair worlds", "count"),
        "p": ("p", "percent"),
    }
    note = (
        "p: the share of fair worlds, where nothing can be earned before costs, in which the same policies look at "
        f"least as good against cash; {luck['level']:.1%} is asked of the joined record. World by world the folds are "
        "joined as they are here. The folds' own p-values are not corrected for how many folds there are."
    )
    return dataclasses.replace(table(rows, columns), note=note)


def _luck(found: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """The record's place among luck as a captioned table; nothing where no fair worlds were walked."""
    return [("Skill or luck: against cash, among fair worlds", luck_table(found))] if found.get("luck") else []


def _controls(data: WalkEvidence, found: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """The controls of one recipe as a captioned table; nothing where none were made."""
    rows = [row for row in data.controls if row["recipe"] == found["recipe"]]
    return [(CONTROLS_TITLE, controls_table(rows))] if rows else []


def _evidence(data: WalkEvidence, found: Mapping[str, Any]) -> Evidence:
    """The record as the judged account of a report, for the figures that both have."""
    return Evidence(
        run=data.run,
        label=data.data_label,
        policy_name=CHOSEN,
        sessions=list(found["curve"]),
        regimes=list(found["regimes"]),
        regimes_words=str(found["regimes_words"]),
        crises=list(found["crises"]),
    )


def _unbroken(found: Table) -> Table:
    """The table with short cells, dates and intervals, in one line each."""
    short = [max(map(len, column), default=0) <= LONGEST for column in zip(*found.rows, strict=True)]
    kinds = [
        "number" if index and fits else kind for index, (kind, fits) in enumerate(zip(found.kinds, short, strict=True))
    ]
    return dataclasses.replace(found, kinds=kinds)


def _above(over: Mapping[str, float]) -> str:
    """Of how many baselines, cash among them, a cell's mean was above."""
    return f"{sum(value > 0.0 for value in over.values())} of {len(over)}"


def _span(pair: Mapping[str, Any], percent: float) -> str:
    low, high = number(pair.get("ci_low")), number(pair.get("ci_high"))
    return "too few sessions" if low is None or high is None else f"{low * percent:+.1f}% to {high * percent:+.1f}%"


def _fold_name(row: Mapping[str, Any]) -> str:
    first, last = row["first_date"][:4], row["last_date"][:4]
    return f"{row['fold']}<br>{first if first == last else f'{first} to {last}'}"


def _numbered(charts: list[Chart], suffix: str) -> list[Chart]:
    """Charts with identities of their own, where a page has several of a kind."""
    return [dataclasses.replace(chart, id=f"{chart.id}{suffix}") for chart in charts]


def _renamed(panel: Panel, suffix: str, title: str) -> Panel:
    return dataclasses.replace(
        panel, id=f"{panel.id}{suffix}", title=f"{panel.title}{title}", charts=_numbered(panel.charts, suffix)
    )
