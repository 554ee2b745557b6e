"""How sure is it? The ladder's choice, the judged policy's track record, and all policies asked at once."""

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import Chart, Panel, Table, framed, table, text
from reports.names import policy_name
from reports.palette import OKABE_ITO

TITLE = "How sure is it?"
NOTHING = "How sure one may be is not known: no checkpoint was compared yet."


def sureness_panel(data: Evidence) -> Panel:
    """The answer in words, the statistics with what each is, and the policies that may be better or best."""
    found = data.statistics
    if not found:
        return Panel(id="sureness", title=TITLE, message=NOTHING)
    chart = overfit_chart(data)
    words = [*found["answers"], found["counted"]]
    tables = [("What the figures are", figures_table(data))]
    if found["superior"]:
        tables.append((found["superior_answer"], superior_table(data)))
    if found["confidence_set"]["rows"]:
        tables.append((found["confidence_answer"], confidence_table(data)))
    else:
        words.append(found["confidence_answer"])
    return Panel(
        id="sureness",
        title=TITLE,
        message=" ".join(filter(None, words)),
        charts=[chart] if chart else [],
        tables=tables,
    )


def overfit_chart(data: Evidence) -> Chart | None:
    """How often the rung chosen on half of the dates had each rank on the other half; None where there is no PBO."""
    found = data.statistics.get("overfit")
    if not found:
        return None
    rows, rungs, share = found["logits"], int(found["policies"]), float(found["probability"])
    title = f"The rung chosen on half of the dates, on the other half: PBO {share:.0%}"
    colours = [
        OKABE_ITO[1] if row["logit"] < 0 else OKABE_ITO[6] if row["logit"] == 0 else OKABE_ITO[2] for row in rows
    ]
    bars = go.Bar(
        x=[row["logit"] for row in rows],
        y=[row["count"] / found["halves"] for row in rows],
        width=0.3,
        marker_color=colours,
        customdata=[f"rank {row['rank']:g} of {rungs}" for row in rows],
        hovertemplate="%{customdata}: %{y:.1%}<extra></extra>",
    )
    figure = framed(
        [bars],
        title,
        data.data_label,
        "share of the halves",
        height=300,
        xaxis={"title": {"text": "logit of its rank"}, "zeroline": True},
        hovermode="closest",
    )
    figure["layout"]["yaxis"]["tickformat"] = ".0%"
    shown = [
        {"rank": f"{row['rank']:g} of {rungs}", "logit": row["logit"], "count": int(row["count"])}
        | {"share": row["count"] / found["halves"]}
        for row in rows
    ]
    return Chart(
        id="overfit",
        title=title,
        figure=figure,
        caption=f"Dates are cut into {found['blocks']} blocks, and a rung is chosen on each of {found['halves']:,} "
        f"halves of them. On the other half, rank 1 is the worst of {rungs} rungs that did different things: left of 0 "
        "the chosen rung is below the middle, right of it above; at 0 it is the middle itself and counts by half. A "
        "choice by lot would give every rank equally often.",
        table=table(
            shown,
            {
                "rank": ("rank on the other half", ""),
                "logit": ("logit", ""),
                "count": ("halves", "count"),
                "share": ("share", "percent"),
            },
        ),
    )


def figures_table(data: Evidence) -> Table:
    """Each statistic, what is asked of it, and what it is."""
    rows = [
        {**row, "value": text(row.get("value"), str(row.get("kind"))), "asked": row.get("asked") or ""}
        for row in data.statistics["figures"]
    ]
    columns = {"figure": ("figure", ""), "value": ("value", ""), "asked": ("asked", ""), "how": ("what it is", "")}
    return table(rows, columns)


def superior_table(data: Evidence) -> Table:
    """SPA's p and the rungs that are ahead by StepM, per benchmark; why not where neither can be given."""
    best = {row["name"]: row for row in data.statistics["confidence_set"]["rows"]}
    rows = []
    for row in data.statistics["superior"]:
        better = ", ".join(policy_name(name) for name in row["better"])
        rows.append(
            {
                "against": row["against"],
                "p": row["p"],
                "better": (better or "none") if row["p"] is not None else f"not asked: {row['why']}",
                "policies": row["policies"],
                "block": row["block"],
                "set": best.get(row["against"], {}).get("included"),
            }
        )
    columns = {
        "against": ("benchmark", ""),
        "p": ("SPA p", "percent"),
        "better": ("ahead by StepM", ""),
        "set": ("benchmark may be the best", ""),
        "policies": ("different rungs", "count"),
        "block": ("mean block, sessions", "count"),
    }
    return _noted(table(rows, columns), data.statistics["superior_words"])


def confidence_table(data: Evidence) -> Table:
    """The model confidence set, the last to leave first."""
    rows = [{**row, "included": bool(row["included"])} for row in data.statistics["confidence_set"]["rows"]]
    columns = {"name": ("policy", ""), "p": ("p", "percent"), "included": ("may be the best", "")}
    return _noted(table(rows, columns), data.statistics["confidence_words"])


def _noted(found: Table, words: str) -> Table:
    """The table with a sentence under it."""
    return Table(
        columns=found.columns,
        rows=found.rows,
        kinds=found.kinds,
        failed=found.failed,
        note=" ".join(filter(None, (found.note, words))),
    )
