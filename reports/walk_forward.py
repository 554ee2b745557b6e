"""The page of a walk-forward: `<out_dir>/walk-forward/<name>/index.html`, in the report's form and with its files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import write_text
from clstm_core.evaluation.words import percent_of, relation_of
from clstm_core.walk_forward.evidence import WalkEvidence
from reports import tiles
from reports.charts import NOTHING, Panel, number
from reports.gallery import WALKS, write_gallery
from reports.names import policy_name
from reports.pages import CSP, template
from reports.render import MEANINGS, label_kind, write_shared
from reports.walk_forward_figures import cash_pair, percent_per_year, walk_panels


def render_walk(data: WalkEvidence, out_dir: Path) -> Path:
    """Write the page, its summary, the shared files and the gallery, which links it; the page's path.

    Assumes: its name can be a folder's: a plan refuses another (`artifacts.places.run_name`)
    """
    panels = walk_panels(data)
    folder = out_dir / WALKS / data.run
    folder.mkdir(parents=True, exist_ok=True)
    write_shared(out_dir)
    index = folder / "index.html"
    write_text(index, _page(data, panels))
    write_text(folder / "summary.json", json.dumps(_summary(data, panels), indent=1))
    write_gallery(out_dir)
    return index


def outcome(data: WalkEvidence) -> tiles.Outcome:
    """What may be said of the first recipe against cash."""
    pair = cash_pair(data.figures[0]) if data.figures else None
    return tiles.Outcome("none", "No verdict yet") if pair is None else tiles.against_cash(relation_of(pair))


def others(found: Mapping[str, Any]) -> str:
    """The other baselines in a line."""
    pairs = [pair for pair in found["pairs"] if pair["against"] != tiles.CASH]
    by: dict[str, list[str]] = {"is ahead of": [], "trails": []}
    for pair in pairs:
        said = relation_of(pair)
        if said == "trails" or said.startswith("is ahead"):
            by["trails" if said == "trails" else "is ahead of"].append(policy_name(pair["against"]))
    named = " and ".join(f"{verb} {', '.join(names) if names else 'none'}" for verb, names in by.items())
    return f"Of {len(pairs)} other baselines it {named}; no lead over these was tested against luck."


def walk_tiles(data: WalkEvidence) -> list[tiles.Tile]:
    """The numbers that a reader looks for first, of the first recipe."""
    found = data.figures[0]
    pair = cash_pair(found) or {}
    percent, span = percent_of(found["sessions"])
    iqm, sharpe = found["iqm"], found["sharpe"]
    share = next(row for row in found["shares"] if row["against"] == tiles.CASH)
    worst = min(row["max_drawdown"] for row in found["by_seed"])
    mean = sum(row["max_drawdown"] for row in found["by_seed"]) / len(found["by_seed"])
    label = f"over cash {span.replace('over the', 'in')}"
    folds, seeds = len(found["by_fold"]), len(found["by_seed"])
    return [
        tiles.Tile(label, percent_per_year(pair.get("estimate"), percent), _ends(pair, percent), "record"),
        tiles.Tile(
            "interquartile mean",
            percent_per_year(iqm["estimate"], percent),
            _ends({"ci_low": iqm["low"], "ci_high": iqm["high"]}, percent, "over seeds"),
            "seeds",
        ),
        *_luck_tile(found),
        tiles.Tile("Sharpe ratio", tiles.two_decimals(sharpe["estimate"]), _sharpe_ends(sharpe), "record"),
        tiles.Tile(
            "largest drawdown", tiles.signed_percent(worst), f"worst seed; mean {tiles.signed_percent(mean)}", "seeds"
        ),
        tiles.Tile("above cash", f"{share['above']} of {share['of']}", "folds and seeds", "folds"),
        tiles.Tile("folds and seeds", f"{folds} x {seeds}", f"embargo {data.embargo} sessions", "folds"),
        tiles.Tile("sessions", f"{found['sessions']:,}", f"{found['first_date']} to {found['last_date']}", "record"),
        tiles.Tile("policies that looked", f"{data.trials:,}", "at these dates, from the trial registry"),
    ]


def _luck_tile(found: Mapping[str, Any]) -> list[tiles.Tile]:
    """The joined record's place among fair worlds; nothing where none were walked."""
    luck = found.get("luck")
    if luck is None:
        return []
    note = f"of {luck['worlds']:,} fair worlds look as good; {luck['level']:.1%} is asked"
    return [tiles.Tile("luck against cash", f"p = {luck['p']:.1%}", note, "record")]


def _page(data: WalkEvidence, panels: list[Panel]) -> str:
    kind = label_kind(data.label)
    return template("report.html").render(
        data=data,
        heading=f"Walk-forward {data.run}",
        root="../../",
        panels=panels,
        folded=(),
        kind=kind,
        meaning=MEANINGS[kind],
        outcome=outcome(data),
        others=others(data.figures[0]) if data.figures else "",
        tiles=walk_tiles(data) if data.figures else [],
        failures=[],
        points=data.verdict_points,
        shortness="",
        provenance=tiles.facts(data.provenance),
        csp=CSP,
        inline=None,
    )


def _summary(data: WalkEvidence, panels: list[Panel]) -> dict[str, Any]:
    found = data.figures[0] if data.figures else {}
    pair = cash_pair(found) if found else None
    percent, span = percent_of(found.get("sessions", 0))
    said = outcome(data)
    return {
        "run": data.run,
        "data_label": data.data_label,
        "kind": label_kind(data.label),
        "verdict": data.verdict,
        "generated_at": data.generated_at,
        "outcome": {"kind": said.kind, "word": said.word, "rest": said.rest},
        "excess": f"{percent_per_year((pair or {}).get('estimate'), percent)} {span}",
        "window": f"{found.get('first_date', NOTHING)} to {found.get('last_date', NOTHING)}",
        "folds": f"{len(found.get('by_fold', []))} x {len(found.get('by_seed', []))}",
        "figures": sum(len(panel.charts) for panel in panels),
    }


def _ends(pair: Mapping[str, Any], percent: float, what: str = "95% interval") -> str:
    low, high = number(pair.get("ci_low")), number(pair.get("ci_high"))
    return "no interval" if low is None or high is None else f"{what} {low * percent:+.1f}% to {high * percent:+.1f}%"


def _sharpe_ends(found: Mapping[str, Any]) -> str:
    low, high = number(found.get("low")), number(found.get("high"))
    if number(found.get("estimate")) is None:
        return "not told of less than a year"
    return "per year, beyond cash" if low is None or high is None else f"interval {low:.2f} to {high:.2f}"
