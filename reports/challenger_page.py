"""Pages of retrainings: all of them in a list, and each with its starts beside the champion. They run no script."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import write_json, write_text
from reports.challenger_figures import (
    WITHOUT,
    days_rows,
    decision_rows,
    figure_table,
    regime_table,
    stage_rows,
)
from reports.gallery import write_gallery
from reports.pages import policy, template
from reports.render import MEANINGS, label_kind, write_shared
from reports.shadow_list import CHALLENGERS, PAGES
from reports.shadow_page import NO_BREAK
from reports.svg import both_widths, stacked_chart

Story = Mapping[str, Any]

CHART = "Growth beyond cash on the judged days"


def render_challengers(story: Story, out_dir: Path) -> Path:
    """Write `<out_dir>/challengers/index.html`, a page per retraining, and the gallery that links it; the list's path.

    Args:
        story: of `clstm_core.feedback.challenger_story`
    """
    write_shared(out_dir)
    folder = out_dir / CHALLENGERS
    folder.mkdir(parents=True, exist_ok=True)
    for found in story["retrainings"]:
        _write_page(found, story, folder / found["name"])
    page = template("challengers.html").render(
        answer=story["answer"],
        rows=[row for found in story["retrainings"] for row in _listed(found)],
        damaged=story["damaged"],
        registry=story["registry"],
        decided=story["decided"],
        csp=policy(["'none'"]),
        inline=None,
    )
    index = folder / "index.html"
    write_text(index, page)
    newest = next(iter(story["retrainings"]), None)
    label = newest["label"] if newest else ""
    pages = {start["run"]: found["name"] for found in story["retrainings"] for start in found["starts"]}
    told = {"answer": story["answer"], "label": label, "kind": label_kind(label), "pages": pages}
    write_json(folder / PAGES, told | {"newest": newest["name"] if newest else ""})
    write_gallery(out_dir)
    return index


def _write_page(found: Story, story: Story, folder: Path) -> None:
    """The page of one retraining, and a CSV of what its chart shows for each start that was judged."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = [dict(start) for start in found["starts"]]
    for start in starts:
        start["csv"] = ""
        if start["days"]:
            start["csv"] = f"{start['start']}.csv"
            write_text(folder / start["csv"], _csv(start["days"]))
        start["rows"] = stage_rows(start["stages"])
    kind = label_kind(found["label"])
    judged = [start for start in starts if start["days"]]
    lines = growth_beyond_cash(judged)
    page = template("challenger.html").render(
        name=found["name"],
        answer=found["answer"],
        tone=_tone(starts),
        label=found["label"],
        kind=kind,
        meaning=MEANINGS[kind],
        warnings=_warnings(found, story),
        facts=_facts(found),
        days=days_rows(found, judged),
        starts=starts,
        chart=both_widths(partial(stacked_chart, {"log growth beyond cash, %": lines}, CHART, subtitle=found["label"]))
        if judged
        else None,
        alt=f"{CHART}: {', '.join(lines)}",
        champion=bool(found["champion"]),
        figures=figure_table(judged),
        regimes=regime_table(judged),
        luck=_luck(judged),
        decisions=decision_rows(starts),
        registry=story["registry"],
        decided=story["decided"],
        csp=policy(["'none'"]),
        inline=None,
    )
    write_text(folder / "index.html", page)


def growth_beyond_cash(starts: Sequence[Story]) -> dict[str, list[tuple[date, float]]]:
    """Lines of the chart: growth beyond cash since the first judged close, in percent (logarithm), cash at zero."""
    lines: dict[str, list[tuple[date, float]]] = {}
    for start in starts:
        lines[start["words"]] = _beyond(start["days"], "challenger")
    for start in starts[:1]:
        if "champion" in start["days"]:
            lines["champion"] = _beyond(start["days"], "champion")
        lines["cash"] = [(at, 0.0) for at in _dates(start["days"])]
    return lines


def _dates(days: Story) -> list[date]:
    return [date.fromisoformat(day) for day in days["date"]]


def _beyond(days: Story, account: str) -> list[tuple[date, float]]:
    steps = (mine - cash for mine, cash in zip(days[account], days["cash"], strict=True))
    return list(zip(_dates(days), (100.0 * total for total in accumulate(steps)), strict=True))


def _csv(days: Mapping[str, Sequence[Any]]) -> str:
    """Date, log growth per session of every account, and the regime."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(days)
    writer.writerows(zip(*days.values(), strict=True))
    return out.getvalue()


def _tone(starts: Sequence[Story]) -> str:
    """Colour of the answer, which says the same in words."""
    if any(start["state"] == "damaged" or _forced(start) for start in starts):
        return "unqualified"
    if any(start["role"] == "champion" for start in starts):
        return "beats"
    stands = [start for start in starts if start["bundle"]]
    newest = [next((row["decision"] for row in start["decisions"]), "") for start in stands]
    return "level" if any(decision in ("", "propose") for decision in newest) else "worse"


def _forced(start: Story) -> bool:
    """Whether a person put it in the champion's place against the rules, and it stands there."""
    newest = next(iter(start["decisions"]), None)
    return start["role"] == "champion" and newest is not None and bool(newest["forced"])


def _warnings(found: Story, story: Story) -> list[str]:
    """What must not be overlooked."""
    said = [f"{start['run']} cannot be read" for start in found["starts"] if start["state"] == "damaged"]
    said += [f"{start['run']} has not come to its end" for start in found["starts"] if start["state"] == "missing"]
    said += [f"{start['run']} is champion by force of a person" for start in found["starts"] if _forced(start)]
    if not found["same_days"]:
        said.append("the starts were judged on different days")
    if story["registry"]:
        said.append("the registry cannot be read")
    return said


def _facts(found: Story) -> list[tuple[str, str]]:
    """What it was asked for by and made from."""
    champion, facts = found["champion"], found["facts"]
    held = f"{champion['run']} ({champion['identity'][:12]})" if champion else "cash: no champion stood"
    rows = [("asked for by", found["why"] or WITHOUT), ("made", _moment(found["created"])), ("held against", held)]
    if facts:
        rows += [("env steps of each start", f"{facts['steps']:,}"), ("seed", str(facts["seed"]))]
        rows.append(("last session that was known", facts["as_of"] or "the newest of the source"))
    return rows


def _luck(starts: Sequence[Story]) -> str:
    """By how many fair worlds luck was told, or why it was not."""
    for start in starts:
        if start["worlds"]:
            return (
                f"Luck is the chance to look as good against cash where nothing can be earned, told by "
                f"{start['worlds']:,} fair worlds of these days."
            )
        if start["why_no_luck"]:
            return f"Luck was not measured: {start['why_no_luck']}"
    return ""


def _listed(found: Story) -> list[dict[str, Any]]:
    """The rows of one retraining in the list, one per start."""
    return [
        {
            "name": found["name"],
            "made": _moment(found["created"])[:10],
            "label": found["label"],
            "kind": label_kind(found["label"]),
            "why": found["why"],
            "words": start["words"],
            "outcome": start["outcome_words"],
            "bad": start["state"] == "damaged",
            "decided": start["decided"],
        }
        for start in found["starts"]
    ]


def _moment(created: str) -> str:
    return created[:16].replace("-", NO_BREAK).replace("T", " ") or WITHOUT
