"""What a reader calls things: one display name per policy, metric and action, wherever a page shows them.

Rows keep the names that the store and the manifests know; a page's panels are renamed as they are drawn.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import MEAN_METRIC, SHARPE_METRIC
from clstm_core.evaluation.words import plain, rung_name
from reports.charts import Chart, Panel, Table, without_constants

METRICS = {MEAN_METRIC: "mean difference, bps per session", SHARPE_METRIC: "difference of Sharpe ratios"}
_RUNG = re.compile(r"clstm_(\d+)_(\w+)")

Renaming = Callable[[str], str]


def policy_name(name: str) -> str:
    """A policy as the verdict calls it: `PUT`, `buy and hold`; a rung is `checkpoint 80%`, or with its mode."""
    rung = _RUNG.fullmatch(name)
    if rung is None:
        return plain(name)
    mode = "" if rung[2] == "argmax" else f", {rung[2]}"
    return f"{rung_name(rung[1])}{mode}"


def metric_name(name: str) -> str:
    """A compared figure in words, with its unit."""
    return METRICS.get(name, name.replace("_", " "))


def renaming(data: Evidence) -> Renaming:
    """What puts display names in the place of this run's own.

    A name of one word is replaced only where it is all there is: `condor` in a sentence is a word, not a policy.
    """
    policies = {curve.name for curve in data.curves} | {data.policy_name}
    for rows, keys in (
        (data.backtests, ("name",)),
        (data.worlds, ("policy",)),
        (data.ladder, ("policy_name", "against")),
        (data.luck, ("against",)),
        (data.costs, ("policy",)),
    ):
        policies |= {str(row[key]) for row in rows for key in keys if row.get(key)}
    names = {name: policy_name(name) for name in policies}
    names |= {name: metric_name(name) for name in METRICS}
    names |= {str(row["action"]): str(row["action"]).replace("_", " ") for row in data.actions if row.get("action")}
    # as a figure's axis writes a metric
    names[MEAN_METRIC.replace("_", " ")] = METRICS[MEAN_METRIC]
    inside = sorted((name for name in names if "_" in name or " " in name), key=len, reverse=True)
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in inside) or r"(?!)")

    def rename(text: str) -> str:
        return names.get(text) or pattern.sub(lambda found: names[found[0]], text)

    return rename


def renamed(panel: Panel, rename: Renaming) -> Panel:
    """The panel with display names in its words, figures and tables, and no column of one word; identities stay."""
    return dataclasses.replace(
        panel,
        message=rename(panel.message),
        charts=[_chart(chart, rename) for chart in panel.charts],
        tables=[(rename(caption), without_constants(_table(table, rename))) for caption, table in panel.tables],
    )


def _chart(chart: Chart, rename: Renaming) -> Chart:
    return dataclasses.replace(
        chart,
        title=rename(chart.title),
        caption=rename(chart.caption),
        figure=_everywhere(chart.figure, rename),
        table=_table(chart.table, rename),
    )


def _table(table: Table, rename: Renaming) -> Table:
    return dataclasses.replace(
        table,
        columns=[rename(heading) for heading in table.columns],
        rows=[[rename(cell) for cell in row] for row in table.rows],
    )


def _everywhere(value: Any, rename: Renaming) -> Any:
    """Every text of a figure: no colour, symbol or setting of Plotly has a policy's name."""
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, dict):
        return {key: _everywhere(item, rename) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_everywhere(item, rename) for item in value]
    return value
