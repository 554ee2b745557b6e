"""Write a report: one HTML page per run, a gallery of all of them, and the scripts that they share.

    <out_dir>/index.html  compare.html  plotly.min.js  report.js  gallery.js  report.css     shared
    <out_dir>/<run>/index.html  summary.json                                                 per run

Everything is local: the pages open from disk without a network, and their content security policy lets nothing else in.
A page of one file, to mail, has the same scripts inside and a policy that names each by its hash.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from clstm_core.artifacts.folder import write_text
from clstm_core.errors import ReportError
from clstm_core.evaluation.evidence import Evidence
from clstm_core.plural import counted
from reports import tiles
from reports.charts import Panel
from reports.gallery import write_gallery
from reports.names import renamed, renaming
from reports.pages import CSP, TEMPLATES, policy, template
from reports.panels import panels_of

FOLDED = ("training",)
"""Panels whose figures are shown on demand: they say how it was trained, not what came of it."""

MEANINGS = {
    "real": "Prices are quotes of listed options, with every fault of the vendor's files counted below.",
    "modelled": (
        "Option prices are computed by a model from real closes of the index and its volatility; nobody quoted them. "
        "What is earned here shows that the chain works, not that the market would have paid it."
    ),
    "simulated": (
        "Prices come from a simulated world. What is earned here shows that the chain works and says nothing about any "
        "real market."
    ),
    "unknown": "Where the prices come from was not recorded; treat every figure as simulated.",
}
SHORT_WINDOW = 60
_SAFE_RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")


def render_report(data: Evidence, out_dir: Path) -> Path:
    """Write `<out_dir>/<run>/index.html`, the shared files and the gallery; the report's path.

    Raises: ReportError when the run's name cannot be a folder
    """
    if not _SAFE_RUN.fullmatch(data.run):
        raise ReportError(
            f"run {data.run!r} cannot name a report's folder: expected letters, digits, '_', '-', '.' and spaces, "
            "a letter, digit or '_' first. Rename the run."
        )
    panels = shown_panels(data)
    folder = out_dir / data.run
    folder.mkdir(parents=True, exist_ok=True)
    write_shared(out_dir)
    index = folder / "index.html"
    write_text(index, _page(data, panels, csp=CSP, inline=None))
    write_text(folder / "summary.json", json.dumps(_summary(data, panels), indent=1))
    write_gallery(out_dir)
    return index


def render_single_file(data: Evidence) -> str:
    """The report as one HTML file, to mail or keep: scripts and style inside, admitted by their hashes alone.

    Units: about 5 MB, nearly all of it Plotly's script
    """
    scripts = [get_plotlyjs(), _asset("report.js")]
    inline = {"style": _asset("report.css"), "scripts": scripts}
    return _page(data, shown_panels(data), csp=policy(map(_source_of, scripts)), inline=inline)


def shown_panels(data: Evidence) -> list[Panel]:
    """The panels of a page, in a reader's names."""
    rename = renaming(data)
    return [renamed(panel, rename) for panel in panels_of(data)]


def _page(data: Evidence, panels: list[Panel], *, csp: str, inline: dict[str, Any] | None) -> str:
    kind, rename = label_kind(data.label), renaming(data)
    return template("report.html").render(
        data=data,
        heading=data.run,
        root="../",
        panels=panels,
        folded=FOLDED,
        kind=kind,
        meaning=MEANINGS[kind],
        outcome=tiles.outcome(data),
        others=tiles.others(data),
        tiles=tiles.tiles(data),
        failures=tiles.failures(data),
        points=[rename(point) for point in data.verdict_points],
        shortness=shortness(data),
        provenance=tiles.facts(provenance(data)),
        csp=csp,
        inline=inline,
    )


def _source_of(script: str) -> str:
    """How a content security policy names an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def figure_count(index: Path) -> int:
    """Figures in a rendered report; 0 when it has no summary beside it."""
    summary = index.with_name("summary.json")
    return int(json.loads(summary.read_text())["figures"]) if summary.is_file() else 0


def write_shared(out_dir: Path) -> None:
    """Plotly's script and ours beside the gallery, once for all reports."""
    out_dir.mkdir(parents=True, exist_ok=True)
    plotly = out_dir / "plotly.min.js"
    script = get_plotlyjs()
    if not plotly.is_file() or plotly.stat().st_size != len(script.encode()):
        write_text(plotly, script)
    for name in ("report.js", "gallery.js", "report.css"):
        write_text(out_dir / name, _asset(name))


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def label_kind(label: str | None) -> str:
    """`real`, `modelled`, `simulated` or `unknown`: what a data label's first word says."""
    word = (label or "").split(" ")[0].lower()
    return word if word in MEANINGS else "unknown"


def provenance(data: Evidence) -> list[tuple[str, str]]:
    """What the report was made from, in words."""
    trained = data.trained_on or "not recorded"
    if data.trained_label and data.trained_label not in trained:
        trained = f"{trained} ({data.trained_label})"
    window = f"{data.first_date} to {data.last_date}" if data.first_date and data.last_date else "not recorded"
    sessions = "unknown number of" if data.n_sessions is None else f"{data.n_sessions:,}"
    return [
        ("trained on", trained),
        ("evaluated on", data.data_label),
        ("window", f"{window}, {sessions} sessions"),
        *data.provenance,
    ]


def shortness(data: Evidence) -> str:
    """A warning when the window is too short to mean much."""
    if data.n_sessions is None or data.n_sessions >= SHORT_WINDOW:
        return ""
    return (
        f"The window has {counted(data.n_sessions, 'session')}: too few to tell skill from luck, whatever the curves "
        f"look like. Intervals of fewer than {SHORT_WINDOW} sessions are wide or missing."
    )


def _summary(data: Evidence, panels: list[Panel]) -> dict[str, Any]:
    sessions = "" if data.n_sessions is None else f"{counted(data.n_sessions, 'session')}."
    return {
        "run": data.run,
        "data_label": data.data_label,
        "kind": label_kind(data.label),
        "verdict": data.verdict,
        "sessions": sessions,
        "generated_at": data.generated_at,
        "figures": sum(len(panel.charts) for panel in panels),
        **tiles.summary(data),
    }
